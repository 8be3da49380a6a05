//! A source that gives up when the controller is told to stop, so that a silent remote does not hold up the end, and when an operator
//! gives an order that cannot wait: a confirmation has a deadline, and the rules on trial may be what keeps the remote silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policy::snapshot::{CommitId, Snapshot};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::converge::{Ancestry, CommitInfo, Head, RequestHeads, SignerList, Source, SourceError, StoredCommits};

/// An order that does not wait for a remote.
#[derive(Debug, Clone, Default)]
pub(super) struct Urgent {
    given: Arc<AtomicBool>,
    waiting: Arc<Notify>,
}

impl Urgent {
    /// Whoever waits for the source stops waiting.
    pub(super) fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    /// Whether one was given since this was asked last.
    pub(super) fn take(&self) -> bool {
        self.given.swap(false, Ordering::AcqRel)
    }
}

/// A source, and when to stop waiting for it.
pub(super) struct Patient<S> {
    source: S,
    stop: CancellationToken,
    urgent: Urgent,
}

impl<S: Source> Patient<S> {
    pub(super) fn new(source: S, stop: CancellationToken, urgent: Urgent) -> Self {
        Self { source, stop, urgent }
    }

    async fn until_stopped<T>(&self, asked: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(SourceError { doing: "told to stop".to_owned(), cause: None }),
            () = self.urgent.waiting.notified() => Err(SourceError { doing: "an order came first".to_owned(), cause: None }),
            answer = asked => answer,
        }
    }
}

impl<S: Source> Source for Patient<S> {
    async fn head(&self) -> Result<Head, SourceError> {
        self.until_stopped(self.source.head()).await
    }

    fn keep(&self, commit: &CommitId) {
        self.source.keep(commit);
    }

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        self.until_stopped(self.source.snapshot(commit)).await
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        self.until_stopped(self.source.describe(commit)).await
    }

    async fn between(&self, base: &CommitId, head: &CommitId) -> Result<Ancestry, SourceError> {
        self.until_stopped(self.source.between(base, head)).await
    }

    async fn commit_bytes(&self, commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        self.until_stopped(self.source.commit_bytes(commit)).await
    }

    async fn since(&self, base: &CommitId, head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        self.until_stopped(self.source.since(base, head)).await
    }

    async fn signer_list(&self, commit: &CommitId, path: &str) -> Result<Option<SignerList>, SourceError> {
        self.until_stopped(self.source.signer_list(commit, path)).await
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        self.until_stopped(self.source.request_heads(numbers)).await
    }
}
