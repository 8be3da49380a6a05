//! Prefixes by the map that holds them, each with what it stands for: the place of its services in the kernel, or the services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_abi::{HostKey4, HostKey6, IN, NetKey4, NetKey6};

use crate::{
    sys::Plain,
    table::{Cidr, Direction},
};

/// A key of one of the four kinds of map.
pub(crate) trait Key: Plain {
    /// Orders keys as a table orders prefixes, so that what is in order there is here.
    type Rank: Ord + Copy;

    /// Which of the four maps it is a key of, counted from 1.
    const MAP: u64;

    /// Its place in the order.
    fn rank(&self) -> Self::Rank;

    /// Direction, address and length in bits, as far as the kernel's bytes make sense.
    fn parts(&self) -> (u8, IpAddr, u32);

    /// The prefix it stands for, none if no prefix looks like this.
    fn prefix(&self) -> Option<(Direction, Cidr)> {
        let (dir, addr, len) = self.parts();
        let direction = if dir == IN { Direction::In } else { Direction::Out };
        let cidr = u8::try_from(len).ok().and_then(|len| Cidr::new(addr, len))?;
        Some((direction, cidr))
    }
}

impl Key for HostKey4 {
    type Rank = u64;

    const MAP: u64 = 1;

    fn rank(&self) -> u64 {
        u64::from(self.dir) << 32 | u64::from(u32::from_be_bytes(self.addr))
    }

    fn parts(&self) -> (u8, IpAddr, u32) {
        (self.dir, Ipv4Addr::from(self.addr).into(), 32)
    }
}

impl Key for HostKey6 {
    type Rank = (u8, u128);

    const MAP: u64 = 2;

    fn rank(&self) -> (u8, u128) {
        (self.dir, u128::from_be_bytes(self.addr))
    }

    fn parts(&self) -> (u8, IpAddr, u32) {
        (self.dir, Ipv6Addr::from(self.addr).into(), 128)
    }
}

impl Key for NetKey4 {
    type Rank = (u64, u32);

    const MAP: u64 = 3;

    fn rank(&self) -> (u64, u32) {
        (self.host.rank(), self.prefix_len)
    }

    fn parts(&self) -> (u8, IpAddr, u32) {
        let (dir, addr, _) = self.host.parts();
        (dir, addr, self.prefix_len.wrapping_sub(BEFORE_PEER))
    }
}

impl Key for NetKey6 {
    type Rank = (u8, u128, u32);

    const MAP: u64 = 4;

    fn rank(&self) -> (u8, u128, u32) {
        let (dir, addr) = self.host.rank();
        (dir, addr, self.prefix_len)
    }

    fn parts(&self) -> (u8, IpAddr, u32) {
        let (dir, addr, _) = self.host.parts();
        (dir, addr, self.prefix_len.wrapping_sub(BEFORE_PEER))
    }
}

/// Bits of a trie's key before the peer: the direction, which must match.
const BEFORE_PEER: u32 = 32;

/// The prefixes of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entries<T> {
    pub(crate) hosts4: Vec<(HostKey4, T)>,
    pub(crate) hosts6: Vec<(HostKey6, T)>,
    pub(crate) nets4: Vec<(NetKey4, T)>,
    pub(crate) nets6: Vec<(NetKey6, T)>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { hosts4: Vec::new(), hosts6: Vec::new(), nets4: Vec::new(), nets6: Vec::new() }
    }
}

impl<T> Entries<T> {
    pub(crate) fn add(&mut self, direction: Direction, cidr: Cidr, value: T) {
        let dir = direction.number();
        let prefix_len = BEFORE_PEER + u32::from(cidr.prefix_len());
        match cidr.addr() {
            IpAddr::V4(addr) => {
                let host = HostKey4 { dir, zero: [0; 3], addr: addr.octets() };
                if cidr.is_host() {
                    self.hosts4.push((host, value));
                } else {
                    self.nets4.push((NetKey4 { prefix_len, host }, value));
                }
            }
            IpAddr::V6(addr) => {
                let host = HostKey6 { dir, zero: [0; 3], addr: addr.octets() };
                if cidr.is_host() {
                    self.hosts6.push((host, value));
                } else {
                    self.nets6.push((NetKey6 { prefix_len, host }, value));
                }
            }
        }
    }

    /// Puts keys in order; next to free where they are already.
    pub(crate) fn sort(&mut self) {
        sort(&mut self.hosts4);
        sort(&mut self.hosts6);
        sort(&mut self.nets4);
        sort(&mut self.nets6);
    }

    /// How many each map holds, in the order of [`OUTER`](super::OUTER).
    pub(crate) fn counts(&self) -> [usize; 4] {
        [self.hosts4.len(), self.hosts6.len(), self.nets4.len(), self.nets6.len()]
    }

    /// Every prefix, as bytes that may not make sense, with its value.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = (u8, IpAddr, u32, &T)> {
        fn parts<K: Key, T>(entries: &[(K, T)]) -> impl Iterator<Item = (u8, IpAddr, u32, &T)> {
            entries.iter().map(|(key, value)| {
                let (dir, addr, len) = key.parts();
                (dir, addr, len, value)
            })
        }
        parts(&self.hosts4).chain(parts(&self.nets4)).chain(parts(&self.hosts6)).chain(parts(&self.nets6))
    }
}

fn sort<K: Key, T>(entries: &mut [(K, T)]) {
    entries.sort_unstable_by_key(|(key, _)| key.rank());
}
