//! What a source is told of what is in force.

use std::sync::Mutex;

use policy::snapshot::Snapshot;

use super::*;
use crate::converge::calendar::tests::{Branch, Host, Nobody, commit, now, settings};
use crate::converge::{Head, Memory, Outcome, RequestHeads, SignerList, SourceError, StoredCommits, Target, converge};
use crate::store::{Came, Store};

/// A branch, and what was asked of it: a look, or to keep a commit.
#[derive(Default)]
struct Asked(Mutex<Vec<Option<CommitId>>>);

impl Source for Asked {
    async fn head(&self) -> Result<Head, SourceError> {
        self.0.lock().unwrap().push(None);
        Branch.head().await
    }

    fn keep(&self, commit: &CommitId) {
        self.0.lock().unwrap().push(Some(*commit));
    }

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        Branch.snapshot(commit).await
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        Branch.describe(commit).await
    }

    async fn between(&self, base: &CommitId, head: &CommitId) -> Result<Ancestry, SourceError> {
        Branch.between(base, head).await
    }

    async fn commit_bytes(&self, commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        Branch.commit_bytes(commit).await
    }

    async fn since(&self, base: &CommitId, head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        Branch.since(base, head).await
    }

    async fn signer_list(&self, commit: &CommitId, path: &str) -> Result<Option<SignerList>, SourceError> {
        Branch.signer_list(commit, path).await
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        Branch.request_heads(numbers).await
    }
}

#[tokio::test]
async fn what_is_in_force_is_named_to_the_source_before_the_next_look_also_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let source = Asked::default();
    let (settings, clock) = (settings(), now as fn() -> jiff::Timestamp);
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host::default())];
    for _start in 0..2 {
        let mut memory = Memory { restored: true, ..Memory::default() };
        let (targets, memory) = (&mut targets, &mut memory);
        let mut world = World { source: &source, store: &store, targets, settings: &settings, prober: &Nobody, clock, memory };
        assert!(matches!(converge(&mut world, Came::Poll).await, Ok(Outcome::InForce { .. })));
    }
    assert_eq!(*source.0.lock().unwrap(), [None, Some(commit()), None]);
    store.close().await;
}
