//! The one writer: batches, failures inside them, and idempotent rows.

use super::*;
use crate::audit::verify::Options;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_once_are_all_kept_and_share_commits() {
    let place = Place::new();
    let store = place.open().await;
    let requests: Vec<_> = (0..1000)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.append(event(&n.to_string())).await })
        })
        .collect();
    let mut places = Vec::new();
    for request in requests {
        places.push(request.await.unwrap().unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (1..=1000).collect::<Vec<u64>>());
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.rows), (0, 1001), "{}", report.message);
    assert_eq!(report.root, Some(store.audit_head().await.unwrap().root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_in_a_batch_takes_nothing_of_the_others_with_it() {
    let place = Place::new();
    let store = place.open().await;
    let requests: Vec<_> = (0..200_u8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                // Every other commit was never begun.
                if n % 2 == 0 {
                    store.begin_judging(vec![new_commit(n)], Vec::new(), at(1)).await.unwrap();
                }
                store.record_verdict(judged(n, Verdict::Compliant, json!([]), None)).await
            })
        })
        .collect();
    let mut failed = 0;
    for request in requests {
        failed += usize::from(request.await.unwrap().is_err());
    }
    assert_eq!(failed, 100);
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.rows), (0, 101), "{}", report.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_written_and_taken_back_leaves_no_gap_in_the_log() {
    let place = Place::new();
    let store = place.open().await;
    let requests: Vec<_> = (0..200)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let work = store.write(move |tx| {
                    Box::pin(async move {
                        tx.append_once(&event("half")).await?;
                        if n % 3 == 0 { Err(Error::NoSuch("other half".to_owned())) } else { Ok(()) }
                    })
                });
                work.await.is_ok()
            })
        })
        .collect();
    let mut kept = 0;
    for request in requests {
        kept += u64::from(request.await.unwrap());
    }
    assert_eq!(kept, 133);
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.rows), (0, 134), "{}", report.message);
    store.close().await;
    place.open().await.close().await;
}

#[tokio::test]
async fn the_same_event_twice_is_one_row() {
    let place = Place::new();
    let store = place.open().await;
    let once = event("once");
    assert_eq!(store.append(once.clone()).await.unwrap(), 1);
    assert_eq!(store.append(once).await.unwrap(), 1);
    assert_eq!(store.append(event("next")).await.unwrap(), 2);
    assert_eq!(store.verify_log(Options::default()).await.exit, 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_its_request() {
    let place = Place::new();
    let store = place.open().await;
    let mut hurried = Box::pin(store.append(event("left behind")));
    // One poll queues the request; then the caller is gone.
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(hurried.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(hurried);
    assert_eq!(store.append(event("next")).await.unwrap(), 2);
}

#[tokio::test]
async fn rows_of_the_log_cannot_be_changed_by_mistake() {
    let place = Place::new();
    let store = place.open().await;
    let mut clumsy = SqliteConnectOptions::new().filename(place.file()).connect().await.unwrap();
    for mistake in ["UPDATE audit_log SET kind = 'boot'", "DELETE FROM audit_log"] {
        let refused = sqlx::query(mistake).execute(&mut clumsy).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_delivery_is_kept_once_and_waits_until_it_is_closed() {
    let place = Place::new();
    let store = place.open().await;
    let delivery = Delivery {
        forge: "github".to_owned(),
        delivery_id: "d-1".to_owned(),
        event: "push".to_owned(),
        git_ref: "refs/heads/main".to_owned(),
        before: None,
        after: Some(oid(1).to_string()),
        request: None,
        body_sha256: [1; 32],
        secret_line: 1,
        received: at(1),
        ignored: None,
    };
    assert_eq!(store.keep_delivery(delivery.clone()).await.unwrap(), Kept::New);
    assert_eq!(store.keep_delivery(Delivery { body_sha256: [2; 32], ..delivery.clone() }).await.unwrap(), Kept::Duplicate);
    let ping = Delivery { delivery_id: "d-2".to_owned(), ignored: Some("ping".to_owned()), ..delivery };
    assert_eq!(store.keep_delivery(ping).await.unwrap(), Kept::New);
    let waiting = store.deliveries_waiting().await.unwrap();
    assert_eq!(waiting.len(), 1);
    store.close_deliveries(waiting.iter().map(|w| w.id).collect(), None).await.unwrap();
    assert!(store.deliveries_waiting().await.unwrap().is_empty());
    assert_eq!(store.forget_deliveries(at(6 * 86_400)).await.unwrap(), 0);
    assert_eq!(store.forget_deliveries(at(8 * 86_400)).await.unwrap(), 2);
}

#[tokio::test]
async fn what_took_a_decisions_place_outlives_its_end_and_enforcement_is_restored_on_record_once_only() {
    let place = Place::new();
    let store = place.open().await;
    let (name, value, who, why) = ("disabled".to_owned(), "host/eth0".to_owned(), "ada".to_owned(), "a test".to_owned());
    let first = Switch { name, value, who, why, set_at: at(1), until: Some(at(10)) };
    let longer = Switch { set_at: at(9), until: Some(at(100)), ..first.clone() };
    store.switch_set(first.clone()).await.unwrap();
    store.switch_set(longer.clone()).await.unwrap();
    let end = |switch: Switch| {
        let (store, notes) = (store.clone(), vec![restoring("ben", "mended")]);
        async move { store.switch_end(&switch, ("ben".to_owned(), "mended".to_owned()), notes, at(11)).await.unwrap() }
    };
    assert!(!end(first).await, "somebody has made it longer");
    assert!(!store.note_restored("host/eth0", at(11)).await.unwrap(), "and it is off still");
    assert_eq!(store.switch_row("disabled").await.unwrap(), Some(longer.clone()));
    assert!(end(longer).await);
    // As if the process had ended here: the next one knows.
    assert!(store.note_restored("host/eth0", at(12)).await.unwrap());
    assert!(!store.note_restored("host/eth0", at(13)).await.unwrap());
    let said = ["log.opened", "switch.set", "switch.set", "switch.cleared", "enforcement.restored"];
    assert_eq!(kinds(&place).await, said);
}

#[tokio::test]
async fn a_switch_holds_until_it_expires_and_names_who_set_it() {
    let place = Place::new();
    let store = place.open().await;
    let switch = Switch {
        name: "suspend".to_owned(),
        value: "on".to_owned(),
        who: "ada".to_owned(),
        why: "change freeze".to_owned(),
        set_at: at(1),
        until: Some(at(100)),
    };
    store.switch_set(switch.clone()).await.unwrap();
    assert_eq!(store.switch_get("suspend", at(99)).await.unwrap(), Some(switch.clone()));
    assert_eq!(store.switch_get("suspend", at(100)).await.unwrap(), None);
    assert!(store.switch_clear("suspend".to_owned(), "ada".to_owned(), "over".to_owned(), at(50)).await.unwrap());
    assert!(!store.switch_clear("suspend".to_owned(), "ada".to_owned(), "over".to_owned(), at(51)).await.unwrap());
    assert!(matches!(store.switch_set(Switch { who: String::new(), ..switch }).await, Err(Error::Refused(_))));
    assert_eq!(store.switch_get("suspend", at(50)).await.unwrap(), None, "a refused row takes its change with it");
    assert_eq!(kinds(&place).await, ["log.opened", "switch.set", "switch.cleared"]);
}

/// Lets the database grow by so many pages on the writer's connection; a full disk for everything beyond.
async fn pages(store: &Store, more: i64) {
    let limit = store.write(move |tx| {
        Box::pin(async move {
            let count: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(tx.connection()).await.unwrap();
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", count + more));
            sqlx::query(sql).fetch_one(tx.connection()).await.unwrap();
            Ok(())
        })
    });
    limit.await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_cleanly_and_writing_goes_on_once_there_is_room() {
    let place = Place::new();
    let store = place.open().await;
    pages(&store, 2).await;
    let large = "x".repeat(30_000);
    let refused = store.append(event(&large)).await.unwrap_err();
    assert!(refused.disk_full() && !refused.wants_restart(), "{refused:?}");
    let refused = store.append(event(&large)).await.unwrap_err();
    assert!(matches!(refused, Error::Full), "not even tried: {refused:?}");
    assert!(store.vitals().full && store.trouble().unwrap().contains("make room"));
    // The next try is on a connection that knows no such limit.
    store.room().await;
    store.append(event(&large)).await.unwrap();
    assert!(!store.vitals().full && store.trouble().is_none());
    assert_eq!(kinds(&place).await, ["log.opened", "control.failed", "store.error", "control.failed", "heartbeat"], "no gap");
    let failures = store.failures(false).await.unwrap();
    assert!(failures.len() == 1 && failures[0].control == DISK_SPACE && failures[0].ended.is_some(), "{failures:?}");
    assert_eq!(store.verify_log(Options::default()).await.exit, 0);
}

#[tokio::test]
async fn after_a_transaction_that_was_not_confirmed_the_writer_reads_the_file_again() {
    let place = Place::new();
    let store = place.open().await;
    // A reference to nothing, looked at only by COMMIT, makes it fail.
    let lost = store.write(|tx| {
        Box::pin(async move {
            tx.append_once(&event("lost")).await?;
            let sql = "PRAGMA defer_foreign_keys = ON; \
                       INSERT INTO steps (pass, n, backend, target, key, ensure, why, state, started) \
                       VALUES (zeroblob(16), 0, 'b', 't', 'k', 'present', 'commit', 'intent', 0)";
            sqlx::raw_sql(sql).execute(tx.connection()).await.unwrap();
            Ok(())
        })
    });
    let lost = lost.await;
    assert!(matches!(lost, Err(Error::Unknown(_))), "{lost:?}");
    assert_eq!(store.append(event("next")).await.unwrap(), 1);
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.rows), (0, 2), "{}", report.message);
}
