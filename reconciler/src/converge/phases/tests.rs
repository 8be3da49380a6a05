//! Passes over several clouds and a host: who is in force when one of them fails, what comes first, and when a pass stops.

mod before;
mod drift;

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::super::kit::{Branch, Host, Nobody, commit, now, settings};
use super::super::stepped::memory::{Cloud, Fault, Key, Meanwhile, Rule, Table, group, rule};
use super::*;
use crate::converge::{
    Actor, CONFIRMED_PLAN, Compared, Entry, Memory, Outcome, Scope, Settings, StatusState, Stepped, check_drift, check_drift_of,
    converge,
};
use crate::store::{Came, Delivery, News, Outcome as Recorded, Store, Switch};

thread_local! {
    /// Seconds since the test began; each test has a thread of its own.
    static PASSED: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

fn clock() -> Timestamp {
    now() + jiff::SignedDuration::from_secs(PASSED.get())
}

fn pass_time(seconds: i64) {
    PASSED.set(PASSED.get() + seconds);
}

/// A controller with clouds, and what it knows over restarts.
struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    targets: Vec<Box<dyn Target>>,
    settings: Settings,
    memory: Memory,
}

impl Bench {
    async fn of(targets: Vec<Box<dyn Target>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
        let memory = Memory { restored: true, ..Memory::default() };
        Self { folder, store, targets, settings: Settings { backends: Vec::new(), ..settings() }, memory }
    }

    async fn with(clouds: &[Cloud]) -> Self {
        let targets = clouds.iter().map(|cloud| -> Box<dyn Target> { Box::new(cloud.target(&entry(&cloud.name))) }).collect();
        Self::of(targets).await
    }

    fn world(&mut self) -> World<'_, Branch> {
        World {
            source: &Branch,
            store: &self.store,
            targets: &mut self.targets,
            settings: &self.settings,
            prober: &Nobody,
            clock,
            memory: &mut self.memory,
        }
    }

    async fn look(&mut self) -> Result<Outcome, String> {
        // Who is there is looked for again: time passes only in the world.
        self.memory.surveyed = None;
        let looked = converge(&mut self.world(), Came::Poll).await;
        if looked.is_err() {
            self.memory.settled = None;
        }
        looked.map_err(|trouble| chain(&trouble))
    }

    async fn in_force(&mut self) {
        let looked = self.look().await;
        assert!(matches!(looked, Ok(Outcome::InForce { .. })), "{looked:?}");
    }

    /// Compares as if all of our own writes were long ago.
    async fn compare(&mut self) -> Compared {
        self.memory.written.clear();
        check_drift(&mut self.world()).await.unwrap()
    }

    async fn last_pass(&self) -> (Option<Recorded>, String) {
        let last = self.store.status_summary().await.unwrap().last_pass.unwrap();
        (last.outcome, last.reason)
    }

    /// The targets on record as in force.
    async fn recorded(&self) -> Vec<String> {
        self.store.enforced_all().await.unwrap().into_iter().map(|row| row.target).collect()
    }

    async fn steps(&self, state: &str) -> Vec<(String, String)> {
        let mut file = SqliteConnectOptions::new().filename(self.folder.path().join("state.db")).connect().await.unwrap();
        let query = sqlx::query_as("SELECT target, key FROM steps WHERE state = ? ORDER BY started, target, n").bind(state);
        query.fetch_all(&mut file).await.unwrap()
    }

    async fn confirm(&self, hash: &str) {
        let (name, value) = (CONFIRMED_PLAN.to_owned(), hash.to_owned());
        let (who, why) = ("uid:0".to_owned(), "a test".to_owned());
        self.store.switch_set(Switch { name, value, who, why, set_at: now(), until: None }).await.unwrap();
    }
}

/// `aws/one/vpc-1` belongs to the entry `one`.
fn entry(target: &str) -> String {
    target.split('/').nth(1).unwrap_or_default().to_owned()
}

fn old() -> Table {
    Table::from([group("cde"), rule("cde", 1, &[1])])
}

fn new() -> Table {
    Table::from([group("cde"), rule("cde", 2, &[2])])
}

fn clouds<const N: usize>(names: [&str; N]) -> [Cloud; N] {
    names.map(|name| Cloud::new(&format!("aws/{name}/vpc-1"), old(), new()))
}

/// The hash in `pci-segment confirm HASH`.
fn hash(reason: &str) -> String {
    reason.split("confirm ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a07_a_region_that_is_away_is_named_and_the_others_are_applied() {
    let all = clouds(["one", "two", "three"]);
    let mut bench = Bench::with(&all).await;
    all[1].world().cannot_be_read = true;
    let why = bench.look().await.unwrap_err();
    assert!(why.starts_with("2 of 3 targets in force; aws/two/vpc-1: ") && why.contains("ExpiredToken; sign in again"), "{why}");
    assert_eq!(bench.last_pass().await, (Some(Recorded::Failed), why));
    assert_eq!(bench.recorded().await, ["aws/one/vpc-1", "aws/three/vpc-1"]);
    assert_eq!((all[0].rules(), all[1].rules()), (new(), old()));
    let waiting = bench.store.outbox_due(now(), 10).await.unwrap();
    assert!(waiting.iter().any(|item| matches!(&item.news, News::Status(status) if status.state == StatusState::Error)));

    // It is back: only what is left there takes calls.
    let calls = all[0].calls();
    all[1].world().cannot_be_read = false;
    bench.in_force().await;
    assert_eq!((all[0].calls(), all[1].rules()), (calls, new()));
    assert_eq!(bench.recorded().await.len(), 3);
}

#[tokio::test]
async fn a07_an_account_where_nobody_can_see_who_is_there_is_named_and_the_others_are_applied() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    all[0].world().cannot_be_surveyed = true;
    let why = bench.look().await.unwrap_err();
    assert!(why.starts_with("1 of 2 targets in force; aws/one/vpc-1: DescribeInstances"), "{why}");
    assert_eq!((all[0].calls(), all[1].rules()), (0, new()));
    all[1].world().cannot_be_surveyed = true;
    let why = bench.look().await.unwrap_err();
    assert!(why.contains("cannot enforce on aws/two/vpc-1"), "nobody is left: {why}");
}

#[tokio::test]
async fn a07_a_failure_in_the_middle_of_one_target_stops_that_one_and_the_row_names_the_call() {
    let all = clouds(["one", "two", "three"]);
    let mut bench = Bench::with(&all).await;
    all[1].world().faults.insert(0, Fault::Fails);
    for _ in 0..7 {
        let why = bench.look().await.unwrap_err();
        assert!(why.starts_with("2 of 3 targets in force; aws/two/vpc-1: AuthorizeSecurityGroupIngress"), "{why}");
        let calls = all[1].calls();
        all[1].world().faults.insert(calls, Fault::Fails);
    }
    assert_eq!(bench.steps("failed").await.first().unwrap(), &("aws/two/vpc-1".to_owned(), "rule cde 2".to_owned()));
    assert_eq!(all[1].rules(), old(), "nothing is removed");
    all[1].world().faults.clear();
    // However often a cloud was away, no commit is quarantined for it.
    bench.in_force().await;
    assert_eq!(all[1].rules(), new());
}

#[tokio::test]
async fn a_pass_that_changes_nothing_makes_no_call() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    let calls = |all: &[Cloud]| all.iter().map(Cloud::calls).sum::<usize>();
    let before = calls(&all);
    // Somebody new is there: the same commit is put in force again, and means the same.
    all[0].world().members = 1;
    bench.in_force().await;
    assert_eq!((before, calls(&all)), (4, 4));
}

#[tokio::test]
async fn a_new_member_makes_a_new_pass_although_the_head_is_the_same() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    {
        let mut world = all[0].world();
        (world.members, world.desired) =
            (1, new().into_iter().chain([(Key::Member("cde".to_owned(), 1), Rule::default())]).collect());
    }
    bench.in_force().await;
    assert!(all[0].rules().contains_key(&Key::Member("cde".to_owned(), 1)));
}

#[tokio::test]
async fn a15_told_to_stop_in_the_middle_of_a_plan_it_stops_at_a_step_boundary_with_nothing_removed() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    let stop = std::sync::Arc::clone(&bench.memory.stop);
    all[0].world().meanwhile = Some(Meanwhile(Box::new(move |_| stop.store(true, Ordering::Relaxed))));
    let looked = bench.look().await.unwrap();
    assert!(matches!(&looked, Outcome::Held { reason } if reason.starts_with("superseded: ")), "{looked:?}");
    assert_eq!((all[0].calls(), all[1].calls()), (1, 0));
    assert!(old().keys().all(|key| all[0].rules().contains_key(key)), "nothing is half removed");
    let (outcome, reason) = bench.last_pass().await;
    assert!(outcome == Some(Recorded::Failed) && reason.starts_with("superseded"), "{reason}");
    all[0].world().meanwhile = None;
    bench.memory = Memory { restored: true, ..Memory::default() };
    bench.in_force().await;
    assert_eq!((all[0].calls(), all[0].rules()), (2, new()), "what was added is not added again");
}

#[tokio::test]
async fn a15_a_newer_commit_that_is_announced_ends_a_pass_before_its_next_call() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    let newer = Delivery {
        forge: "github".to_owned(),
        delivery_id: "1".to_owned(),
        event: "push".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        before: None,
        after: Some("09".repeat(20)),
        request: None,
        body_sha256: [0; 32],
        secret_line: 1,
        received: now() + Duration::from_secs(1),
        ignored: None,
    };
    let same = Delivery { delivery_id: "2".to_owned(), after: Some(commit().to_string()), ..newer.clone() };
    bench.store.keep_delivery(newer).await.unwrap();
    let looked = bench.look().await.unwrap();
    assert!(matches!(&looked, Outcome::Held { reason } if reason.contains("a newer commit was announced")), "{looked:?}");
    assert_eq!((all[0].calls(), bench.memory.look_in), (0, Some(Duration::ZERO)), "and looks again at once");
    let waiting = bench.store.deliveries_waiting().await.unwrap();
    bench.store.close_deliveries(waiting.iter().map(|one| one.id).collect(), None).await.unwrap();
    bench.store.keep_delivery(same).await.unwrap();
    bench.in_force().await;
}

#[tokio::test]
async fn a_first_wave_that_fails_leaves_every_other_cloud_as_it_is() {
    let all = clouds(["one", "canary", "two"]);
    let mut bench = Bench::with(&all).await;
    bench.settings.first_wave = Some("canary".to_owned());
    // Its removal is refused: then what it added was verified, and still no other begins.
    all[1].world().faults.insert(1, Fault::Fails);
    let why = bench.look().await.unwrap_err();
    assert!(why.starts_with("0 of 3 targets in force"), "{why}");
    assert_eq!((all[0].calls(), all[1].calls(), all[2].calls()), (0, 2, 0));
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for (n, cloud) in all.iter().enumerate() {
        let order = std::sync::Arc::clone(&order);
        cloud.world().meanwhile = Some(Meanwhile(Box::new(move |_| order.lock().unwrap().push(n))));
    }
    bench.in_force().await;
    assert_eq!(*order.lock().unwrap(), [1, 0, 2, 0, 2], "the first wave as a whole, then all adds, then all removals");
}

#[tokio::test]
async fn a_target_of_a_dry_run_is_planned_and_never_changed_nor_in_force() {
    let [real, shown] = clouds(["one", "shown"]);
    let entry = Entry { name: "shown".to_owned(), dry_run: true, pause: Duration::ZERO };
    let targets: Vec<Box<dyn Target>> = vec![Box::new(real.target("one")), Box::new(Stepped::new(shown.clone(), entry))];
    let mut bench = Bench::of(targets).await;
    bench.in_force().await;
    assert_eq!((real.rules(), shown.calls()), (new(), 0));
    assert_eq!(bench.recorded().await, ["aws/one/vpc-1"]);
    assert_eq!(bench.compare().await.left, 0, "what is only shown has no drift");
    bench.memory.settled = None;
    bench.in_force().await;
}

#[tokio::test]
async fn with_a_trial_by_hand_a_cloud_removes_only_once_it_is_confirmed() {
    let [cloud] = clouds(["one"]);
    let targets: Vec<Box<dyn Target>> = vec![Box::new(Host::default()), Box::new(cloud.target("one"))];
    let mut bench = Bench::of(targets).await;
    bench.settings.confirm_within = Some(Duration::from_secs(300));
    assert!(matches!(bench.look().await, Ok(Outcome::Held { .. })), "on trial");
    assert_eq!((cloud.calls(), cloud.rules().len()), (1, 3), "added, nothing removed");
    assert_eq!(bench.compare().await.left, 0, "which is no drift");
    // This host answers that it is kept.
    bench.in_force().await;
    assert_eq!(cloud.rules(), new());
    assert_eq!(bench.recorded().await, ["aws/one/vpc-1", "host/eth0"]);
}

#[tokio::test]
async fn a_host_that_refuses_leaves_the_clouds_with_what_both_allow() {
    let [cloud] = clouds(["one"]);
    let host = Host { mood: super::super::kit::Mood::Refuses, ..Host::default() };
    let mut bench = Bench::of(vec![Box::new(host), Box::new(cloud.target("one"))]).await;
    let why = bench.look().await.unwrap_err();
    assert!(why.contains("the kernel refuses"), "{why}");
    assert_eq!(cloud.rules().len(), 3, "added, nothing removed");
    assert!(bench.recorded().await.is_empty());
}

#[tokio::test]
async fn a_branch_that_goes_back_after_a_pass_that_failed_in_part_puts_every_target_back() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    // Another commit was put in force on one of them only.
    let other = policy::snapshot::CommitId::from_bytes(&[9; 20]).unwrap();
    let info = crate::converge::Source::describe(&Branch, &commit()).await.unwrap();
    let new = crate::store::NewCommit {
        info: crate::converge::CommitInfo { id: other, ..info },
        git_ref: "refs/heads/main".to_owned(),
        came: Came::Poll,
    };
    bench.store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
    let now_there = EnforcedNow { backend: "aws".to_owned(), target: all[0].name.clone(), desired_hash: [1; 32], generation: 0 };
    let end = crate::store::PassEnd { enforced: vec![now_there], ..crate::store::PassEnd::of(Recorded::Failed, "1 of 2", clock()) };
    let (git_ref, started) = ("refs/heads/main".to_owned(), clock());
    let pass = crate::store::EndedPass { head: Some(other), git_ref, enforced_before: Some(commit()), plan: None, started, end };
    bench.store.record_pass(pass).await.unwrap();
    all[0].world().rules.extend([rule("cde", 7, &[7])]);
    bench.memory.settled = None;
    bench.in_force().await;
    assert_eq!(all[0].rules(), self::new());
}

#[tokio::test]
async fn a01_a_process_killed_in_the_middle_of_any_call_goes_on_by_looking_and_the_rows_tell_the_story() {
    for at in 0..2 {
        let all = clouds(["one", "two"]);
        let mut bench = Bench::with(&all).await;
        let died = std::sync::Arc::new(tokio::sync::Notify::new());
        {
            let mut world = all[0].world();
            (world.died, _) = (Some(std::sync::Arc::clone(&died)), world.faults.insert(at, Fault::Dies));
        }
        tokio::select! {
            looked = bench.look() => panic!("it is killed: {looked:?}"),
            () = died.notified() => {}
        }
        assert_eq!(bench.store.close_interrupted_passes(now()).await.unwrap().len(), 1);
        let call = [("aws/one/vpc-1", "rule cde 2"), ("aws/one/vpc-1", "rule cde 1")][at];
        assert!(bench.steps("unknown").await.contains(&(call.0.to_owned(), call.1.to_owned())));
        // Another process, which knows what is on record.
        let targets = all.iter().map(|cloud| -> Box<dyn Target> { Box::new(cloud.target(&entry(&cloud.name))) }).collect();
        bench = Bench { targets, memory: Memory::default(), ..bench };
        bench.in_force().await;
        assert_eq!((all[0].rules(), all[1].rules()), (new(), new()));
        assert_eq!(all[0].calls(), 2, "what was done is not sent again");
    }
}
