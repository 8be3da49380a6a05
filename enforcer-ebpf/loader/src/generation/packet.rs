//! The packet that opens a flow, for trying rules out. It is on no wire: addresses of this host and checksums do not matter.

use std::net::IpAddr;

use crate::table::Direction;

const LOCAL4: [u8; 4] = [192, 0, 2, 1];
const LOCAL6: [u8; 16] = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Source port, which no rule names and no built-in exception has.
const SOURCE: [u8; 2] = [0x9C, 0x40];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// A packet of `service` from or to `peer`, with an Ethernet header.
pub(crate) fn opening(direction: Direction, peer: IpAddr, service: u32) -> Vec<u8> {
    let [_, proto, high, low] = service.to_be_bytes();
    let payload = transport(proto, [high, low], peer.is_ipv6());
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    // The longest payload has 20 bytes.
    let size = u8::try_from(payload.len()).unwrap_or_default();
    match peer {
        IpAddr::V4(peer) => {
            packet.extend([8, 0, 0x45, 0, 0, size.saturating_add(20), 0, 0, 0x40, 0, 64, proto, 0, 0]);
            packet.extend(ends(direction, peer.octets(), LOCAL4));
        }
        IpAddr::V6(peer) => {
            packet.extend([0x86, 0xDD, 0x60, 0, 0, 0, 0, size, proto, 64]);
            packet.extend(ends(direction, peer.octets(), LOCAL6));
        }
    }
    packet.extend(payload);
    packet
}

/// Source, then destination.
fn ends<const N: usize>(direction: Direction, peer: [u8; N], local: [u8; N]) -> impl Iterator<Item = u8> {
    let (source, destination) = match direction {
        Direction::In => (peer, local),
        Direction::Out => (local, peer),
    };
    source.into_iter().chain(destination)
}

fn transport(proto: u8, [high, low]: [u8; 2], v6: bool) -> Vec<u8> {
    let [a, b] = SOURCE;
    match proto {
        // A SYN.
        TCP => vec![a, b, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xFF, 0xFF, 0, 0, 0, 0],
        UDP => vec![a, b, high, low, 0, 8, 0, 0],
        SCTP => vec![a, b, high, low, 0, 0, 0, 0, 0, 0, 0, 0],
        ICMP if !v6 => vec![high, low, 0, 0, a, b, 0, 1],
        ICMP6 if v6 => vec![high, low, 0, 0, a, b, 0, 1],
        _ => vec![0; 16],
    }
}

/// The service a program sees in [`opening`]: protocols without ports have port 0.
pub(crate) fn seen(peer: IpAddr, service: u32) -> u32 {
    let proto = service.to_be_bytes()[1];
    match (proto, peer.is_ipv6()) {
        (TCP | UDP | SCTP, _) | (ICMP, false) | (ICMP6, true) => service,
        _ => service & 0xFF_0000,
    }
}

/// Whether it is the rules that judge [`opening`]: not an address that is on no wire, an ICMP error, which belongs to a flow,
/// neighbour or listener discovery, or an extension header.
pub(crate) fn judged_by_rules(direction: Direction, peer: IpAddr, service: u32) -> bool {
    let [_, proto, kind, _] = service.to_be_bytes();
    let expressible = match (proto, peer.is_ipv6()) {
        (ICMP, false) => !matches!(kind, 3 | 11 | 12),
        (ICMP6, true) => !matches!(kind, 1..=4 | 130..=137 | 143),
        (0 | 43 | 44 | 60, true) => false,
        _ => true,
    };
    let possible = match (peer, direction) {
        (IpAddr::V4(peer), Direction::In) => {
            let [first, ..] = peer.octets();
            first != 0 && !peer.is_loopback() && !peer.is_multicast() && !peer.is_broadcast()
        }
        (IpAddr::V4(peer), Direction::Out) => !peer.is_loopback(),
        (IpAddr::V6(peer), Direction::In) => {
            !peer.is_unspecified() && !peer.is_loopback() && !peer.is_multicast() && peer.to_ipv4_mapped().is_none()
        }
        (IpAddr::V6(peer), Direction::Out) => !peer.is_loopback(),
    };
    expressible && possible
}
