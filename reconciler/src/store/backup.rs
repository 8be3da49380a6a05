//! Copies of the database that can be relied on: made by SQLite itself (`VACUUM INTO`), never by copying files, and looked through
//! before anybody is told that they exist.
//!
//! The copy is made by whoever asks for it, beside a running controller or without one: its files are then where that person can write,
//! and the controller needs no right to write anywhere else. Only the row is the controller's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions, Connection};

use super::open::{check_identity, copy_options};
use super::soundness::integrity;
use super::{Error, Store, files};
use crate::archive::segments_beside;
use crate::audit::event::tidy;
use crate::audit::{AuditEvent, Draft, Ended, Hash, hex, kind};

/// A copy that was made and found good.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackedUp {
    /// Where it is.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many rows of the log it holds.
    pub rows: u64,
    /// Hash of the last of these, in hexadecimal.
    pub head: String,
}

/// Copies `database` to `to`, which must not exist. The copy is sound, its log verifies, and it is on the disk.
///
/// # Errors
/// Something is there already; the copy cannot be made or is not good. Then nothing is left of it.
pub async fn copy(database: &Path, to: &Path) -> Result<BackedUp, Error> {
    let to = &std::path::absolute(to).map_err(|source| file_error("cannot tell the full name of", to, source))?;
    if to.symlink_metadata().is_ok() {
        return Err(Error::Backup {
            file: to.clone(),
            what: "exists already; a backup overwrites nothing, name another file".into(),
        });
    }
    let source = files::existing(database)?;
    let draft = files::beside(to, ".partial");
    // Made by us with the mode it shall have; SQLite takes an empty file.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    made.map_err(|source| file_error("cannot make (an earlier backup may have been cut short; remove it then)", &draft, source))?;
    let done = fill(&source, &draft, to).await;
    if done.is_err() {
        for ending in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(files::beside(&draft, ending));
        }
    }
    done
}

async fn fill(source: &Path, draft: &Path, to: &Path) -> Result<BackedUp, Error> {
    let copying = |error| Error::sqlite("cannot copy the database", error);
    check_identity(source).await?;
    let mut connection = copy_options(source).connect().await.map_err(copying)?;
    let name =
        draft.to_str().ok_or_else(|| Error::Backup { file: draft.to_owned(), what: "is not UTF-8; name another file".into() })?;
    let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
    let _ = connection.close().await;
    copied.map_err(copying)?;
    let (rows, head) = examine(draft, source).await?;
    sync(draft)?;
    let (sha256, bytes) = digest(draft)?;
    renameat_with(CWD, draft, CWD, to, RenameFlags::NOREPLACE)
        .map_err(|errno| file_error("cannot put the copy in its place,", to, errno.into()))?;
    sync(to.parent().unwrap_or(Path::new("/")))?;
    Ok(BackedUp { file: to.to_owned(), bytes, sha256: hex(&sha256), rows, head })
}

/// Looks through a copy of what belongs at `database`; how many rows its log has, and the hash of the last.
pub(super) async fn examine(file: &Path, database: &Path) -> Result<(u64, String), Error> {
    let refuse = |what: String| Error::Backup { file: file.to_owned(), what };
    check_identity(file).await?;
    if let Some(wrong) = integrity(file).await? {
        return Err(refuse(format!("is damaged: {wrong}; use another backup")));
    }
    let store = Store::open_read_only(file).await?;
    let report = store.verify_copy(&segments_beside(database)).await;
    let head = store.audit_head().await;
    store.close().await;
    if report.exit != 0 {
        return Err(refuse(format!("its audit log does not verify: {}", report.message)));
    }
    let head = head?;
    Ok((head.size, head.head))
}

/// The SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(file: &Path) -> Result<String, Error> {
    digest(file).map(|(hash, _)| hex(&hash))
}

/// The SHA-256 of a file's bytes, and how many they are.
pub(super) fn digest(file: &Path) -> Result<(Hash, u64), Error> {
    let reading = |source| file_error("cannot read", file, source);
    let mut bytes = File::open(file).map_err(reading)?;
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    let mut part = vec![0; 256 * 1024];
    loop {
        let read = bytes.read(&mut part).map_err(reading)?;
        if read == 0 {
            return Ok((hash.finalize().into(), size));
        }
        hash.update(part.get(..read).unwrap_or_default());
        size = size.saturating_add(read as u64);
    }
}

/// Has the system put a file, or the names in a folder, on the disk.
pub(super) fn sync(file: &Path) -> Result<(), Error> {
    let synced = File::open(file).and_then(|file| file.sync_all());
    synced.map_err(|source| file_error("cannot put on the disk", file, source))
}

pub(super) fn file_error(doing: &'static str, file: &Path, source: io::Error) -> Error {
    Error::File { doing, file: file.to_owned(), source }
}

impl Store {
    /// Puts on record that a backup was made, and by whom.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn note_backup(&self, made: &BackedUp, who: &str, origin: &str, now: Timestamp) -> Result<(), Error> {
        let file = tidy(&made.file.display().to_string(), 1_000);
        let payload = json!({
            "file": file, "bytes": made.bytes, "sha256": tidy(&made.sha256, 64), "rows": made.rows, "head": tidy(&made.head, 64),
        });
        let draft = Draft { kind: kind::BACKUP_DONE, actor: who, origin, object: "database", payload, ..Draft::at(now) };
        self.append(AuditEvent::new(Draft { outcome: Ended::Done, ..draft })?).await.map(drop)
    }
}
