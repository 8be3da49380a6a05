//! What is compared, where not everything answers.

use super::super::kit::{Branch, Host, Mood, Nobody, now, settings, yesterday};
use super::*;
use crate::converge::{Memory, Target};
use crate::store::Store;

/// One comparison of a host with records that may only be read; what came of it, and the host afterwards.
async fn compared_without_writing(mood: Mood) -> (Result<Compared, Trouble>, TargetPlan) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    let store = Store::open(&file, "host:test", now()).await.unwrap();
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { mood, applied: 1, ..Host::default() })];
    yesterday(&store, &targets[0].remember()).await;
    store.close().await;
    let store = Store::open_read_only(&file).await.unwrap();
    let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
    let (source, prober, clock) = (&Branch, &Nobody, now as fn() -> Timestamp);
    let mut world = World { source, store: &store, targets: &mut targets, settings: &settings, prober, clock, memory: &mut memory };
    let compared = check_drift(&mut world).await;
    let after = targets[0].plan().await.unwrap().unwrap();
    store.close().await;
    (compared, after)
}

#[tokio::test]
async fn hooks_are_put_back_where_nothing_can_be_written_down_and_the_failure_is_told_after_that() {
    let (compared, after) = compared_without_writing(Mood::Damaged).await;
    assert!(matches!(compared, Err(Trouble::Store(_))), "{compared:?}");
    assert!(after.damage.is_empty(), "{after:?}");
}

#[tokio::test]
async fn a_host_on_which_nothing_is_left_is_put_back_where_nothing_can_be_written_down() {
    let (compared, after) = compared_without_writing(Mood::Blank).await;
    assert!(matches!(compared, Err(Trouble::Store(_))), "{compared:?}");
    assert!(!after.blank, "{after:?}");
}

#[tokio::test]
async fn o06_a_target_that_does_not_answer_is_on_record_as_not_observed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db"), "host:test", now()).await.unwrap();
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Host { applied: 1, ..Host::default() })];
    yesterday(&store, &targets[0].remember()).await;
    let (settings, mut memory) = (settings(), Memory { restored: true, ..Memory::default() });
    let (source, prober, clock) = (&Branch, &Nobody, now as fn() -> Timestamp);
    let mut world = World { source, store: &store, targets: &mut targets, settings: &settings, prober, clock, memory: &mut memory };
    assert_eq!(check_drift(&mut world).await.unwrap(), Compared::default());
    let known = |all: Vec<(String, crate::store::Observation)>| (all[0].1.last, all[0].1.failing.clone());
    assert_eq!(known(store.observations().await.unwrap()), (Some(now()), None));
    let mut silent: Vec<Box<dyn Target>> = vec![Box::new(Host { mood: Mood::Silent, ..Host::default() })];
    let mut world = World { targets: &mut silent, ..world };
    check_drift(&mut world).await.unwrap_err();
    let (last, why) = known(store.observations().await.unwrap());
    assert!(last == Some(now()) && why.is_some_and(|why| why.contains("cannot read the kernel's tables")));
    store.close().await;
}
