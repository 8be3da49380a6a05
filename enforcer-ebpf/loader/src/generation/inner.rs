//! The five maps of one generation.

use std::{io, os::fd::AsFd as _, thread, time::Duration};

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE};
use enforcer_abi::{BPF_F_INNER_MAP, BPF_F_NO_PREALLOC, HostKey4, HostKey6, Interval, NetKey4, NetKey6, Slice};

use super::encode::Encoded;
use crate::{
    error::Error,
    object::map_error,
    sys::{self, Plain},
};

/// Tries for one entry while the kernel says it has no memory, which it says to bursts of updates too.
const MEMORY_TRIES: u32 = 6;

/// Maps in the order of [`OUTER`](super::OUTER).
#[derive(Debug)]
pub(crate) struct Inner {
    maps: [MapData; 5],
}

impl Inner {
    /// Wraps maps opened elsewhere.
    pub(crate) fn from_maps(maps: [MapData; 5]) -> Self {
        Self { maps }
    }

    /// Makes and fills maps for `encoded`.
    pub(crate) fn build(encoded: &Encoded) -> Result<Self, Error> {
        let hash = BPF_MAP_TYPE_HASH as u32;
        let trie = BPF_MAP_TYPE_LPM_TRIE as u32;
        let array = BPF_MAP_TYPE_ARRAY as u32;
        let maps = [
            create::<HostKey4, Slice>("hosts4", hash, encoded.hosts4.len(), 0)?,
            create::<HostKey6, Slice>("hosts6", hash, encoded.hosts6.len(), 0)?,
            create::<NetKey4, Slice>("nets4", trie, encoded.nets4.len(), BPF_F_NO_PREALLOC)?,
            create::<NetKey6, Slice>("nets6", trie, encoded.nets6.len(), BPF_F_NO_PREALLOC)?,
            create::<u32, Interval>("intervals", array, encoded.intervals.len(), BPF_F_INNER_MAP)?,
        ];
        let [hosts4, hosts6, nets4, nets6, intervals] = &maps;
        fill("hosts4", hosts4, &encoded.hosts4)?;
        fill("hosts6", hosts6, &encoded.hosts6)?;
        fill("nets4", nets4, &encoded.nets4)?;
        fill("nets6", nets6, &encoded.nets6)?;
        for (index, interval) in (0_u32..).zip(&encoded.intervals) {
            put("intervals", intervals, &index, interval)?;
        }
        Ok(Self { maps })
    }

    pub(crate) fn maps(&self) -> [&MapData; 5] {
        self.maps.each_ref()
    }

    /// Reads everything but the record. Intervals beyond the last one that is not all zero are the spare room.
    pub(crate) fn read(&self) -> Result<Encoded, Error> {
        let [hosts4, hosts6, nets4, nets6, intervals] = &self.maps;
        let mut list: Vec<Interval> =
            read::<u32, Interval>("intervals", intervals)?.into_iter().map(|(_, interval)| interval).collect();
        let used = list.iter().rposition(|interval| *interval != Interval::default()).map_or(0, |last| last + 1);
        list.truncate(used);
        let mut encoded = Encoded {
            hosts4: read("hosts4", hosts4)?,
            hosts6: read("hosts6", hosts6)?,
            nets4: read("nets4", nets4)?,
            nets6: read("nets6", nets6)?,
            intervals: list,
            ..Encoded::default()
        };
        encoded.sort();
        Ok(encoded)
    }

    /// Compares what the kernel holds with what it was given.
    pub(crate) fn verify(&self, encoded: &Encoded) -> Result<(), Error> {
        let read = Encoded { record: encoded.record, ..self.read()? };
        if read == *encoded {
            return Ok(());
        }
        let counts = |own: &Encoded| {
            let Encoded { hosts4, hosts6, nets4, nets6, intervals, .. } = own;
            [hosts4.len(), hosts6.len(), nets4.len(), nets6.len(), intervals.len()]
        };
        Err(Error::ReadBack(format!("{:?} entries where {:?} were written", counts(&read), counts(encoded))))
    }
}

/// Makes a map with an eighth of spare room, for changes in place.
#[expect(clippy::cast_possible_truncation, reason = "a checked table has at most INTERVALS_MAX of anything")]
fn create<K, V>(name: &str, kind: u32, entries: usize, flags: u32) -> Result<MapData, Error> {
    let room = (entries + entries / 8).max(1) as u32;
    let wanted = aya_obj::Map::new_from_params(kind, size_of::<K>() as u32, size_of::<V>() as u32, room, flags);
    MapData::create(wanted, name, None).map_err(|error| map_error(format!("create a map for {name}"), error))
}

fn fill<K: Plain, V: Plain>(name: &str, map: &MapData, entries: &[(K, V)]) -> Result<(), Error> {
    entries.iter().try_for_each(|(key, value)| put(name, map, key, value))
}

fn put<K: Plain, V: Plain>(name: &str, map: &MapData, key: &K, value: &V) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match sys::update(map.fd().as_fd(), key, value) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && tries < MEMORY_TRIES => {
                thread::sleep(Duration::from_millis(1 << tries));
                tries += 1;
            }
            Err(error) => return Err(Error::kernel(format!("fill {name}"), error)),
        }
    }
}

fn read<K: Plain, V: Plain>(name: &str, map: &MapData) -> Result<Vec<(K, V)>, Error> {
    sys::entries(map.fd().as_fd()).map_err(|error| Error::kernel(format!("read {name}"), error))
}
