//! How full the tables are, and what they cost.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::{MapData, MapInfo};
use enforcer_abi::{HOSTS_MAX, INTERVALS_MAX, Interval, NETS_MAX, SLOTS};

use crate::{enforcer::Enforcer, error::Error, generation::OUTER, object::map_error, sys};

/// Tables of flows, of fragments and of the failsafe.
const OTHERS: [&str; 9] = ["tcp4", "tcp6", "half4", "half6", "other4", "other6", "frags4", "frags6", "failsafe"];

/// Limits of one generation, in the order of [`OUTER`].
const LIMITS: [u32; 5] = [HOSTS_MAX, HOSTS_MAX, NETS_MAX, NETS_MAX, INTERVALS_MAX];

/// What a node of a trie takes, by the name of the trie: the kernel's allocator rounds 56 bytes and 68 bytes up.
const NODES: [(&str, u64); 3] = [("nets4", 64), ("nets6", 96), ("failsafe", 96)];

/// How full one table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Its name: a table of the generation in force (`hosts4`, …, `intervals`), of flows (`tcp4`, …) or `failsafe`.
    pub name: &'static str,
    /// Entries it holds. Flows that are over count until their place is needed.
    pub entries: u64,
    /// The most it can hold.
    pub max: u64,
}

impl Enforcer {
    /// How full each table is. Counting 100,000 entries takes some dozens of milliseconds.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn table_sizes(&self) -> Result<Vec<TableSize>, Error> {
        let slot = self.generations.judging().0;
        let mut sizes = Vec::new();
        for (name, max) in OUTER.into_iter().zip(LIMITS) {
            let path = self.layout.inner(slot, name);
            let entries = if path.exists() { count(name, &path)?.0 } else { 0 };
            sizes.push(TableSize { name, entries, max: u64::from(max) });
        }
        for name in OTHERS {
            let (entries, max) = count(name, &self.layout.map(name))?;
            sizes.push(TableSize { name, entries, max });
        }
        Ok(sizes)
    }

    /// Bytes of kernel memory by the name of the map, in order of name; the maps of all generations together. Kernels before 6.4
    /// count a map as full.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn kernel_memory(&self) -> Result<Vec<(String, u64)>, Error> {
        let mut bytes = BTreeMap::new();
        let directories = (0..SLOTS).map(|slot| self.layout.slot(slot)).chain([self.layout.maps()]);
        for directory in directories {
            let failed = |source| Error::PinDirectory { path: directory.clone(), source };
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // An outer map has the name of the inner ones.
                *bytes.entry(name.clone()).or_insert(0) += memory(&name, &path)?;
            }
        }
        Ok(bytes.into_iter().collect())
    }
}

fn open(path: &Path) -> Result<MapData, Error> {
    MapData::from_pin(path).map_err(|error| map_error(format!("open {}", path.display()), error))
}

/// Entries, and room for how many.
fn count(name: &str, path: &Path) -> Result<(u64, u64), Error> {
    let map = open(path)?;
    let info = map.info().map_err(|error| map_error(format!("ask for the size of {name}"), error))?;
    let failed = |error| Error::kernel(format!("count the entries of {name}"), error);
    let max = info.max_entries();
    if name != "intervals" {
        let entries = sys::count(map.fd().as_fd(), info.key_size(), max).map_err(failed)?;
        return Ok((entries, u64::from(max)));
    }
    // An array is always full; what follows the last interval is spare room.
    for index in (0..max).rev() {
        let interval: Option<Interval> = sys::lookup(map.fd().as_fd(), &index).map_err(failed)?;
        if interval.unwrap_or_default() != Interval::default() {
            return Ok((u64::from(index) + 1, u64::from(max)));
        }
    }
    Ok((0, u64::from(max)))
}

fn memory(name: &str, path: &Path) -> Result<u64, Error> {
    let is_trie = || MapInfo::from_pin(path).is_ok_and(|info| info.max_entries() != SLOTS || name == "failsafe");
    if let Some((_, node)) = NODES.iter().find(|(own, _)| *own == name).filter(|_| is_trie()) {
        // The kernel leaves out nodes that only join others; n prefixes have at most n - 1 of them.
        let entries = count(name, path)?.0;
        return Ok((2 * entries).saturating_sub(1) * node);
    }
    let map = open(path)?;
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()));
    let told = told.map_err(|error| Error::kernel(format!("ask for the memory of {name}"), error))?;
    let bytes = told.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    bytes.ok_or_else(|| Error::kernel(format!("ask for the memory of {name}"), io::ErrorKind::InvalidData))
}
