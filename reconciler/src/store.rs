//! Everything the controller must not forget, in one SQLite file: what arrived, what was judged, what was applied, what still has to
//! be said to the forge, what drifted, and the audit log.
//!
//! Two rules shape it. *No change without a row*: state and its audit row are one transaction in one file, and if it cannot be written
//! nothing is applied. *A commit that returns an error is "unknown", not "no"*: after [`Error::Unknown`] look, never assume.
//!
//! One task owns the only connection that writes (`writer`); everything that writes goes through it, so a client that hangs up
//! cannot cut a transaction short. Readers have connections of their own and cannot write. Time is an argument everywhere.
//!
//! The bodies of old rows of the log may be in sealed segments only; their hashes never leave.

mod anchors;
mod backup;
mod checkpoints;
mod clock;
mod commits;
mod decisions;
mod drift;
mod drift_actor;
mod drift_reads;
mod error;
mod failures;
mod files;
mod health;
mod history;
mod history_rows;
mod inbox;
mod incidents;
mod lately;
mod log_check;
mod log_copy;
mod log_rows;
mod measures;
mod observed;
mod open;
mod operators;
mod outbox;
mod pass_end;
mod passes;
mod reads;
mod reports;
mod requests;
mod reserve;
mod restore;
mod reviews;
mod room;
mod segments;
mod soundness;
mod switches;
mod tx;
mod usage;
mod writer;

pub use anchors::{AnchorState, Queued};
pub use backup::{BackedUp, copy, sha256_of};
pub use checkpoints::{ForkRow, Forked, INSTALL_ID, KeptNote, LogNames, NewKey};
pub use commits::{Came, CommitRecord, Judged, NewCommit, Verdict};
pub(crate) use decisions::RELEASED_KEPT;
pub use decisions::{DriftDecision, DriftVerdict, PutBack};
pub use drift::{AUDIT, Closing, DriftClass, DriftEntry, DriftKind, DriftNoted, DriftSeen, Resolution};
pub use error::Error;
pub use failures::{AUDIT_CHECK, AUDIT_LOG, DATABASE, DISK_SPACE, Failure, INTEGRITY, WAL};
pub use health::Vitals;
pub use history::{AuditRow, CommitStory, OrderRow, PassStory, StatusStory, StepStory, TargetAnswer};
pub use inbox::{Delivery, INBOX_DAYS, Kept, Waiting};
pub use lately::{FORGE_RESTS_MAX, LAST_LOOK, LastDelivery, LastStatus, Lately};
pub use log_copy::{bytes_of, copy_rows};
pub use log_rows::{AUDIT_KEYS, AUDIT_ORIGIN, RawRow, StoredCheckpoint};
pub use measures::Measures;
pub use observed::{Gap, Observation};
pub use operators::restoring;
pub use outbox::{News, OutboxDepth, OutboxItem};
pub use pass_end::{EndedPass, EnforcedNow, Outcome, PassEnd};
pub use passes::{EnforcedRow, Ensure, NewStep, OpenPass, PassId, Plan, StepEnd, StepState, Why};
pub use reads::{AuditHead, HistoryEntry, InForce, Signed, StatusSummary, TargetState, TrialSummary};
pub use reports::{NewReport, ReportEntry, ReportFacts, report_id};
pub use requests::{Comment, OpenRequest};
pub use restore::{Restored, restore};
pub use reviews::Reviews;
pub use segments::{NotPruned, Segment};
pub use switches::{Note, Switch};
pub use usage::RuleUsage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqlitePool;
use tokio::sync::Notify;

use crate::audit::AuditEvent;
use health::Health;
use tx::Tx;
use writer::{BoxFuture, Writer};

/// A read that takes longer holds back the reset of the write-ahead log for everybody.
const READ_SECONDS_MAX: u64 = 5;
/// The first version of the schema that keeps checkpoints and segments.
const RECORDS_SCHEMA: i64 = 4;

/// The database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Option<Writer>,
    readers: SqlitePool,
    file: Arc<Path>,
    news: Arc<Notify>,
    health: Arc<Health>,
}

impl Store {
    /// Opens the database, makes it if it is not there, and takes it for this process until [`Store::close`] or the end.
    ///
    /// `origin` names where the controller's own rows come from, for instance `host:db-01`.
    ///
    /// # Errors
    /// Folder missing or not writable, another controller has it (names its process id), somebody else's or a newer file, a damaged
    /// file, a file on a network or with links. Each says what to do next.
    pub async fn open(file: &Path, origin: &str, now: Timestamp) -> Result<Self, Error> {
        let opened = room::with_reserve(file, || open::take(file, origin, now)).await;
        let (lock, file, mut tx) = opened.inspect_err(|error| {
            if error.wants_restart() {
                incidents::record(file, incidents::What::Error, &crate::chain::chain(error), now);
            }
        })?;
        let held = incidents::held(&file, &mut incidents::all(&file), now);
        tx.health.hold(held.map(Into::into));
        room::at_start(&mut tx).await;
        let (readers, news, health) = (open::connect_readers(&file), Arc::clone(&tx.news), Arc::clone(&tx.health));
        Ok(Self { writer: Some(Writer::start(tx, lock)), readers, file, news, health })
    }

    /// Opens the database for reading only, beside a running controller or without one. Nothing is created or changed.
    ///
    /// # Errors
    /// No such file, not readable, somebody else's or a newer one.
    pub async fn open_read_only(file: &Path) -> Result<Self, Error> {
        let file = files::existing(file)?;
        // Without a controller SQLite makes the index of the write-ahead log anew, and that takes room.
        let opened = room::with_reserve(&file, || async {
            let readers = open::connect_readers(&file);
            open::check_readable(&readers, &file).await.map(|()| readers)
        });
        let readers = opened.await?;
        Ok(Self { writer: None, readers, file, news: Arc::default(), health: Arc::default() })
    }

    /// Ends the writer after what is queued is written, and gives the file free. Other clones get [`Error::Closed`].
    pub async fn close(self) {
        self.readers.close().await;
        if let Some(writer) = self.writer {
            writer.close().await;
        }
    }

    /// Waits until something is queued for the forge, or was since this was waited for last.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Which SQLite this is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sqlite_version(&self) -> Result<String, Error> {
        self.read("cannot ask SQLite for its version", sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&self.readers)).await
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds one audit row that no state goes with (boot, heartbeat, configuration, refusals). The same event twice is one row.
    /// Returns its place in the log.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn append(&self, event: AuditEvent) -> Result<u64, Error> {
        self.write(move |tx| Box::pin(async move { tx.append_once(&event).await })).await
    }

    /// Runs one piece of work in a transaction of the writer and answers after it is durable.
    ///
    /// Work passes every error of the database on: after some (a full disk) SQLite has ended the transaction by itself, and a statement
    /// that followed would be kept on its own.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + 'static,
    {
        self.writer.as_ref().ok_or(Error::ReadOnly)?.run(work).await
    }

    /// Waits for a read, but not for ever.
    async fn read<T>(&self, doing: &'static str, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(Duration::from_secs(READ_SECONDS_MAX), work).await {
            Ok(answer) => answer.map_err(|source| {
                let error = Error::sqlite(doing, source);
                if error.wants_restart() && self.writer.is_some() {
                    self.health.lose(&self.file, &error);
                }
                error
            }),
            Err(_) => Err(Error::Slow { doing }),
        }
    }
}

/// Nanoseconds since 1970, as the database keeps them; a time that does not fit becomes the nearest that does.
fn to_ns(time: Timestamp) -> i64 {
    let wide = time.as_nanosecond();
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// The time of a stored number of nanoseconds.
fn from_ns(ns: i64) -> Timestamp {
    // Every i64 of nanoseconds lies between the years 1677 and 2262.
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Words that stand in a column, in JSON and in Rust.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $name { $($(#[$note])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// The word in the database and in JSON.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The other way round.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
use words;

#[cfg(test)]
pub(crate) use tests::hold as hold_for_test;

#[cfg(test)]
mod tests;
