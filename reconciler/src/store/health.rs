//! How the store fares: shared by the writer, the readers and whoever shows it. Nothing here outlives the process; what has to is in
//! [`super::incidents`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Error, Store, files, from_ns, incidents, to_ns};
use crate::chain::chain;

/// What stands in the way of writing, and who waits for its end.
#[derive(Debug, Default)]
pub(super) struct Health {
    full: AtomicBool,
    opened_full: AtomicBool,
    room: Notify,
    lost: OnceLock<Arc<str>>,
    gone: CancellationToken,
    held: Mutex<Option<Arc<str>>>,
    integrity_ok_ns: AtomicI64,
}

impl Health {
    /// Why nothing is written now; nothing if it is.
    pub(super) fn refusal(&self) -> Option<Error> {
        if let Some(why) = self.lost.get() {
            return Some(Error::Lost(Arc::clone(why)));
        }
        self.is_full().then_some(Error::Full)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(super) fn became_full(&self) {
        self.full.store(true, Ordering::Release);
    }

    /// What was kept back is given up already, so that a start can say what it has to.
    pub(super) fn opened_full(&self) {
        self.opened_full.store(true, Ordering::Release);
    }

    pub(super) fn has_room(&self) {
        self.full.store(false, Ordering::Release);
        self.room.notify_one();
    }

    /// After this nothing is written any more; the first cause is kept, here and beside the database.
    pub(super) fn lose(&self, file: &Path, error: &Error) {
        let why: Arc<str> = chain(error).into();
        if self.lost.set(Arc::clone(&why)).is_ok() {
            tracing::error!("ALARM: the database cannot be relied on, the process ends and is started again: {why}");
            incidents::record(file, incidents::What::Error, &why, Timestamp::now());
            self.gone.cancel();
        }
    }

    pub(super) fn hold(&self, why: Option<Arc<str>>) {
        *self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = why;
    }

    pub(super) fn held(&self) -> Option<Arc<str>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(super) fn sound_at(&self, at: Timestamp) {
        self.integrity_ok_ns.store(to_ns(at), Ordering::Relaxed);
    }
}

/// What metrics and probes are told without a look into the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// The disk is full: nothing is written until there is room.
    pub full: bool,
    /// Why changes are held after faults of the disk.
    pub held: Option<Arc<str>>,
    /// Size of the write-ahead log in bytes.
    pub wal_bytes: u64,
    /// When the whole file was last found sound by this process.
    pub sound_at: Option<Timestamp>,
}

impl Store {
    /// How it fares.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let sound = self.health.integrity_ok_ns.load(Ordering::Relaxed);
        Vitals {
            full: self.health.is_full(),
            held: self.health.held(),
            wal_bytes: std::fs::metadata(self.wal()).map_or(0, |about| about.len()),
            sound_at: (sound != 0).then(|| from_ns(sound)),
        }
    }

    /// Why changes are held although nobody suspended them.
    #[must_use]
    pub fn held(&self) -> Option<Arc<str>> {
        self.health.held()
    }

    /// Why nothing can be written, in words for a probe.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let held = || self.held().map(|why| format!("changes are held: {why}"));
        self.health.refusal().map(|error| error.to_string()).or_else(held)
    }

    /// Waits until an error after which only a new start helps.
    pub async fn lost(&self) {
        self.health.gone.cancelled().await;
    }

    /// The error after which only a new start helps, if there was one.
    #[must_use]
    pub fn loss(&self) -> Option<Error> {
        self.health.lost.get().map(|why| Error::Lost(Arc::clone(why)))
    }

    /// A start on a full disk is on record, in the room that was kept back for it: from here on nothing is written until there is more.
    pub fn save_room(&self) {
        if self.health.opened_full.swap(false, Ordering::AcqRel) {
            self.health.became_full();
        }
    }

    /// Waits until a full disk has room again.
    pub async fn room(&self) {
        self.health.room.notified().await;
    }

    fn wal(&self) -> PathBuf {
        files::beside(&self.file, "-wal")
    }
}
