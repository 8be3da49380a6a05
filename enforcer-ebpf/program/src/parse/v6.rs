//! IPv6 (RFC 8200), with the extension headers a host has use for.

use enforcer_abi::{Reason, V6};

use super::{Headers, Network, Packet, Part, TRANSPORT_MASK, Veil, be16, ne32, proto};

const HEADER: u32 = 40;
/// Extension headers that are walked.
const HEADERS_MAX: u32 = 6;
/// Bytes of extension headers that are walked.
const HEADERS_BYTES_MAX: u32 = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, at: u32, veil: Veil) -> Result<Network, Reason> {
    let bytes: [u8; HEADER as usize] = packet.bytes(at).ok_or(Reason::Truncated)?;
    if bytes[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    let first = at + HEADER;
    let payload = u32::from(be16(&bytes, 4));
    let end = if payload == 0 && packet.segmented() { packet.length() } else { first + payload };
    if end > packet.length() {
        return Err(Reason::Malformed);
    }
    let source = [ne32(&bytes, 8), ne32(&bytes, 12), ne32(&bytes, 16), ne32(&bytes, 20)];
    let destination = [ne32(&bytes, 24), ne32(&bytes, 28), ne32(&bytes, 32), ne32(&bytes, 36)];
    let mut headers = Headers::new(V6, bytes[6], bytes[7], source, destination);
    headers.transport = first;
    let headers = walk(packet, headers, end)?;
    let headers = Headers {
        proto: veil.byte(headers.proto),
        part: headers.part.forget(veil),
        transport: veil.offset::<TRANSPORT_MASK>(headers.transport),
        fragment_id: veil.word(headers.fragment_id),
        fragment_proto: veil.byte(headers.fragment_proto),
        ..headers
    };
    Ok(Network { headers, end: veil.word(end) })
}

/// Walks extension headers to the transport header, or to the payload of a later fragment.
#[inline(always)]
fn walk<P: Packet>(packet: &P, headers: Headers, end: u32) -> Result<Headers, Reason> {
    let mut headers = headers;
    let limit = headers.transport + HEADERS_BYTES_MAX;
    for step in 0..=HEADERS_MAX {
        match headers.proto {
            HOP_BY_HOP if step == 0 => headers = options(packet, headers)?,
            // In a first fragment they would push the transport header to where a later fragment can write over it.
            DESTINATION_OPTIONS if step < HEADERS_MAX && headers.part != Part::FIRST => headers = options(packet, headers)?,
            FRAGMENT if step < HEADERS_MAX && headers.part == Part::WHOLE => {
                headers = fragment(packet, headers)?;
                if headers.part == Part::LATER {
                    return Ok(headers);
                }
            }
            HOP_BY_HOP | DESTINATION_OPTIONS | FRAGMENT | ROUTING => return Err(Reason::ExtensionHeader),
            _ => return Ok(headers),
        }
        if headers.transport > end {
            return Err(Reason::Truncated);
        }
        if headers.transport > limit {
            return Err(Reason::ExtensionHeader);
        }
    }
    Err(Reason::ExtensionHeader)
}

#[inline(always)]
fn options<P: Packet>(packet: &P, headers: Headers) -> Result<Headers, Reason> {
    let bytes: [u8; 2] = packet.bytes(headers.transport).ok_or(Reason::Truncated)?;
    let size = (u32::from(bytes[1]) + 1) * 8;
    Ok(Headers { proto: bytes[0], transport: headers.transport + size, ..headers })
}

#[inline(always)]
fn fragment<P: Packet>(packet: &P, headers: Headers) -> Result<Headers, Reason> {
    let bytes: [u8; 8] = packet.bytes(headers.transport).ok_or(Reason::Truncated)?;
    let field = be16(&bytes, 2);
    let part = match (field >> 3, field & 1) {
        (0, 0) => Part::ATOMIC,
        (0, _) => Part::FIRST,
        // As for IPv4: the second eight bytes hold the flags of a TCP header.
        (1, _) if bytes[0] == proto::TCP => return Err(Reason::Fragment),
        _ => Part::LATER,
    };
    let fragment_id = ne32(&bytes, 4);
    let transport = headers.transport + 8;
    Ok(Headers { proto: bytes[0], fragment_proto: bytes[0], part, fragment_id, transport, ..headers })
}
