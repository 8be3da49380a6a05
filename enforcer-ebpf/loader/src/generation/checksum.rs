//! A sum over what a generation holds, whatever order the kernel tells it in.
//!
//! Being a sum of a hash of each part, it follows a change by what the change takes away and adds, without looking at the rest.

use enforcer_abi::{Generation, Interval, Slice};

use super::{encode::Encoded, entries::Key};

/// The sum of a hash of every prefix, of every interval at its place and of the record: finds accidents and meddling, not forgery.
pub(crate) fn checksum(encoded: &Encoded) -> u64 {
    let own = &encoded.entries;
    let prefixes = [prefixes(&own.hosts4), prefixes(&own.hosts6), prefixes(&own.nets4), prefixes(&own.nets6)];
    prefixes.into_iter().chain([intervals(0, &encoded.intervals)]).fold(record(&encoded.record), u64::wrapping_add)
}

/// The part of the record.
pub(crate) fn record(own: &Generation) -> u64 {
    let Generation { epoch, flags, any, digest } = own;
    let mut record = Hash::new(5);
    record.pair(*epoch, *flags);
    any.iter().for_each(|slice| record.pair(slice.first, slice.len));
    for chunk in digest.chunks_exact(8) {
        record.word(chunk.try_into().map_or(0, u64::from_le_bytes));
    }
    record.0
}

/// The part of `own`, the first of which is at place `first`.
pub(crate) fn intervals(first: usize, own: &[Interval]) -> u64 {
    (first as u64..).zip(own).map(|(index, own)| interval(index, own)).fold(0, u64::wrapping_add)
}

fn prefixes<K: Key>(entries: &[(K, Slice)]) -> u64 {
    entries.iter().map(|(key, slice)| prefix(key, *slice)).fold(0, u64::wrapping_add)
}

/// The part of one prefix.
pub(crate) fn prefix<K: Key>(key: &K, slice: Slice) -> u64 {
    let (dir, addr, len) = key.parts();
    let mut hash = Hash::new(K::MAP);
    hash.pair(len, u32::from(dir));
    match addr {
        std::net::IpAddr::V4(addr) => hash.word(u64::from(addr.to_bits())),
        std::net::IpAddr::V6(addr) => {
            let [high, low] = [addr.to_bits() >> 64, addr.to_bits() & u128::from(u64::MAX)];
            [high, low].into_iter().for_each(|half| hash.word(u64::try_from(half).unwrap_or_default()));
        }
    }
    hash.pair(slice.first, slice.len);
    hash.word(K::MAP);
    hash.0
}

fn interval(index: u64, own: &Interval) -> u64 {
    let mut hash = Hash::new(6);
    hash.word(index);
    hash.pair(own.lo, own.hi);
    hash.pair(own.rule, own.mode);
    hash.word(index);
    hash.0
}

/// Each word goes into a multiplication whose halves are folded, as in wyhash: quick, and every bit reaches every other.
struct Hash(u64);

impl Hash {
    fn new(kind: u64) -> Self {
        let mut hash = Self(0x9E37_79B9_7F4A_7C15);
        hash.word(kind);
        hash
    }

    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xD6E8_FEB8_6659_FD93;
        let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
        self.0 = u64::try_from(high ^ low).unwrap_or_default() ^ 0x9E37_79B9_7F4A_7C15;
    }

    fn pair(&mut self, a: u32, b: u32) {
        self.word(u64::from(a) << 32 | u64::from(b));
    }
}
