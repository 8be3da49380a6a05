//! TCP, UDP, SCTP and ICMP, as far as rules and flows need them.

use enforcer_abi::{Reason, V4, V6};

use super::{Headers, Network, Packet, Part, Veil, be16, ne16, ne32, proto};

/// What a transport header is.
///
/// ICMP queries get ports, so that a query and its reply belong to one flow: whoever asks has the identifier as its
/// port, whoever answers has `type << 8 | code` of the question. All other ICMP has its own `type << 8 | code` as
/// destination port. Protocols without ports have 0.
///
/// A number rather than an enum, as is [`Part`]: see [`Headers::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

impl Kind {
    /// Has ports, or is a protocol without.
    pub const PLAIN: Self = Self(0);
    /// TCP.
    pub const TCP: Self = Self(1);
    /// ICMP that expects a reply.
    pub const QUERY: Self = Self(2);
    /// ICMP reply to a query.
    pub const REPLY: Self = Self(3);
    /// ICMP error about another packet.
    pub const ERROR: Self = Self(4);
    /// Any other ICMP.
    pub const NOTICE: Self = Self(5);

    #[inline(always)]
    pub(super) fn forget(self, veil: Veil) -> Self {
        Self(veil.byte(self.0))
    }
}

/// Reads the transport header; a later fragment has none.
#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, network: Network, veil: Veil) -> Result<Headers, Reason> {
    let Network { headers, end } = network;
    let room = end.saturating_sub(headers.transport);
    if headers.proto == proto::TCP && headers.part != Part::LATER {
        return tcp(packet, headers, room);
    }
    let headers = match (headers.proto, headers.family) {
        _ if headers.part == Part::LATER => headers,
        (proto::UDP, _) => udp(packet, headers, room)?,
        (proto::SCTP, _) => sctp(packet, headers, room)?,
        (proto::ICMP, V4) | (proto::ICMP6, V6) => icmp(packet, headers, room)?,
        _ => headers,
    };
    Ok(Headers {
        kind: headers.kind.forget(veil),
        proto: veil.byte(headers.proto),
        part: headers.part.forget(veil),
        source_port: veil.short(headers.source_port),
        destination_port: veil.short(headers.destination_port),
        icmp: veil.short(headers.icmp),
        ..headers
    })
}

#[inline(always)]
fn read<const N: usize, P: Packet>(packet: &P, headers: &Headers, room: u32) -> Result<[u8; N], Reason> {
    if room < N as u32 {
        return Err(Reason::Truncated);
    }
    packet.bytes(headers.transport).ok_or(Reason::Truncated)
}

#[inline(always)]
fn tcp<P: Packet>(packet: &P, headers: Headers, room: u32) -> Result<Headers, Reason> {
    let bytes: [u8; 20] = read(packet, &headers, room)?;
    let size = u32::from(bytes[12] >> 4) * 4;
    if size < 20 {
        return Err(Reason::Malformed);
    }
    if size > room {
        return Err(Reason::Truncated);
    }
    Ok(Headers {
        kind: Kind::TCP,
        source_port: ne16(&bytes, 0),
        destination_port: ne16(&bytes, 2),
        seq: u32::from_be(ne32(&bytes, 4)),
        ack: u32::from_be(ne32(&bytes, 8)),
        flags: bytes[13],
        ..headers
    })
}

#[inline(always)]
fn udp<P: Packet>(packet: &P, headers: Headers, room: u32) -> Result<Headers, Reason> {
    let bytes: [u8; 8] = read(packet, &headers, room)?;
    let size = u32::from(be16(&bytes, 4));
    let open = size == 0 && packet.segmented();
    let beyond = size > room && headers.part != Part::FIRST;
    if !open && (size < 8 || beyond) {
        return Err(Reason::Malformed);
    }
    Ok(Headers { source_port: ne16(&bytes, 0), destination_port: ne16(&bytes, 2), ..headers })
}

#[inline(always)]
fn sctp<P: Packet>(packet: &P, headers: Headers, room: u32) -> Result<Headers, Reason> {
    let bytes: [u8; 12] = read(packet, &headers, room)?;
    Ok(Headers { source_port: ne16(&bytes, 0), destination_port: ne16(&bytes, 2), ..headers })
}

#[inline(always)]
fn icmp<P: Packet>(packet: &P, headers: Headers, room: u32) -> Result<Headers, Reason> {
    let bytes: [u8; 8] = read(packet, &headers, room)?;
    let (kind, source_port, destination_port) = icmp_ends(headers.family, &bytes);
    Ok(Headers { kind, source_port, destination_port, icmp: be16(&bytes, 0), ..headers })
}

/// Kind and ports of the ICMP message that begins with `bytes`.
#[inline(always)]
pub(crate) fn icmp_ends(family: u8, bytes: &[u8; 8]) -> (Kind, u16, u16) {
    let own = ne16(bytes, 0);
    let id = ne16(bytes, 4);
    let question = |kind: u8| u16::from_ne_bytes([kind, bytes[1]]);
    match (family, bytes[0]) {
        (V4, 8 | 13) | (V6, 128) => (Kind::QUERY, id, own),
        (V4, 0) => (Kind::REPLY, question(8), id),
        (V4, 14) => (Kind::REPLY, question(13), id),
        (V6, 129) => (Kind::REPLY, question(128), id),
        (V4, 3 | 11 | 12) | (V6, 1..=4) => (Kind::ERROR, 0, own),
        _ => (Kind::NOTICE, 0, own),
    }
}
