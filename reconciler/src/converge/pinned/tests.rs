//! What becomes of the head while a pinned commit is not in force.

use policy::snapshot::{Entry, Snapshot};

use super::*;
use crate::converge::calendar::tests::{Branch, Host, Mood, Nobody, commit, now, settings};
use crate::converge::{
    Ancestry, CommitInfo, Memory, RequestHeads, SUSPENDED, SignerList, SourceError, StoredCommits, Target, converge,
};
use crate::store::{NewCommit, News, Store, Verdict};

const OPEN: &[u8] = b"apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: cde-open}\nspec:\n  podSelector: {matchLabels: {pci-env: cde}}\n  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]\n";

fn oid(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

/// A branch that can be pushed to and lost: commit 2 has a policy that breaks rules, all others have the good one.
struct Pushed(Option<u8>);

impl Source for Pushed {
    async fn head(&self) -> Result<Head, SourceError> {
        let head = self.0.map(|n| Head::At(oid(n)));
        head.ok_or_else(|| SourceError { doing: "nobody answers".to_owned(), cause: None })
    }

    fn keep(&self, commit: &CommitId) {
        Branch.keep(commit);
    }

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        let mut snapshot = Branch.snapshot(commit).await?;
        if *commit == oid(2) {
            snapshot.entries.insert("policies/open.yaml".to_owned(), Entry::File(OPEN.to_vec()));
        }
        Ok(snapshot)
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        Ok(CommitInfo { id: *commit, ..Branch.describe(commit).await? })
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

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
    memory: Memory,
}

impl Place {
    /// Somebody went back to a commit, and changes are suspended since.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        let new =
            NewCommit { info: Branch.describe(&commit()).await.unwrap(), git_ref: "refs/heads/main".to_owned(), came: Came::Poll };
        store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
        let place = Self { _folder: folder, store, memory: Memory { restored: true, ..Memory::default() } };
        place.set(PINNED, &commit().to_string()).await;
        place.set(SUSPENDED, "on").await;
        place
    }

    async fn set(&self, name: &str, value: &str) {
        let (name, value) = (name.to_owned(), value.to_owned());
        let (who, why) = ("uid:0".to_owned(), "an outage".to_owned());
        self.store.switch_set(Switch { name, value, who, why, set_at: now(), until: None }).await.unwrap();
    }

    async fn look(&mut self, source: &Pushed, mood: Mood) -> Result<Outcome, Trouble> {
        let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { mood, ..Host::default() })];
        let (settings, store, memory) = (settings(), &self.store, &mut self.memory);
        let mut world = World { source, store, targets: &mut targets, settings: &settings, prober: &Nobody, clock: now, memory };
        converge(&mut world, Came::Push).await
    }

    async fn said(&self, commit: CommitId) -> Option<(StatusState, String)> {
        self.store.outbox_due(now(), 100).await.unwrap().into_iter().find_map(|item| match item.news {
            News::Status(status) if status.commit == commit => Some((status.state, status.description)),
            News::Status(_) | News::Comment(..) => None,
        })
    }
}

fn waits(outcome: Result<Outcome, Trouble>) {
    let Ok(Outcome::Held { reason }) = outcome else { panic!("the pinned commit waits: {outcome:?}") };
    assert!(reason.contains("suspended"), "{reason}");
}

#[tokio::test]
async fn a_head_is_judged_and_answered_while_the_pinned_commit_waits() {
    let mut place = Place::new().await;
    for _ in 0..2 {
        waits(place.look(&Pushed(Some(2)), Mood::Well).await);
    }
    assert_eq!(place.memory.head, Some(Head::At(oid(2))), "what was announced has come");
    assert_eq!(place.store.commit(&oid(2)).await.unwrap().unwrap().verdict, Verdict::Rejected);
    assert_eq!(place.said(oid(2)).await.unwrap().0, StatusState::Failure);

    for _ in 0..2 {
        waits(place.look(&Pushed(Some(3)), Mood::Well).await);
    }
    let (state, text) = place.said(oid(3)).await.unwrap();
    assert_eq!(state, StatusState::Pending);
    assert!(text.starts_with(&format!("compliant, not applied: rolled back to {}", commit().short())), "{text}");
    let rows = place.store.history(9).await.unwrap();
    assert_eq!(rows.len(), 1, "the trips are about the pinned commit: {rows:?}");
}

#[tokio::test]
async fn a_pinned_commit_waits_although_the_remote_is_silent_and_the_head_is_judged_although_the_target_is() {
    let mut place = Place::new().await;
    waits(place.look(&Pushed(None), Mood::Well).await);
    let resumed = ("uid:0".to_owned(), "resumed".to_owned());
    place.store.switch_clear(SUSPENDED.to_owned(), resumed.0, resumed.1, now()).await.unwrap();
    assert!(matches!(place.look(&Pushed(Some(2)), Mood::Silent).await, Err(Trouble::Backend { .. })));
    assert_eq!(place.said(oid(2)).await.unwrap().0, StatusState::Failure);
}
