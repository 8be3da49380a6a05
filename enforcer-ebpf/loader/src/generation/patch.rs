//! The usual small change: only the difference is written, into the quiet slot that holds the previous generation.
//!
//! What the slot holds must be what its seal says, and no packet may still be judged by it (a grace period after the last switch).
//! It is marked as being changed before the first write and until the whole change has been tried out, so whatever a crash leaves
//! there is neither built upon nor rolled back to. The maps in force are never written.
//!
//! A process that left that content there itself knows it, and does not read a hundred thousand entries to change ten: it reads back
//! what it writes. [`observe`](crate::observe) reads both slots whole, and what it finds edited is forgotten here.

#[cfg(test)]
mod tests;

use std::{cmp::Ordering, os::fd::AsFd as _};

use aya::maps::MapData;
use enforcer_abi::{Generation, HostKey4, HostKey6, Interval as Raw, NetKey4, NetKey6, Slice};

use super::{
    checksum,
    encode::{Encoded, Placed, Wanted, raw},
    entries::{Entries, Key},
    golden::Spot,
    inner::{Inner, mapped, refused},
};
use crate::{
    error::Error,
    sys,
    table::{Cidr, Direction, Interval},
};

/// Changes that are always few, however small the table.
const FEW: usize = 64;

/// What to write into one map.
#[derive(Debug)]
struct Changes<K> {
    removed: Vec<K>,
    put: Vec<(K, Slice)>,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self { removed: Vec::new(), put: Vec::new() }
    }
}

/// A prefix that is not as it was, with the services it has and had.
type Changed<'a> = (Direction, Cidr, &'a [Interval], Vec<Interval>);

/// A change of what a slot holds.
#[derive(Debug)]
pub(crate) struct Patch<'a> {
    hosts4: Changes<HostKey4>,
    hosts6: Changes<HostKey6>,
    nets4: Changes<NetKey4>,
    nets6: Changes<NetKey6>,
    appended: Vec<Raw>,
    changed: Vec<Changed<'a>>,
    /// What the slot holds afterwards.
    pub(crate) after: Encoded,
    /// The checksum of that.
    pub(crate) checksum: u64,
}

impl<'a> Patch<'a> {
    /// The change from `base`, whose checksum is `sum`, to `wanted`; none if it is not small or the maps have no room for it.
    pub(crate) fn plan(
        (base, sum): (&Encoded, u64),
        wanted: &Wanted<'a>,
        room: [usize; 5],
        epoch: u32,
        digest: [u8; 32],
    ) -> Option<Self> {
        let total: usize = wanted.entries.counts().iter().sum();
        let most = (total / 8).max(FEW);
        let mut diff = Diff { base, placed: Placed::from(base.intervals.len()), changed: Vec::new(), most, sum };
        let mut after = Entries::default();
        let (old, new) = (&base.entries, &wanted.entries);
        let hosts4 = diff.of(&old.hosts4, &new.hosts4, &mut after.hosts4)?;
        let hosts6 = diff.of(&old.hosts6, &new.hosts6, &mut after.hosts6)?;
        let nets4 = diff.of(&old.nets4, &new.nets4, &mut after.nets4)?;
        let nets6 = diff.of(&old.nets6, &new.nets6, &mut after.nets6)?;
        let mut any = base.record.any;
        for (slice, list) in any.iter_mut().zip(wanted.any) {
            if !diff.same(*slice, list) {
                *slice = diff.placed.place(list);
            }
        }
        let Diff { placed, changed, sum, .. } = diff;
        let appended = placed.intervals;
        let mut intervals = base.intervals.clone();
        intervals.extend(&appended);
        let record = Generation { epoch, flags: wanted.flags, any, digest };
        let added = checksum::intervals(base.intervals.len(), &appended).wrapping_add(checksum::record(&record));
        let checksum = sum.wrapping_sub(checksum::record(&base.record)).wrapping_add(added);
        let after = Encoded { entries: after, intervals, record };
        // A full trie refuses even to replace an entry, on kernels before 6.13.
        let fits = after.counts().into_iter().zip(room).all(|(count, room)| count < room);
        fits.then_some(Self { hosts4, hosts6, nets4, nets6, appended, changed, after, checksum })
    }

    /// How many prefixes it adds, changes or removes.
    pub(crate) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Where golden packets are to look.
    pub(crate) fn spots(&self) -> Vec<Spot<'_>> {
        self.changed
            .iter()
            .map(|(direction, cidr, now, before)| Spot { direction: *direction, cidr: *cidr, lists: [now, before] })
            .collect()
    }

    /// Writes everything but the record: services first, so that no prefix ever points at what is not there.
    pub(crate) fn write(&self, inner: &Inner) -> Result<(), Error> {
        let [hosts4, hosts6, nets4, nets6, intervals] = &inner.maps;
        let written = mapped(intervals)?.write(self.first(), &self.appended);
        written.map_err(|error| refused("intervals", intervals, error))?;
        write("hosts4", hosts4, &self.hosts4)?;
        write("hosts6", hosts6, &self.hosts6)?;
        write("nets4", nets4, &self.nets4)?;
        write("nets6", nets6, &self.nets6)
    }

    /// Reads back every key that was touched.
    pub(crate) fn verify(&self, inner: &Inner) -> Result<(), Error> {
        let [hosts4, hosts6, nets4, nets6, intervals] = &inner.maps;
        for (index, own) in (0_u32..).zip(&self.after.intervals).skip(self.first()) {
            verify("intervals", intervals, [(index, Some(*own))].into_iter())?;
        }
        verify("hosts4", hosts4, self.hosts4.wanted())?;
        verify("hosts6", hosts6, self.hosts6.wanted())?;
        verify("nets4", nets4, self.nets4.wanted())?;
        verify("nets6", nets6, self.nets6.wanted())
    }

    /// Where the intervals it appends begin.
    fn first(&self) -> usize {
        self.after.intervals.len() - self.appended.len()
    }
}

impl<K: Key> Changes<K> {
    /// What each touched key is to hold.
    fn wanted(&self) -> impl Iterator<Item = (K, Option<Slice>)> {
        let put = self.put.iter().map(|(key, slice)| (*key, Some(*slice)));
        self.removed.iter().map(|key| (*key, None)).chain(put)
    }
}

/// Compares one map after the other.
struct Diff<'a, 'b> {
    base: &'b Encoded,
    placed: Placed<'a>,
    changed: Vec<Changed<'a>>,
    most: usize,
    /// The checksum of `base`, less the prefixes that go and with those that come.
    sum: u64,
}

impl<'a> Diff<'a, '_> {
    /// What leads from `old` to `new`, both in order; `after` gets what is there then. None once there is too much of it.
    fn of<K: Key>(&mut self, old: &[(K, Slice)], new: &[(K, &'a [Interval])], after: &mut Vec<(K, Slice)>) -> Option<Changes<K>> {
        let mut changes = Changes::default();
        let (mut old, mut new) = (old.iter().copied().peekable(), new.iter().copied().peekable());
        after.reserve(new.len());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Some(changes),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.rank().cmp(&new.rank()),
            };
            // A key that is only old goes, one that is only new comes, one that is both keeps its services if they are the same.
            let before = if order.is_le() { old.next() } else { None };
            let now = if order.is_ge() { new.next() } else { None };
            let (key, list) = now.map_or_else(|| before.map(|(key, _)| (key, [].as_slice())), Some)?;
            if let (Some((_, slice)), Some(_)) = (before, now)
                && self.same(slice, list)
            {
                after.push((key, slice));
                continue;
            }
            let (direction, cidr) = key.prefix()?;
            let had = before.map_or(Some(Vec::new()), |(_, slice)| self.base.list(slice).ok())?;
            self.changed.push((direction, cidr, list, had));
            if self.changed.len() > self.most {
                return None;
            }
            if let Some((_, slice)) = before {
                self.sum = self.sum.wrapping_sub(checksum::prefix(&key, slice));
            }
            if now.is_some() {
                let slice = self.placed.place(list);
                self.sum = self.sum.wrapping_add(checksum::prefix(&key, slice));
                changes.put.push((key, slice));
                after.push((key, slice));
            } else {
                changes.removed.push(key);
            }
        }
    }

    fn same(&self, slice: Slice, list: &[Interval]) -> bool {
        self.base.at(slice).is_some_and(|own| own.iter().copied().eq(list.iter().map(raw)))
    }
}

fn write<K: Key>(name: &'static str, map: &MapData, changes: &Changes<K>) -> Result<(), Error> {
    // Removing first makes room.
    let removed = changes.removed.iter().try_for_each(|key| sys::delete(map.fd().as_fd(), key));
    removed.map_err(|error| Error::kernel(format!("remove from {name}"), error))?;
    let (keys, slices): (Vec<K>, Vec<Slice>) = changes.put.iter().copied().unzip();
    sys::fill_singly(map.fd().as_fd(), &keys, &slices).map_err(|error| refused(name, map, error))
}

fn verify<K: sys::Plain, V: sys::Plain>(
    name: &str,
    map: &MapData,
    wanted: impl Iterator<Item = (K, Option<V>)>,
) -> Result<(), Error> {
    for (key, value) in wanted {
        let found: Option<V> = sys::lookup(map.fd().as_fd(), &key).map_err(|error| Error::kernel(format!("read {name}"), error))?;
        if found != value {
            return Err(Error::ReadBack(format!("an entry of {name} is not as it was changed")));
        }
    }
    Ok(())
}
