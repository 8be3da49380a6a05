//! The operators' door: a Unix socket beside the database, for root (and whoever may enter that folder) on this host.
//!
//! One JSON line in, one JSON line out, connection closed; but for those who follow what is refused: they get lines until they leave.
//! The actor of an audit row is the user id that the kernel reports for the
//! other end, never what the caller says.

mod actor;
pub mod differences;
mod orders;
mod switches;

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::actor::actor;
pub(super) use self::orders::Orders;
pub use self::switches::Ends;
use super::events;
use crate::store::BackedUp;

/// A longer line is not an order.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// An order is given at once or not at all.
const ORDER_TIME_MAX: Duration = Duration::from_secs(5);
/// An order that has a commit judged again may take this long.
const JUDGING_TIME_MAX: Duration = Duration::from_secs(30);
/// Whoever gave an order waits this long for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
/// Operators at once; the next ones wait in the kernel's queue.
const OPERATORS_MAX: usize = 8;
/// After an accept that failed for want of descriptors or memory; trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Orders under way when the controller stops may still be carried out.
const ENDING: Duration = Duration::from_secs(1);

/// What an operator may ask of a running controller.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Order {
    /// Look now.
    Reconcile,
    /// Tell of refused packets from now on.
    Events,
    /// Sign for the audit log as it stands.
    Checkpoint,
    /// Accept this head, once.
    AcceptHead {
        /// At least twelve digits of it.
        commit: String,
        /// Why.
        reason: String,
    },
    /// Keep what is on trial, or release the held plan with this hash.
    Confirm {
        /// The first twelve digits of either; without, what is on trial.
        #[serde(default)]
        hash: Option<String>,
        /// Why; a held plan needs one.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Hold changes back.
    Suspend {
        /// Why.
        reason: String,
        /// Until when; without, until somebody resumes.
        until: Option<Timestamp>,
    },
    /// End what holds.
    Resume {
        /// Only this; without, everything.
        only: Option<Ends>,
        /// Why.
        reason: Option<String>,
    },
    /// Go back to a commit that was in force before, and hold it against newer heads.
    Rollback {
        /// Digits of it.
        commit: String,
        /// Why.
        reason: String,
    },
    /// Drop nothing on this host for a time.
    Disable {
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
    },
    /// Somebody is about to turn audit on with the firewall in hand: no time for which it was off must end that.
    Rescuing,
    /// Put on record that a backup was made.
    BackedUp(BackedUp),
    /// Accept a difference until a time.
    AcceptDrift {
        /// Which, by digits of its id.
        id: String,
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
    },
    /// End what was decided about a difference.
    ReleaseDrift {
        /// Which, by digits of its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// Write a drift report now.
    Report,
    /// Put on record what somebody did to the firewall itself.
    Rescued {
        /// What was done.
        what: String,
        /// What came of it.
        outcome: String,
    },
}

/// What followers read.
type Lines = tokio::sync::broadcast::Receiver<Arc<str>>;

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was taken.
    pub ok: bool,
    /// What happened, or why not.
    pub message: String,
}

/// Where the socket is.
#[must_use]
pub fn socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// Serves orders until told to stop.
pub(super) fn serve(folder: &Path, orders: Orders, stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
    let path = socket(folder);
    // The database lock is ours, so a socket that is already there has no owner any more.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot open the operators' socket {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(tokio::spawn(async move {
        take_orders(&listener, &orders, &stop).await;
        let _ = std::fs::remove_file(&path);
    }))
}

/// Each operator in a task of its own, so that a slow one keeps nobody waiting.
async fn take_orders(listener: &UnixListener, orders: &Orders, stop: &CancellationToken) {
    let mut operators = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = operators.join_next() => continue,
            accepted = listener.accept(), if operators.len() < OPERATORS_MAX => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (orders, stop) = (orders.clone(), stop.clone());
                operators.spawn(async move {
                    if let Some((stream, lines)) = answer(stream, &orders).await {
                        events::serve(stream, lines, &stop).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!("cannot take an operator's connection: {error}");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    let _ = tokio::time::timeout(ENDING, async { while operators.join_next().await.is_some() {} }).await;
}

/// Answers an order; whoever is to follow from now on is given back.
async fn answer(mut stream: UnixStream, orders: &Orders) -> Option<(UnixStream, Lines)> {
    let actor = stream.peer_cred().map_or_else(|_| "uid:unknown".to_owned(), |who| self::actor(who.uid()));
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading.take(LINE_BYTES_MAX));
    let Ok(read) = tokio::time::timeout(ORDER_TIME_MAX, reading.read_line(&mut line)).await else {
        tracing::warn!("an operator's connection said nothing and was closed");
        return None;
    };
    if matches!(read, Ok(0)) {
        // Somebody only looked whether anybody is here.
        return None;
    }
    let mut lines = None;
    let reply = match read.ok().and_then(|_| serde_json::from_str::<Order>(&line).ok()) {
        None => orders.not_an_order(&actor).await,
        Some(Order::Events) => {
            lines = orders.drops.subscribe();
            let message = if lines.is_some() { "following" } else { "too many follow already; end one of them first" };
            Reply { ok: lines.is_some(), message: message.to_owned() }
        }
        Some(order) => orders.carry_out(order, actor).await,
    };
    if let Ok(text) = serde_json::to_string(&reply) {
        // Whoever does not read the answer keeps no place.
        let _ = tokio::time::timeout(ORDER_TIME_MAX, writing.write_all(format!("{text}\n").as_bytes())).await;
    }
    lines.map(|lines| (stream, lines))
}

/// Gives an order to the controller whose database lies in `folder`.
///
/// # Errors
/// No controller runs there, or it refuses.
pub fn order(folder: &Path, order: &Order) -> anyhow::Result<String> {
    let path = socket(folder);
    let stream = std::os::unix::net::UnixStream::connect(&path)
        .with_context(|| format!("no controller answers at {}; is it running, and are you root?", path.display()))?;
    Ok(ask(stream, order)?.0)
}

/// Whether a controller runs whose database lies in `folder`.
///
/// # Errors
/// One may run, but is not for this user.
pub fn answers(folder: &Path) -> anyhow::Result<bool> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let path = socket(folder);
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot ask the controller at {}; are you root?", path.display())),
    }
}

/// The lines of the controller whose database lies in `folder`, as packets are refused; none where no controller runs.
///
/// # Errors
/// The controller refuses, or is not for this user.
pub fn follow(folder: &Path) -> anyhow::Result<Option<std::io::BufReader<std::os::unix::net::UnixStream>>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let path = socket(folder);
    let stream = match std::os::unix::net::UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot ask the controller at {}; are you root?", path.display())),
    };
    let (_, lines) = ask(stream, &Order::Events)?;
    lines.get_ref().set_read_timeout(None)?;
    Ok(Some(lines))
}

/// Gives an order; the answer, and where more of it comes from.
fn ask(
    mut stream: std::os::unix::net::UnixStream,
    order: &Order,
) -> anyhow::Result<(String, std::io::BufReader<std::os::unix::net::UnixStream>)> {
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    writeln!(stream, "{}", serde_json::to_string(order)?)?;
    let mut line = String::new();
    let mut answers = std::io::BufReader::new(stream);
    answers.read_line(&mut line).context("the controller did not answer")?;
    let reply: Reply = serde_json::from_str(&line).context("the controller's answer is not readable")?;
    if !reply.ok {
        bail!("the controller refused: {}", reply.message);
    }
    Ok((reply.message, answers))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use tokio::sync::Notify;

    use super::*;
    use crate::run::patience::Urgent;
    use crate::store::Store;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_silent_operator_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", Timestamp::now()).await.unwrap();
        let stop = CancellationToken::new();
        let orders = Orders {
            store: store.clone(),
            wake: Arc::new(Notify::new()),
            urgent: Urgent::default(),
            drops: crate::run::Drops::default(),
            rollbacks: crate::run::rollback::Rollbacks::default(),
            view: Arc::default(),
            disabled: Arc::default(),
            drift: Arc::default(),
            desk: crate::run::keeper::Desk::new().0,
            reports: crate::run::reports::Reports::default(),
        };
        let served = serve(folder.path(), orders, stop.clone()).unwrap();
        let _silent = UnixStream::connect(socket(folder.path())).await.unwrap();
        let began = std::time::Instant::now();
        let path = folder.path().to_owned();
        let reply = tokio::task::spawn_blocking(move || order(&path, &Order::Reconcile)).await.unwrap().unwrap();
        assert_eq!(reply, "looking now");
        stop.cancel();
        served.await.unwrap();
        assert!(began.elapsed() < ORDER_TIME_MAX, "{:?}", began.elapsed());
        store.close().await;
    }
}
