use super::*;
use crate::audit::{AuditEvent, Draft, kind};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

#[test]
fn d15_a_clock_that_is_set_is_seen_once_and_one_that_drifts_never() {
    let (start, mut clock) = (Instant::now(), Clock::default());
    let mut look = |wall: i64, steady: u64| clock.jump(at(wall), start + Duration::from_secs(steady)).map(|jump| jump.as_secs());
    assert_eq!(look(0, 0), None, "nothing to compare with");
    assert_eq!(look(1, 1), None);
    assert_eq!(look(4, 2), None, "two seconds may be a busy host");
    assert_eq!(look(3_600, 3), Some(3_595));
    assert_eq!(look(3_601, 4), None);
    assert_eq!(look(1, 5), Some(-3_601));
    assert_eq!(look(157_766_401, 6), Some(157_766_399));
}

#[tokio::test]
async fn d11_a_reader_that_holds_a_transaction_is_an_alarm_at_64_mib_that_ends_when_it_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    let store = Store::open(&file, "host:test", at(0)).await.unwrap();
    let reader = crate::store::hold_for_test(&file).await;
    let row = || {
        let payload = serde_json::json!({ "text": "x".repeat(60_000) });
        AuditEvent::new(Draft { kind: kind::HEARTBEAT, origin: "host:test", payload, ..Draft::at(at(1)) }).unwrap()
    };
    while store.vitals().wal_bytes <= WAL_BYTES_ALARM {
        let rows = (0..64).map(|_| store.append(row())).collect::<Vec<_>>();
        for row in rows {
            row.await.unwrap();
        }
    }
    watch_wal(&store, at(2)).await.unwrap();
    watch_wal(&store, at(3)).await.unwrap();
    let open = store.failures(true).await.unwrap();
    assert_eq!(open.iter().map(|one| one.control.as_str()).collect::<Vec<_>>(), [WAL], "once");
    drop(reader);
    // The writer empties it in its next idle moment.
    for _ in 0..200 {
        if store.vitals().wal_bytes == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.vitals().wal_bytes, 0);
    watch_wal(&store, at(4)).await.unwrap();
    let all = store.failures(false).await.unwrap();
    assert!(all.len() == 1 && all[0].ended == Some(at(4)), "{all:?}");
    store.close().await;
}
