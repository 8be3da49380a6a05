//! IPv4 (RFC 791).

use enforcer_abi::{Reason, V4};

use super::{Headers, Network, Packet, Part, Veil, be16, ne16, ne32, proto};

const HEADER: u32 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1FFF;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, at: u32, veil: Veil) -> Result<Network, Reason> {
    let bytes: [u8; HEADER as usize] = packet.bytes(at).ok_or(Reason::Truncated)?;
    if bytes[0] >> 4 != 4 || bytes[0] & 15 < 5 {
        return Err(Reason::Malformed);
    }
    if bytes[0] & 15 > 5 {
        return Err(Reason::IpOptions);
    }
    let end = end(packet, at, u32::from(be16(&bytes, 2)))?;
    let source = [ne32(&bytes, 12), 0, 0, 0];
    let destination = [ne32(&bytes, 16), 0, 0, 0];
    let mut headers = Headers::new(V4, bytes[9], bytes[8], source, destination);
    headers.transport = at + HEADER;

    let fragment = be16(&bytes, 6);
    headers.fragment_id = u32::from(ne16(&bytes, 4));
    let offset = fragment & FRAGMENT_OFFSET;
    if offset != 0 {
        // Offset 1 would overwrite the flags of a TCP header already judged (RFC 3128).
        if headers.proto == proto::TCP && offset == 1 {
            return Err(Reason::Fragment);
        }
        headers.part = Part::LATER;
    } else if fragment & MORE_FRAGMENTS != 0 {
        headers.part = Part::FIRST;
    }
    headers.part = headers.part.forget(veil);
    Ok(Network { headers, end: veil.word(end) })
}

/// Where the datagram ends.
#[inline(always)]
fn end<P: Packet>(packet: &P, at: u32, total: u32) -> Result<u32, Reason> {
    let end = if total == 0 && packet.segmented() { packet.length() } else { at + total };
    if end < at + HEADER || end > packet.length() {
        return Err(Reason::Malformed);
    }
    Ok(end)
}
