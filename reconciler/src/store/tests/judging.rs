//! A verdict, its row and its status are one; the forge hears news, once.

use super::*;

const FINDINGS: &str = r#"[{"rule_id":"PCI-1.3.1-004","severity":"error"},{"rule_id":"PCI-1.2.5-001","severity":"error"}]"#;

async fn states(place: &Place) -> Vec<(String, String)> {
    let mut look = SqliteConnectOptions::new().filename(place.file()).read_only(true).connect().await.unwrap();
    sqlx::query_as("SELECT status, state FROM outbox ORDER BY rowid").fetch_all(&mut look).await.unwrap()
}

fn pair(status: &str, state: &str) -> (String, String) {
    (status.to_owned(), state.to_owned())
}

#[tokio::test]
async fn judging_leaves_a_verdict_findings_an_audit_row_and_a_queued_status() {
    let place = Place::new();
    let store = place.open().await;
    let attempts = store.begin_judging(vec![new_commit(1)], vec![status(1, StatusState::Pending, "queued")], at(1)).await.unwrap();
    assert_eq!(attempts, [1]);
    assert_eq!(store.commits_pending().await.unwrap().len(), 1);
    let red = status(1, StatusState::Failure, "2 violations");
    let findings: Value = serde_json::from_str(FINDINGS).unwrap();
    store.record_verdict(judged(1, Verdict::Rejected, findings.clone(), Some(red.clone()))).await.unwrap();
    assert!(store.commits_pending().await.unwrap().is_empty());
    let known = store.commit(&oid(1)).await.unwrap().unwrap();
    assert_eq!((known.verdict, known.findings, known.attempts), (Verdict::Rejected, findings, 0), "attempts without a verdict");
    assert_eq!(known.rule_ids, ["PCI-1.3.1-004", "PCI-1.2.5-001"]);
    assert_eq!(kinds(&place).await, ["log.opened", "commit.judged"]);
    let due = store.outbox_due(at(3), 10).await.unwrap();
    assert_eq!(due.iter().map(|item| item.news.clone()).collect::<Vec<_>>(), [News::Status(red)]);
}

#[tokio::test]
async fn a_verdict_that_cannot_be_logged_is_not_stored_and_says_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(1)).await.unwrap();
    // `pending` is not a verdict: the audit row is refused after the verdict was written, in the same transaction.
    let red = status(1, StatusState::Failure, "never");
    let refused = store.record_verdict(judged(1, Verdict::Pending, serde_json::from_str(FINDINGS).unwrap(), Some(red))).await;
    assert!(refused.is_err());
    let known = store.commit(&oid(1)).await.unwrap().unwrap();
    assert_eq!((known.findings, known.judged_by), (json!([]), None));
    assert!(states(&place).await.is_empty());
    assert_eq!(kinds(&place).await, ["log.opened"]);
}

#[tokio::test]
async fn a_commit_found_again_after_a_crash_counts_its_attempts() {
    let place = Place::new();
    let store = place.open().await;
    for expected in 1..=3 {
        let pending = vec![status(1, StatusState::Pending, "queued")];
        assert_eq!(store.begin_judging(vec![new_commit(1)], pending, at(1)).await.unwrap(), [expected]);
    }
    assert_eq!(store.commits_pending().await.unwrap()[0].attempts, 3);
    assert_eq!(states(&place).await, [pair("pending", "queued")], "equal news is queued once");
}

#[tokio::test]
async fn a_newer_status_supersedes_an_unsent_older_one_but_not_a_sent_one() {
    let place = Place::new();
    let store = place.open().await;
    let say = |state, text| store.queue_status(status(1, state, text), at(1));
    say(StatusState::Pending, "queued").await.unwrap();
    say(StatusState::Failure, "no").await.unwrap();
    assert_eq!(states(&place).await, [pair("pending", "superseded"), pair("failure", "queued")]);
    let due = store.outbox_due(at(1), 10).await.unwrap();
    store.outbox_sent(due[0].id, Some("77".to_owned()), at(2)).await.unwrap();
    say(StatusState::Failure, "no").await.unwrap();
    assert_eq!(states(&place).await.len(), 2, "what was sent is not said again");
    say(StatusState::Success, "yes").await.unwrap();
    say(StatusState::Failure, "no").await.unwrap();
    let expected =
        [pair("pending", "superseded"), pair("failure", "sent"), pair("success", "superseded"), pair("failure", "queued")];
    assert_eq!(states(&place).await, expected, "the last news counts, not the last sent");
    assert_eq!(kinds(&place).await, ["log.opened", "status.sent"]);
}

#[tokio::test]
async fn red_is_sent_before_green_and_a_postponed_row_waits() {
    let place = Place::new();
    let store = place.open().await;
    for (n, state) in [(1, StatusState::Pending), (2, StatusState::Success), (3, StatusState::Failure), (4, StatusState::Error)] {
        store.queue_status(status(n, state, "text"), at(i64::from(n))).await.unwrap();
    }
    let due = store.outbox_due(at(10), 10).await.unwrap();
    assert_eq!(due.iter().map(|item| item.news.commit()).collect::<Vec<_>>(), [oid(3), oid(4), oid(2), oid(1)]);
    store.outbox_retry(due[0].id, at(60), "502".to_owned()).await.unwrap();
    store.outbox_dead(due[1].id, "422".to_owned(), at(11)).await.unwrap();
    assert_eq!(store.outbox_due(at(59), 10).await.unwrap().len(), 2);
    assert_eq!(store.outbox_due(at(60), 10).await.unwrap()[0].attempts, 1);
    let depth = store.outbox_depth().await.unwrap();
    assert_eq!((depth.queued, depth.dead, depth.oldest), (3, 1, Some(at(1))));
    assert_eq!(kinds(&place).await, ["log.opened", "status.dead"]);
}

#[tokio::test]
async fn a_quarantined_commit_keeps_its_reason() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(1)).await.unwrap();
    let quarantine = Some("five failures".to_owned());
    let end =
        PassEnd { quarantine, status: Some(status(1, StatusState::Error, "gave up")), ..PassEnd::of(Outcome::Held, "", at(2)) };
    let pass = |n: u8| EndedPass {
        head: Some(oid(n)),
        git_ref: "refs/heads/main".to_owned(),
        enforced_before: None,
        plan: None,
        started: at(1),
        end: end.clone(),
    };
    store.record_pass(pass(1)).await.unwrap();
    assert_eq!(store.commit(&oid(1)).await.unwrap().unwrap().quarantine.as_deref(), Some("five failures"));
    assert_eq!(states(&place).await, [pair("error", "queued")]);
    assert!(matches!(store.record_pass(pass(9)).await, Err(Error::NoSuch(_))));
    assert_eq!(store.history(9).await.unwrap().len(), 1, "what fails leaves no pass behind");
}

#[tokio::test]
async fn a_waiver_that_a_verdict_stands_on_is_named_in_a_row_of_its_own_with_who_approved_it_and_until_when() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(1)).await.unwrap();
    let waiver = json!({ "name": "vendor-range", "reason": "the vendor", "approved_by": "Ada", "expires_at": "2026-05-01" });
    let finding = |rule: &str, waiver: &Value| json!({ "rule_id": rule, "severity": "error", "waiver": waiver });
    let findings =
        json!([finding("PCI-1.3.1-004", &waiver), finding("PCI-1.2.5-001", &waiver), finding("PCI-1.2.1-001", &Value::Null)]);
    store.record_verdict(judged(1, Verdict::Compliant, findings, None)).await.unwrap();
    assert_eq!(kinds(&place).await, ["log.opened", "commit.judged", "waiver.used"]);
    let mut look = SqliteConnectOptions::new().filename(place.file()).read_only(true).connect().await.unwrap();
    let leaf: Vec<u8> =
        sqlx::query_scalar("SELECT leaf FROM audit_log WHERE kind = 'waiver.used'").fetch_one(&mut look).await.unwrap();
    let leaf = crate::audit::leaf::Leaf::decode(&leaf).unwrap();
    let payload: Value = serde_json::from_str(leaf.payload).unwrap();
    assert_eq!((leaf.object, leaf.commit), ("vendor-range", oid(1).as_bytes()));
    assert_eq!((&payload["approved_by"], &payload["until"]), (&json!("Ada"), &json!("2026-05-01")));
    assert_eq!(payload["rule_ids"], json!(["PCI-1.3.1-004", "PCI-1.2.5-001"]));
    store.close().await;
}
