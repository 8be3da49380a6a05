//! Room kept back on the disk, so that what has to be said when the disk is full can be said.
//!
//! `<db>.reserve` is given up on the first write for which there is no room, and made again before writing goes on: then there is at
//! least as much room as before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

use super::files::beside;

/// Enough for thousands of rows.
pub(super) const RESERVE_BYTES: u64 = 4 * 1024 * 1024;

/// Sees that the room is kept back.
///
/// # Errors
/// There is no room.
pub(super) fn keep(database: &Path) -> io::Result<()> {
    let name = beside(database, ".reserve");
    if fs::metadata(&name).is_ok_and(|about| about.len() >= RESERVE_BYTES) {
        return Ok(());
    }
    let kept = make(&name);
    if kept.is_err() {
        // A part of it would only be in the way.
        let _ = fs::remove_file(&name);
    }
    kept
}

fn make(name: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(name)?;
    match fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Ok(()) => Ok(()),
        // Some file systems know no such call: what is written is there.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            for _ in 0..RESERVE_BYTES / 65_536 {
                file.write_all(&[0x5a; 65_536])?;
            }
            file.sync_all()
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the room up; true if there was any.
pub(super) fn give_up(database: &Path) -> bool {
    let given = fs::remove_file(beside(database, ".reserve"));
    if let Err(error) = &given
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!("the room kept back on the disk cannot be given up: {error}");
    }
    given.is_ok()
}
