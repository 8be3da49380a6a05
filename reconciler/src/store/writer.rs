//! The one task that writes.
//!
//! Requests wait in a bounded queue. The task takes what is there, up to 256 at once, runs it as one `BEGIN IMMEDIATE` transaction
//! and answers after `COMMIT`. It never waits for more: while one commit is on its way to the disk the next requests gather by
//! themselves, so a lone request pays for nothing but its own commit. Inside a shared transaction every request has a savepoint: one
//! that fails takes nothing of the others with it.
//!
//! After an error of the transaction itself the connection is thrown away and the head of the log is read from the file again.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::files::Lock;
use super::open::{check_settings, write_options};
use crate::audit::{AuditEvent, Draft, Frontier, Hash, leaf};

/// A full queue is back-pressure, never memory growth.
const QUEUE_REQUESTS_MAX: usize = 10_000;
/// More in one transaction gains nothing and makes the first wait.
const BATCH_REQUESTS_MAX: usize = 256;
/// After this long without work the write-ahead log is emptied.
const IDLE_SECONDS: u64 = 2;

pub(super) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to the task.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
}

enum Request {
    Work(Box<dyn Work>),
    Close(oneshot::Sender<()>),
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Work(_) => "Work",
            Self::Close(_) => "Close",
        })
    }
}

impl Writer {
    pub(super) fn start(tx: Tx, lock: Lock) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        tokio::spawn(serve(tx, lock, requests));
        Self { queue }
    }

    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        let job = Box::new(Job { work: Some(work), result: None, to });
        self.queue.try_send(Request::Work(job)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    pub(super) async fn close(self) {
        let (to, closed) = oneshot::channel();
        if self.queue.send(Request::Close(to)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// A request whose answer has any type.
trait Work: Send {
    /// Runs it; false if it failed and what it wrote must go.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Tells the caller, after the commit.
    fn answer(self: Box<Self>, commit: &Result<(), Arc<sqlx::Error>>);
}

struct Job<T, F> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    to: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Work for Job<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Error>> + Send + 'static,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let result = work(tx).await;
            let kept = result.is_ok();
            self.result = Some(result);
            kept
        })
    }

    fn answer(self: Box<Self>, commit: &Result<(), Arc<sqlx::Error>>) {
        let answer = match (self.result, commit) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(lost)) => Err(Error::Unknown(Arc::clone(lost))),
            (Some(done), Ok(())) => done,
            (None, Ok(())) => Err(Error::Closed),
        };
        // Nobody may be waiting any more; what was asked for is done all the same.
        let _ = self.to.send(answer);
    }
}

async fn serve(mut tx: Tx, lock: Lock, mut requests: mpsc::Receiver<Request>) {
    let mut written = true;
    loop {
        let next = if written {
            match tokio::time::timeout(Duration::from_secs(IDLE_SECONDS), requests.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    tx.empty_wal().await;
                    written = false;
                    continue;
                }
            }
        } else {
            requests.recv().await
        };
        let Some(first) = next else { break };
        let (batch, close) = gather(first, &mut requests);
        if !batch.is_empty() {
            run_batch(&mut tx, batch).await;
            written = true;
        }
        if let Some(closed) = close {
            tx.close().await;
            drop(lock);
            let _ = closed.send(());
            return;
        }
    }
    tx.close().await;
    drop(lock);
}

fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(request) = next {
        match request {
            Request::Close(to) => return (batch, Some(to)),
            Request::Work(work) => batch.push(work),
        }
        next = if batch.len() < BATCH_REQUESTS_MAX { requests.try_recv().ok() } else { None };
    }
    (batch, None)
}

async fn run_batch(tx: &mut Tx, mut batch: Vec<Box<dyn Work>>) {
    let commit = match transact(tx, &mut batch).await {
        Ok(()) => Ok(()),
        Err(lost) => {
            tracing::error!(error = %lost, "a transaction of the store was not confirmed");
            tx.broken = true;
            Err(Arc::new(lost))
        }
    };
    for work in batch {
        work.answer(&commit);
    }
}

async fn transact(tx: &mut Tx, batch: &mut [Box<dyn Work>]) -> Result<(), sqlx::Error> {
    tx.mend().await?;
    tx.begin().await?;
    let shared = batch.len() > 1;
    let mut kept_any = false;
    for work in batch {
        let before = tx.log.clone();
        if shared {
            tx.execute("SAVEPOINT request").await?;
        }
        let kept = work.run(tx).await;
        kept_any |= kept;
        if !kept {
            tx.log = before;
            tx.execute(if shared { "ROLLBACK TO request" } else { "ROLLBACK" }).await?;
        }
        if shared {
            tx.execute("RELEASE request").await?;
        }
    }
    if kept_any || shared { tx.commit().await } else { Ok(()) }
}

/// The connection, and where the log stands inside the running transaction.
pub(super) struct Tx {
    connection: SqliteConnection,
    log: Log,
    file: Arc<Path>,
    origin: Arc<str>,
    broken: bool,
}

/// The head of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    frontier: Frontier,
    last: Hash,
    grown: bool,
}

impl Tx {
    pub(super) fn new(connection: SqliteConnection, log: Log, file: &Arc<Path>, origin: &str) -> Self {
        Self { connection, log, file: Arc::clone(file), origin: origin.into(), broken: false }
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Where rows of the controller itself come from.
    pub(super) fn origin(&self) -> Arc<str> {
        Arc::clone(&self.origin)
    }

    pub(super) fn log_size(&self) -> u64 {
        self.log.frontier.size()
    }

    /// Checks a draft and adds it to the log.
    pub(super) async fn log(&mut self, draft: Draft<'_>) -> Result<u64, Error> {
        self.append(&AuditEvent::new(draft)?).await
    }

    /// Adds a row unless its event is in the log already.
    pub(super) async fn append_once(&mut self, event: &AuditEvent) -> Result<u64, Error> {
        let known: Option<i64> = sqlx::query_scalar("SELECT seq FROM audit_log WHERE event_id = ?")
            .bind(event.id().as_slice())
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|e| Error::sqlite("cannot look for an audit row", e))?;
        match known {
            Some(seq) => Ok(u64::try_from(seq).unwrap_or(0)),
            None => self.append(event).await,
        }
    }

    async fn append(&mut self, event: &AuditEvent) -> Result<u64, Error> {
        let seq = self.log.frontier.size();
        let bytes = leaf::encode(event, seq, &self.log.last);
        let hash = leaf::hash(&bytes);
        sqlx::query("INSERT INTO audit_log (seq, event_id, ts, kind, leaf, hash) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(i64::try_from(seq).unwrap_or(i64::MAX))
            .bind(event.id().as_slice())
            .bind(event.ts_ns())
            .bind(event.kind())
            .bind(bytes.as_slice())
            .bind(hash.as_slice())
            .execute(&mut self.connection)
            .await
            .map_err(|e| Error::sqlite("cannot write an audit row", e))?;
        self.log.frontier.push(hash);
        self.log.last = hash;
        self.log.grown = true;
        Ok(seq)
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.execute("BEGIN IMMEDIATE").await
    }

    /// Writes the frontier beside the rows it covers and commits both.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        if self.log.grown {
            sqlx::query("UPDATE audit_frontier SET size = ?, hashes = ? WHERE id = 0")
                .bind(i64::try_from(self.log.frontier.size()).unwrap_or(i64::MAX))
                .bind(self.log.frontier.to_bytes())
                .execute(&mut self.connection)
                .await?;
        }
        self.execute("COMMIT").await?;
        self.log.grown = false;
        Ok(())
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statement).execute(&mut self.connection).await.map(drop)
    }

    /// After an error: a new connection, and the head of the log as the file has it.
    async fn mend(&mut self) -> Result<(), sqlx::Error> {
        if !self.broken {
            return Ok(());
        }
        let mut fresh = write_options(&self.file).connect().await?;
        let settled = async {
            check_settings(&mut fresh).await?;
            Log::load(&mut fresh).await
        };
        self.log = settled.await.map_err(|cause| sqlx::Error::Configuration(Box::new(cause)))?;
        self.connection = fresh;
        self.broken = false;
        Ok(())
    }

    /// Empties the write-ahead log into the database unless a reader is in the way; then the next idle moment will do.
    async fn empty_wal(&mut self) {
        let emptied = async {
            self.execute("PRAGMA busy_timeout = 0").await?;
            let done = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
            self.execute("PRAGMA busy_timeout = 5000").await?;
            done
        };
        if let Err(cause) = emptied.await {
            tracing::debug!(error = %cause, "the write-ahead log could not be emptied");
        }
    }

    async fn close(self) {
        let _ = self.connection.close().await;
    }
}

impl Log {
    /// Reads the head of the log and compares it with the frontier beside it.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, Error> {
        let reading = |source| Error::sqlite("cannot read the head of the audit log", source);
        let (size, hashes): (i64, Vec<u8>) = sqlx::query_as("SELECT size, hashes FROM audit_frontier WHERE id = 0")
            .fetch_one(&mut *connection)
            .await
            .map_err(reading)?;
        let last: Option<(i64, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT seq, leaf, hash FROM audit_log ORDER BY seq DESC LIMIT 1")
                .fetch_optional(connection)
                .await
                .map_err(reading)?;
        let size = u64::try_from(size).unwrap_or(0);
        let frontier = Frontier::from_parts(size, &hashes).map_err(|cause| Error::Damaged(cause.to_string()))?;
        let Some((seq, bytes, stored)) = last else {
            return if size == 0 {
                Ok(Self::default())
            } else {
                Err(Error::Damaged(format!("the log is empty, its frontier counts {size} rows")))
            };
        };
        let rows = u64::try_from(seq).unwrap_or(0).saturating_add(1);
        let hash = leaf::hash(&bytes);
        if rows != size {
            return Err(Error::Damaged(format!("the log ends at {rows} rows, its frontier counts {size}")));
        }
        if stored != hash {
            return Err(Error::Damaged(format!("row {seq} of the log does not give its stored hash")));
        }
        Ok(Self { frontier, last: hash, grown: false })
    }
}
