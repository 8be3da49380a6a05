//! The five maps of one generation.

use std::{io, os::fd::AsFd as _};

use aya::maps::{MapData, MapInfo};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE};
use enforcer_abi::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, HostKey4, HostKey6, Interval, NetKey4, NetKey6, Slice};

use super::{
    OUTER,
    encode::Encoded,
    entries::{Entries, Key},
};
use crate::{
    error::Error,
    object::map_error,
    pin::Layout,
    sys::{self, Mapped, Plain},
};

/// Room every map has beyond an eighth, so that small tables can be changed in place too.
const ROOM_MIN: usize = 64;

/// Maps in the order of [`OUTER`].
#[derive(Debug)]
pub(crate) struct Inner {
    pub(super) maps: [MapData; 5],
}

impl Inner {
    /// Wraps maps opened elsewhere.
    pub(crate) fn from_maps(maps: [MapData; 5]) -> Self {
        Self { maps }
    }

    /// Opens the pinned maps of `slot`; none if a pin is gone.
    pub(crate) fn pinned(layout: &Layout, slot: u32) -> Option<Self> {
        let open = |name| MapData::from_pin(layout.inner(slot, name)).ok();
        let [hosts4, hosts6, nets4, nets6, intervals] = OUTER;
        Some(Self { maps: [open(hosts4)?, open(hosts6)?, open(nets4)?, open(nets6)?, open(intervals)?] })
    }

    /// Makes and fills maps for `encoded`.
    pub(crate) fn build(encoded: &Encoded) -> Result<Self, Error> {
        let hash = BPF_MAP_TYPE_HASH as u32;
        let trie = BPF_MAP_TYPE_LPM_TRIE as u32;
        let array = BPF_MAP_TYPE_ARRAY as u32;
        let [hosts4, hosts6, nets4, nets6, intervals] = encoded.counts();
        let maps = [
            create::<HostKey4, Slice>("hosts4", hash, hosts4, 0)?,
            create::<HostKey6, Slice>("hosts6", hash, hosts6, 0)?,
            create::<NetKey4, Slice>("nets4", trie, nets4, BPF_F_NO_PREALLOC)?,
            create::<NetKey6, Slice>("nets6", trie, nets6, BPF_F_NO_PREALLOC)?,
            create::<u32, Interval>("intervals", array, intervals, BPF_F_INNER_MAP | BPF_F_MMAPABLE)?,
        ];
        let own = Self { maps };
        own.fill(encoded)?;
        Ok(own)
    }

    fn fill(&self, encoded: &Encoded) -> Result<(), Error> {
        let [hosts4, hosts6, nets4, nets6, intervals] = &self.maps;
        fill("hosts4", hosts4, &encoded.entries.hosts4)?;
        fill("hosts6", hosts6, &encoded.entries.hosts6)?;
        fill("nets4", nets4, &encoded.entries.nets4)?;
        fill("nets6", nets6, &encoded.entries.nets6)?;
        mapped(intervals)?.write(0, &encoded.intervals).map_err(|error| refused("intervals", intervals, error))
    }

    pub(crate) fn maps(&self) -> [&MapData; 5] {
        self.maps.each_ref()
    }

    /// Reads everything but the record.
    pub(crate) fn read(&self) -> Result<Encoded, Error> {
        let mut encoded = self.read_unordered()?;
        encoded.entries.sort();
        Ok(encoded)
    }

    /// [`Inner::read`], in the order of the kernel. Intervals beyond the last one that is not all zero are the spare room.
    pub(super) fn read_unordered(&self) -> Result<Encoded, Error> {
        let [hosts4, hosts6, nets4, nets6, _] = &self.maps;
        let intervals = self.intervals()?;
        let entries = Entries {
            hosts4: read("hosts4", hosts4)?,
            hosts6: read("hosts6", hosts6)?,
            nets4: read("nets4", nets4)?,
            nets6: read("nets6", nets6)?,
        };
        Ok(Encoded { entries, intervals, ..Encoded::default() })
    }

    /// The intervals without the spare room after them.
    pub(super) fn intervals(&self) -> Result<Vec<Interval>, Error> {
        let [.., intervals] = &self.maps;
        let mut list = list(intervals)?;
        let used = list.iter().rposition(|interval| *interval != Interval::default()).map_or(0, |last| last + 1);
        list.truncate(used);
        Ok(list)
    }

    /// The kernel's numbers of the maps.
    pub(super) fn numbers(&self) -> Result<[u32; 5], Error> {
        let mut numbers = [0; 5];
        for (number, map) in numbers.iter_mut().zip(&self.maps) {
            *number = map.info().map_err(|error| map_error("ask for a map's number", error))?.id();
        }
        Ok(numbers)
    }

    /// Compares what the kernel holds with what it was given.
    pub(crate) fn verify(&self, encoded: &Encoded) -> Result<(), Error> {
        let read = Encoded { record: encoded.record, ..self.read()? };
        if read == *encoded {
            return Ok(());
        }
        Err(Error::ReadBack(format!("{:?} entries where {:?} were written", read.counts(), encoded.counts())))
    }

    /// How many entries each map can hold, in the order of [`OUTER`].
    pub(crate) fn room(&self) -> Result<[usize; 5], Error> {
        let mut room = [0; 5];
        for (room, map) in room.iter_mut().zip(&self.maps) {
            *room = map.info().map_err(|error| map_error("ask for a map's size", error))?.max_entries() as usize;
        }
        Ok(room)
    }
}

/// Makes a map with spare room, for changes in place.
fn create<K, V>(name: &str, kind: u32, entries: usize, flags: u32) -> Result<MapData, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "a checked table has at most INTERVALS_MAX of anything")]
    let room = (entries + entries / 8 + ROOM_MIN) as u32;
    let [key, value] = [size_of::<K>(), size_of::<V>()].map(|size| u32::try_from(size).unwrap_or_default());
    let wanted = aya_obj::Map::new_from_params(kind, key, value, room, flags);
    MapData::create(wanted, name, None).map_err(|error| map_error(format!("create a map for {name}"), error))
}

/// All intervals; maps of an older version may not be memory.
fn list(intervals: &MapData) -> Result<Vec<Interval>, Error> {
    let flags = intervals.info().map_err(|error| map_error("ask for a map's flags", error))?.map_flags();
    if flags & BPF_F_MMAPABLE != 0 {
        return Ok(mapped(intervals)?.read());
    }
    Ok(read::<u32, Interval>("intervals", intervals)?.into_iter().map(|(_, interval)| interval).collect())
}

/// The intervals as memory.
pub(super) fn mapped(intervals: &MapData) -> Result<Mapped<Interval>, Error> {
    let count = intervals.info().map_err(|error| map_error("ask for a map's size", error))?.max_entries() as usize;
    Mapped::of(intervals.fd().as_fd(), count).map_err(|error| Error::kernel("map the intervals", error))
}

pub(super) fn fill<K: Key>(name: &'static str, map: &MapData, entries: &[(K, Slice)]) -> Result<(), Error> {
    let (keys, slices): (Vec<K>, Vec<Slice>) = entries.iter().copied().unzip();
    let trie = name.starts_with("nets");
    let fill = if trie { sys::fill_singly } else { sys::fill };
    fill(map.fd().as_fd(), &keys, &slices).map_err(|error| refused(name, map, error))
}

/// The error for an entry that `map` did not take; that it is full is said in so many words.
pub(super) fn refused(name: &'static str, map: &MapData, error: io::Error) -> Error {
    match (error.raw_os_error(), map.info()) {
        (Some(libc::E2BIG | libc::ENOSPC), Ok(info)) => Error::MapFull { map: name, max: MapInfo::max_entries(&info) },
        _ => Error::kernel(format!("fill {name}"), error),
    }
}

fn read<K: Plain, V: Plain>(name: &str, map: &MapData) -> Result<Vec<(K, V)>, Error> {
    sys::entries(map.fd().as_fd()).map_err(|error| Error::kernel(format!("read {name}"), error))
}

#[cfg(test)]
mod tests {
    use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE};
    use enforcer_abi::{BPF_F_NO_PREALLOC, HostKey4, NetKey4, Slice};

    use super::{ROOM_MIN, create, fill};
    use crate::error::Error;

    fn hosts(count: usize) -> Vec<(HostKey4, Slice)> {
        let key = |n: usize| HostKey4 { addr: u32::try_from(n).unwrap().to_be_bytes(), ..HostKey4::default() };
        (0..count).map(|n| (key(n), Slice::default())).collect()
    }

    #[test]
    fn h02_a_map_that_is_full_is_named_with_its_size() {
        if !rustix::process::geteuid().is_root() {
            println!("not root: leaving out a map that is full");
            return;
        }
        let map = create::<HostKey4, Slice>("hosts4", BPF_MAP_TYPE_HASH as u32, 0, 0).unwrap();
        fill("hosts4", &map, &hosts(ROOM_MIN)).unwrap();
        let full = fill("hosts4", &map, &hosts(ROOM_MIN + 1)).unwrap_err();
        assert!(matches!(full, Error::MapFull { map: "hosts4", max: 64 }), "{full}");
        let map = create::<NetKey4, Slice>("nets4", BPF_MAP_TYPE_LPM_TRIE as u32, 0, BPF_F_NO_PREALLOC).unwrap();
        let nets = |count| hosts(count).into_iter().map(|(host, slice)| (NetKey4 { prefix_len: 64, host }, slice));
        fill("nets4", &map, &nets(ROOM_MIN).collect::<Vec<_>>()).unwrap();
        let full = fill("nets4", &map, &nets(ROOM_MIN + 1).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(full.to_string(), "the map nets4 is full: it holds 64 entries; nothing was switched");
    }
}
