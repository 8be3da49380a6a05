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
async fn a14_what_was_put_back_is_counted_over_a_restart_and_not_from_before_its_release() {
    let place = Place::new();
    let store = place.open().await;
    for round in 0..5 {
        note(&store, &["a"], Closing::default(), round * 10).await;
        note(&store, &[], Closing::healed(None), round * 10 + 5).await;
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
    assert_eq!((store.reports_cover().await.unwrap(), store.last_report().await.unwrap()), (Some(at(30)), Some(at(30))));
    let rows = store.reports().await.unwrap();
    assert_eq!((rows.len(), rows[0].ends, &rows[0].summary["verdict"]), (2, at(30), &"clean".into()));
    let hash = policy::digest::Digest::parse(&format!("sha256:{}", rows[0].html_sha256)).unwrap();
    assert_eq!(store.evidence(&hash.0).await.unwrap().unwrap(), b"<!doctype html>");
    assert_eq!(kinds(&place).await, ["log.opened", "report.written", "report.written"]);
    store.close().await;
}
