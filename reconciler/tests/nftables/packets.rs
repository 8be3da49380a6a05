//! Whole IP packets, aimed at the borders of a table. The last four bytes of each are its tag.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pci_segment::sandbox::{DATABASE4, DATABASE6};
use policy::lower::bpf::{Key, Rule, Table};
use policy::net::Direction;
use proptest::prelude::*;

/// What is special about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A SYN, a datagram, a query, or just bytes: what opens a flow of the service.
    Opens,
    /// TCP flags of any kind.
    Flags(u8),
    /// ICMP of this type and code, about nothing.
    Icmp(u8, u8),
    /// IPv4 options, or an IPv6 destination options header.
    Options,
    /// An IPv6 routing header, or IPv4 options for a source route.
    Routing,
    /// IPv6 hop-by-hop options in front, or an IPv4 packet that opens.
    HopByHop,
    /// In two fragments, in order.
    Fragments,
    /// An IPv6 fragment header around everything, or an IPv4 packet that opens.
    Atomic,
    /// The transport header cut off after so many bytes.
    Cut(u8),
    /// A TCP header that says it is so many words long.
    Words(u8),
    /// A datagram that says it is so much longer than it is.
    Longer(u8),
    /// From an address that nobody can have.
    Spoofed(u8),
    /// What a DHCP client sends, or is sent.
    Dhcp,
    /// Neighbour or listener discovery of this type, with this hop limit, from this link.
    Neighbour(u8, u8),
}

pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        8 => Just(Shape::Opens),
        4 => (0_u8..64).prop_map(Shape::Flags),
        2 => (prop::sample::select(vec![0_u8, 3, 4, 5, 8, 11, 12, 13, 14, 15, 16, 17, 18, 1, 2, 128, 129, 130, 133, 135, 137, 139, 140]), 0_u8..3).prop_map(|(kind, code)| Shape::Icmp(kind, code)),
        1 => Just(Shape::Options),
        1 => Just(Shape::Routing),
        1 => Just(Shape::HopByHop),
        2 => Just(Shape::Fragments),
        1 => Just(Shape::Atomic),
        2 => (0_u8..20).prop_map(Shape::Cut),
        1 => (0_u8..16).prop_map(Shape::Words),
        1 => (1_u8..40).prop_map(Shape::Longer),
        1 => (0_u8..6).prop_map(Shape::Spoofed),
        1 => Just(Shape::Dhcp),
        1 => (prop::sample::select(vec![130_u8, 131, 132, 133, 134, 135, 136, 143]), prop::sample::select(vec![1_u8, 64, 255])).prop_map(|(kind, hops)| Shape::Neighbour(kind, hops)),
    ]
}

/// A packet to send, perhaps in parts.
#[derive(Debug, Clone)]
pub(crate) struct Shot {
    pub(crate) direction: Direction,
    pub(crate) to: IpAddr,
    pub(crate) parts: Vec<Vec<u8>>,
    pub(crate) tag: u32,
    pub(crate) says: String,
}

/// Peers at the borders of a table and services at the borders of its lists.
pub(crate) struct Edges {
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) services: Vec<u32>,
}

pub(crate) fn edges(table: &Table) -> Edges {
    let mut peers: Vec<IpAddr> =
        ["10.0.0.1", "203.0.113.9", "fd00::1", "2001:db8:ffff::9"].map(|text| text.parse().unwrap()).into();
    let mut services = vec![0x2F_0000, 0x32_0000, 0x59_0000, 0x06_0016, 0x11_0035, 0x01_0800, 0x3A_8000];
    for (key, rule) in table {
        if let Key::Prefix { prefix, .. } = key {
            let (first, last) = prefix.bounds();
            let near = [first.saturating_sub(1), first, last, last.saturating_add(1)];
            peers.extend(near.into_iter().filter(|n| *n <= prefix.family().last()).map(|n| prefix.family().address(n)));
        }
        if let Rule::Services(list) = rule {
            services.extend(list.iter().flat_map(|i| [i.lo.saturating_sub(1), i.lo, i.hi, i.hi + 1]));
        }
    }
    peers.retain(|peer| is_ordinary(*peer));
    services.retain(|service| is_sendable(*service));
    peers.sort();
    peers.dedup();
    services.sort_unstable();
    services.dedup();
    Edges { peers, services }
}

/// An address that others can have, and not one of the host's own.
fn is_ordinary(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(v4) => {
            (1..=223).contains(&v4.octets()[0]) && !v4.is_loopback() && v4.octets()[..3] != [10, 0, 30] && !v4.is_link_local()
        }
        IpAddr::V6(v6) => (0x2000..0xfe00).contains(&v6.segments()[0]) && v6.segments()[..2] != [0xfd00, 0x30],
    }
}

/// A protocol that somebody listens to here. DHCP has a shape of its own.
fn is_sendable(service: u32) -> bool {
    let port = service & 0xFFFF;
    match service >> 16 {
        17 => ![67, 68, 546, 547].contains(&port),
        1 | 6 | 58 | 132 => true,
        47 | 50 | 89 => port == 0,
        _ => false,
    }
}

pub(crate) fn shot(edges: &Edges, direction: Direction, pick: (usize, usize), shape: Shape, tag: u32) -> Shot {
    let peer = edges.peers[pick.0 % edges.peers.len()];
    let service = edges.services[pick.1 % edges.services.len()];
    build(direction, peer, service, shape, tag)
}

pub(crate) fn build(direction: Direction, peer: IpAddr, service: u32, shape: Shape, tag: u32) -> Shot {
    let host = if peer.is_ipv4() { DATABASE4 } else { DATABASE6 };
    let (mut from, to) = if direction == Direction::Ingress { (peer, host) } else { (host, peer) };
    let mut hops = 64;
    let [_, mut protocol, high, low] = service.to_be_bytes();
    let port = u16::from_be_bytes([high, low]);
    // Its own source port, so that no packet belongs to the flow of another.
    let source_port = 1024 + u16::try_from(tag % 60_000).unwrap();
    let v4 = peer.is_ipv4();
    let mut payload = match (protocol, shape) {
        (_, Shape::Icmp(kind, code)) | (_, Shape::Neighbour(kind, code)) => {
            protocol = if v4 { 1 } else { 58 };
            let code = if matches!(shape, Shape::Neighbour(..)) { 0 } else { code };
            icmp(kind, code, tag)
        }
        (_, Shape::Dhcp) => {
            protocol = 17;
            let (client, server) = if v4 { (68, 67) } else { (546, 547) };
            if direction == Direction::Egress { udp(client, server, tag) } else { udp(server, client, tag) }
        }
        (_, Shape::Flags(flags)) => {
            protocol = 6;
            tcp(source_port, port, flags, tag)
        }
        (_, Shape::Words(words)) => {
            protocol = 6;
            let mut segment = tcp(source_port, port, 2, tag);
            segment[12] = words << 4;
            segment
        }
        (_, Shape::Longer(by)) => {
            protocol = 17;
            let mut datagram = udp(source_port, port, tag);
            let length = u16::try_from(datagram.len()).unwrap() + u16::from(by);
            datagram[4..6].copy_from_slice(&length.to_be_bytes());
            datagram
        }
        (6, _) => tcp(source_port, port, 2, tag),
        (17, _) => udp(source_port, port, tag),
        (1 | 58, _) => icmp(high, low, tag),
        (132, _) => [&source_port.to_be_bytes()[..], &port.to_be_bytes(), &[0; 8], &tag.to_be_bytes()].concat(),
        _ => [&[0x15, 0x38, 0, 22, 0, 0, 0, 0][..], &tag.to_be_bytes()].concat(),
    };
    match shape {
        Shape::Neighbour(_, limit) => {
            hops = limit;
            if direction == Direction::Ingress && !v4 {
                from = "fe80::2".parse().unwrap();
            }
        }
        Shape::Spoofed(n) => {
            let v4s = ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "239.1.1.1", "127.255.255.254"];
            let v6s = ["::1", "::ffff:10.0.0.1", "ff02::1", "::", "ff0e::1", "::ffff:192.0.2.1"];
            from = if v4 { v4s } else { v6s }[usize::from(n) % 6].parse().unwrap();
        }
        Shape::Dhcp if direction == Direction::Ingress && !v4 => from = "fe80::2".parse().unwrap(),
        _ => {}
    }
    checksum(protocol, from, to, &mut payload);
    if let Shape::Cut(length) = shape {
        payload.truncate(usize::from(length));
        // The tag is what is left to know it by; a header this short has no room for anything else.
        payload.extend(tag.to_be_bytes());
    }
    let parts = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, protocol, hops, shape, &payload, tag),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, protocol, hops, shape, &payload, tag),
        _ => Vec::new(),
    };
    let says = format!("{direction:?} {peer} {service:#08x} {shape:?}");
    Shot { direction, to, parts, tag, says }
}

pub(crate) fn tcp(from: u16, to: u16, flags: u8, tag: u32) -> Vec<u8> {
    let numbers = if flags & 16 == 0 { [0, 0, 0, 1, 0, 0, 0, 0] } else { [0, 0, 0, 2, 0, 0, 0, 9] };
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &numbers, &[0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0], &[0; 12], &tag.to_be_bytes()]
        .concat()
}

pub(crate) fn udp(from: u16, to: u16, tag: u32) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 24, 0, 0], &[0; 12], &tag.to_be_bytes()].concat()
}

pub(crate) fn icmp(kind: u8, code: u8, tag: u32) -> Vec<u8> {
    // The identifier is the tag's, so that no query belongs to another; what an error would quote is nothing.
    let [_, _, a, b] = tag.to_be_bytes();
    [&[kind, code, 0, 0, a, b, 0, 1][..], &[0; 20], &tag.to_be_bytes()].concat()
}

fn sum(bytes: &[u8], mut sum: u32) -> u32 {
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum
}

/// Writes the transport checksum, which connection tracking looks at.
pub(crate) fn checksum(protocol: u8, from: IpAddr, to: IpAddr, payload: &mut [u8]) {
    let at = match protocol {
        6 => 16,
        17 => 6,
        1 | 58 => 2,
        _ => return,
    };
    let mut pseudo: Vec<u8> = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => Vec::new(),
    };
    pseudo.extend([0, protocol]);
    // A datagram's own length counts, right or wrong.
    let length = if protocol == 17 { [payload[4], payload[5]] } else { u16::try_from(payload.len()).unwrap().to_be_bytes() };
    pseudo.extend(length);
    let start = if protocol == 1 { 0 } else { sum(&pseudo, 0) };
    payload[at..at + 2].fill(0);
    let value = !u16::try_from(sum(payload, start)).unwrap();
    payload[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, hops: u8, shape: Shape, payload: &[u8], tag: u32) -> Vec<Vec<u8>> {
    let options: &[u8] = match shape {
        Shape::Options => &[1, 1, 1, 1],
        Shape::Routing => &[131, 7, 4, 10, 0, 0, 1, 0],
        _ => &[],
    };
    let id = u16::try_from(tag & 0x7FFF).unwrap() + 1;
    let header = |fragment: u16, payload: &[u8]| {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let length = u16::try_from(20 + options.len() + payload.len()).unwrap().to_be_bytes();
        let (id, fragment) = (id.to_be_bytes(), fragment.to_be_bytes());
        let fixed = [0x40 | words, 0, length[0], length[1], id[0], id[1], fragment[0], fragment[1], hops, protocol, 0, 0];
        let mut packet = [&fixed[..], &from.octets(), &to.octets(), options].concat();
        let check = (!u16::try_from(sum(&packet, 0)).unwrap()).to_be_bytes();
        packet[10..12].copy_from_slice(&check);
        [packet, payload.to_vec()].concat()
    };
    if shape == Shape::Fragments && payload.len() > 24 {
        return vec![header(0x2000, &payload[..24]), header(3, &payload[24..])];
    }
    vec![header(0x4000, payload)]
}

/// An IPv6 packet from a peer to the host with these extension headers, each with what comes next, in front of a datagram.
pub(crate) fn extended(peer: Ipv6Addr, first: u8, extension: &[u8], tag: u32, says: &str) -> Shot {
    let mut payload = udp(4000, 53, tag);
    let IpAddr::V6(host) = DATABASE6 else { panic!("the host's IPv6 address is one") };
    checksum(17, peer.into(), host.into(), &mut payload);
    let length = u16::try_from(extension.len() + payload.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], first, 64];
    let packet = [&head[..], &peer.octets(), &host.octets(), extension, &payload].concat();
    Shot { direction: Direction::Ingress, to: host.into(), parts: vec![packet], tag, says: says.to_owned() }
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, hops: u8, shape: Shape, payload: &[u8], tag: u32) -> Vec<Vec<u8>> {
    let header = |next: u8, extension: &[u8], payload: &[u8]| {
        let length = u16::try_from(extension.len() + payload.len()).unwrap().to_be_bytes();
        [&[0x60, 0, 0, 0, length[0], length[1], next, hops][..], &from.octets(), &to.octets(), extension, payload].concat()
    };
    let id = (tag | 0x4000_0000).to_be_bytes();
    let fragment = |offset: u16, more: u16| {
        let field = (offset << 3 | more).to_be_bytes();
        [protocol, 0, field[0], field[1], id[0], id[1], id[2], id[3]]
    };
    let padding = [protocol, 0, 1, 4, 0, 0, 0, 0];
    match shape {
        Shape::Options => vec![header(60, &padding, payload)],
        Shape::HopByHop => vec![header(0, &padding, payload)],
        Shape::Routing => vec![header(43, &[protocol, 0, 253, 0, 0, 0, 0, 0], payload)],
        Shape::Atomic => vec![header(44, &fragment(0, 0), payload)],
        Shape::Fragments if payload.len() > 24 => {
            vec![header(44, &fragment(0, 1), &payload[..24]), header(44, &fragment(3, 0), &payload[24..])]
        }
        _ => vec![header(protocol, &[], payload)],
    }
}
