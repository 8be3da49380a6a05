//! The operators' door: a Unix socket beside the database, for root (and whoever may enter that folder) on this host.
//!
//! One JSON line in, one JSON line out, connection closed. The actor of an audit row is the user id that the kernel reports for the
//! other end, never what the caller says.

mod orders;

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub(super) use self::orders::Orders;

/// A longer line is not an order.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// An order is given at once or not at all.
const ORDER_TIME_MAX: Duration = Duration::from_secs(5);
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
    /// Put on record what somebody did to the firewall itself.
    Rescued {
        /// What was done.
        what: String,
        /// What came of it.
        outcome: String,
    },
}

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
                let orders = orders.clone();
                operators.spawn(async move {
                    if tokio::time::timeout(ORDER_TIME_MAX, answer(stream, &orders)).await.is_err() {
                        tracing::warn!("an operator's connection said nothing and was closed");
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

async fn answer(mut stream: UnixStream, orders: &Orders) {
    let actor = stream.peer_cred().map_or_else(|_| "uid:unknown".to_owned(), |who| format!("uid:{}", who.uid()));
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    let read = BufReader::new(reading.take(LINE_BYTES_MAX)).read_line(&mut line).await;
    let reply = match read.ok().and_then(|_| serde_json::from_str::<Order>(&line).ok()) {
        None => Reply { ok: false, message: "that is not an order".to_owned() },
        Some(order) => orders.carry_out(order, actor).await,
    };
    if let Ok(text) = serde_json::to_string(&reply) {
        let _ = writing.write_all(text.as_bytes()).await;
        let _ = writing.write_all(b"\n").await;
    }
}

/// Gives an order to the controller whose database lies in `folder`.
///
/// # Errors
/// No controller runs there, or it refuses.
pub fn order(folder: &Path, order: &Order) -> anyhow::Result<String> {
    let path = socket(folder);
    let mut stream = std::os::unix::net::UnixStream::connect(&path)
        .with_context(|| format!("no controller answers at {}; is it running, and are you root?", path.display()))?;
    stream.set_read_timeout(Some(ORDER_TIME_MAX))?;
    writeln!(stream, "{}", serde_json::to_string(order)?)?;
    let mut line = String::new();
    std::io::BufReader::new(&stream).read_line(&mut line).context("the controller did not answer")?;
    let reply: Reply = serde_json::from_str(&line).context("the controller's answer is not readable")?;
    if !reply.ok {
        bail!("the controller refused: {}", reply.message);
    }
    Ok(reply.message)
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
        let orders = Orders { store: store.clone(), wake: Arc::new(Notify::new()), urgent: Urgent::default() };
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
