//! What deliveries ask for, and in which order it is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use policy::snapshot::{CommitId, Entry, Snapshot};

use super::*;
use crate::converge::kit::{Nobody, settings};
use crate::converge::{Ancestry, CommitInfo, Head, Memory, SignerList, SourceError, StoredCommits};

fn oid(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

fn row(number: i64, after: Option<&CommitId>) -> Waiting {
    let received = Timestamp::from_second(1_767_225_600).unwrap();
    Waiting {
        id: [0; 16],
        git_ref: "refs/heads/main".to_owned(),
        after: after.map(ToString::to_string),
        request: Some(number),
        received,
    }
}

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("state.db"), "host:test", Timestamp::now()).await.unwrap()
}

#[tokio::test]
async fn of_each_request_only_the_last_delivery_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue) = (store(&folder).await, Queue::default());
    assert!(queue.is_idle());
    let rows = [row(1, Some(&oid(1))), row(2, Some(&oid(2))), row(1, Some(&oid(3))), row(2, None), row(3, None)];
    queue.heard(&store, &rows).await.unwrap();
    assert_eq!((queue.asked.iter().copied().collect::<Vec<_>>(), queue.is_idle()), (vec![1], false));
    let open = store.requests_open().await.unwrap();
    assert_eq!(open.iter().map(|request| (request.number, request.head)).collect::<Vec<_>>(), [(1, oid(3))]);
    queue.ready.push_back((1, oid(3)));
    queue.heard(&store, &[row(1, None)]).await.unwrap();
    assert!(queue.ready.is_empty() && queue.asked.is_empty(), "a closed request is let go");
    assert!(queue.fetch, "and so is its ref");
}

#[tokio::test]
async fn an_open_request_without_a_verdict_is_asked_for_again_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue) = (store(&folder).await, Queue::default());
    store.request_seen(4, Some(oid(4)), Timestamp::now()).await.unwrap();
    store.request_seen(5, Some(oid(5)), Timestamp::now()).await.unwrap();
    store.request_seen(5, None, Timestamp::now()).await.unwrap();
    queue.recover(&store).await.unwrap();
    assert_eq!((queue.waiting(), queue.asked.contains(&4), queue.is_recovered()), (1, true, true));
}

/// A forge with a request for every number, or one that never answers.
#[derive(Default)]
struct Forge {
    silent: bool,
    /// Now it has everything.
    roomy: bool,
    asked: AtomicUsize,
}

impl Source for Forge {
    async fn head(&self) -> Result<Head, SourceError> {
        Ok(Head::EmptyRepository)
    }

    fn keep(&self, _commit: &CommitId) {}

    async fn snapshot(&self, _commit: &CommitId) -> Result<Snapshot, SourceError> {
        let mut snapshot = Snapshot::default();
        let text = include_bytes!("../../../../policies-template/policies/floor.yaml");
        snapshot.entries.insert("policies/floor.yaml".to_owned(), Entry::File(text.to_vec()));
        Ok(snapshot)
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        let author = "Ada <ada@example.com>".to_owned();
        let (committer, subject) = (author.clone(), "a change".to_owned());
        Ok(CommitInfo { id: *commit, parents: Vec::new(), author, committer, subject, committed_at: 0 })
    }

    async fn between(&self, _base: &CommitId, _head: &CommitId) -> Result<Ancestry, SourceError> {
        Ok(Ancestry::Rewritten)
    }

    async fn commit_bytes(&self, _commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    async fn since(&self, _base: &CommitId, _head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        Ok(None)
    }

    async fn signer_list(&self, _commit: &CommitId, _path: &str) -> Result<Option<SignerList>, SourceError> {
        Ok(None)
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        // One vanished, one is over a limit, and one could not be fetched in time.
        let head = |number: u64| (number != 13).then(|| oid(u8::try_from(number).unwrap()));
        let over = |number: &&u64| **number == 14 && !self.roomy;
        let late = |number: &&u64| **number == 15 && !self.roomy;
        let there = numbers.iter().filter(|number| !over(number) && !late(number));
        Ok(RequestHeads {
            heads: there.map(|number| (*number, head(*number))).collect(),
            over_limit: numbers.iter().filter(over).copied().collect(),
        })
    }
}

/// One step on a store that takes nothing any more.
async fn fail(queue: &mut Queue, source: &Forge) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.clone().close().await;
    let (settings, mut memory, targets) = (settings(), Memory::default(), &mut []);
    let (prober, clock) = (&Nobody, Timestamp::now as fn() -> Timestamp);
    let mut world = World { source, store: &store, targets, settings: &settings, prober, clock, memory: &mut memory };
    assert!(queue.step(&mut world, &Notify::new()).await.is_err());
}

async fn steps(store: &Store, source: &Forge, queue: &mut Queue, wake: &Notify, most: usize) -> usize {
    let (settings, mut memory) = (settings(), Memory::default());
    let mut world =
        World { source, store, targets: &mut [], settings: &settings, prober: &Nobody, clock: Timestamp::now, memory: &mut memory };
    let mut steps = 0;
    while !queue.is_idle() && steps < most {
        queue.step(&mut world, wake).await.unwrap();
        steps += 1;
    }
    steps
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_one_fetch_and_then_one_judging_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue, source) = (store(&folder).await, Queue::default(), Forge::default());
    let rows: Vec<Waiting> = (1..=200_u8).map(|n| row(i64::from(n), Some(&oid(n)))).collect();
    queue.heard(&store, &rows).await.unwrap();
    assert_eq!(steps(&store, &source, &mut queue, &Notify::new(), 1).await, 1);
    assert_eq!((source.asked.load(Ordering::SeqCst), queue.ready.len()), (1, 197));
    let judged = async |n: u8| store.commit(&oid(n)).await.unwrap().is_some_and(|record| record.verdict == Verdict::Compliant);
    assert_eq!(steps(&store, &source, &mut queue, &Notify::new(), 1).await, 1);
    assert!(judged(1).await && !judged(2).await, "the branch can come in between");
    assert_eq!(steps(&store, &source, &mut queue, &Notify::new(), 1_000).await, 196);
    assert!(judged(200).await && !judged(13).await && !judged(14).await && !judged(15).await);
    assert!(store.requests_open().await.unwrap().iter().all(|request| request.number != 13), "what vanished is let go");
    assert_eq!((queue.waiting(), source.asked.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn a_push_ends_the_wait_for_heads_and_they_are_fetched_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue, source) = (store(&folder).await, Queue::default(), Forge { silent: true, ..Forge::default() });
    queue.heard(&store, &[row(1, Some(&oid(1)))]).await.unwrap();
    let wake = Notify::new();
    wake.notify_one();
    assert_eq!(steps(&store, &source, &mut queue, &wake, 1).await, 1);
    assert!(!queue.is_idle(), "heads are still wanted");
    tokio::time::timeout(Duration::from_secs(5), wake.notified()).await.expect("the loop still hears of the push");
    let answering = Forge::default();
    assert_eq!(steps(&store, &answering, &mut queue, &Notify::new(), 9).await, 2);
    assert!(store.commit(&oid(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_request_that_was_not_fetched_is_asked_for_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue, source) = (store(&folder).await, Queue::default(), Forge::default());
    queue.heard(&store, &[row(14, Some(&oid(14))), row(15, Some(&oid(15)))]).await.unwrap();
    for look in 0..3 {
        steps(&store, &source, &mut queue, &Notify::new(), 9).await;
        assert!(store.commit(&oid(14)).await.unwrap().is_none_or(|record| record.verdict != Verdict::Compliant));
        assert!(store.commit(&oid(15)).await.unwrap().is_none(), "of what was late nothing is said");
        assert_eq!(queue.told, [(14, oid(14))].into(), "look {look}");
        queue.try_again();
        assert_eq!((queue.waiting(), queue.is_idle()), (2, false), "both are open and have no verdict");
    }
    let answering = Forge { roomy: true, ..Forge::default() };
    assert_eq!(steps(&store, &answering, &mut queue, &Notify::new(), 9).await, 3);
    for n in [14, 15] {
        assert_eq!(store.commit(&oid(n)).await.unwrap().unwrap().verdict, Verdict::Compliant);
    }
    assert_eq!((queue.waiting(), queue.told.len()), (0, 0));
}

#[tokio::test]
async fn what_the_store_could_not_take_is_judged_after_the_next_look_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue, source) = (store(&folder).await, Queue::default(), Forge::default());
    queue.heard(&store, &[row(1, Some(&oid(1)))]).await.unwrap();
    let judged = async |n: u8| store.commit(&oid(n)).await.unwrap().is_some_and(|record| record.verdict == Verdict::Compliant);

    // Heads that are open cannot be read.
    fail(&mut queue, &source).await;
    assert!(queue.is_idle(), "it is not asked again and again");
    queue.try_again();
    assert_eq!(steps(&store, &source, &mut queue, &Notify::new(), 1).await, 1);

    // The verdict cannot be stored.
    assert_eq!(queue.ready.len(), 1);
    fail(&mut queue, &source).await;
    assert!(queue.is_idle() && !judged(1).await);
    assert_eq!(queue.waiting(), 1);
    queue.try_again();
    assert!(queue.step_at(&Storm::default()).is_some_and(|at| at > Instant::now()), "and not in the same moment");
    steps(&store, &source, &mut queue, &Notify::new(), 9).await;
    assert!(judged(1).await);
    assert_eq!((queue.waiting(), queue.is_idle()), (0, true));

    // So with what a crash left.
    let info = source.describe(&oid(2)).await.unwrap();
    let new = crate::store::NewCommit { info, git_ref: "refs/heads/main".to_owned(), came: Came::Poll };
    store.begin_judging(vec![new], Vec::new(), Timestamp::now()).await.unwrap();
    queue.left.extend(store.commits_pending().await.unwrap());
    fail(&mut queue, &source).await;
    assert!(queue.is_idle());
    queue.try_again();
    steps(&store, &source, &mut queue, &Notify::new(), 9).await;
    assert!(judged(2).await);
}

#[tokio::test]
async fn requests_wait_while_deliveries_come_faster_than_they_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut queue, mut storm) = (store(&folder).await, Queue::default(), Storm::default());
    assert_eq!(queue.step_at(&storm), None, "nothing to do");
    queue.heard(&store, &[row(1, Some(&oid(1)))]).await.unwrap();
    assert!(queue.step_at(&storm).is_some_and(|at| at <= Instant::now()));
    let now = Instant::now();
    assert!(!storm.is_over(1_000, now));
    assert_eq!(queue.step_at(&storm), None);
    assert!(storm.is_over(1_000, now + Duration::from_secs(1)));
    assert!(queue.step_at(&storm).is_some());
}
