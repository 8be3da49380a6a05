//! An announced commit that does not show.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::converge::calendar::tests::{Branch, Nobody, commit, settings};
use crate::converge::{Memory, converge};
use crate::metrics::render;
use crate::store::{Came, Store};

/// Seconds since a fixed beginning.
static SECONDS: AtomicI64 = AtomicI64::new(0);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn clock() -> Timestamp {
    at(SECONDS.load(Ordering::SeqCst))
}

fn other(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

#[tokio::test]
async fn w18_a_commit_that_is_announced_and_missing_for_two_minutes_is_an_alarm_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", at(0)).await.unwrap();
    let (settings, mut memory) = (settings(), Memory::default());
    let mut world = World {
        source: &Branch,
        store: &store,
        targets: &mut [],
        settings: &settings,
        prober: &Nobody,
        clock,
        memory: &mut memory,
    };
    let stale = |world: &World<'_, Branch>| {
        let text = render(world.memory.judging.families()).unwrap();
        text.contains("pci_segment_ref_stale 1\n")
    };
    converge(&mut world, Came::Poll).await.unwrap();
    announce(&mut world, &[(Some(other(8)), at(0))]);
    assert_eq!(watch_announced(&mut world).await.unwrap(), Some(MISSING_MAX), "look again then, whatever the poll interval is");
    // A stream of announcements does not put it off.
    SECONDS.store(119, Ordering::SeqCst);
    announce(&mut world, &[(Some(other(7)), at(60)), (Some(other(9)), at(119))]);
    assert_eq!(watch_announced(&mut world).await.unwrap(), Some(Duration::from_secs(1)));
    assert!(!stale(&world));
    SECONDS.store(120, Ordering::SeqCst);
    let rows = store.audit_head().await.unwrap().size;
    for _ in 0..2 {
        assert_eq!(watch_announced(&mut world).await.unwrap(), None);
        assert!(stale(&world));
    }
    assert_eq!(store.audit_head().await.unwrap().size, rows + 1, "one row, however long it lasts");
    // The branch shows what was announced last.
    announce(&mut world, &[(Some(commit()), at(121))]);
    watch_announced(&mut world).await.unwrap();
    assert!(!stale(&world));
    assert_eq!(store.audit_head().await.unwrap().size, rows + 2);
    announce(&mut world, &[(Some(commit()), at(122))]);
    assert_eq!(watch_announced(&mut world).await.unwrap(), None);
    assert_eq!(store.audit_head().await.unwrap().size, rows + 2, "what is there at once is no news");
}
