//! Keys of the maps as words rather than as fields.
//!
//! A key is written once and read at once, by the hash: a processor does not hand a wide read what several narrow writes
//! have just stored, but waits for them. So every key is put together from whole words, of the bytes the structs of the ABI
//! have (tests compare them).

use crate::{addr::Addr, flow::Ends, parse::Headers};

/// [`FlowKey4`](enforcer_abi::FlowKey4).
pub type Flow4 = [u64; 2];
/// [`FlowKey6`](enforcer_abi::FlowKey6).
pub type Flow6 = [u64; 5];
/// [`HostKey4`](enforcer_abi::HostKey4).
pub type Host4 = [u32; 2];
/// [`HostKey6`](enforcer_abi::HostKey6).
pub type Host6 = [u32; 5];
/// [`FragKey4`](enforcer_abi::FragKey4).
pub type Frag4 = [u32; 3];
/// [`FragKey6`](enforcer_abi::FragKey6).
pub type Frag6 = [u32; 10];
/// [`Failsafe`](enforcer_abi::Failsafe) behind its prefix length.
pub type Failsafe = [u32; 5];

/// Two words in the order in which they lie in memory.
#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") { first as u64 | (second as u64) << 32 } else { (first as u64) << 32 | second as u64 }
}

/// Two halves of a word, likewise.
#[inline(always)]
const fn halves(first: u16, second: u16) -> u32 {
    if cfg!(target_endian = "little") { first as u32 | (second as u32) << 16 } else { (first as u32) << 16 | second as u32 }
}

/// A half and two bytes of a word, likewise.
#[inline(always)]
const fn tail(first: u16, third: u8, fourth: u8) -> u32 {
    halves(first, u16::from_ne_bytes([third, fourth]))
}

/// A word whose first byte is `byte` and the rest zero.
#[inline(always)]
const fn alone(byte: u8) -> u32 {
    if cfg!(target_endian = "little") { byte as u32 } else { (byte as u32) << 24 }
}

/// Key of an IPv4 flow.
#[inline(always)]
#[must_use]
pub fn flow4(ends: &Ends) -> Flow4 {
    [pair(ends.local[0], ends.remote[0]), pair(halves(ends.local_port, ends.remote_port), alone(ends.proto))]
}

/// Key of an IPv6 flow.
#[inline(always)]
#[must_use]
pub fn flow6(ends: &Ends) -> Flow6 {
    let (local, remote) = (&ends.local, &ends.remote);
    [
        pair(local[0], local[1]),
        pair(local[2], local[3]),
        pair(remote[0], remote[1]),
        pair(remote[2], remote[3]),
        pair(halves(ends.local_port, ends.remote_port), alone(ends.proto)),
    ]
}

/// Key of an IPv4 peer.
#[inline(always)]
#[must_use]
pub fn host4(dir: u8, peer: &Addr) -> Host4 {
    [alone(dir), peer[0]]
}

/// Key of an IPv6 peer.
#[inline(always)]
#[must_use]
pub fn host6(dir: u8, peer: &Addr) -> Host6 {
    [alone(dir), peer[0], peer[1], peer[2], peer[3]]
}

/// Key of an IPv4 datagram in fragments.
#[inline(always)]
#[must_use]
pub fn frag4(headers: &Headers, dir: u8) -> Frag4 {
    [headers.source[0], headers.destination[0], tail(headers.fragment_id as u16, headers.fragment_proto, dir)]
}

/// Key of an IPv6 datagram in fragments.
#[inline(always)]
#[must_use]
pub fn frag6(headers: &Headers, dir: u8) -> Frag6 {
    let ([a, b, c, d], [e, f, g, h]) = (headers.source, headers.destination);
    [a, b, c, d, e, f, g, h, headers.fragment_id, halves(u16::from_ne_bytes([headers.fragment_proto, dir]), 0)]
}

/// Key of a failsafe entry behind its prefix length.
#[inline(always)]
#[must_use]
pub fn failsafe(ends: &Ends, origin: u8) -> Failsafe {
    let port = if origin == enforcer_abi::IN { ends.local_port } else { ends.remote_port };
    let side = u16::from_ne_bytes([origin | ends.family << 1, ends.proto]);
    let [a, b, c, d] = ends.remote;
    [halves(side, port), a, b, c, d]
}

#[cfg(test)]
mod tests {
    use enforcer_abi::{FlowKey4, FlowKey6, FragKey4, FragKey6, HostKey4, HostKey6, IN, OUT, V4, V6};

    use super::{failsafe, flow4, flow6, frag4, frag6, host4, host6};
    use crate::{
        addr::octets,
        fake::{ipv4, ipv6, parse, udp},
        flow::Ends,
    };

    /// Bytes of words as they lie in memory.
    macro_rules! bytes {
        ($words:expr) => {
            $words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>()
        };
    }

    const PEER6: [u8; 16] = [0x20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const HOST6: [u8; 16] = [0xFD, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35];

    #[test]
    fn keys_of_ipv4_have_the_bytes_of_their_structs() {
        let mut packet = ipv4([10, 1, 2, 3], [192, 168, 4, 5], 17, &udp(0x1234, 0x5678));
        packet.bytes[20] = 0x20;
        let headers = parse(&packet).unwrap().unwrap();
        let ends = Ends::of(&headers, IN);
        let key = FlowKey4 {
            local: [192, 168, 4, 5],
            remote: [10, 1, 2, 3],
            local_port: 0x5678_u16.to_be(),
            remote_port: 0x1234_u16.to_be(),
            proto: 17,
            zero: [0; 3],
        };
        let ports = [key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat();
        assert_eq!(bytes!(flow4(&ends)), [&key.local[..], &key.remote, &ports, &[key.proto], &key.zero].concat());
        let host = HostKey4 { dir: OUT, zero: [0; 3], addr: key.remote };
        assert_eq!(bytes!(host4(OUT, &ends.remote)), [&[host.dir][..], &host.zero, &host.addr].concat());
        let frag = FragKey4 { src: key.remote, dst: key.local, id: 7_u16.to_be(), proto: 17, dir: OUT };
        let expected = [&frag.src[..], &frag.dst, &frag.id.to_ne_bytes(), &[frag.proto, frag.dir]].concat();
        assert_eq!(bytes!(frag4(&headers, OUT)), expected);
        let port = key.local_port.to_ne_bytes();
        assert_eq!(bytes!(failsafe(&ends, IN)), [&[IN | V4 << 1, 17][..], &port, &key.remote, &[0; 12]].concat());
        assert_eq!(bytes!(failsafe(&ends, OUT))[..4], [OUT | V4 << 1, 17, 0x12, 0x34]);
    }

    #[test]
    fn keys_of_ipv6_have_the_bytes_of_their_structs() {
        let payload = [&[17, 0, 0, 1, 9, 8, 7, 6][..], &udp(0x1234, 0x5678)].concat();
        let headers = parse(&ipv6(PEER6, HOST6, 44, 64, &payload)).unwrap().unwrap();
        let ends = Ends::of(&headers, IN);
        let key = FlowKey6 {
            local: HOST6,
            remote: PEER6,
            local_port: 0x5678_u16.to_be(),
            remote_port: 0x1234_u16.to_be(),
            proto: 17,
            zero: [0; 3],
        };
        let ports = [key.local_port.to_ne_bytes(), key.remote_port.to_ne_bytes()].concat();
        assert_eq!(bytes!(flow6(&ends)), [&key.local[..], &key.remote, &ports, &[key.proto], &key.zero].concat());
        let host = HostKey6 { dir: OUT, zero: [0; 3], addr: octets(&ends.remote) };
        assert_eq!(bytes!(host6(OUT, &ends.remote)), [&[host.dir][..], &host.zero, &host.addr].concat());
        let frag = FragKey6 { src: PEER6, dst: HOST6, id: u32::from_ne_bytes([9, 8, 7, 6]), proto: 17, dir: OUT, zero: [0; 2] };
        let expected = [&frag.src[..], &frag.dst, &frag.id.to_ne_bytes(), &[frag.proto, frag.dir], &frag.zero].concat();
        assert_eq!(bytes!(frag6(&headers, OUT)), expected);
        assert_eq!(bytes!(failsafe(&ends, IN)), [&[IN | V6 << 1, 17][..], &key.local_port.to_ne_bytes(), &PEER6].concat());
    }
}
