//! A new day on a host where somebody has turned audit on by hand.

use std::time::Duration;

use policy::compile::Ruleset;
use policy::digest::Digest;
use policy::plan::{Excess, Limits};
use policy::snapshot::{Entry, Snapshot};

use super::*;
use crate::converge::{
    Ancestry, BackendError, Boxed, CommitInfo, Deviation, Difference, Errand, FirstEnforcement, Head, Holding, Kept, Memory,
    NotLowered, Posture, Prober, Rehearsal, RequestHeads, Settings, SignerList, SourceError, Step, StoredCommits, Target, Trial,
    Tried, Verify,
};
use crate::store::{Came, EndedPass, EnforcedNow, NewCommit, Outcome, PassEnd, Store};

pub(crate) const NAME: &str = "host/eth0";

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap()
}

pub(crate) fn commit() -> CommitId {
    CommitId::from_bytes(&[1; 20]).unwrap()
}

fn info() -> CommitInfo {
    let (author, committer) = ("Ada <ada@example.com>".to_owned(), "Ada <ada@example.com>".to_owned());
    CommitInfo { id: commit(), parents: Vec::new(), author, committer, subject: "one".to_owned(), committed_at: 0 }
}

/// A branch whose one commit has one policy.
pub(crate) struct Branch;

impl Source for Branch {
    async fn head(&self) -> Result<Head, SourceError> {
        Ok(Head::At(commit()))
    }

    fn keep(&self, _commit: &CommitId) {}

    async fn snapshot(&self, _commit: &CommitId) -> Result<Snapshot, SourceError> {
        let mut snapshot = Snapshot::default();
        let text = include_bytes!("../../../../policies-template/policies/floor.yaml");
        snapshot.entries.insert("policies/floor.yaml".to_owned(), Entry::File(text.to_vec()));
        Ok(snapshot)
    }

    async fn describe(&self, _commit: &CommitId) -> Result<CommitInfo, SourceError> {
        Ok(info())
    }

    async fn between(&self, _base: &CommitId, _head: &CommitId) -> Result<Ancestry, SourceError> {
        Err(SourceError { doing: "a day asks for no history".to_owned(), cause: None })
    }

    async fn commit_bytes(&self, _commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    async fn since(&self, _base: &CommitId, _head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        Ok(Some(Vec::new()))
    }

    async fn signer_list(&self, _commit: &CommitId, _path: &str) -> Result<Option<SignerList>, SourceError> {
        Ok(None)
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        Ok(RequestHeads { heads: numbers.iter().map(|number| (*number, None)).collect(), ..RequestHeads::default() })
    }
}

/// A host on which one rule has ended, and what was done to it.
#[derive(Default)]
pub(crate) struct Host {
    pub audited: bool,
    pub applied: usize,
    /// It has a candidate.
    pub aimed: bool,
    pub mood: Mood,
}

/// How a host answers.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// It cannot say what it is asked to.
    Inexpressible,
    /// Its backend has a mistake.
    Panics,
    /// It cannot be observed.
    Silent,
    /// Its kernel takes no rules.
    Refuses,
    /// A hook is gone.
    Damaged,
    /// Nothing is there at all.
    Blank,
}

fn done<T: Send + 'static>(answer: T) -> Boxed<'static, Result<T, BackendError>> {
    Box::pin(std::future::ready(Ok(answer)))
}

impl Target for Host {
    fn name(&self) -> &str {
        NAME
    }

    fn backend(&self) -> &'static str {
        "ebpf"
    }

    fn knows(&self) -> bool {
        true
    }

    fn aim(&mut self, _ruleset: &Ruleset) -> Result<(), NotLowered> {
        self.aimed = true;
        match self.mood {
            Mood::Well | Mood::Silent | Mood::Refuses | Mood::Damaged | Mood::Blank => Ok(()),
            Mood::Inexpressible => {
                let message = "too many ports".to_owned();
                let unsupported = policy::lower::Unsupported { backend: "ebpf", policy: None, rule: None, place: None, message };
                Err(NotLowered::Unsupported(vec![unsupported]))
            }
            Mood::Panics => panic!("a mistake in a backend"),
        }
    }

    fn plan(&mut self) -> Boxed<'_, Result<Option<TargetPlan>, BackendError>> {
        if self.mood == Mood::Silent {
            let error = BackendError { doing: "cannot read the kernel's tables".to_owned(), cause: None };
            return Box::pin(std::future::ready(Err(error)));
        }
        let hook = Difference { key: "hook eth0 in".to_owned(), kind: Deviation::Detached, ..Difference::default() };
        let damage: Vec<Difference> = (self.mood == Mood::Damaged).then(|| hook.clone()).into_iter().collect();
        let differences = matches!(self.mood, Mood::Damaged | Mood::Blank).then_some(hook).into_iter().collect();
        let step = Step { key: "in cde-database".to_owned(), from: String::new(), to: "TCP 5432 from 10.0.1.0/24".to_owned() };
        done(Some(TargetPlan {
            target: NAME.to_owned(),
            backend: "ebpf",
            create: vec![step],
            delete: Vec::new(),
            unchanged: 1,
            damage,
            desired_hash: Digest([2; 32]),
            observed_hash: Digest([1; 32]),
            hash: Digest([3; 32]),
            blank: self.mood == Mood::Blank,
            audited: self.audited,
            absent: Vec::new(),
            foreign: Vec::new(),
            changes: usize::from(self.applied == 0),
            differences,
        }))
    }

    fn excess(&self, _limits: &Limits) -> Option<Excess> {
        None
    }

    fn apply(&mut self, _within: Option<Duration>) -> Boxed<'_, Result<u64, BackendError>> {
        if self.mood == Mood::Refuses {
            let refused = BackendError { doing: "the kernel refuses".to_owned(), cause: None };
            return Box::pin(std::future::ready(Err(refused)));
        }
        (self.applied, self.audited) = (self.applied + 1, false);
        done(2)
    }

    fn trial(&mut self) -> Boxed<'_, Result<Option<Trial>, BackendError>> {
        done(None)
    }

    fn confirm(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        done(())
    }

    fn roll_back(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        done(None)
    }

    fn rehearse(&mut self) -> Boxed<'_, Result<Rehearsal, BackendError>> {
        done(Rehearsal::default())
    }

    fn begin_trial(&mut self) {}

    fn adopt_trial(&mut self) {}

    fn end_trial(&mut self) {}

    fn recall_trial(&mut self, _kept: &Kept, _desired_hash: &str) -> bool {
        false
    }

    fn holds<'a>(&'a mut self, _desired_hash: &'a str) -> Boxed<'a, Result<Holding, BackendError>> {
        done(Holding::These)
    }

    fn mend(&mut self, _blank: bool) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        self.mood = Mood::Well;
        done(None)
    }

    fn be_alone(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        done(())
    }

    fn adopt(&mut self) {}

    fn leave(&mut self, _keys: std::collections::BTreeSet<String>) {}

    fn wanted(&self, _key: &str) -> Option<String> {
        None
    }

    fn discard(&mut self) {
        self.aimed = false;
    }

    fn remember(&self) -> Kept {
        Kept { rules: String::new(), memory: String::new(), setup: self.setup_text() }
    }

    fn recall(&mut self, _kept: &Kept, _desired_hash: &str) -> bool {
        true
    }

    fn setup_text(&self) -> String {
        "the same".to_owned()
    }
}

pub(crate) struct Nobody;

impl Prober for Nobody {
    fn own(&self) -> Boxed<'_, Vec<Errand>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn attempt<'a>(&'a self, _errands: &'a [Errand], _longest: Duration) -> Boxed<'a, Vec<Tried>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        git_ref: "refs/heads/main".to_owned(),
        context: "pci-segment/policy".to_owned(),
        public_url: None,
        pinned_profile: None,
        backends: Vec::new(),
        limits: Limits::default(),
        heal: true,
        judged_by: "test 1".to_owned(),
        verify: Verify::default(),
        posture: Posture::Enforced,
        confirm_within: None,
        first: FirstEnforcement { learning: Duration::ZERO, cut: false },
        boot_id: "boot".to_owned(),
        comment: true,
        identity: None,
    }
}

/// The commit was put in force with other rules than it means today.
pub(crate) async fn yesterday(store: &Store, kept: &Kept) {
    let new = NewCommit { info: info(), git_ref: "refs/heads/main".to_owned(), came: Came::Poll };
    store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
    let enforced = vec![EnforcedNow { backend: "ebpf".to_owned(), target: NAME.to_owned(), desired_hash: [1; 32], generation: 1 }];
    let end = PassEnd { enforced, ..PassEnd::of(Outcome::InForce, "", now()) };
    let git_ref = "refs/heads/main".to_owned();
    let pass = EndedPass { head: Some(commit()), git_ref, enforced_before: None, plan: None, started: now(), end };
    store.record_pass(pass).await.unwrap();
    store.meta_set(crate::converge::kept_name(NAME), serde_json::to_string(kept).unwrap(), now()).await.unwrap();
}

/// What the controller's first look on a new day does: whether rules are then as of today, and whether audit goes on.
async fn a_new_day(audited: bool) -> (bool, bool) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { audited, ..Host::default() })];
    yesterday(&store, &targets[0].remember()).await;
    let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
    let mut world = World {
        source: &Branch,
        store: &store,
        targets: &mut targets,
        settings: &settings,
        prober: &Nobody,
        clock: now,
        memory: &mut memory,
    };
    world.on_a_new_day(now()).await.unwrap();
    let after = targets[0].plan().await.unwrap().unwrap();
    store.close().await;
    (after.changes == 0, after.audited)
}

#[tokio::test]
async fn rules_that_end_today_do_not_end_an_audit_that_somebody_began_by_hand() {
    assert_eq!(a_new_day(false).await, (true, false), "they end on time");
    assert_eq!(a_new_day(true).await, (false, true), "but not where nothing is dropped");
}

/// Switches enforcement off when it is asked who connects, as an operator may do in the middle of a pass.
struct Meanwhile(Store);

impl Prober for Meanwhile {
    fn own(&self) -> Boxed<'_, Vec<Errand>> {
        Box::pin(async {
            let (name, value) = (crate::converge::DISABLED.to_owned(), NAME.to_owned());
            let until = now().checked_add(Duration::from_secs(60)).ok();
            let (who, why) = ("uid:0".to_owned(), "a test".to_owned());
            let switch = crate::store::Switch { name, value, who, why, set_at: now(), until };
            self.0.switch_set(switch).await.unwrap();
            Vec::new()
        })
    }

    fn attempt<'a>(&'a self, _errands: &'a [Errand], _longest: Duration) -> Boxed<'a, Vec<Tried>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

#[tokio::test]
async fn enforcement_that_is_switched_off_in_the_middle_of_a_pass_holds_what_the_pass_was_about() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host::default())];
    let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
    let (source, prober, clock) = (&Branch, &Meanwhile(store.clone()), now as fn() -> Timestamp);
    let mut world = World { source, store: &store, targets: &mut targets, settings: &settings, prober, clock, memory: &mut memory };
    let outcome = crate::converge::converge(&mut world, Came::Poll).await.unwrap();
    let crate::converge::Outcome::Held { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("enforcement is off"), "{reason}");
    assert_eq!(targets[0].plan().await.unwrap().unwrap().changes, 1, "nothing was applied");
    store.close().await;
}

#[tokio::test]
async fn a_host_that_cannot_be_observed_is_on_record_and_the_forge_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { mood: Mood::Silent, ..Host::default() })];
    let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
    let (source, prober, clock) = (&Branch, &Nobody, now as fn() -> Timestamp);
    let mut world = World { source, store: &store, targets: &mut targets, settings: &settings, prober, clock, memory: &mut memory };
    crate::converge::converge(&mut world, Came::Poll).await.unwrap_err();
    let last = store.status_summary().await.unwrap().last_pass.unwrap();
    assert_eq!(last.outcome, Some(Outcome::Failed));
    assert!(last.reason.contains("cannot read the kernel's tables"), "{}", last.reason);
    let waiting = store.outbox_due(now(), 10).await.unwrap();
    let red = |news: &crate::store::News| matches!(news, crate::store::News::Status(status) if status.state == crate::converge::StatusState::Error);
    assert!(waiting.iter().any(|item| red(&item.news)), "{waiting:?}");
    store.close().await;
}
