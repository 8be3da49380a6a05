//! The mark that everything pinned is as loading it left it, so that it need not be loaded again: the verifier takes a second
//! and a half to arrive at the programs that are there already.
//!
//! A BPF file system holds nothing but BPF objects and directories, so the mark is an empty directory whose name is a hash of
//! the object's bytes and of the number of every pinned map and program. Numbers are never used twice until the kernel is
//! booted anew, and then the file system is empty: the name fits only if each pin is the very thing that was loaded from these
//! bytes. A pin that is gone, or is another, gives another name, and everything is loaded as if there were no mark.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aya::{maps::MapInfo, programs::ProgramInfo};
use sha2::{Digest as _, Sha256};

use crate::{error::Error, pin::Layout};

const PREFIX: &str = "loaded-";

/// Whether what is pinned is what was loaded from `object`, all of it.
pub(crate) fn stands(layout: &Layout, object: &[u8]) -> bool {
    // What cannot be read is doubtful.
    path(layout, object).is_ok_and(|path| path.is_dir())
}

/// Marks what is pinned as loaded from `object`.
pub(crate) fn set(layout: &Layout, object: &[u8]) -> Result<(), Error> {
    clear(layout)?;
    let path = path(layout, object)?;
    fs::DirBuilder::new().mode(0o700).create(&path).map_err(|source| Error::PinDirectory { path, source })
}

/// Removes the mark, before anything is loaded: what is found after a crash is then loaded again.
pub(crate) fn clear(layout: &Layout) -> Result<(), Error> {
    let base = layout.base();
    let read = || -> io::Result<()> {
        for entry in fs::read_dir(base)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir(entry.path())?;
            }
        }
        Ok(())
    };
    read().map_err(|source| Error::PinDirectory { path: base.to_owned(), source })
}

fn path(layout: &Layout, object: &[u8]) -> Result<PathBuf, Error> {
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(object));
    let map = |path: &Path| MapInfo::from_pin(path).ok().map(|info| info.id());
    let program = |path: &Path| ProgramInfo::from_pin(path).ok().map(|info| info.id());
    for (directory, number) in [(layout.maps(), &map as &dyn Fn(&Path) -> Option<u32>), (layout.progs(), &program)] {
        for name in names(&directory)? {
            let path = directory.join(&name);
            let unread = || Error::kernel(format!("read the pin {}", path.display()), io::ErrorKind::InvalidData);
            let number = number(&path).ok_or_else(unread)?;
            hash.update(format!("{name} {number}\n"));
        }
        hash.update("\n");
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(layout.base().join(format!("{PREFIX}{hex}")))
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let read = fs::read_dir(directory).and_then(|entries| entries.map(name).collect::<io::Result<Vec<String>>>());
    let mut names = read.map_err(|source| Error::PinDirectory { path: directory.to_owned(), source })?;
    names.sort();
    Ok(names)
}
