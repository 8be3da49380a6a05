//! Who approved what came in force.

use super::*;
use crate::converge::{Approval, Reviewed, Standing};

/// As the loop leaves a head whose pass ended so.
async fn ended(store: &Store, n: u8, outcome: Outcome, seconds: i64) {
    let pass = EndedPass {
        head: Some(oid(n)),
        git_ref: "refs/heads/main".to_owned(),
        enforced_before: None,
        plan: None,
        started: at(seconds),
        end: PassEnd::of(outcome, "", at(seconds)),
    };
    store.record_pass(pass).await.unwrap();
}

async fn unreviewed(store: &Store) -> Vec<CommitId> {
    store.commits_unreviewed(at(0), 10).await.unwrap().into_iter().map(|(commit, _)| commit).collect()
}

fn reviewed() -> Reviewed {
    let approval = Approval { who: "grace".to_owned(), at: Some(at(1)), standing: Standing::Given, head: Some(oid(9).to_string()) };
    Reviewed { request: 12, url: None, author: "ada".to_owned(), head: Some(oid(9).to_string()), approvals: vec![approval] }
}

#[tokio::test]
async fn a_commit_is_asked_about_once_it_is_in_force_and_so_are_those_that_came_before_it() {
    let place = Place::new();
    let store = place.open().await;
    for n in 1..=3 {
        store.begin_judging(vec![new_commit(n)], Vec::new(), at(i64::from(n))).await.unwrap();
    }
    let request = NewCommit { came: Came::Request, ..new_commit(4) };
    store.begin_judging(vec![request], Vec::new(), at(1)).await.unwrap();
    ended(&store, 2, Outcome::Held, 5).await;
    assert_eq!(unreviewed(&store).await, []);
    ended(&store, 2, Outcome::InForce, 6).await;
    assert_eq!(unreviewed(&store).await, [oid(2), oid(1)], "not what came later, nor the head of a request");
    store.note_approvals(oid(2), Reviews::Known(vec![reviewed()]), at(7)).await.unwrap();
    assert_eq!(unreviewed(&store).await, [oid(1)]);
    store.note_approvals(oid(1), Reviews::Unknown("not offered".to_owned()), at(7)).await.unwrap();
    assert_eq!(unreviewed(&store).await, []);
}

#[tokio::test]
async fn approvals_are_kept_with_one_audit_row_and_the_first_answer_stays() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(1)).await.unwrap();
    store.note_approvals(oid(1), Reviews::Known(vec![reviewed()]), at(7)).await.unwrap();
    store.note_approvals(oid(1), Reviews::Known(Vec::new()), at(8)).await.unwrap();
    let expected = json!({ "requests": [{
        "request": 12, "url": null, "author": "ada", "head": oid(9).to_string(),
        "approvals": [{ "who": "grace", "at": "2026-01-01T00:00:01Z", "standing": "given", "head": oid(9).to_string() }],
    }] });
    assert_eq!(store.approvals(&oid(1)).await.unwrap(), Some(expected.clone()));
    ended(&store, 1, Outcome::InForce, 9).await;
    assert_eq!(store.history(1).await.unwrap()[0].approvals, Some(expected), "beside the commit in `history`");
    assert_eq!(store.approvals(&oid(2)).await.unwrap(), None);
    assert_eq!(kinds(&place).await, ["log.opened", "commit.reviewed", "pass.closed"]);
}
