//! A source that gives up when the controller is told to stop, so that a silent remote does not hold up the end.

use policy::snapshot::{CommitId, Snapshot};
use tokio_util::sync::CancellationToken;

use crate::converge::{Ancestry, CommitInfo, Head, Source, SourceError};

/// A source, and when to stop waiting for it.
pub(super) struct Patient<S> {
    source: S,
    stop: CancellationToken,
}

impl<S: Source> Patient<S> {
    pub(super) fn new(source: S, stop: CancellationToken) -> Self {
        Self { source, stop }
    }

    async fn until_stopped<T>(&self, asked: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        tokio::select! {
            () = self.stop.cancelled() => Err(SourceError { doing: "told to stop".to_owned(), cause: None }),
            answer = asked => answer,
        }
    }
}

impl<S: Source> Source for Patient<S> {
    async fn head(&self) -> Result<Head, SourceError> {
        self.until_stopped(self.source.head()).await
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
}
