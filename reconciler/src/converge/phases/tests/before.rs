//! What keeps a plan from being begun.

use super::*;

#[tokio::test]
async fn a05_a_change_without_head_room_is_inexpressible_before_the_first_call_anywhere() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    all[1].world().rules_max = Some(2);
    let looked = bench.look().await.unwrap();
    let Outcome::Inexpressible { reason, .. } = looked else { panic!("{looked:?}") };
    assert!(reason.contains("sg-0123 allows 2, the change needs 3 at its widest"), "{reason}");
    assert_eq!((all[0].calls(), all[1].calls()), (0, 0));
    assert_eq!(bench.last_pass().await.0, Some(Recorded::Inexpressible));
}

#[tokio::test]
async fn y11_what_one_cloud_cannot_say_is_applied_nowhere() {
    let all = clouds(["one", "two"]);
    let mut bench = Bench::with(&all).await;
    all[1].world().cannot_say = Some("needs 71 rules, 60 are allowed".to_owned());
    let looked = bench.look().await.unwrap();
    assert!(
        matches!(&looked, Outcome::Inexpressible { reason, .. } if reason == "aws: needs 71 rules, 60 are allowed"),
        "{looked:?}"
    );
    assert_eq!((all[0].calls(), all[0].rules()), (0, old()));
}

#[tokio::test]
async fn a08_a_group_that_somebody_changes_between_plan_and_apply_is_planned_again_once() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    // Look 0 is the plan's, look 1 the one just before the first change.
    all[0].world().stranger = Some((1, rule("cde", 3, &[3]).0, Rule::default()));
    bench.in_force().await;
    assert_eq!(all[0].rules(), new(), "what the stranger made of ours is gone");
    assert!(bench.steps("done").await.contains(&("aws/one/vpc-1".to_owned(), "rule cde 3".to_owned())));
}

#[tokio::test]
async fn a08_a_confirmation_for_a_plan_is_void_once_the_group_is_another() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    all[0].world().waits = Some("the first deny".to_owned());
    let Ok(Outcome::Held { reason }) = bench.look().await else { panic!("it waits") };
    assert!(reason.contains("on aws/one/vpc-1: the first deny; release exactly this plan"), "{reason}");
    bench.confirm(&hash(&reason)).await;
    let reads = all[0].world().reads;
    all[0].world().stranger = Some((reads + 1, rule("cde", 3, &[3]).0, Rule::default()));
    let why = bench.look().await.unwrap_err();
    assert!(why.contains("somebody changed it after it was planned: the first deny"), "{why}");
    assert_ne!(hash(&why), hash(&reason));
    assert_eq!(all[0].calls(), 0);
    bench.confirm(&hash(&why)).await;
    bench.in_force().await;
}

#[tokio::test]
async fn a11_twenty_one_targets_are_held_and_released_by_their_own_hash_alone() {
    let all: Vec<Cloud> = (0..21).map(|n| Cloud::new(&format!("aws/e{n}/vpc-1"), old(), new())).collect();
    let mut bench = Bench::with(&all).await;
    let Ok(Outcome::Held { reason }) = bench.look().await else { panic!("it waits") };
    assert!(reason.contains("21 targets would be changed in one pass; the limit is 20"), "{reason}");
    bench.confirm("0123456789ab").await;
    assert!(matches!(bench.look().await, Ok(Outcome::Held { .. })), "another hash releases nothing");
    assert_eq!(all.iter().map(Cloud::calls).sum::<usize>(), 0);
    bench.confirm(&hash(&reason)).await;
    bench.in_force().await;
}

#[tokio::test]
async fn a11_two_plans_that_wait_are_released_together() {
    let all = clouds(["one", "two", "three"]);
    let mut bench = Bench::with(&all).await;
    all[0].world().waits = Some("the first deny".to_owned());
    all[2].world().desired = Table::new();
    let Ok(Outcome::Held { reason }) = bench.look().await else { panic!("it waits") };
    assert!(reason.contains("aws/one/vpc-1: the first deny (+1 more)"), "{reason}");
    bench.confirm(&hash(&reason)).await;
    bench.in_force().await;
    assert!(all[2].rules().is_empty());
}
