//! Taking over from a version with other layouts.
//!
//! Maps written for one meaning are never read with another, so each [`ABI_VERSION`] pins below a directory of its own. Found
//! beside it, the pins of a version whose layouts are known here are taken over: what the old generation says is built anew, with
//! its digest and its epoch, the failsafe entries and the flows are copied, then each link is turned to the new program, and last the
//! old pins are removed. At every moment a hook runs either the old program or the new one, each with rules and flows. Flows are
//! copied once in bulk, once more just before the links are turned, and those of the moment between once after; nothing of the
//! new program's own is overwritten by that.
//!
//! Every step may be repeated: a process that ends in the middle leaves both trees, and the next one goes on. What is not known
//! here is refused before anything is made, and goes on enforcing.

mod flows;

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapInfo};
use enforcer_abi::{ABI_VERSION, Control, Generation, SLOTS};

use crate::{
    error::Error,
    failsafe,
    generation::{Generations, OUTER, encode::Encoded, inner::Inner},
    hook,
    object::{self, map_error},
    pin::Layout,
    sys,
    table::Table,
    trial,
};

/// Versions whose layouts are those of this one, as far as they are copied. 1: no refusals and events, and DHCP always passes.
const KNOWN: [u32; 1] = [1];

/// Sizes of keys and values that are read from an older version.
const SIZES: [(&str, u32, u32); 3] = [("control", 4, 8), ("generations", 4, 72), ("failsafe", 24, 4)];
/// The same for the maps of one generation, in the order of [`OUTER`].
const INNER_SIZES: [(u32, u32); 5] = [(8, 8), (20, 8), (12, 8), (24, 8), (4, 16)];

/// The pins of an older version below `root`, if there are any this one can take over.
///
/// # Errors
/// If there are pins it cannot take over: those of a newer version, or of one it does not know.
pub(crate) fn older(root: &Path) -> Result<Option<Layout>, Error> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::PinDirectory { path: root.to_owned(), source }),
    };
    let mut found = None;
    for entry in entries.flatten() {
        let Some(version) = entry.file_name().to_str().and_then(|name| name.strip_prefix("abi")?.parse::<u32>().ok()) else {
            continue;
        };
        let layout = Layout::of_version(root, version);
        if version == ABI_VERSION || !layout.used()? {
            continue;
        }
        if !KNOWN.contains(&version) || found.is_some() {
            return Err(other(&layout, "its layout is not known to this one"));
        }
        check(&layout)?;
        found = Some(layout);
    }
    Ok(found)
}

fn other(layout: &Layout, why: &'static str) -> Error {
    Error::OtherVersion { path: layout.base().to_owned(), version: layout.version(), why }
}

/// Sees that what will be read has the sizes it is read with.
fn check(old: &Layout) -> Result<(), Error> {
    let version = old.version();
    let sized = |path: PathBuf, key: u32, value: u32| match MapInfo::from_pin(&path) {
        Ok(info) if (info.key_size(), info.value_size()) == (key, value) => Ok(()),
        Ok(_) => Err(Error::OtherVersion { path, version, why: "this map has another layout than that version's" }),
        Err(error) => Err(map_error(format!("read the pinned map {}", path.display()), error)),
    };
    for (name, key, value) in SIZES.into_iter().chain(flows::SIZES) {
        sized(old.map(name), key, value)?;
    }
    for slot in 0..SLOTS {
        for (name, (key, value)) in OUTER.into_iter().zip(INNER_SIZES) {
            let path = old.inner(slot, name);
            if path.exists() {
                sized(path, key, value)?;
            }
        }
    }
    Ok(())
}

/// What an older version enforces.
struct Enforced {
    word: Control,
    record: Generation,
    table: Table,
}

/// Has the programs pinned below `new` go on where those below `old` are.
pub(crate) fn take_over(old: &Layout, new: &Layout, object: &[u8], generations: &Generations) -> Result<(), Error> {
    let _lock = old.lock()?;
    tracing::info!(from = %old.base().display(), to = %new.base().display(), "taking over from an older version");
    if let Some(enforced) = enforced(old)? {
        let seen = generations.record(generations.judging().0)?;
        if (seen.digest, seen.epoch == 0) != (enforced.record.digest, false) {
            generations.install(new, &enforced.table, enforced.record.digest, enforced.record.epoch, None)?;
        }
        generations.set_audit(enforced.word.audit())?;
        generations.set_learning(enforced.word.learning())?;
    } else if generations.in_force()? && !old.hooks()?.is_empty() {
        let why = "nothing is in force there while this version enforces already";
        return Err(other(old, why));
    }
    failsafe::set(&object::map(new, "failsafe")?, &failsafe::read(&object::map(old, "failsafe")?)?)?;
    flows::copy(old, new, flows::Copy::Newer)?;
    flows::copy(old, new, flows::Copy::Newer)?;
    hook::adopt(old, new, object)?;
    flows::copy(old, new, flows::Copy::Missing)?;
    old.remove_base()?;
    tracing::info!("the older version's pins are removed");
    Ok(())
}

/// None if nothing was ever enforced there.
fn enforced(old: &Layout) -> Result<Option<Enforced>, Error> {
    let word: Option<u64> = lookup(&object::map(old, "control")?, 0)?;
    let word = Control(word.unwrap_or_default());
    let (slot, _) = word.in_force(trial::now());
    if word.armed() && slot == word.active() {
        let why = "a generation is on trial there; confirm it or roll it back with the version that put it there";
        return Err(other(old, why));
    }
    let record: Generation = lookup(&object::map(old, "generations")?, slot)?.unwrap_or_default();
    if record.epoch == 0 {
        return Ok(None);
    }
    let mut maps = Vec::with_capacity(OUTER.len());
    for name in OUTER {
        let path = old.inner(slot, name);
        maps.push(MapData::from_pin(&path).map_err(|error| map_error(format!("open {}", path.display()), error))?);
    }
    let Ok(maps) = <[MapData; 5]>::try_from(maps) else { return Ok(None) };
    let encoded = Encoded { record, ..Inner::from_maps(maps).read()? };
    let table = encoded.table().map_err(Error::ReadBack)?;
    Ok(Some(Enforced { word, record, table }))
}

fn lookup<V: sys::Plain>(map: &MapData, key: u32) -> Result<Option<V>, Error> {
    sys::lookup(map.fd().as_fd(), &key).map_err(|error| Error::kernel("read a map of an older version", error))
}
