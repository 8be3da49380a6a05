//! Flows as the first packet that the kernel would see of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::{Checked, Direction as Side, Enforcer};
use policy::net::{Direction, Service};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// This host, outside every generated block.
const LOCAL4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Requests that open an exchange. Errors, answers and neighbour discovery are the data path's own part, with tests of its own.
const ICMP_REQUESTS: [u8; 4] = [8, 13, 15, 17];
const ICMPV6_REQUESTS: [u8; 2] = [128, 139];
/// Protocols of which only the number is looked at.
const OTHERS: [u8; 4] = [47, 50, 89, 132];

/// Whether an address may be a peer at all: not loopback, multicast, unspecified or link-local.
pub(super) fn is_ordinary(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(v4) => (1..=223).contains(&v4.octets()[0]) && !v4.is_loopback() && v4 != LOCAL4,
        IpAddr::V6(v6) => (0x2000..0xfe00).contains(&v6.segments()[0]) && v6 != LOCAL6,
    }
}

/// Whether a first packet can ask for this service: DHCP and non-requests are outside the language, protocols without ports have 0.
pub(super) fn is_expressible(service: Service) -> bool {
    let [kind, _] = service.port().to_be_bytes();
    match service.protocol() {
        ICMP => ICMP_REQUESTS.contains(&kind),
        ICMPV6 => ICMPV6_REQUESTS.contains(&kind),
        UDP => ![67, 68, 546, 547].contains(&service.port()),
        TCP => true,
        other => OTHERS.contains(&other) && service.port() == 0,
    }
}

/// Whether a service exists in a peer's family.
pub(super) fn fits(service: Service, peer: IpAddr) -> bool {
    match service.protocol() {
        ICMP => peer.is_ipv4(),
        ICMPV6 => peer.is_ipv6(),
        _ => true,
    }
}

/// What the rules in force say of the flow's first packet.
pub(super) fn check(kernel: &Enforcer, direction: Direction, peer: IpAddr, service: Service) -> Checked {
    let side = if direction == Direction::Ingress { Side::In } else { Side::Out };
    let packet = match peer {
        IpAddr::V4(peer) => ipv4(ends(direction, LOCAL4, peer), service),
        IpAddr::V6(peer) => ipv6(ends(direction, LOCAL6, peer), service),
    };
    kernel.check(side, None, &packet).unwrap()
}

/// Source and destination.
fn ends<T>(direction: Direction, local: T, peer: T) -> (T, T) {
    if direction == Direction::Ingress { (peer, local) } else { (local, peer) }
}

fn ethernet(kind: [u8; 2]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind].concat()
}

fn ipv4((source, destination): (Ipv4Addr, Ipv4Addr), service: Service) -> Vec<u8> {
    let payload = payload(service);
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header = [0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, service.protocol(), 0, 0];
    [&ethernet([8, 0]), &header[..], &source.octets(), &destination.octets(), &payload].concat()
}

fn ipv6((source, destination): (Ipv6Addr, Ipv6Addr), service: Service) -> Vec<u8> {
    let payload = payload(service);
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], service.protocol(), 64];
    [&ethernet([0x86, 0xDD]), &header[..], &source.octets(), &destination.octets(), &payload].concat()
}

/// A SYN, a datagram, a request, or just bytes.
fn payload(service: Service) -> Vec<u8> {
    let [high, low] = service.port().to_be_bytes();
    let mut bytes = vec![0xC0, 0x00, high, low];
    match service.protocol() {
        TCP => {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xFF, 0xFF, 0, 0, 0, 0]);
            bytes
        }
        UDP => [&bytes[..], &[0, 12, 0, 0, 1, 2, 3, 4]].concat(),
        ICMP | ICMPV6 => vec![high, low, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4],
        // The first bytes look like ports and must not be taken for them.
        _ => vec![0xC0, 0x00, 0x15, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}
