//! Packets made by hand.

use std::net::IpAddr;

const LOCAL4: [u8; 4] = [10, 9, 0, 1];
const LOCAL6: [u8; 16] = [0xFD, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A packet that opens a flow of `service` with `peer`, with an Ethernet header; `inbound` tells who sends it.
pub(crate) fn opening(inbound: bool, peer: IpAddr, service: u32) -> Vec<u8> {
    let [_, proto, high, low] = service.to_be_bytes();
    let payload = transport(proto, high, low, peer.is_ipv6());
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match peer {
        IpAddr::V4(peer) => {
            let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
            packet.extend([8, 0, 0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, proto, 0, 0]);
            let (source, destination) = if inbound { (peer.octets(), LOCAL4) } else { (LOCAL4, peer.octets()) };
            packet.extend(source);
            packet.extend(destination);
        }
        IpAddr::V6(peer) => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            packet.extend([0x86, 0xDD, 0x60, 0, 0, 0, length[0], length[1], proto, 64]);
            let (source, destination) = if inbound { (peer.octets(), LOCAL6) } else { (LOCAL6, peer.octets()) };
            packet.extend(source);
            packet.extend(destination);
        }
    }
    packet.extend(payload);
    packet
}

fn transport(proto: u8, high: u8, low: u8, v6: bool) -> Vec<u8> {
    match proto {
        6 => vec![0x9C, 0x40, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xFF, 0xFF, 0, 0, 0, 0],
        17 => vec![0x9C, 0x40, high, low, 0, 12, 0, 0, 1, 2, 3, 4],
        132 => vec![0x9C, 0x40, high, low, 0, 0, 0, 0, 0, 0, 0, 0],
        1 if !v6 => vec![high, low, 0, 0, 0x12, 0x34, 0, 1],
        58 if v6 => vec![high, low, 0, 0, 0x12, 0x34, 0, 1],
        _ => vec![0; 16],
    }
}

/// The service the program sees in [`opening`]: protocols without ports have port 0.
pub(crate) fn seen(service: u32, v6: bool) -> u32 {
    match (service >> 16, v6) {
        (6 | 17 | 132, _) | (1, false) | (58, true) => service,
        _ => service & 0xFF_0000,
    }
}
