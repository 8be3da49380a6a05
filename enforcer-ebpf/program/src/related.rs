//! The packet an ICMP error quotes (RFC 792, RFC 4443 §2.4).

use enforcer_abi::V4;

use crate::parse::{Headers, Kind, Packet, Part, icmp_ends, ne16, ne32, proto};

/// Headers of the quoted packet as far as a flow needs them, or none if it cannot be read or was not sent by the host
/// the error goes to.
#[inline(always)]
pub fn quoted<P: Packet>(packet: &P, error: &Headers) -> Option<Headers> {
    let at = error.transport + 8;
    let mut inner = *error;
    let transport = if error.family == V4 {
        let bytes: [u8; 20] = packet.bytes(at)?;
        // Neither options nor a later fragment: both are nothing this host's flows can have.
        if bytes[0] != 0x45 || u16::from_be(ne16(&bytes, 6)) & 0x1FFF != 0 {
            return None;
        }
        inner.proto = bytes[9];
        inner.source = [ne32(&bytes, 12), 0, 0, 0];
        inner.destination = [ne32(&bytes, 16), 0, 0, 0];
        at + 20
    } else {
        let bytes: [u8; 40] = packet.bytes(at)?;
        if bytes[0] >> 4 != 6 {
            return None;
        }
        inner.proto = bytes[6];
        inner.source = [ne32(&bytes, 8), ne32(&bytes, 12), ne32(&bytes, 16), ne32(&bytes, 20)];
        inner.destination = [ne32(&bytes, 24), ne32(&bytes, 28), ne32(&bytes, 32), ne32(&bytes, 36)];
        at + 40
    };
    if inner.source != error.destination {
        return None;
    }
    let bytes: [u8; 8] = packet.bytes(transport)?;
    inner.part = Part::WHOLE;
    (inner.kind, inner.source_port, inner.destination_port) = ends(&inner, &bytes);
    (!matches!(inner.kind, Kind::ERROR | Kind::NOTICE)).then_some(inner)
}

#[inline(always)]
fn ends(inner: &Headers, bytes: &[u8; 8]) -> (Kind, u16, u16) {
    match (inner.proto, inner.family) {
        (proto::TCP, _) => (Kind::TCP, ne16(bytes, 0), ne16(bytes, 2)),
        (proto::UDP | proto::SCTP, _) => (Kind::PLAIN, ne16(bytes, 0), ne16(bytes, 2)),
        (proto::ICMP, V4) | (proto::ICMP6, enforcer_abi::V6) => icmp_ends(inner.family, bytes),
        _ => (Kind::PLAIN, 0, 0),
    }
}
