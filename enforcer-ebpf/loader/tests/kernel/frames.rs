//! Ethernet frames made by hand, put on the wire as they are, and heard where the hooks let them through.

use std::{net::IpAddr, os::fd::AsRawFd as _, os::fd::OwnedFd, thread, time::Duration};

use enforcer::Enforcer;
use nix::sys::socket::{LinkAddr, MsgFlags, bind, sendto};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketType, recv, socket};

use crate::lab::Lab;

/// A packet socket on one interface. What it hears has passed the ingress hook.
pub(crate) struct Wire {
    socket: OwnedFd,
    at: LinkAddr,
}

impl Wire {
    /// On `link`, in the calling thread's namespace, for frames of one EtherType.
    pub(crate) fn open(link: &str, protocol: Protocol) -> Self {
        let socket = socket(AddressFamily::PACKET, SocketType::RAW, Some(protocol)).unwrap();
        let found = nix::ifaddrs::getifaddrs().unwrap().find_map(|own| {
            let named = own.interface_name == link;
            own.address.and_then(|address| address.as_link_addr().copied()).filter(|_| named)
        });
        let at = found.expect("the interface is there");
        bind(socket.as_raw_fd(), &at).unwrap();
        Self { socket, at }
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.at.addr().unwrap()
    }

    /// Whether the kernel took the frame.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        sendto(self.socket.as_raw_fd(), frame, &self.at, MsgFlags::empty()).is_ok()
    }

    /// Frames heard since the last call that hold `mark`.
    pub(crate) fn heard(&self, mark: &[u8]) -> usize {
        let mut frame = [0; 2048];
        let mut count = 0;
        while let Ok((_, size)) = recv(&self.socket, frame.as_mut_slice(), RecvFlags::DONTWAIT) {
            count += usize::from(frame[..size].windows(mark.len()).any(|part| part == mark));
        }
        count
    }
}

/// Both ends of the cable of a lab.
pub(crate) fn wires(lab: &Lab, protocol: Protocol) -> (Wire, Wire) {
    (lab.on_host(|| Wire::open("h0", protocol)), lab.on_peer(|| Wire::open("p0", protocol)))
}

/// Packets by hook, verdict and reason, both families together.
pub(crate) fn packets(enforcer: &Enforcer, hook: &str, verdict: &str, reason: &str) -> u64 {
    let counts = enforcer.counts().unwrap();
    counts.iter().filter(|own| (own.hook, own.verdict, own.reason) == (hook, verdict, reason)).map(|own| own.packets).sum()
}

/// Runs `work`, and waits until `count` more packets than before have met this end at `hook`.
pub(crate) fn expect_packets(enforcer: &Enforcer, what: &str, count: u64, end: (&str, &str, &str), work: impl FnOnce()) {
    let (hook, verdict, reason) = end;
    let before = packets(enforcer, hook, verdict, reason);
    work();
    let seen = || packets(enforcer, hook, verdict, reason) - before;
    // The other side of a cable works a moment later.
    for _ in 0..50 {
        if seen() >= count {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(seen(), count, "{what}: {end:?}; all: {:?}", enforcer.counts().unwrap());
}

/// An Ethernet frame.
pub(crate) fn ethernet(to: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 0, 9], &ethertype.to_be_bytes(), payload].concat()
}

/// An IP packet in its Ethernet frame.
pub(crate) struct Ip {
    pub(crate) to: [u8; 6],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

impl Ip {
    pub(crate) fn new(to: [u8; 6], source: &str, destination: &str) -> Self {
        Self { to, source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    /// The packet without its frame.
    pub(crate) fn packet(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        self.part(proto, 1, 0, false, payload)
    }

    /// In its frame.
    pub(crate) fn frame(&self, proto: u8, payload: &[u8]) -> Vec<u8> {
        ethernet(self.to, self.ethertype(), &self.packet(proto, payload))
    }

    pub(crate) fn ethertype(&self) -> u16 {
        if self.source.is_ipv4() { 0x0800 } else { 0x86DD }
    }

    /// Bytes from `offset` (a multiple of 8) of datagram `id`, in a frame.
    pub(crate) fn fragment(&self, proto: u8, id: u16, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        let packet = match self.source {
            IpAddr::V4(_) => self.part(proto, id, (offset / 8) | (u16::from(more) << 13), true, payload),
            IpAddr::V6(_) => {
                let [high, low] = (offset | u16::from(more)).to_be_bytes();
                let [id_high, id_low] = id.to_be_bytes();
                let header = [proto, 0, high, low, 0, 0, id_high, id_low];
                self.part(44, id, 0, true, &[&header[..], payload].concat())
            }
        };
        ethernet(self.to, self.ethertype(), &packet)
    }

    fn part(&self, proto: u8, id: u16, field: u16, fragment: bool, payload: &[u8]) -> Vec<u8> {
        let size = |own: usize| u16::try_from(own).unwrap().to_be_bytes();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let field = if fragment { field } else { 0x4000 };
                let head =
                    [&[0x45, 0], &size(20 + payload.len())[..], &id.to_be_bytes(), &field.to_be_bytes(), &[64, proto]].concat();
                let (source, destination) = (source.octets(), destination.octets());
                let sum = checksum(&[&head[..], &source, &destination].concat());
                [&head[..], &sum, &source, &destination, payload].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let head = [&[0x60, 0, 0, 0], &size(payload.len())[..], &[proto, 64]].concat();
                [&head[..], &source.octets(), &destination.octets(), payload].concat()
            }
            _ => unreachable!("two families"),
        }
    }

    /// A UDP datagram with its checksum.
    pub(crate) fn udp(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap();
        let head = [source.to_be_bytes(), destination.to_be_bytes(), length.to_be_bytes()].concat();
        let sum = self.checksum(17, &[&head[..], &[0, 0], payload].concat());
        [&head[..], &sum, payload].concat()
    }

    /// A TCP segment with its checksum.
    pub(crate) fn tcp(&self, source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let head =
            [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xFF, 0xFF]].concat();
        let sum = self.checksum(6, &[&head[..], &[0, 0, 0, 0], payload].concat());
        [&head[..], &sum, &[0, 0], payload].concat()
    }

    /// An ICMP or ICMPv6 message: type, code, four bytes and the rest.
    pub(crate) fn icmp(&self, kind: u8, code: u8, word: u32, rest: &[u8]) -> Vec<u8> {
        let word = word.to_be_bytes();
        let whole = [&[kind, code, 0, 0], &word[..], rest].concat();
        let sum = if self.source.is_ipv4() { checksum(&whole) } else { self.checksum(58, &whole) };
        [&[kind, code], &sum[..], &word, rest].concat()
    }

    fn checksum(&self, proto: u8, payload: &[u8]) -> [u8; 2] {
        let octets = |addr| match addr {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let (source, destination) = (octets(self.source), octets(self.destination));
        checksum(&[&source[..], &destination, &[0, proto], &length, payload].concat())
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum = words.fold(0, |sum: u32, word| (sum + word) % 0xFFFF);
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
