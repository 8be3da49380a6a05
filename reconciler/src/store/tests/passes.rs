//! Passes, what is in force, drift, and how users see them.

use super::*;

fn plan() -> Plan {
    Plan { json: r#"{"create":[1]}"#.to_owned(), desired_hash: [3; 32], observed_hash: [4; 32] }
}

fn open_pass(n: u8) -> OpenPass {
    let step = |key: &str| NewStep {
        backend: "ebpf".to_owned(),
        target: "host/eth0".to_owned(),
        key: key.to_owned(),
        ensure: Ensure::Present,
        why: Why::Commit,
    };
    OpenPass {
        head: oid(n),
        git_ref: "refs/heads/main".to_owned(),
        enforced_before: None,
        plan: plan(),
        steps: vec![step("a"), step("b")],
        notes: Vec::new(),
        at: at(i64::from(n)),
    }
}

fn in_force(n: u8) -> PassEnd {
    let target =
        EnforcedNow { backend: "ebpf".to_owned(), target: "host/eth0".to_owned(), desired_hash: [3; 32], generation: u64::from(n) };
    PassEnd { enforced: vec![target], changes: 2, ..PassEnd::of(Outcome::InForce, "", at(i64::from(n) + 1)) }
}

fn ended(head: Option<u8>, outcome: Outcome, reason: &str, seconds: i64) -> EndedPass {
    EndedPass {
        head: head.map(oid),
        git_ref: "refs/heads/main".to_owned(),
        enforced_before: None,
        plan: None,
        started: at(seconds),
        end: PassEnd::of(outcome, reason, at(seconds)),
    }
}

#[tokio::test]
async fn a_pass_that_is_in_force_moves_what_is_enforced_and_remembers_the_last_good() {
    let place = Place::new();
    let store = place.open().await;
    for n in [1, 2] {
        store.begin_judging(vec![new_commit(n)], Vec::new(), at(0)).await.unwrap();
        let pass = store.open_pass(open_pass(n)).await.unwrap();
        let done = |n| StepEnd { n, state: StepState::Done, code: None };
        store.close_steps(pass, vec![done(0), done(1)], at(i64::from(n))).await.unwrap();
        store.close_pass(pass, in_force(n)).await.unwrap();
    }
    let row = store.enforced("ebpf", "host/eth0").await.unwrap().unwrap();
    assert_eq!((row.commit, row.last_good, row.generation), (oid(2).to_string(), Some(oid(1).to_string()), 2));
    assert_eq!(store.last_in_force().await.unwrap().unwrap().commit, oid(2));
    assert_eq!(store.evidence(&plan().hash()).await.unwrap().unwrap(), plan().json.as_bytes());
    assert_eq!(kinds(&place).await, ["log.opened", "pass.opened", "pass.closed", "pass.opened", "pass.closed"]);
}

#[tokio::test]
async fn history_is_the_promised_json_newest_first() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1), new_commit(2)], Vec::new(), at(0)).await.unwrap();
    let pass = store.open_pass(open_pass(1)).await.unwrap();
    store.close_pass(pass, in_force(1)).await.unwrap();
    let mut rejected = ended(Some(2), Outcome::Rejected, "1 violation", 10);
    rejected.end.findings = 1;
    rejected.end.rule_ids = vec!["PCI-1.3.1-004".to_owned()];
    store.record_pass(rejected).await.unwrap();
    let history = serde_json::to_value(store.history(10).await.unwrap()).unwrap();
    let expected = json!({
        "commit": oid(2).to_string(), "ref": "refs/heads/main", "author": "Ada <ada@example.com>", "subject": "change 2",
        "outcome": "rejected", "findings": 1, "rule_ids": ["PCI-1.3.1-004"], "started_at": "2026-01-01T00:00:10Z",
        "finished_at": "2026-01-01T00:00:10Z", "changes": 0, "reason": "1 violation",
        "approvals": null, "approved_by": null, "signed_by": null, "confirmed_by": null, "plan": null, "targets": [],
    });
    assert_eq!(history[0], expected);
    assert_eq!(history[1]["targets"], json!([{ "target": "host/eth0", "state": "intent" }]), "what nobody has answered yet");
    assert_eq!((&history[1]["outcome"], &history[1]["changes"]), (&json!("in_force"), &json!(2)));
    assert_eq!(store.last_in_force().await.unwrap().unwrap().commit, oid(1), "a rejected commit leaves the last good one");
}

#[tokio::test]
async fn an_unchanged_situation_is_one_entry_and_one_audit_row_however_often_it_is_polled() {
    let place = Place::new();
    let store = place.open().await;
    let (first, new) = store.record_pass(ended(Some(1), Outcome::Held, "main was rewritten", 1)).await.unwrap();
    assert!(new);
    for seconds in 2..10 {
        let again = store.record_pass(ended(Some(1), Outcome::Held, "main was rewritten", seconds)).await.unwrap();
        assert_eq!(again, (first, false));
    }
    assert!(store.record_pass(ended(Some(1), Outcome::Held, "another reason", 10)).await.unwrap().1);
    assert!(store.record_pass(ended(None, Outcome::Held, "branch main is missing", 11)).await.unwrap().1);
    assert!(!store.record_pass(ended(None, Outcome::Held, "branch main is missing", 12)).await.unwrap().1);
    assert_eq!(store.history(10).await.unwrap().len(), 3);
    assert_eq!(kinds(&place).await, ["log.opened", "source.held", "source.held", "source.held"]);
}

#[tokio::test]
async fn a_look_that_finds_the_applied_head_still_in_force_adds_nothing_to_history() {
    let place = Place::new();
    let store = place.open().await;
    let applied = store.open_pass(open_pass(1)).await.unwrap();
    store.close_pass(applied, PassEnd { reason: "2 changes".to_owned(), ..in_force(1) }).await.unwrap();
    let look = EndedPass { end: in_force(1), ..ended(Some(1), Outcome::InForce, "", 60) };
    assert_eq!(store.record_pass(look).await.unwrap(), (applied, false));
    let drifted = EndedPass { plan: Some(plan()), ..ended(Some(1), Outcome::Held, "too large", 61) };
    assert!(store.record_pass(drifted.clone()).await.unwrap().1);
    let other = Plan { json: "{}".to_owned(), ..plan() };
    assert!(store.record_pass(EndedPass { plan: Some(other), ..drifted }).await.unwrap().1, "another plan is another question");
}

#[tokio::test]
async fn a_held_plan_is_kept_for_the_person_who_confirms_it() {
    let place = Place::new();
    let store = place.open().await;
    let held = EndedPass { plan: Some(plan()), ..ended(Some(1), Outcome::Held, "removes 40 of 100 rules", 1) };
    store.record_pass(held).await.unwrap();
    assert!(store.evidence(&plan().hash()).await.unwrap().is_some());
    assert_eq!(kinds(&place).await, ["log.opened", "plan.held"]);
}

#[tokio::test]
async fn a_failed_step_has_a_row_of_its_own_and_a_closed_pass_stays_closed() {
    let place = Place::new();
    let store = place.open().await;
    let pass = store.open_pass(open_pass(1)).await.unwrap();
    let failed = StepEnd { n: 1, state: StepState::Failed, code: Some("ENOSPC".to_owned()) };
    store.close_steps(pass, vec![failed.clone()], at(2)).await.unwrap();
    store.close_pass(pass, PassEnd::of(Outcome::Failed, "host/eth0: table is full", at(3))).await.unwrap();
    assert!(matches!(store.close_pass(pass, in_force(1)).await, Err(Error::NoSuch(_))));
    assert!(matches!(store.close_steps(pass, vec![StepEnd { n: 9, ..failed }], at(4)).await, Err(Error::NoSuch(_))));
    assert_eq!(kinds(&place).await, ["log.opened", "pass.opened", "step.closed", "pass.closed"]);
    assert!(store.enforced_all().await.unwrap().is_empty());
}

#[tokio::test]
async fn drift_is_one_open_row_until_it_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let seen = |key: &str| DriftSeen {
        key: key.to_owned(),
        kind: DriftKind::Missing,
        expected: Some("allow 443".to_owned()),
        observed: None,
        class: DriftClass::Flow,
        ours: Some(true),
    };
    let note = |seen, resolution, seconds| {
        let closing = Closing { resolution, ..Closing::default() };
        store.note_drift("host/eth0".to_owned(), seen, closing, at(seconds))
    };
    let first = note(vec![seen("a"), seen("b")], None, 1).await.unwrap();
    assert_eq!(first, DriftNoted { opened: 2, still_open: 0, closed: 0 });
    let second = note(vec![seen("a")], None, 2).await.unwrap();
    assert_eq!(second, DriftNoted { opened: 0, still_open: 1, closed: 1 });
    let healed = note(Vec::new(), Some(Resolution::Healed), 3).await.unwrap();
    assert_eq!(healed, DriftNoted { opened: 0, still_open: 0, closed: 1 });
    assert_eq!(note(vec![seen("a")], None, 4).await.unwrap().opened, 1, "drift that comes back is new");
    let rows = store.drift(true).await.unwrap();
    let id = rows[0].id.clone();
    let open = serde_json::to_value(rows).unwrap();
    let expected = json!([{
        "target": "host/eth0", "kind": "missing", "key": "a", "expected": "allow 443", "observed": null, "first_seen": "2026-01-01T00:00:04Z",
        "last_seen": "2026-01-01T00:00:04Z", "resolved_at": null, "resolution": null, "id": id, "class": "flow", "ours": true,
        "times_seen": 1, "commit": null, "pass": null, "actor": null, "evidence": null, "decision": null,
    }]);
    assert_eq!(open, expected);
    let all = store.drift(false).await.unwrap();
    assert_eq!(all.iter().filter_map(|d| d.resolution).collect::<Vec<_>>(), [Resolution::Reverted, Resolution::Healed]);
    assert_eq!(store.status_summary().await.unwrap().open_drift, 1);
    let expected = ["log.opened", "drift.found", "drift.found", "drift.closed", "drift.closed", "drift.found"];
    assert_eq!(kinds(&place).await, expected);
}
