//! A table as the maps hold it, and back.

use enforcer_abi::{Generation, Interval as Raw, Slice, any_index};
use foldhash::{HashMap, HashMapExt as _};

use super::{checksum, entries::Entries};
use crate::table::{Cidr, Direction, Interval, Mode, Table};

/// Lists to make room for at once; more make it grow.
const LISTS_EXPECTED: usize = 16_384;

/// Everything one generation holds. Keys are in order, so that equal generations compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) entries: Entries<Slice>,
    pub(crate) intervals: Vec<Raw>,
    pub(crate) record: Generation,
}

/// A checked table in the order of the maps, its lists not yet placed.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) entries: Entries<&'a [Interval]>,
    pub(crate) any: [&'a [Interval]; 4],
    pub(crate) flags: u32,
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(table: &'a Table) -> Self {
        let mut entries = Entries::default();
        for (direction, cidr, list) in &table.prefixes {
            entries.add(*direction, *cidr, list.as_slice());
        }
        entries.sort();
        Self { entries, any: table.any.each_ref().map(Vec::as_slice), flags: flags(table) }
    }
}

/// Lists of intervals at their place; equal lists are stored once.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    known: HashMap<&'a [Interval], Slice>,
    pub(crate) intervals: Vec<Raw>,
    /// Where the first of `intervals` will be.
    from: usize,
}

impl<'a> Placed<'a> {
    /// Places lists from the interval `from` on.
    pub(crate) fn from(from: usize) -> Self {
        Self { known: HashMap::new(), intervals: Vec::new(), from }
    }

    /// The place of `list`, which is its old one if it has been placed.
    pub(crate) fn place(&mut self, list: &'a [Interval]) -> Slice {
        if list.is_empty() {
            return Slice::default();
        }
        let (intervals, from) = (&mut self.intervals, self.from);
        *self.known.entry(list).or_insert_with(|| {
            let first = from + intervals.len();
            intervals.extend(list.iter().map(raw));
            #[expect(clippy::cast_possible_truncation, reason = "a checked table has at most INTERVALS_MAX intervals")]
            let slice = Slice { first: first as u32, len: list.len() as u32 };
            slice
        })
    }
}

/// An interval as the kernel holds it.
pub(crate) fn raw(own: &Interval) -> Raw {
    Raw { lo: own.lo, hi: own.hi, rule: own.rule, mode: if own.audit { Raw::AUDIT } else { Raw::ENFORCE } }
}

impl Encoded {
    /// Encodes a checked table.
    pub(crate) fn of(table: &Table, epoch: u32, digest: [u8; 32]) -> Self {
        let Wanted { entries, any, flags } = Wanted::of(table);
        let mut placed = Placed::from(0);
        let lists: usize = entries.counts().iter().sum();
        placed.known.reserve(lists.min(LISTS_EXPECTED));
        let any = any.map(|list| placed.place(list));
        let entries = Entries {
            hosts4: entries.hosts4.into_iter().map(|(key, list)| (key, placed.place(list))).collect(),
            hosts6: entries.hosts6.into_iter().map(|(key, list)| (key, placed.place(list))).collect(),
            nets4: entries.nets4.into_iter().map(|(key, list)| (key, placed.place(list))).collect(),
            nets6: entries.nets6.into_iter().map(|(key, list)| (key, placed.place(list))).collect(),
        };
        Self { entries, intervals: placed.intervals, record: Generation { epoch, flags, any, digest } }
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
        table.prefixes.reserve(self.entries.counts().iter().sum());
        for (dir, addr, len, slice) in self.entries.prefixes() {
            let direction = if dir == Direction::In.number() { Direction::In } else { Direction::Out };
            let cidr = u8::try_from(len).ok().and_then(|len| Cidr::new(addr, len));
            let cidr = cidr.ok_or_else(|| format!("{addr}/{len} is no prefix"))?;
            table.prefixes.push((direction, cidr, self.list(*slice)?));
        }
        Ok(table.sorted())
    }

    /// The intervals of `slice`, none if it lies beyond them.
    pub(crate) fn at(&self, slice: Slice) -> Option<&[Raw]> {
        let (first, len) = (slice.first as usize, slice.len as usize);
        self.intervals.get(first..first.saturating_add(len))
    }

    /// The services of `slice`, in the words of a table.
    pub(crate) fn list(&self, slice: Slice) -> Result<Vec<Interval>, String> {
        let raw = self.at(slice).ok_or_else(|| format!("{slice:?} is beyond the {} intervals", self.intervals.len()))?;
        Ok(raw.iter().map(|own| Interval { lo: own.lo, hi: own.hi, rule: own.rule, audit: own.mode == Raw::AUDIT }).collect())
    }

    /// How many of each kind it holds, in the order of [`OUTER`](super::OUTER).
    pub(crate) fn counts(&self) -> [usize; 5] {
        let [hosts4, hosts6, nets4, nets6] = self.entries.counts();
        [hosts4, hosts6, nets4, nets6, self.intervals.len()]
    }

    /// Tells this content from any other that came about by accident.
    pub(crate) fn checksum(&self) -> u64 {
        checksum::checksum(self)
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
        assert_ne!(encoded.checksum(), Encoded::of(&table(), 3, [6; 32]).checksum());
        let mut other = encoded.clone();
        other.intervals.swap(0, 1);
        assert_ne!(encoded.checksum(), other.checksum(), "the order of intervals matters");
        let mut other = encoded.clone();
        other.entries.nets4.clear();
        assert_ne!(encoded.checksum(), other.checksum());
    }

    #[test]
    fn the_checksum_does_not_depend_on_the_order_the_kernel_tells() {
        let encoded = Encoded::of(&table(), 3, [5; 32]);
        let mut other = encoded.clone();
        let more = (encoded.entries.hosts4[0].0, enforcer_abi::Slice { first: 1, len: 1 });
        other.entries.hosts4.push(more);
        let sum = other.checksum();
        other.entries.hosts4.reverse();
        assert_eq!(other.checksum(), sum);
        assert_ne!(encoded.checksum(), sum);
    }
}
