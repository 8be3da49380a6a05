//! The one task that writes.
//!
//! Requests wait in a bounded queue. The task takes what is there, up to 256 at once, runs it as one `BEGIN IMMEDIATE` transaction
//! and answers after `COMMIT`. It never waits for more: while one commit is on its way to the disk the next requests gather by
//! themselves, so a lone request pays for nothing but its own commit. Inside a shared transaction every request has a savepoint: one
//! that fails takes nothing of the others with it.
//!
//! A full disk and a disk that returns errors are told apart ([`super::room`], [`super::health`]): the first is waited for, the second
//! ends the process. After any other error of the transaction itself the connection is thrown away and the head of the log is read from the file again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::files::Lock;
use super::tx::Tx;
use super::{Error, room};

/// A full queue is back-pressure, never memory growth.
const QUEUE_REQUESTS_MAX: usize = 10_000;
/// More in one transaction gains nothing and makes the first wait.
const BATCH_REQUESTS_MAX: usize = 256;
/// After this long without work the write-ahead log is emptied.
const IDLE_SECONDS: u64 = 2;
/// A full disk is tried again this often.
const FULL_RETRY: Duration = Duration::from_secs(5);

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
    /// Why it failed, once it has run.
    fn error(&self) -> Option<&Error>;
    /// Tells the caller that it was not tried.
    fn refuse(self: Box<Self>, why: Error);
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

    fn error(&self) -> Option<&Error> {
        self.result.as_ref()?.as_ref().err()
    }

    fn refuse(self: Box<Self>, why: Error) {
        let _ = self.to.send(Err(why));
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

/// What the task does next.
enum Next {
    Request(Option<Request>),
    /// Nothing came for a while.
    Idle,
    /// It is time to see whether there is room again.
    TryRoom,
}

async fn serve(mut tx: Tx, lock: Lock, mut requests: mpsc::Receiver<Request>) {
    let mut written = true;
    let mut try_at = Instant::now();
    loop {
        let first = match next(&tx, written, try_at, &mut requests).await {
            Next::Request(Some(first)) => first,
            Next::Request(None) => break,
            Next::Idle => {
                written = !tx.empty_wal().await;
                continue;
            }
            Next::TryRoom => {
                room::try_again(&mut tx).await;
                try_at = Instant::now() + FULL_RETRY;
                continue;
            }
        };
        let (batch, close) = gather(first, &mut requests);
        if !batch.is_empty() {
            let full_before = tx.health.is_full();
            run_batch(&mut tx, batch).await;
            written = true;
            if tx.health.is_full() && !full_before {
                try_at = Instant::now() + FULL_RETRY;
            }
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

async fn next(tx: &Tx, written: bool, try_at: Instant, requests: &mut mpsc::Receiver<Request>) -> Next {
    let rest = async {
        if tx.health.is_full() {
            tokio::time::sleep_until(try_at).await;
            return Next::TryRoom;
        }
        if !written {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_secs(IDLE_SECONDS)).await;
        Next::Idle
    };
    tokio::select! {
        biased;
        // Those who ask while the disk is full are refused at once, and must not keep it from being tried.
        () = tokio::time::sleep_until(try_at), if tx.health.is_full() => Next::TryRoom,
        request = requests.recv() => Next::Request(request),
        next = rest => next,
    }
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
    if tx.health.refusal().is_some() {
        for work in batch {
            if let Some(why) = tx.health.refusal() {
                work.refuse(why);
            }
        }
        return;
    }
    tx.has_news = false;
    let commit = match transact(tx, &mut batch).await {
        Ok(()) => {
            if tx.has_news {
                tx.news.notify_one();
            }
            Ok(())
        }
        Err(lost) => {
            tracing::error!(error = %lost, "a transaction of the store was not confirmed");
            tx.broken = true;
            Err(Arc::new(lost))
        }
    };
    // Before anybody is answered: whoever tries again must not find a store that still seems well.
    let full = judge(tx, &batch, &commit);
    for work in batch {
        work.answer(&commit);
    }
    if full {
        room::gone(tx).await;
    }
}

/// What an error says of the disk; true where it is full.
fn judge(tx: &Tx, batch: &[Box<dyn Work>], commit: &Result<(), Arc<sqlx::Error>>) -> bool {
    let unknown = commit.as_ref().err().map(|lost| Error::Unknown(Arc::clone(lost)));
    let mut errors = unknown.iter().chain(batch.iter().filter_map(|work| work.error()));
    if let Some(fatal) = errors.clone().find(|error| error.wants_restart()) {
        tx.health.lose(tx.file(), fatal);
        return false;
    }
    let full = errors.any(Error::disk_full);
    if full {
        tx.health.became_full();
    }
    full
}

async fn transact(tx: &mut Tx, batch: &mut [Box<dyn Work>]) -> Result<(), sqlx::Error> {
    tx.mend().await?;
    tx.begin().await?;
    let shared = batch.len() > 1;
    let mut kept_any = false;
    if shared {
        tx.execute("SAVEPOINT request").await?;
    }
    for work in batch {
        let before = tx.log.clone();
        let kept = work.run(tx).await;
        kept_any |= kept;
        if !kept {
            tx.log = before;
            tx.execute(if shared { "ROLLBACK TO request" } else { "ROLLBACK" }).await?;
        } else if shared {
            // Both in one trip to the thread of the connection.
            sqlx::raw_sql("RELEASE request; SAVEPOINT request").execute(tx.connection()).await?;
        }
    }
    // COMMIT ends an open savepoint with the transaction around it.
    if kept_any || shared { tx.commit().await } else { Ok(()) }
}
