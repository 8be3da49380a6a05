//! The one task that writes.
//!
//! Requests wait in a bounded queue. The task takes what is there, up to 256 at once, runs it as one `BEGIN IMMEDIATE` transaction
//! and answers after `COMMIT`. It never waits for more: while one commit is on its way to the disk the next requests gather by
//! themselves, so a lone request pays for nothing but its own commit. Inside a shared transaction every request has a savepoint: one
//! that fails takes nothing of the others with it.
//!
//! After an error of the transaction itself the connection is thrown away and the head of the log is read from the file again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::files::Lock;
use super::tx::Tx;

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
    for work in batch {
        work.answer(&commit);
    }
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
