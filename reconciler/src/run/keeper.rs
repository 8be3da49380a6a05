//! Who keeps the log honest: cuts signed checkpoints, keeps the newest beside the database, and has them left at the anchors.
//!
//! A checkpoint is cut after each trip that wrote rows, at most a minute after any other row, at the end, and when an operator asks. Before
//! one is signed, the rows since the last are read back from the file; where they are not what the tree beside them was made of,
//! nothing is signed, changes stop, and that is a row. Rows of a quiet controller are heartbeats, every five minutes, and so is then the
//! checkpoint; neither a checkpoint nor leaving it at an anchor writes a row that would ask for another one.

mod compare;
mod deliver;
mod fork;
mod holds;
mod identity;
mod start;
pub mod witnesses;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::deliver::Deliverer;
pub use self::fork::fork;
use self::holds::{hold, release, settle};
pub use self::identity::{Identity, known_keys};
pub(super) use self::start::allowed as start_allowed;
pub use self::start::{SinkSaid, anchors, ask_anchors, beside, writable};
use crate::audit::{AuditEvent, Draft, Ended, Note, NoteSigner, Trunk, kind};
use crate::chain::chain;
use crate::config::{Config, head_file};
use crate::converge::AUDIT_HOLD;
use crate::store::{self, Store};

/// No row waits longer for a checkpoint.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often the size of the log is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Operators who ask for a checkpoint at once.
const ORDERS_MAX: usize = 8;
/// Since the log is not what it should be.
pub(super) const UNSOUND: &str = "unsound";
/// Since an anchor has another log.
pub(super) const DISAGREES: &str = "disagrees";
/// Since every anchor is behind.
pub(super) const BEHIND: &str = "behind";

/// The way to the keeper: for trips that ended, and operators who want a checkpoint now.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    closed: Arc<Notify>,
    orders: mpsc::Sender<oneshot::Sender<Result<String, String>>>,
}

/// The other end.
pub(super) struct Orders(pub(super) Arc<Notify>, mpsc::Receiver<oneshot::Sender<Result<String, String>>>);

impl Desk {
    pub(super) fn new() -> (Self, Orders) {
        let (closed, (orders, taken)) = (Arc::new(Notify::new()), mpsc::channel(ORDERS_MAX));
        (Self { closed: Arc::clone(&closed), orders }, Orders(closed, taken))
    }

    /// There is something to sign, and nobody has to wait for more: a trip ended, a segment was sealed.
    pub(super) fn sign(&self) {
        self.closed.notify_one();
    }

    /// Cuts a checkpoint now; the newest note.
    pub(super) async fn checkpoint(&self) -> Result<String, String> {
        let (to, answer) = oneshot::channel();
        self.orders.try_send(to).map_err(|_| "the controller is at work; try again".to_owned())?;
        answer.await.unwrap_or_else(|_| Err("the controller is stopping".to_owned()))
    }
}

/// Cuts checkpoints.
pub(super) struct Keeper {
    store: Store,
    signer: NoteSigner,
    head: std::path::PathBuf,
    sinks: Vec<String>,
    trunk: Trunk,
    /// What was told of a log that is not sound, so that it is told once.
    told: Option<String>,
    cut: watch::Sender<u64>,
    wake: Arc<Notify>,
    origin: String,
}

/// What a look at the log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// The newest note, which is new or was there already.
    Signed(Box<Note>),
    /// Nothing is signed: why.
    Refused(String),
}

impl Keeper {
    /// A keeper that goes on from the newest checkpoint.
    pub(super) async fn new(store: Store, config: &Config, signer: NoteSigner, wake: Arc<Notify>) -> Result<Self, store::Error> {
        let sinks: Vec<String> = config.audit.anchors.iter().map(crate::config::AnchorConfig::name).collect();
        store.name_sinks(sinks.clone(), Timestamp::now()).await?;
        let trunk = store.trunk(signer.verifier().name()).await?;
        let head = head_file(config.database.folder());
        let origin = format!("host:{}", config.host_name());
        Ok(Self { store, signer, head, sinks, trunk, told: None, cut: watch::Sender::new(0), wake, origin })
    }

    /// Reads new rows back, and signs for them if they hold.
    pub(super) async fn cut(&mut self, now: Timestamp) -> Result<Cut, store::Error> {
        let grown = match self.store.grow(self.trunk.clone()).await? {
            Ok(grown) => grown,
            Err(unsound) => return self.unsound(unsound.to_string(), now).await.map(Cut::Refused),
        };
        let size = grown.frontier().size();
        let note = self.signer.sign(size, grown.frontier().root());
        match self.store.keep_checkpoint(&note, grown.frontier(), self.sinks.clone(), now).await {
            Err(store::Error::Damaged(what)) => return self.unsound(what, now).await.map(Cut::Refused),
            kept => kept?,
        };
        self.trunk = grown;
        if self.told.take().is_some() || self.held_for(UNSOUND).await? {
            release(&self.store, UNSOUND, "", "the log is sound again", now).await?;
            self.store.failure_end(store::AUDIT_LOG, "its rows are again those that were written", "system", now).await?;
            self.wake.notify_one();
        }
        let (head, text) = (self.head.clone(), note.to_string());
        let written = tokio::task::spawn_blocking(move || start::write_head(&head, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::error!("cannot write {}: {error}; it is tried again with the next checkpoint", self.head.display());
        }
        self.cut.send_replace(size);
        Ok(Cut::Signed(Box::new(note)))
    }

    async fn held_for(&self, what: &str) -> Result<bool, store::Error> {
        let shown = self.store.switch_row(AUDIT_HOLD).await?.is_some_and(|switch| switch.value == what);
        Ok(shown || holds::causes(&self.store).await?.iter().any(|cause| cause.what == what))
    }

    /// Nothing is signed, and nothing changes, until the rows give again what was signed and what stands beside them.
    async fn unsound(&mut self, what: String, now: Timestamp) -> Result<String, store::Error> {
        let said = format!("the audit log is not what it was: {what}; look with pci-segment audit verify, and restore a backup");
        hold(&self.store, UNSOUND, "", &said, now).await?;
        self.store.failure_open(store::AUDIT_LOG, &what, now).await?;
        if self.told.as_ref() == Some(&said) {
            return Ok(said);
        }
        tracing::error!("{said}; nothing is signed, and changes stop");
        let payload = serde_json::json!({ "ok": false, "doing": "checkpoint", "reason": what });
        let draft =
            Draft { kind: kind::LOG_VERIFIED, origin: &self.origin, object: "audit_log", outcome: Ended::Failed, ..Draft::at(now) };
        self.store.append(AuditEvent::new(Draft { payload, ..draft })?).await?;
        self.told = Some(said.clone());
        Ok(said)
    }

    /// Keeps until told to stop, and cuts a last one then.
    async fn keep(mut self, mut orders: Orders, stop: CancellationToken) {
        let mut waits_since: Option<tokio::time::Instant> = None;
        loop {
            let mut asked = None;
            let at_once = tokio::select! {
                () = stop.cancelled() => return,
                () = orders.0.notified() => true,
                Some(to) = orders.1.recv() => { asked = Some(to); true }
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let size = match self.store.audit_head().await {
                Ok(head) => head.size,
                Err(error) => {
                    answer(asked, Err(chain(&error)));
                    continue;
                }
            };
            let signed = self.trunk.frontier().size();
            waits_since = (size != signed).then(|| waits_since.unwrap_or_else(tokio::time::Instant::now));
            let due = waits_since.is_some_and(|since| at_once || since.elapsed() >= ROWS_WAIT_MAX);
            if !due && asked.is_none() {
                continue;
            }
            let cut = self.cut(Timestamp::now()).await;
            // What cannot be read or written now waits another minute, so that a full disk is not asked every moment.
            waits_since = None;
            answer(asked, said(cut));
        }
    }
}

fn said(cut: Result<Cut, store::Error>) -> Result<String, String> {
    match cut {
        Ok(Cut::Signed(note)) => Ok(note.to_string()),
        Ok(Cut::Refused(why)) => Err(why),
        Err(error) => {
            tracing::error!("no checkpoint of the audit log: {}", chain(&error));
            Err(chain(&error))
        }
    }
}

fn answer(asked: Option<oneshot::Sender<Result<String, String>>>, said: Result<String, String>) {
    if let Some(to) = asked {
        // Whoever asked may have left.
        let _ = to.send(said);
    }
}

/// Starts the keeper and one task for each anchor.
pub(super) async fn begin(
    store: &Store,
    config: &Config,
    signer: NoteSigner,
    (orders, wake, stop): (Orders, Arc<Notify>, CancellationToken),
) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
    let ours = identity::ours(store, Some(signer.verifier())).await?;
    let keeper =
        Keeper::new(store.clone(), config, signer, Arc::clone(&wake)).await.context("cannot begin to sign the audit log")?;
    let mut tasks = Vec::new();
    settle(store, &keeper.sinks, config.audit.require_anchor, Timestamp::now()).await?;
    let every: Arc<[String]> = keeper.sinks.clone().into();
    for anchor in anchors(config)? {
        let (store, cut, ours) = (store.clone(), keeper.cut.subscribe(), ours.clone());
        let required = config.audit.require_anchor.then(|| Arc::clone(&every));
        let deliverer = Deliverer { store, anchor, ours, required, wake: Arc::clone(&wake) };
        tasks.push(("the deliverer of checkpoints", tokio::spawn(deliverer.deliver(cut, stop.clone()))));
    }
    tasks.push(("the keeper of the audit log", tokio::spawn(keeper.keep(orders, stop))));
    Ok(tasks)
}

/// The last checkpoint of a run, over its last row; anchors get it with the next start, or now where they are quick.
pub(super) async fn finish(store: &Store, config: &Config, signer: NoteSigner) -> anyhow::Result<()> {
    let mut keeper = Keeper::new(store.clone(), config, signer, Arc::new(Notify::new())).await?;
    if let Cut::Refused(why) = keeper.cut(Timestamp::now()).await? {
        tracing::error!("{why}");
        return Ok(());
    }
    let ours = identity::ours(store, Some(keeper.signer.verifier())).await?;
    for anchor in anchors(config)? {
        let (store, ours) = (store.clone(), ours.clone());
        Deliverer { store, anchor, ours, required: None, wake: Arc::new(Notify::new()) }.last().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
