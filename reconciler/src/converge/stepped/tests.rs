//! A cloud that lags, loses answers, refuses and is written to by others: what is allowed meanwhile, and where it ends.

use std::future::Future;

use proptest::prelude::*;

use super::memory::{Cloud, Fault, Key, Rule, Table, group, rule, ruleset};
use super::work::READS_MAX;
use super::*;
use crate::converge::EndedStep;
use crate::store::StepState;

/// What passes: group, peer and port of every rule, and who is in which group.
fn allowed(table: &Table) -> BTreeSet<(String, u8, u8)> {
    let of = |(key, rule): (&Key, &Rule)| match key {
        Key::Rule(group, peer) => rule.ports.iter().map(|port| (group.clone(), *peer, *port)).collect(),
        Key::Member(group, member) => vec![(group.clone(), *member, u8::MAX)],
        Key::Group(_) => Vec::new(),
    };
    table.iter().flat_map(of).collect()
}

/// Every step of one pass, and why it stopped, if it did.
#[derive(Debug)]
struct Ran {
    ended: Vec<EndedStep>,
    failed: Option<String>,
}

async fn pass(target: &mut Stepped<Cloud>, calls_max: usize) -> Ran {
    let mut ran = Ran { ended: Vec::new(), failed: None };
    let cloud = target.provider.clone();
    target.aim(&ruleset()).unwrap();
    target.plan().await.unwrap().unwrap();
    for part in [Part::Adding, Part::Removing] {
        loop {
            if cloud.calls() >= calls_max {
                return ran;
            }
            match target.take(part).await {
                Ok(Some(taken)) => {
                    ran.ended.extend(taken.ended);
                    if let Some(failed) = taken.failed {
                        ran.failed = Some(failed.doing);
                        return ran;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    ran.failed = Some(error.doing);
                    return ran;
                }
            }
        }
    }
    target.adopt();
    ran
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

/// A pass of a process that knows nothing yet.
fn whole(cloud: &Cloud) -> Ran {
    run(pass(&mut cloud.target("one"), usize::MAX))
}

/// What every state has to keep, whatever went wrong.
fn between(cloud: &Cloud, old: &Table, new: &Table) -> Result<(), TestCaseError> {
    let (before, after) = (allowed(old), allowed(new));
    let both: BTreeSet<_> = before.intersection(&after).collect();
    let either: BTreeSet<_> = before.union(&after).collect();
    let world = cloud.world();
    let mut shrunk = false;
    for state in &world.states {
        let now = allowed(state);
        prop_assert!(both.iter().all(|one| now.contains(*one)), "cut: {state:?}");
        prop_assert!(now.iter().all(|one| either.contains(one)), "opened: {state:?}");
        shrunk |= before.iter().any(|one| !now.contains(one));
        prop_assert!(!shrunk || after.iter().all(|one| now.contains(one)), "removed before all was added: {state:?}");
    }
    prop_assert_eq!(world.foreign.get("theirs").map(String::as_str), Some("443 from anywhere"));
    Ok(())
}

fn table() -> impl Strategy<Value = Table> {
    let rules = (prop::sample::select(vec!["a", "b"]), 0..4_u8, prop::collection::btree_set(0..4_u8, 1..4), 0..2_u8);
    let members = prop::collection::btree_set((prop::sample::select(vec!["a", "b"]), 0..3_u8), 0..4);
    (prop::collection::vec(rules, 0..8), members).prop_map(|(rules, members)| {
        let rules = rules.into_iter().map(|(name, peer, ports, words)| (Key::Rule(name.to_owned(), peer), Rule { ports, words }));
        let members = members.into_iter().map(|(name, member)| (Key::Member(name.to_owned(), member), Rule::default()));
        let all: Table = rules.chain(members).collect();
        let groups: Vec<_> = all.keys().map(|key| group(Cloud::group(key))).collect();
        all.into_iter().chain(groups).collect()
    })
}

fn cloud(old: &Table, new: &Table) -> Cloud {
    let cloud = Cloud::new("aws/us-east-1/vpc-1", old.clone(), new.clone());
    cloud.world().foreign.insert("theirs".to_owned(), "443 from anywhere".to_owned());
    cloud
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::Fails,
        Fault::LostAnswer,
        Fault::LostCall,
        Fault::SaysAlready,
        Fault::WasAlready,
        Fault::RefusesOne,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a01_a_process_that_dies_before_or_after_any_call_leaves_what_both_allow_and_the_next_one_ends_it(old in table(), new in table()) {
        let calls = { let whole_run = cloud(&old, &new); whole(&whole_run); whole_run.calls() };
        for cut in 0..=calls {
            let cloud = cloud(&old, &new);
            run(pass(&mut cloud.target("one"), cut));
            let ran = whole(&cloud);
            prop_assert_eq!(ran.failed, None);
            between(&cloud, &old, &new)?;
            prop_assert_eq!(&cloud.rules(), &new);
        }
    }

    #[test]
    fn a_failure_at_each_call_in_turn_cuts_nothing_names_the_call_and_the_next_pass_ends_it(
        old in table(), new in table(), fault in fault()
    ) {
        let calls = { let whole_run = cloud(&old, &new); whole(&whole_run); whole_run.calls() };
        for at in 0..calls {
            let cloud = cloud(&old, &new);
            cloud.world().faults.insert(at, fault);
            let ran = whole(&cloud);
            between(&cloud, &old, &new)?;
            let is_done = matches!(fault, Fault::LostAnswer | Fault::WasAlready);
            prop_assert_eq!(ran.failed.is_none(), is_done, "{:?}", ran);
            let bad = ran.ended.iter().any(|step| matches!(step.state, StepState::Failed | StepState::Unknown));
            prop_assert_eq!(bad, !is_done, "the row says which call failed: {:?}", ran);
            prop_assert_eq!(whole(&cloud).failed, None);
            between(&cloud, &old, &new)?;
            prop_assert_eq!(&cloud.rules(), &new);
        }
    }

    #[test]
    fn a04_reads_that_lag_behind_writes_lead_to_no_call_more(old in table(), new in table(), lag in 1..20_usize) {
        let prompt = cloud(&old, &new);
        whole(&prompt);
        let slow = cloud(&old, &new);
        slow.world().lag = lag;
        let ran = whole(&slow);
        prop_assert_eq!(ran.failed, None);
        between(&slow, &old, &new)?;
        let (slow, prompt) = (slow.world(), prompt.world());
        prop_assert_eq!(slow.calls, prompt.calls);
        prop_assert_eq!(&slow.rules, &new);
    }

    #[test]
    fn what_is_there_already_takes_no_call(new in table()) {
        let cloud = cloud(&new, &new);
        let ran = whole(&cloud);
        prop_assert_eq!((ran.failed, cloud.calls()), (None, 0));
    }
}

fn two_rules() -> (Table, Table) {
    (Table::from([group("cde"), rule("cde", 1, &[1])]), Table::from([group("cde"), rule("cde", 2, &[2])]))
}

fn states(ran: &Ran, key: &str) -> Vec<(StepState, Option<String>)> {
    ran.ended.iter().filter(|step| step.key == key).map(|step| (step.state, step.code.clone())).collect()
}

#[test]
fn a02_a_call_that_times_out_although_it_was_done_is_seen_to_be_done_and_not_sent_again() {
    let (old, new) = two_rules();
    let cloud = cloud(&old, &new);
    cloud.world().faults.insert(0, Fault::LostAnswer);
    let ran = whole(&cloud);
    assert_eq!((&ran.failed, cloud.calls()), (&None, 2), "one add, one removal");
    assert_eq!(states(&ran, "rule cde 2"), [(StepState::Already, Some("timeout".to_owned()))]);
}

#[test]
fn a02_a_call_of_which_nothing_is_ever_seen_stays_unknown_and_nothing_is_removed() {
    let (old, new) = two_rules();
    let cloud = cloud(&old, &new);
    cloud.world().faults.insert(0, Fault::LostCall);
    let ran = whole(&cloud);
    assert!(ran.failed.as_ref().is_some_and(|why| why.contains("no answer in time")), "{ran:?}");
    assert_eq!(states(&ran, "rule cde 2"), [(StepState::Unknown, Some("timeout".to_owned()))]);
    assert_eq!((cloud.calls(), cloud.rules()), (1, old));
    assert!(cloud.world().reads >= READS_MAX as usize);
}

#[test]
fn a02_a_duplicate_counts_only_once_the_rule_is_shown() {
    let (old, new) = two_rules();
    let lied_to = cloud(&old, &new);
    lied_to.world().faults.insert(0, Fault::SaysAlready);
    let ran = whole(&lied_to);
    let code = Some("InvalidPermission.Duplicate".to_owned());
    assert_eq!(states(&ran, "rule cde 2"), [(StepState::Failed, code.clone())]);
    assert!(ran.failed.is_some_and(|why| why.contains("rule cde 2")));
    assert_eq!(lied_to.rules(), old);
    let told = cloud(&old, &new);
    told.world().faults.insert(0, Fault::WasAlready);
    let ran = whole(&told);
    assert_eq!((states(&ran, "rule cde 2"), ran.failed), (vec![(StepState::Already, code)], None));
    // And what is not found when it is removed.
    let gone = cloud(&old, &new);
    gone.world().faults.insert(1, Fault::WasAlready);
    let ran = whole(&gone);
    assert_eq!((states(&ran, "rule cde 1")[0].0, ran.failed), (StepState::Already, None));
}

#[test]
fn a06_one_refused_rule_of_a_batch_is_named_and_nothing_is_removed() {
    let old = Table::from([group("cde"), rule("cde", 1, &[1])]);
    let new = Table::from([group("cde"), rule("cde", 2, &[2]), rule("cde", 3, &[3]), rule("cde", 4, &[4])]);
    let cloud = cloud(&old, &new);
    cloud.world().faults.insert(0, Fault::RefusesOne);
    let ran = whole(&cloud);
    assert_eq!(states(&ran, "rule cde 4"), [(StepState::Failed, Some("InvalidParameterValue".to_owned()))]);
    assert_eq!(states(&ran, "rule cde 2"), [(StepState::Done, None)]);
    assert!(ran.failed.is_some() && cloud.rules().contains_key(&rule("cde", 1, &[1]).0), "nothing is removed");
    assert!(cloud.rules().contains_key(&rule("cde", 3, &[3]).0), "what was added stays");
}

#[test]
fn a08_a_rule_that_somebody_changes_under_the_plan_stops_it_before_anything_is_removed() {
    let (old, new) = two_rules();
    let cloud = cloud(&old, &new);
    // The first look is the plan's.
    cloud.world().stranger = Some((1, rule("cde", 9, &[9]).0, Rule::default()));
    let ran = whole(&cloud);
    assert!(ran.failed.is_some_and(|why| why.contains("rule cde 9") && why.contains("who else writes there")));
    assert!(cloud.rules().contains_key(&rule("cde", 1, &[1]).0));
    assert_eq!(whole(&cloud).failed, None);
    assert_eq!(cloud.rules(), new);
}

#[test]
fn a13_words_beside_a_rule_are_cosmetic_take_one_call_and_count_for_no_limit() {
    let many =
        |words| (0..12).map(|peer| (Key::Rule("cde".to_owned(), peer), Rule { ports: [1].into(), words })).collect::<Table>();
    let cloud = cloud(&many(1), &many(2));
    let mut target = cloud.target("one");
    target.aim(&ruleset()).unwrap();
    let plan = run(target.plan()).unwrap().unwrap();
    assert!(plan.differences.iter().take(plan.changes).all(|one| one.class == Class::Cosmetic));
    assert_eq!((target.excess(&Limits::default()), target.excess_of_group(&Limits::default())), (None, None));
    assert_eq!(whole(&cloud).failed, None);
    assert_eq!(cloud.calls(), 4, "twelve rules, three a call, each once");
}

#[test]
fn a11_a_share_is_measured_within_each_group_and_a_group_that_loses_its_last_rule_waits() {
    let rules = |name: &'static str, peers: std::ops::Range<u8>| peers.map(move |peer| rule(name, peer, &[1]));
    let large: Table = rules("large", 0..90).chain(rules("small", 0..13)).chain([group("large"), group("small")]).collect();
    let held = |new: Table| {
        let cloud = cloud(&large, &new);
        let mut target = cloud.target("one");
        target.aim(&ruleset()).unwrap();
        run(target.plan()).unwrap();
        assert_eq!(target.excess(&Limits::default()), None, "the target as a whole may");
        target.excess_of_group(&Limits::default())
    };
    let without = |gone: std::ops::Range<u8>| {
        let mut new = large.clone();
        rules("small", gone).for_each(|(key, _)| drop(new.remove(&key)));
        new
    };
    assert_eq!(held(without(0..3)), None);
    assert_eq!(held(without(0..5)), Some("small: 5 of 13 rules would be removed or changed; the limit is 30 %".to_owned()));
    assert_eq!(held(without(0..13)), Some("small: all 13 rules would be removed".to_owned()));
}

#[test]
fn a05_what_does_not_fit_at_its_widest_is_said_by_the_plan_and_never_begun() {
    let (old, new) = two_rules();
    let cloud = cloud(&old, &new);
    cloud.world().rules_max = Some(2);
    let mut target = cloud.target("one");
    target.aim(&ruleset()).unwrap();
    run(target.plan()).unwrap().unwrap();
    assert_eq!(target.narrow()[0].message, "sg-0123 allows 2, the change needs 3 at its widest");
    assert!(run(target.take(Part::Adding)).unwrap_err().doing.contains("allows 2"));
    assert_eq!(cloud.calls(), 0);
}

#[test]
fn what_is_kept_over_a_restart_is_recalled_and_what_was_begun_is_given_up_by_a_new_plan() {
    let (old, new) = two_rules();
    let cloud = cloud(&old, &new);
    let mut target = cloud.target("one");
    run(pass(&mut target, usize::MAX));
    let hash = Digest::of_table(&new).to_string();
    let mut next = cloud.target("one");
    assert!(next.recall(&target.remember(), &hash) && next.knows());
    assert_eq!(run(next.plan()).unwrap().unwrap().changes, 0);
    assert!(!cloud.target("one").recall(&target.remember(), "another"));
    // Removing is refused where adding was not verified since the plan.
    cloud.world().desired = old;
    target.aim(&ruleset()).unwrap();
    run(target.plan()).unwrap();
    assert!(run(target.take(Part::Removing)).is_err());
}
