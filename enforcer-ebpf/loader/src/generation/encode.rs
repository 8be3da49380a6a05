//! A table as the maps hold it, and back.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use enforcer_abi::{Generation, HostKey4, HostKey6, IN, Interval as Raw, NetKey4, NetKey6, Slice, any_index};

use crate::table::{Cidr, Direction, Interval, Mode, Table};

/// Everything one generation holds. Keys are in order, so that equal generations compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) hosts4: Vec<(HostKey4, Slice)>,
    pub(crate) hosts6: Vec<(HostKey6, Slice)>,
    pub(crate) nets4: Vec<(NetKey4, Slice)>,
    pub(crate) nets6: Vec<(NetKey6, Slice)>,
    pub(crate) intervals: Vec<Raw>,
    pub(crate) record: Generation,
}

impl Encoded {
    /// Encodes a checked table. Equal lists of intervals are stored once.
    pub(crate) fn of(table: &Table, epoch: u32, digest: [u8; 32]) -> Self {
        let mut encoded = Self::default();
        let mut known: HashMap<&[Interval], Slice> = HashMap::new();
        for list in table.lists() {
            known.entry(list).or_insert_with(|| encoded.append(list));
        }
        let slice = |list: &Vec<Interval>| known.get(list.as_slice()).copied().unwrap_or_default();
        let [a, b, c, d] = &table.any;
        encoded.record = Generation { epoch, flags: flags(table), any: [slice(a), slice(b), slice(c), slice(d)], digest };
        for (direction, cidr, list) in &table.prefixes {
            encoded.add(*direction, *cidr, slice(list));
        }
        encoded.sort();
        encoded
    }

    #[expect(clippy::cast_possible_truncation, reason = "a checked table has at most INTERVALS_MAX intervals")]
    fn append(&mut self, list: &[Interval]) -> Slice {
        if list.is_empty() {
            return Slice::default();
        }
        let first = self.intervals.len() as u32;
        let mode = |audit| if audit { Raw::AUDIT } else { Raw::ENFORCE };
        let raw = list.iter().map(|own| Raw { lo: own.lo, hi: own.hi, rule: own.rule, mode: mode(own.audit) });
        self.intervals.extend(raw);
        Slice { first, len: list.len() as u32 }
    }

    fn add(&mut self, direction: Direction, cidr: Cidr, slice: Slice) {
        let dir = direction.number();
        let prefix_len = 32 + u32::from(cidr.prefix_len());
        match cidr.addr() {
            IpAddr::V4(addr) => {
                let host = HostKey4 { dir, zero: [0; 3], addr: addr.octets() };
                if cidr.is_host() {
                    self.hosts4.push((host, slice));
                } else {
                    self.nets4.push((NetKey4 { prefix_len, host }, slice));
                }
            }
            IpAddr::V6(addr) => {
                let host = HostKey6 { dir, zero: [0; 3], addr: addr.octets() };
                if cidr.is_host() {
                    self.hosts6.push((host, slice));
                } else {
                    self.nets6.push((NetKey6 { prefix_len, host }, slice));
                }
            }
        }
    }

    /// Puts keys in order.
    pub(crate) fn sort(&mut self) {
        self.hosts4.sort_unstable_by_key(|(key, _)| (key.dir, key.addr));
        self.hosts6.sort_unstable_by_key(|(key, _)| (key.dir, key.addr));
        self.nets4.sort_unstable_by_key(|(key, _)| (key.host.dir, key.host.addr, key.prefix_len));
        self.nets6.sort_unstable_by_key(|(key, _)| (key.host.dir, key.host.addr, key.prefix_len));
    }

    /// The table it encodes, or what about it no encoding can have produced.
    pub(crate) fn table(&self) -> Result<Table, String> {
        let flags = self.record.flags;
        let mut table = Table {
            isolate_in: mode(flags, Direction::In),
            isolate_out: mode(flags, Direction::Out),
            no_dhcp: flags & Generation::NO_DHCP != 0,
            ..Table::default()
        };
        for (list, slice) in table.any.iter_mut().zip(self.record.any) {
            *list = self.list(slice)?;
        }
        for (key, slice) in &self.hosts4 {
            table.prefixes.push(self.prefix(key.dir, Ipv4Addr::from(key.addr).into(), 32, *slice)?);
        }
        for (key, slice) in &self.nets4 {
            let (host, len) = (key.host, key.prefix_len.wrapping_sub(32));
            table.prefixes.push(self.prefix(host.dir, Ipv4Addr::from(host.addr).into(), len, *slice)?);
        }
        for (key, slice) in &self.hosts6 {
            table.prefixes.push(self.prefix(key.dir, Ipv6Addr::from(key.addr).into(), 128, *slice)?);
        }
        for (key, slice) in &self.nets6 {
            let (host, len) = (key.host, key.prefix_len.wrapping_sub(32));
            table.prefixes.push(self.prefix(host.dir, Ipv6Addr::from(host.addr).into(), len, *slice)?);
        }
        Ok(table.sorted())
    }

    fn prefix(&self, dir: u8, addr: IpAddr, len: u32, slice: Slice) -> Result<(Direction, Cidr, Vec<Interval>), String> {
        let direction = if dir == IN { Direction::In } else { Direction::Out };
        let cidr = u8::try_from(len).ok().and_then(|len| Cidr::new(addr, len));
        let cidr = cidr.ok_or_else(|| format!("{addr}/{len} is no prefix"))?;
        Ok((direction, cidr, self.list(slice)?))
    }

    fn list(&self, slice: Slice) -> Result<Vec<Interval>, String> {
        let (first, len) = (slice.first as usize, slice.len as usize);
        let raw = self.intervals.get(first..first.saturating_add(len));
        let raw = raw.ok_or_else(|| format!("{slice:?} is beyond the {} intervals", self.intervals.len()))?;
        Ok(raw.iter().map(|own| Interval { lo: own.lo, hi: own.hi, rule: own.rule, audit: own.mode == Raw::AUDIT }).collect())
    }

    /// FNV-1a over everything but the unused tail of the intervals: finds accidents and meddling, not forgery.
    pub(crate) fn checksum(&self) -> u64 {
        let mut sum = Checksum(0xCBF2_9CE4_8422_2325);
        sum.words([self.record.epoch, self.record.flags]);
        sum.bytes(&self.record.digest);
        self.record.any.iter().for_each(|slice| sum.words([slice.first, slice.len]));
        for (key, slice) in &self.hosts4 {
            sum.entry(32, key.dir, &key.addr, *slice);
        }
        for (key, slice) in &self.hosts6 {
            sum.entry(128, key.dir, &key.addr, *slice);
        }
        for (key, slice) in &self.nets4 {
            sum.entry(key.prefix_len, key.host.dir, &key.host.addr, *slice);
        }
        for (key, slice) in &self.nets6 {
            sum.entry(key.prefix_len, key.host.dir, &key.host.addr, *slice);
        }
        for own in &self.intervals {
            sum.words([own.lo, own.hi, own.rule, own.mode]);
        }
        sum.0
    }
}

struct Checksum(u64);

impl Checksum {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn words<const N: usize>(&mut self, words: [u32; N]) {
        for word in words {
            self.bytes(&word.to_le_bytes());
        }
    }

    fn entry(&mut self, len: u32, dir: u8, addr: &[u8], slice: Slice) {
        self.words([len, u32::from(dir), slice.first, slice.len]);
        self.bytes(addr);
    }
}

fn flags(table: &Table) -> u32 {
    let dhcp = if table.no_dhcp { Generation::NO_DHCP } else { 0 };
    Direction::ALL.into_iter().fold(dhcp, |flags, direction| {
        flags
            | match table.isolation(direction) {
                Some(Mode::Enforce) => Generation::ENFORCE_IN << direction.number(),
                Some(Mode::Audit) => Generation::AUDIT_IN << direction.number(),
                None => 0,
            }
    })
}

fn mode(flags: u32, direction: Direction) -> Option<Mode> {
    if Generation::enforces(flags, direction.number()) {
        Some(Mode::Enforce)
    } else if Generation::audits(flags, direction.number()) {
        Some(Mode::Audit)
    } else {
        None
    }
}

const _: () = assert!(any_index(enforcer_abi::V6, enforcer_abi::OUT) == 3);

#[cfg(test)]
mod tests {
    use super::Encoded;
    use crate::table::{Cidr, Direction, Interval, Mode, Table};

    fn services(lo: u32) -> Vec<Interval> {
        vec![Interval { lo, hi: lo + 3, rule: 7, audit: false }, Interval { lo: lo + 9, hi: lo + 9, rule: 1, audit: true }]
    }

    fn table() -> Table {
        let cidr = |addr: &str, len| Cidr::new(addr.parse().unwrap(), len).unwrap();
        Table {
            isolate_in: Some(Mode::Enforce),
            isolate_out: Some(Mode::Audit),
            no_dhcp: true,
            any: [services(1), vec![], services(40), services(1)],
            prefixes: vec![
                (Direction::Out, cidr("10.0.0.0", 8), services(1)),
                (Direction::In, cidr("10.0.0.1", 32), services(9)),
                (Direction::In, cidr("fd00::", 8), vec![]),
                (Direction::In, cidr("fd00::1", 128), services(9)),
            ],
        }
    }

    #[test]
    fn a_table_survives_being_encoded() {
        let encoded = Encoded::of(&table(), 3, [5; 32]);
        assert_eq!(encoded.table().unwrap(), table().sorted());
        let with_dhcp = Table { no_dhcp: false, ..table().sorted() };
        assert_eq!(Encoded::of(&with_dhcp, 3, [5; 32]).table().unwrap(), with_dhcp);
    }

    #[test]
    fn equal_lists_are_stored_once() {
        assert_eq!(Encoded::of(&table(), 3, [5; 32]).intervals.len(), 6);
    }

    #[test]
    fn any_change_changes_the_checksum() {
        let encoded = Encoded::of(&table(), 3, [5; 32]);
        let mut other = encoded.clone();
        other.intervals[2].hi += 1;
        assert_ne!(encoded.checksum(), other.checksum());
        assert_ne!(encoded.checksum(), Encoded::of(&table(), 4, [5; 32]).checksum());
    }
}
