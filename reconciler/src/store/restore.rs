//! Putting a backup in the place of the database. No controller may run meanwhile, and nothing that is there is deleted.
//!
//! The backup is copied beside the database and looked through there; then the old files are moved aside and the copy takes their place
//! by one rename. A start that finds this half done is refused and says so, so that it never begins an empty database, or pairs the new
//! one with the old write-ahead log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::{ConnectOptions, Connection};

use super::backup::{digest, examine, file_error, sync};
use super::files::{self, RESTORING, beside};
use super::incidents::{self, Incident, What};
use super::open::write_options;
use super::{Error, Store, open};
use crate::audit::hex;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// The database.
    pub database: PathBuf,
    /// Where the database from before is, or what was left of it; null if there was nothing.
    pub aside: Option<PathBuf>,
    /// SHA-256 of the backup, in hexadecimal.
    pub sha256: String,
    /// How many rows its log has.
    pub rows: u64,
}

/// Puts `backup` in the place of `database`. That it was done, and by whom, is a row of the next start.
///
/// # Errors
/// A controller runs; the backup is not one, is newer than this program, damaged, or its log does not verify; a file cannot be written.
pub async fn restore(backup: &Path, database: &Path, who: &str, now: Timestamp) -> Result<Restored, Error> {
    let (lock, folder, database) = files::take_place(database)?;
    let backup = fs::canonicalize(backup).map_err(|source| file_error("cannot read", backup, source))?;
    if backup == database {
        return Err(Error::Backup { file: backup, what: "is the database itself; name a backup".into() });
    }
    let copy = beside(&database, ".restoring.partial");
    let good = match fill(&backup, &copy, &database).await {
        Ok(good) => good,
        Err(error) => {
            remove(&copy);
            return Err(error);
        }
    };
    let ready = beside(&database, RESTORING);
    rename(&copy, &ready)?;
    // What SQLite left beside it while it was looked through.
    remove(&copy);
    sync(&folder)?;
    let aside = move_aside(&database, now).await?;
    rename(&ready, &database)?;
    sync(&folder)?;
    good.is_at(&database).await?;
    let Good { sha256, rows, .. } = good;
    let why = format!("backup {} (SHA-256 {sha256}, {rows} rows) took the place of the database", backup.display());
    let incident = Incident { who: Some(who.to_owned()), ..Incident::new(What::Restored, &why, now) };
    incidents::add(&database, &incident)
        .map_err(|source| file_error("the backup is in place, but not noted in", &database, source))?;
    drop(lock);
    Ok(Restored { database, aside, sha256, rows })
}

/// What the backup was found to be.
struct Good {
    sha256: String,
    rows: u64,
    head: String,
}

impl Good {
    /// Whether SQLite reads just that at the database's place, with whatever lies beside it there.
    async fn is_at(&self, database: &Path) -> Result<(), Error> {
        let store = Store::open_read_only(database).await?;
        let read = store.audit_head().await;
        store.close().await;
        let read = read?;
        if (read.size, &read.head) == (self.rows, &self.head) {
            return Ok(());
        }
        let what =
            format!("has {} rows after the restore, the backup has {}; do not start it, and restore again", read.size, self.rows);
        Err(Error::Backup { file: database.to_owned(), what })
    }
}

/// A copy of the backup's bytes, looked through where it lies now.
async fn fill(backup: &Path, copy: &Path, database: &Path) -> Result<Good, Error> {
    for ending in ["-wal", "-journal"] {
        let beside = beside(backup, ending);
        if fs::metadata(&beside).is_ok_and(|about| about.len() > 0) {
            let what = format!(
                "has {} beside it: that is no backup but a database in use; make one with pci-segment backup",
                beside.display()
            );
            return Err(Error::Backup { file: backup.to_owned(), what });
        }
    }
    remove(copy);
    let writing = |source| file_error("cannot write", copy, source);
    let mut from = File::open(backup).map_err(|source| file_error("cannot read", backup, source))?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(writing)?;
    io::copy(&mut from, &mut to).map_err(writing)?;
    to.sync_all().map_err(writing)?;
    let before = digest(backup)?.0;
    let (rows, head) = match examine(copy, database).await {
        Err(Error::Foreign { what, .. }) => return Err(Error::Foreign { file: backup.to_owned(), what }),
        Err(Error::Newer { found, known, .. }) => return Err(Error::Newer { file: backup.to_owned(), found, known }),
        Err(error) if error.is_corrupt() => {
            return Err(Error::Backup { file: backup.to_owned(), what: "is damaged; use another backup".into() });
        }
        Err(Error::Backup { what, .. }) => return Err(Error::Backup { file: backup.to_owned(), what }),
        examined => examined?,
    };
    if digest(copy)?.0 != before {
        return Err(Error::Backup { file: backup.to_owned(), what: "changed while it was read; try again".into() });
    }
    Ok(Good { sha256: hex(&before), rows, head })
}

/// Moves the database and what belongs to it aside, under names that tell when; the first of what there was. What lies beside goes first,
/// and also where the database itself is gone: SQLite would play a write-ahead log into whatever takes its place.
async fn move_aside(database: &Path, now: Timestamp) -> Result<Option<PathBuf>, Error> {
    if database.symlink_metadata().is_ok() {
        empty_wal(database).await;
    }
    let aside = beside(database, &format!(".before-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    let mut moved = None;
    for ending in ["-wal", "-shm", "-journal", ""] {
        let (part, to) = (beside(database, ending), beside(&aside, ending));
        if part.symlink_metadata().is_err() {
            continue;
        }
        if to.symlink_metadata().is_ok() {
            return Err(Error::Backup { file: to, what: "exists already; try again in a second".into() });
        }
        rename(&part, &to)?;
        moved = if ending.is_empty() { Some(to) } else { moved.or(Some(to)) };
    }
    Ok(moved)
}

/// So that what is moved aside is one file; one that is damaged goes with its write-ahead log.
async fn empty_wal(database: &Path) {
    if open::check_identity(database).await.is_err() {
        return;
    }
    if let Ok(mut connection) = write_options(database).connect().await {
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await;
        let _ = connection.close().await;
    }
}

fn remove(copy: &Path) {
    for ending in ["", "-journal", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(copy, ending));
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|source| file_error("cannot move aside or into place", from, source))
}
