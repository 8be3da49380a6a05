//! Why the store could not do what it was asked, and what to do next.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::audit::Refused;

/// Always "try again later", except where the text says what a person has to do first.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not there.
    #[error("the folder {folder} for the database does not exist; make it with: install -d -m 0700 {folder}", folder = .0.display())]
    FolderMissing(PathBuf),
    /// Nothing can be written there.
    #[error("cannot write in {folder}; give this user write access to it, or name another place with `database:`", folder = folder.display())]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Everybody on this host could replace the database.
    #[error("everybody may write in {folder}; name a folder of its own with `database:`, or: chmod o-w {folder}", folder = .0.display())]
    FolderOpen(PathBuf),
    /// There is no database yet.
    #[error("there is no database at {file}; it is made by the first `pci-segment run`", file = .0.display())]
    NoDatabase(PathBuf),
    /// It is there, but not for us.
    #[error("cannot read {file}; run this as the user of the controller, or as root", file = file.display())]
    NotReadable {
        /// The database.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another controller works with it.
    #[error("{file} is in use by process {pid} since {since}; stop that controller first: one database has one writer", file = file.display())]
    Locked {
        /// The database.
        file: PathBuf,
        /// Whose lock it is, as that process wrote it down.
        pid: String,
        /// Since when, likewise.
        since: String,
    },
    /// Links break the pairing of the database and its journal.
    #[error("{file} is {what}; name a plain file with a single name", file = file.display())]
    NotPlain {
        /// The database.
        file: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Locks and shared memory do not work there.
    #[error("{folder} is on a network file system ({kind}); put the database on a local disk", folder = folder.display())]
    Network {
        /// The folder.
        folder: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// Somebody else's file.
    #[error("{file} is not a database of pci-segment ({what}); it was left as it is: name another file with `database:`", file = file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it is, as far as can be told.
        what: String,
    },
    /// Written by a later release.
    #[error("{file} has schema version {found}, this program knows versions up to {known}; use the release that wrote it, or a later one", file = file.display())]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The linked SQLite can lose data.
    #[error("this program carries SQLite {found}, but 3.51.3 or newer is needed; use an official build")]
    OldSqlite {
        /// Its version.
        found: String,
    },
    /// A setting did not take.
    #[error("SQLite kept {name} at {got} instead of {wanted}")]
    Setting {
        /// The PRAGMA.
        name: &'static str,
        /// What was asked for.
        wanted: &'static str,
        /// What it answered.
        got: String,
    },
    /// The file contradicts itself.
    #[error("the database is damaged: {0}; check with `pci-segment audit verify` and restore a backup")]
    Damaged(String),
    /// The schema could not be brought up to date.
    #[error("cannot bring the database up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed; nothing of its transaction was kept.
    #[error("{doing}")]
    Sqlite {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Whether it was stored is not known: look before doing it again.
    #[error("the database did not confirm the transaction; whether it was stored is unknown")]
    Unknown(#[source] Arc<sqlx::Error>),
    /// A read took longer than it may.
    #[error("{doing} took longer than 5 s")]
    Slow {
        /// What was being done.
        doing: &'static str,
    },
    /// The disk is full.
    #[error("the disk of the database is full; make room, and everything goes on by itself")]
    Full,
    /// The disk returned an error; only a new start helps.
    #[error("the database cannot be relied on until the controller is started again: {0}")]
    Lost(Arc<str>),
    /// A backup was being put in place, and something ended that.
    #[error("a restore was cut short and left {left}; finish it: pci-segment restore FILE", left = left.display())]
    RestoreCutShort {
        /// What it left.
        left: PathBuf,
    },
    /// A file cannot be used as a backup, or not be made one.
    #[error("{file}: {what}", file = file.display())]
    Backup {
        /// Which.
        file: PathBuf,
        /// Why, and what to do.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{doing} {file}", file = file.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// Which.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Too much is waiting to be written.
    #[error("the queue of the database is full; try again later")]
    QueueFull,
    /// The store was closed.
    #[error("the database is closed")]
    Closed,
    /// Opened for reading.
    #[error("the database is open for reading only")]
    ReadOnly,
    /// The row that was to be changed is not there.
    #[error("there is no {0}")]
    NoSuch(String),
    /// What should be logged cannot be.
    #[error("an audit row was refused")]
    Refused(#[from] Refused),
}

impl Error {
    pub(super) fn sqlite(doing: &'static str, source: sqlx::Error) -> Self {
        Self::Sqlite { doing, source }
    }

    /// True where only a restart helps (I/O error, damaged file): the process should end with exit code 75 so that it is started again
    /// and looks at the file afresh.
    #[must_use]
    pub fn wants_restart(&self) -> bool {
        // SQLITE_IOERR 10, SQLITE_CORRUPT 11, SQLITE_CANTOPEN 14, SQLITE_NOTADB 26 <https://www.sqlite.org/rescode.html>
        let fatal = matches!(self.sqlite_code().map(|code| code & 0xff), Some(10 | 11 | 14 | 26));
        matches!(self, Self::Lost(_)) || fatal && !self.disk_full()
    }

    /// True where the file contradicts itself.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self.sqlite_code().map(|code| code & 0xff), Some(11 | 26))
    }

    /// True where the disk is full: changes stop, and go on by themselves once a write succeeds.
    #[must_use]
    pub fn disk_full(&self) -> bool {
        // SQLITE_FULL
        matches!(self, Self::Full) || self.sqlite_code().map(|code| code & 0xff) == Some(13)
    }

    /// The extended result code of SQLite, if one is behind this.
    fn sqlite_code(&self) -> Option<i32> {
        let source = if let Self::Sqlite { source, .. } = self {
            source
        } else if let Self::Unknown(source) = self {
            source.as_ref()
        } else {
            return None;
        };
        if let sqlx::Error::Configuration(inner) = source {
            return inner.downcast_ref::<Self>().and_then(Self::sqlite_code);
        }
        source.as_database_error()?.code()?.parse::<i32>().ok()
    }
}
