//! What becomes of heads of requests, and what does not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::snapshot::Entry;

use super::*;
use crate::converge::calendar::tests::{Host, Mood, Nobody, settings};
use crate::converge::{
    Ancestry, Boxed, Head, Memory, RequestHeads, Settings, SignerList, SourceError, StoredCommits, Target, Verify, VerifyMode,
};
use crate::store::{News, OutboxItem, Store};

const FLOOR: &[u8] = include_bytes!("../../../../policies-template/policies/floor.yaml");
const OPEN: &[u8] = b"apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: cde-open}\nspec:\n  podSelector: {matchLabels: {pci-env: cde}}\n  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]\n";

fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

fn oid(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

/// Commits with one file each; what is not there is gone, or does not answer today.
struct Commits {
    there: BTreeMap<CommitId, &'static [u8]>,
    silent: bool,
}

impl Commits {
    fn gone(&self, commit: &CommitId) -> Result<&'static [u8], SourceError> {
        let none = || SourceError { doing: format!("no {commit}"), cause: (!self.silent).then(|| crate::converge::Gone.into()) };
        self.there.get(commit).copied().ok_or_else(none)
    }
}

impl Source for Commits {
    async fn head(&self) -> Result<Head, SourceError> {
        Ok(Head::EmptyRepository)
    }

    fn keep(&self, _commit: &CommitId) {}

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        let mut snapshot = Snapshot::default();
        snapshot.entries.insert("policies/one.yaml".to_owned(), Entry::File(self.gone(commit)?.to_vec()));
        Ok(snapshot)
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        self.gone(commit)?;
        let author = "Mallory <mallory@example.com>".to_owned();
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
        Ok(RequestHeads { heads: numbers.iter().map(|number| (*number, None)).collect(), ..RequestHeads::default() })
    }
}

struct Place {
    _folder: tempfile::TempDir,
    store: Store,
    source: Commits,
    targets: Vec<Box<dyn Target>>,
    settings: Settings,
    memory: Memory,
}

impl Place {
    async fn new(mood: Mood) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        let source = Commits { there: [(oid(1), FLOOR), (oid(2), OPEN)].into(), silent: false };
        let targets: Vec<Box<dyn Target>> = vec![Box::new(Aimed(Host { mood, ..Host::default() }))];
        Self { _folder: folder, store, source, targets, settings: settings(), memory: Memory::default() }
    }

    fn world(&mut self) -> World<'_, Commits> {
        World {
            source: &self.source,
            store: &self.store,
            targets: &mut self.targets,
            settings: &self.settings,
            prober: &Nobody,
            clock: now,
            memory: &mut self.memory,
        }
    }

    async fn judge(&mut self, request: u64, head: u8) {
        judge_request(&mut self.world(), request, oid(head)).await.unwrap();
        assert_eq!(self.targets[0].setup_text(), "not aimed", "nobody may apply a request");
        assert!(self.store.history(9).await.unwrap().is_empty(), "no pass is opened");
    }

    async fn due(&self) -> Vec<OutboxItem> {
        self.store.outbox_due(now(), 100).await.unwrap()
    }

    /// State and text of the statuses that wait.
    async fn statuses(&self) -> Vec<(StatusState, String)> {
        let status = |item: OutboxItem| match item.news {
            News::Status(status) => Some((status.state, status.description)),
            News::Comment(..) => None,
        };
        self.due().await.into_iter().filter_map(status).collect()
    }

    async fn comment(&self, request: u64) -> Option<String> {
        self.due().await.into_iter().find_map(|item| match item.news {
            News::Comment(comment, _) if comment.request == request => Some(comment.body),
            News::Comment(..) | News::Status(_) => None,
        })
    }

    async fn verdict(&self, head: u8) -> Option<Verdict> {
        self.store.commit(&oid(head)).await.unwrap().map(|record| record.verdict)
    }
}

/// A host that tells by its setup whether it has a candidate, and that cannot be changed.
struct Aimed(Host);

macro_rules! as_before {
    ($($name:ident(&mut self $(, $arg:ident: $kind:ty)*) $(-> $back:ty)?;)*) => {
        $(fn $name(&mut self $(, $arg: $kind)*) $(-> $back)? { self.0.$name($($arg),*) })*
    };
}

impl Target for Aimed {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn knows(&self) -> bool {
        true
    }

    as_before! {
        aim(&mut self, ruleset: &policy::compile::Ruleset) -> Result<(), crate::converge::NotLowered>;
        plan(&mut self) -> Boxed<'_, Result<Option<crate::converge::TargetPlan>, crate::converge::BackendError>>;
        trial(&mut self) -> Boxed<'_, Result<Option<crate::converge::Trial>, crate::converge::BackendError>>;
        confirm(&mut self) -> Boxed<'_, Result<(), crate::converge::BackendError>>;
        roll_back(&mut self) -> Boxed<'_, Result<Option<u64>, crate::converge::BackendError>>;
        begin_trial(&mut self);
        adopt_trial(&mut self);
        end_trial(&mut self);
        be_alone(&mut self) -> Boxed<'_, Result<(), crate::converge::BackendError>>;
        discard(&mut self);
    }

    fn leave(&mut self, _keys: std::collections::BTreeSet<String>) {}

    fn wanted(&self, _key: &str) -> Option<String> {
        None
    }

    fn excess(&self, _limits: &policy::plan::Limits) -> Option<policy::plan::Excess> {
        None
    }

    fn apply(&mut self, _within: Option<std::time::Duration>) -> Boxed<'_, Result<u64, crate::converge::BackendError>> {
        panic!("a request is applied");
    }

    fn rehearse(&mut self) -> Boxed<'_, Result<crate::converge::Rehearsal, crate::converge::BackendError>> {
        panic!("a request is rehearsed");
    }

    fn recall_trial(&mut self, _kept: &crate::converge::Kept, _desired_hash: &str) -> bool {
        false
    }

    fn holds<'a>(&'a mut self, hash: &'a str) -> Boxed<'a, Result<crate::converge::Holding, crate::converge::BackendError>> {
        self.0.holds(hash)
    }

    fn mend(&mut self, _blank: bool) -> Boxed<'_, Result<Option<u64>, crate::converge::BackendError>> {
        panic!("a request is applied");
    }

    fn adopt(&mut self) {
        panic!("a request is adopted");
    }

    fn remember(&self) -> crate::converge::Kept {
        self.0.remember()
    }

    fn recall(&mut self, _kept: &crate::converge::Kept, _desired_hash: &str) -> bool {
        true
    }

    fn setup_text(&self) -> String {
        if self.0.aimed { "aimed" } else { "not aimed" }.to_owned()
    }
}

#[tokio::test]
async fn a_compliant_head_is_green_with_a_plan_and_nothing_is_applied() {
    let mut place = Place::new(Mood::Well).await;
    place.judge(7, 1).await;
    assert_eq!(place.statuses().await, [(StatusState::Success, "compliant; would make 1 change".to_owned())]);
    let comment = place.comment(7).await.unwrap();
    assert!(comment.contains("+ in cde-database: TCP 5432 from 10.0.1.0/24"), "{comment}");
    let record = place.store.commit(&oid(1)).await.unwrap().unwrap();
    assert_eq!((record.verdict, record.came, record.git_ref.as_str()), (Verdict::Compliant, Came::Request, "request 7"));
    // The same again says nothing new.
    let before = place.due().await;
    place.judge(7, 1).await;
    assert_eq!(place.due().await, before);
}

#[tokio::test]
async fn a_bad_head_is_red_and_says_where() {
    let mut place = Place::new(Mood::Well).await;
    place.judge(7, 2).await;
    let statuses = place.statuses().await;
    assert!(statuses.len() == 1 && statuses[0].0 == StatusState::Failure, "{statuses:?}");
    assert!(statuses[0].1.contains("one.yaml:6"), "{statuses:?}");
    let comment = place.comment(7).await.unwrap();
    assert!(comment.contains("pci-segment: rejected") && comment.contains("one.yaml:6"), "{comment}");
    place.settings.comment = false;
    place.judge(8, 2).await;
    assert_eq!(place.comment(8).await, None, "comments can be turned off");
}

#[tokio::test]
async fn a_backend_that_panics_cannot_say_it_or_is_silent_makes_no_red_out_of_green_or_the_other_way_round() {
    for (mood, verdict, state, text) in [
        (Mood::Panics, Verdict::Compliant, StatusState::Success, "the backend stopped on this commit"),
        (Mood::Silent, Verdict::Compliant, StatusState::Success, "cannot read the kernel&#39;s tables"),
        (Mood::Inexpressible, Verdict::Inexpressible, StatusState::Failure, "too many ports"),
    ] {
        let mut place = Place::new(mood).await;
        place.judge(7, 1).await;
        assert_eq!((place.verdict(1).await, place.statuses().await[0].0), (Some(verdict), state));
        let comment = place.comment(7).await.unwrap();
        assert!(comment.contains(text), "{comment}");
    }
}

#[tokio::test]
async fn a_commit_of_the_branch_keeps_its_verdict_and_its_status_when_a_request_has_it_too() {
    let mut place = Place::new(Mood::Well).await;
    let info = place.source.describe(&oid(1)).await.unwrap();
    let new = NewCommit { info, git_ref: "refs/heads/main".to_owned(), came: Came::Push };
    place.store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
    let held = place.settings.status(oid(1), StatusState::Pending, "held for a person");
    place.world().record(oid(1), Verdict::Compliant, Said::default(), Some(held), None).await.unwrap();
    place.judge(7, 1).await;
    assert_eq!(place.statuses().await, [(StatusState::Pending, "held for a person".to_owned())]);
    assert!(place.comment(7).await.is_some());
    assert_eq!(place.store.commit(&oid(1)).await.unwrap().unwrap().came, Came::Push);
}

#[tokio::test]
async fn a_verdict_given_to_a_request_is_given_again_when_the_commit_comes_to_the_branch() {
    let mut place = Place::new(Mood::Well).await;
    place.judge(7, 1).await;
    // Somebody asks for signatures since, without changing what a verdict is filed under.
    place.settings.verify = Verify { mode: VerifyMode::Head, file: None, path: None };
    let info = place.source.describe(&oid(1)).await.unwrap();
    let judged = place.world().judge(vec![info], oid(1), None, Came::Push).await.unwrap();
    assert!(matches!(judged, super::super::judge::Judged::Rejected(_)));
    let record = place.store.commit(&oid(1)).await.unwrap().unwrap();
    assert_eq!((record.verdict, record.came), (Verdict::Rejected, Came::Push));
}

#[tokio::test]
async fn an_unsigned_head_is_refused_before_a_byte_of_its_files_is_read() {
    let mut place = Place::new(Mood::Well).await;
    place.settings.verify = Verify { mode: VerifyMode::Head, file: None, path: None };
    place.judge(7, 2).await;
    let statuses = place.statuses().await;
    assert_eq!(statuses.len(), 1);
    assert!(statuses[0].1.starts_with("signature: no list says who may sign"), "{statuses:?}");
    assert!(!place.comment(7).await.unwrap().contains("PCI-1.3.1-004"));
}

#[tokio::test]
async fn f02_a_head_that_stops_the_process_is_an_error_at_the_third_attempt_and_never_judged_again() {
    let mut place = Place::new(Mood::Well).await;
    for _ in 0..2 {
        let info = place.source.describe(&oid(1)).await.unwrap();
        place.world().begin_request(Some(7), info).await.unwrap();
    }
    place.judge(7, 1).await;
    assert_eq!(place.statuses().await, [(StatusState::Error, STOPPED.to_owned())]);
    place.judge(7, 1).await;
    assert_eq!((place.verdict(1).await, place.statuses().await.len()), (Some(Verdict::Error), 1));
}

#[tokio::test]
async fn what_a_crash_left_pending_ends_even_if_it_is_gone() {
    let mut place = Place::new(Mood::Well).await;
    for (n, came) in [(1, Came::Request), (2, Came::Push), (3, Came::Push)] {
        let info = place.source.describe(&oid(1)).await.unwrap();
        let new = NewCommit { info: CommitInfo { id: oid(n), ..info }, git_ref: "refs/heads/main".to_owned(), came };
        place.store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
    }
    let left = place.store.commits_pending().await.unwrap();
    place.source.silent = true;
    let passing = judge_left_over(&mut place.world(), &left[2]).await;
    assert!(matches!(passing, Err(Trouble::Source(_))), "{passing:?}");
    assert_eq!(place.verdict(3).await, Some(Verdict::Pending), "what passes is no verdict");
    place.source.silent = false;
    for left in left {
        judge_left_over(&mut place.world(), &left).await.unwrap();
    }
    let verdicts = [place.verdict(1).await, place.verdict(2).await, place.verdict(3).await];
    assert_eq!(verdicts, [Some(Verdict::Compliant), Some(Verdict::Rejected), Some(Verdict::Error)]);
    assert_eq!(place.statuses().await.len(), 3);
}
