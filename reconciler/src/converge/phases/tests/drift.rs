//! Clouds that somebody else changes.

use super::*;

#[tokio::test]
async fn a09_drift_on_a_cloud_is_found_put_back_and_closed_as_healed_with_who_did_it() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    let event = r#"{"eventName":"AuthorizeSecurityGroupIngress"}"#.to_owned();
    all[0].world().actor = Some(Actor { who: "arn:aws:iam::1:user/ada".to_owned(), evidence: event });
    let (key, opened) = rule("cde", 9, &[9]);
    all[0].world().rules.insert(key, opened);
    assert_eq!(
        check_drift_of(&mut bench.world(), Scope::Everywhere).await.unwrap(),
        Compared::default(),
        "too soon after our write"
    );
    bench.memory.written.clear();
    assert_eq!(check_drift_of(&mut bench.world(), Scope::Host).await.unwrap(), Compared::default(), "not between schedules");
    assert_eq!(bench.compare().await.left, 0);
    assert_eq!(all[0].rules(), new());
    let rows = bench.store.drift(false).await.unwrap();
    assert_eq!((rows.len(), rows[0].key.as_str(), rows[0].actor.as_deref()), (1, "rule cde 9", Some("arn:aws:iam::1:user/ada")));
    assert!(rows[0].evidence.is_some() && rows[0].resolution == Some(crate::store::Resolution::Healed), "{rows:?}");
}

#[tokio::test]
async fn a14_a_rule_that_somebody_adds_on_a_cloud_again_and_again_is_quarantined() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    let (key, opened) = rule("cde", 9, &[9]);
    for time in 1..=5 {
        pass_time(90);
        all[0].world().rules.insert(key.clone(), opened.clone());
        bench.compare().await;
        assert!(!all[0].rules().contains_key(&key), "put back, time {time}");
    }
    pass_time(90);
    all[0].world().rules.insert(key.clone(), opened);
    let calls = all[0].calls();
    bench.compare().await;
    assert_eq!((all[0].calls(), all[0].rules().contains_key(&key)), (calls, true), "left to whoever changes it");
    let decisions = bench.store.drift_decisions(clock()).await.unwrap();
    assert!(decisions.iter().any(|one| one.decision == crate::store::DriftVerdict::Quarantined && one.key == "rule cde 9"));
}

#[tokio::test]
async fn a04_for_thirty_seconds_after_our_own_write_nothing_on_a_cloud_is_called_drift() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    bench.in_force().await;
    all[0].world().rules.insert(rule("cde", 9, &[9]).0, Rule::default());
    pass_time(29);
    assert_eq!(check_drift(&mut bench.world()).await.unwrap(), Compared::default());
    assert!(bench.store.drift(true).await.unwrap().is_empty());
    bench.settings.heal = false;
    pass_time(2);
    assert_eq!(check_drift(&mut bench.world()).await.unwrap().left, 1);
}

#[tokio::test]
async fn a12_a_rule_of_others_is_reported_as_theirs_and_never_changed() {
    let all = clouds(["one"]);
    let mut bench = Bench::with(&all).await;
    all[0].world().foreign.insert("sgr-9".to_owned(), "allows TCP 22 from 0.0.0.0/0".to_owned());
    bench.in_force().await;
    let calls = all[0].calls();
    assert_eq!(bench.compare().await.left, 1);
    let rows = bench.store.drift(true).await.unwrap();
    assert_eq!((rows[0].key.as_str(), rows[0].ours, rows[0].kind), ("sgr-9", Some(false), crate::store::DriftKind::Extra));
    assert_eq!((all[0].calls(), all[0].world().foreign.len()), (calls, 1));
    let said = bench.memory.drift_said.get("aws/one/vpc-1 foreign").unwrap();
    assert!(said.contains("sgr-9 (allows TCP 22 from 0.0.0.0/0)"), "{said}");
}
