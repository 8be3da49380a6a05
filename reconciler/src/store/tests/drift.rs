//! What is known of drift, what is decided about it, and reports.

use super::*;

fn seen(key: &str) -> DriftSeen {
    DriftSeen {
        key: key.to_owned(),
        kind: DriftKind::Missing,
        expected: Some("allow 443".to_owned()),
        observed: None,
        class: DriftClass::Flow,
        ours: None,
    }
}

const TARGET: &str = "host/eth0";

async fn note(store: &Store, keys: &[&str], closing: Closing, seconds: i64) {
    let seen = keys.iter().map(|key| seen(key)).collect();
    store.note_drift(TARGET.to_owned(), seen, closing, at(seconds)).await.unwrap();
}

async fn only(store: &Store, key: &str) -> DriftEntry {
    store.drift(false).await.unwrap().into_iter().find(|row| row.key == key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_is_listed_counts_as_open_no_longer_and_does_again_when_its_time_is_over() {
    let place = Place::new();
    let store = place.open().await;
    note(&store, &["a", "b"], Closing::default(), 1).await;
    let (row, by) = (only(&store, "a").await, ("uid:0:root".to_owned(), "the vendor's window".to_owned()));
    let now = Timestamp::now();
    let until = now + jiff::SignedDuration::from_hours(1);
    store.accept_drift(row.clone(), by, until, now).await.unwrap();
    let summary = store.status_summary().await.unwrap();
    assert_eq!((summary.open_drift, summary.drift_accepted), (1, 1));
    let row = only(&store, "a").await;
    assert!(row.resolved_at.is_none() && row.is(DriftVerdict::Accepted) && !row.is_open(), "{row:?}");
    assert_eq!(store.drift(true).await.unwrap().len(), 2, "it stays in the list");
    assert_eq!(store.drift_like(row.short()).await.unwrap().len(), 1, "its last digits name it");
    assert!(store.drift_like("12345").await.unwrap().is_empty(), "too few digits name nothing");

    assert_eq!(store.drift_decisions(until).await.unwrap(), []);
    let over = store.end_drift_decisions(until, at(0)).await.unwrap();
    assert_eq!(over.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(store.status_summary().await.unwrap().open_drift, 2);
    let kinds = kinds(&place).await;
    assert_eq!(kinds[kinds.len() - 2..], ["drift.accepted", "drift.released"]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acceptance_ends_where_something_else_is_found_than_what_was_accepted_and_both_leave_a_row() {
    let place = Place::new();
    let store = place.open().await;
    let found = |observed: &str| DriftSeen { kind: DriftKind::Changed, observed: Some(observed.to_owned()), ..seen("a") };
    let look =
        |observed: &str, seconds| store.note_drift(TARGET.to_owned(), vec![found(observed)], Closing::default(), at(seconds));
    look("allow 8443", 1).await.unwrap();
    let (by, now) = (("uid:0:root".to_owned(), "for a test".to_owned()), Timestamp::now());
    let until = now + jiff::SignedDuration::from_hours(1);
    store.accept_drift(only(&store, "a").await, by, until, now).await.unwrap();
    look("allow 8443", 2).await.unwrap();
    assert!(!only(&store, "a").await.is_open(), "the same again is what was accepted");
    store.note_drift(TARGET.to_owned(), Vec::new(), Closing::default(), at(3)).await.unwrap();
    look("allow 8443", 4).await.unwrap();
    assert!(!only(&store, "a").await.is_open(), "also after it was gone for a while");

    look("allow everything", 5).await.unwrap();
    let row = only(&store, "a").await;
    assert!(row.is_open() && row.decision.is_none(), "{row:?}");
    let told = ["drift.found", "drift.accepted", "drift.closed", "drift.found", "drift.released", "drift.found"];
    assert_eq!(kinds(&place).await[1..], told);
    let mut look = place.intruder().await;
    let leaf: Vec<u8> =
        sqlx::query_scalar("SELECT leaf FROM audit_log ORDER BY seq DESC LIMIT 1").fetch_one(&mut look).await.unwrap();
    let payload: Value = serde_json::from_str(crate::audit::leaf::Leaf::decode(&leaf).unwrap().payload).unwrap();
    assert_eq!(
        (&payload["observed_before"], &payload["observed"]),
        (&"allow 8443".into(), &"allow everything".into()),
        "{payload}"
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_difference_is_told_however_many_newer_ones_have_ended_and_what_is_not_listed_is_counted() {
    let place = Place::new();
    let store = place.open().await;
    note(&store, &["old"], Closing::default(), 1).await;
    let id = only(&store, "old").await.id;
    let mut behind = place.intruder().await;
    sqlx::raw_sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10007) \
         INSERT INTO drift (id, target, key, kind, first_seen, last_seen, resolved_at, resolution) \
         SELECT CAST(printf('%016d', i) AS BLOB), 'host/eth0', 'k' || i, 'missing', 1767225700000000000 + i, 1767225700000000000 + i, \
         1767225700000000000 + i, 'reverted' FROM n",
    )
    .execute(&mut behind)
    .await
    .unwrap();
    let all = store.drift(false).await.unwrap();
    assert_eq!((all.len(), all[0].id.as_str(), all[0].is_open()), (10_001, id.as_str(), true));
    assert_eq!(store.drift_like(&id).await.unwrap().len(), 1);
    let oldest = uuid::Uuid::from_slice(b"0000000000000001").unwrap().to_string();
    assert_eq!(store.drift_like(&oldest).await.unwrap()[0].key, "k1", "an id is looked up, however old");
    let facts = store.report_facts(at(50), Timestamp::now()).await.unwrap();
    assert_eq!((facts.rows.len(), facts.rows_cut, facts.rows[0].id.as_str()), (10_001, 7, id.as_str()));
    let later = store.report_facts(at(500), Timestamp::now()).await.unwrap();
    assert_eq!((later.rows.len(), later.rows_cut), (1, 0), "what ended before the period is of another");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_back_with_a_whole_table_does_not_count_against_its_rules() {
    let place = Place::new();
    let store = place.open().await;
    for round in 0..5 {
        note(&store, &["a"], Closing::default(), round * 10).await;
        note(&store, &[], Closing::healed(None), round * 10 + 5).await;
    }
    assert!(store.put_back_lately(TARGET, at(0)).await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_from_while_the_clock_was_ahead_cover_nothing_and_old_ones_are_found_by_their_id() {
    let place = Place::new();
    let store = place.open().await;
    let now = at(1_000);
    assert_eq!(store.period_begins(now).await.unwrap(), at(0), "where the log was opened");
    let mut first = String::new();
    for (n, (begins, ends)) in [(0, 100), (100, 9_000_000), (9_000_000, 9_000_001)].into_iter().enumerate() {
        let (id, name) = report_id(at(ends));
        let [summary, html, json] = [json!({}), json!(n), json!(n)];
        let (html, json) = (html.to_string().into_bytes(), json.to_string().into_bytes());
        let report = NewReport {
            id,
            begins: at(begins),
            ends: at(ends),
            summary,
            html,
            json,
            actor: "system".to_owned(),
            is_scheduled: true,
        };
        store.keep_report(report).await.unwrap();
        first = if n == 0 { name } else { first };
    }
    assert_eq!(store.period_begins(now).await.unwrap(), at(100));
    assert_eq!(store.last_report(now).await.unwrap(), Some(at(100)));
    let mut behind = place.intruder().await;
    sqlx::raw_sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100) \
         INSERT INTO reports (id, kind, begins, ends, written_at, summary, html, json) \
         SELECT CAST(printf('%016d', i) AS BLOB), kind, begins, ends, written_at + i, summary, html, json \
         FROM (SELECT * FROM reports LIMIT 1), n",
    )
    .execute(&mut behind)
    .await
    .unwrap();
    assert!(store.reports().await.unwrap().iter().all(|row| row.id != first), "too many to be listed");
    assert_eq!(store.reports_like(&first.to_uppercase()).await.unwrap()[0].id, first);
    let tail = &first[first.len() - 8..];
    assert_eq!(store.reports_like(tail).await.unwrap()[0].id, first);
    assert!(store.reports_like("%").await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_has_the_newest_of_what_there_is_too_much_of_and_says_so() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(0)).await.unwrap();
    let pass = a_pass(&store).await;
    assert!(store.story(&oid(1)).await.unwrap().unwrap().older_left_out.is_empty());
    let mut behind = place.intruder().await;
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
         INSERT INTO passes (id, head, ref, opened, seen, closed, outcome, reason) \
         SELECT CAST(printf('%016d', i) AS BLOB), head, ref, opened + i, opened + i, opened + i, 'held', 'r' || i FROM (SELECT * FROM passes WHERE id = ?), n",
    )
    .bind(pass.0.to_vec())
    .execute(&mut behind)
    .await
    .unwrap();
    let story = store.story(&oid(1)).await.unwrap().unwrap();
    assert_eq!((story.passes.len(), story.older_left_out.as_slice()), (1_000, ["passes"].as_slice()));
    assert_eq!((story.passes[0].reason.as_str(), story.passes[999].reason.as_str()), ("r201", "r1200"));
    store.close().await;
}

/// A pass that has begun.
async fn a_pass(store: &Store) -> PassId {
    let plan = Plan { json: "{}".to_owned(), desired_hash: [3; 32], observed_hash: [4; 32] };
    let git_ref = "refs/heads/main".to_owned();
    let pass = OpenPass { head: oid(1), git_ref, enforced_before: None, plan, steps: Vec::new(), notes: Vec::new(), at: at(0) };
    store.open_pass(pass).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_what_was_put_back_is_counted_over_a_restart_and_not_from_before_its_release() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], Vec::new(), at(0)).await.unwrap();
    let pass = a_pass(&store).await;
    for round in 0..5 {
        note(&store, &["a"], Closing::default(), round * 10).await;
        note(&store, &[], Closing::healed(Some(pass)), round * 10 + 5).await;
    }
    store.close().await;
    let store = place.open().await;
    let known = store.put_back_lately(TARGET, at(0)).await.unwrap();
    assert_eq!(known.get("a"), Some(&PutBack { times: 5, last: at(45) }));
    assert!(store.put_back_lately(TARGET, at(46)).await.unwrap().is_empty(), "that was long ago");

    store.quarantine_drift(TARGET.to_owned(), seen("a"), "again and again".to_owned(), at(50)).await.unwrap();
    assert_eq!(store.status_summary().await.unwrap().drift_quarantined, 1);
    let row = only(&store, "a").await;
    assert!(row.is(DriftVerdict::Quarantined), "{row:?}");
    let by = ("uid:0:root".to_owned(), "found him".to_owned());
    assert!(store.release_drift(row.clone(), by.clone(), at(60)).await.unwrap());
    assert!(!store.release_drift(row, by, at(61)).await.unwrap(), "nothing is left to release");
    assert!(store.put_back_lately(TARGET, at(0)).await.unwrap().is_empty(), "it begins anew");
    let kinds = kinds(&place).await;
    assert_eq!(kinds[kinds.len() - 2..], ["object.quarantined", "drift.released"]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_that_a_newer_commit_wants_is_accepted_and_one_that_vanished_is_reverted() {
    let place = Place::new();
    let store = place.open().await;
    note(&store, &["a", "b"], Closing::default(), 1).await;
    note(&store, &[], Closing { wanted: vec!["a".to_owned()], ..Closing::default() }, 2).await;
    assert_eq!(only(&store, "a").await.resolution, Some(Resolution::Accepted));
    assert_eq!(only(&store, "b").await.resolution, Some(Resolution::Reverted));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_kept_with_its_bytes_and_its_row_and_the_schedule_goes_on_from_it() {
    let place = Place::new();
    let store = place.open().await;
    assert_eq!(store.reports_cover().await.unwrap(), None);
    store.begin_reports(at(1)).await.unwrap();
    let report = |seconds: i64, is_scheduled| NewReport {
        id: report_id(at(seconds)).0,
        begins: at(1),
        ends: at(seconds),
        summary: json!({ "verdict": "clean" }),
        html: b"<!doctype html>".to_vec(),
        json: b"{}".to_vec(),
        actor: "system".to_owned(),
        is_scheduled,
    };
    store.keep_report(report(20, false)).await.unwrap();
    assert_eq!(store.reports_cover().await.unwrap(), Some(at(1)), "a report that was asked for leaves the schedule alone");
    store.keep_report(report(30, true)).await.unwrap();
    assert_eq!((store.reports_cover().await.unwrap(), store.last_report(at(30)).await.unwrap()), (Some(at(30)), Some(at(30))));
    let rows = store.reports().await.unwrap();
    assert_eq!((rows.len(), rows[0].ends, &rows[0].summary["verdict"]), (2, at(30), &"clean".into()));
    let hash = policy::digest::Digest::parse(&format!("sha256:{}", rows[0].html_sha256)).unwrap();
    assert_eq!(store.evidence(&hash.0).await.unwrap().unwrap(), b"<!doctype html>");
    assert_eq!(kinds(&place).await, ["log.opened", "report.written", "report.written"]);
    store.close().await;
}
