//! Which commits an order to look again lets be tried again.

use super::*;
use crate::converge::Source as _;
use crate::converge::kit::{Branch, commit, now};
use crate::store::{Came, EndedPass, NewCommit, Outcome, PassEnd};

/// The commit is quarantined for this reason, and what failed last was another.
async fn quarantined(folder: &tempfile::TempDir, reason: &str) -> Store {
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let info = Branch.describe(&commit()).await.unwrap();
    let git_ref = "refs/heads/main".to_owned();
    let new = NewCommit { info, git_ref: git_ref.clone(), came: Came::Poll };
    store.begin_judging(vec![new], Vec::new(), now()).await.unwrap();
    let end = PassEnd { quarantine: Some(reason.to_owned()), ..PassEnd::of(Outcome::Failed, reason, now()) };
    let pass = EndedPass { head: Some(commit()), git_ref: git_ref.clone(), enforced_before: None, plan: None, started: now(), end };
    store.record_pass(pass).await.unwrap();
    let end = PassEnd::of(Outcome::Failed, "nobody answers", now());
    let silence = EndedPass { head: None, git_ref, enforced_before: None, plan: None, started: now(), end };
    store.record_pass(silence).await.unwrap();
    let other = Failed { commit: "22".repeat(20), target: "host/eth0".to_owned(), times: 1, quarantined: false };
    store.meta_set(FAILED.to_owned(), serde_json::to_string(&other).unwrap(), now()).await.unwrap();
    store
}

#[tokio::test]
async fn a_head_that_was_told_to_wait_for_an_order_is_tried_again_whatever_failed_since() {
    let folder = tempfile::tempdir().unwrap();
    let store = quarantined(&folder, "it failed. Push a newer commit, or try again with pci-segment reconcile").await;
    assert_eq!(try_again(&store, "uid:0", "reconcile").await.unwrap(), Some(commit()));
    assert_eq!(store.commit(&commit()).await.unwrap().unwrap().quarantine, None);
    assert_eq!(try_again(&store, "uid:0", "reconcile").await.unwrap(), None, "once");
}

#[tokio::test]
async fn a_commit_that_was_taken_back_waits_for_a_decision_about_just_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = quarantined(&folder, "try it again with pci-segment reconcile --accept-head 010101010101 --reason …").await;
    assert_eq!(try_again(&store, "uid:0", "reconcile").await.unwrap(), None);
    assert!(store.commit(&commit()).await.unwrap().unwrap().quarantine.is_some());
}

#[tokio::test]
async fn d02_a_hold_after_errors_of_the_disk_ends_with_a_reason_and_never_beside_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    Store::open(&file, "host:test", now()).await.unwrap().close().await;
    let line = |n: u8| json!({ "id": vec![n; 16], "at": now().to_string(), "what": "error", "why": "no cable" }).to_string();
    std::fs::write(folder.path().join("state.db.failures"), format!("{}\n{}\n", line(1), line(2))).unwrap();
    let store = Store::open(&file, "host:test", now()).await.unwrap();
    store.settle_incidents(now()).await.unwrap();
    for reason in [None, Some(" ")] {
        assert_eq!(with_the_rest(&store, true, reason, "uid:0").await, Err(STILL_HELD.to_owned()), "{reason:?}");
    }
    assert_eq!(with_the_rest(&store, false, Some("the window is over"), "uid:0").await, Ok(Some(STILL_HELD)));
    assert!(store.held().is_some());
    assert_eq!(with_the_rest(&store, true, Some("a new cable"), "uid:0").await, Ok(Some(Ends::Hold.words())));
    assert!(store.held().is_none());
    assert_eq!(with_the_rest(&store, true, None, "uid:0").await, Ok(None), "nothing is held");
    let all = store.failures(false).await.unwrap();
    assert!(all.iter().any(|one| one.remediation.as_deref() == Some("a new cable")), "{all:?}");
    store.close().await;
}

#[test]
fn whoever_wants_nothing_dropped_during_the_first_trial_is_not_told_that_nothing_is() {
    assert_eq!(refusal(Dropping::All, true), None);
    assert_eq!(refusal(Dropping::Off(Duration::ZERO), true), None);
    let said = refusal(Dropping::All, false).unwrap();
    assert!(said.contains("rescue rollback") && said.contains("rescue audit") && !said.contains("nothing is dropped already"));
    assert!(refusal(Dropping::Nothing, true).unwrap().contains("nothing is dropped"));
    assert!(refusal(Dropping::Audited, true).unwrap().contains("nothing is dropped already"));
}
