//! A pass over AWS that breaks at each of its writes in turn.

use pci_segment::config::CloudConfig;
use pci_segment::converge::Target;

use crate::aws_kit::{Cloud, converge, in_a_cloud, no, open, policy, ruleset, writes};
use crate::proxy::Fate;

/// What old and new commit both let in.
const BOTH: (&str, u16) = ("10.0.1.0/24", 5432);
const OLD: (&str, u16) = ("10.0.2.0/24", 5432);
const NEW: (&str, u16) = ("10.0.3.0/24", 5432);
/// No pass here makes more writes.
const WRITES_MAX: usize = 20;

/// How a write breaks.
#[derive(Clone, Copy, PartialEq)]
enum Breaks {
    /// AWS refuses it.
    Refused,
    /// It is done, and nobody learns.
    Unanswered,
}

/// A network where the old commit is in force, with somebody for the new one's second group.
async fn with_old(cloud: &Cloud) -> (String, Box<dyn Target>) {
    let vpc = cloud.network();
    cloud.interface(&vpc, "10.0.1.0/24", &[("tier", "database")]);
    cloud.interface(&vpc, "10.0.2.0/24", &[("tier", "web")]);
    let config = CloudConfig { attach: true, ..cloud.config(&[&vpc]) };
    let mut target = open(&config, "mine").await;
    converge(&mut target, &ruleset(&[policy("database", &[BOTH, OLD])])).await.unwrap();
    (vpc, target)
}

fn lets_in(cloud: &Cloud, vpc: &str, (cidr, port): (&str, u16)) -> bool {
    let group = cloud.group(vpc, "database").unwrap();
    cloud.rules(&group).iter().any(|rule| rule.starts_with(&format!("in tcp {port}-{port} {cidr} ")))
}

/// Breaks the pass at its `n`th write; says whether it had that many.
async fn broken_at(cloud: &Cloud, n: usize, how: Breaks) -> bool {
    let (vpc, mut target) = with_old(cloud).await;
    let new = ruleset(&[policy("database", &[BOTH, NEW]), policy("web", &[("10.0.9.0/24", 443)])]);
    let (mut seen, (sender, hit)) = (0, std::sync::mpsc::channel());
    cloud.proxy.judge(move |action, _| {
        if !writes(action) {
            return Fate::Pass;
        }
        seen += 1;
        if seen - 1 != n {
            return Fate::Pass;
        }
        let _ = sender.send(action.to_owned());
        match how {
            Breaks::Refused => Fate::Answer(403, no("UnauthorizedOperation", "You are not authorized.")),
            Breaks::Unanswered => Fate::Swallow,
        }
    });
    let made = converge(&mut target, &new).await;
    let action = hit.try_recv().ok();
    assert!(lets_in(cloud, &vpc, BOTH), "write {n}, {action:?}: what both allow is never cut");
    match (&action, how) {
        (Some(action), Breaks::Refused) => {
            let error = made.unwrap_err().to_string();
            assert!(error.contains(&format!("ec2:{action} on ")) && error.contains("UnauthorizedOperation"), "{error}");
            let removed = !lets_in(cloud, &vpc, OLD);
            assert!(!removed || lets_in(cloud, &vpc, NEW), "write {n}: nothing is removed before all is added");
        }
        // What is seen to be done is no reason to stop, and stopping is no reason to cut.
        (Some(_), Breaks::Unanswered) => drop(made),
        (None, _) => drop(made.unwrap()),
    }
    cloud.proxy.pass();
    converge(&mut target, &new).await.unwrap();
    let plan = converge(&mut target, &new).await.unwrap();
    assert!(plan.is_empty(), "write {n}: {plan:?}");
    assert!(lets_in(cloud, &vpc, BOTH) && lets_in(cloud, &vpc, NEW) && !lets_in(cloud, &vpc, OLD));
    assert!(cloud.group(&vpc, "web").is_some());
    action.is_some()
}

#[test]
fn a01_a_pass_that_is_refused_at_each_of_its_writes_in_turn_cuts_nothing_and_the_next_one_ends_it() {
    let name = "aws_broken::a01_a_pass_that_is_refused_at_each_of_its_writes_in_turn_cuts_nothing_and_the_next_one_ends_it";
    in_a_cloud(name, async |cloud| {
        let mut n = 0;
        while broken_at(&cloud, n, Breaks::Refused).await {
            n += 1;
            assert!(n < WRITES_MAX);
        }
        assert!(n >= 6, "a group, its own rule, rules in and out, an interface, and what goes: {n}");
    });
}

#[test]
fn a01_a_pass_of_which_each_write_in_turn_is_never_answered_ends_all_the_same() {
    let name = "aws_broken::a01_a_pass_of_which_each_write_in_turn_is_never_answered_ends_all_the_same";
    in_a_cloud(name, async |cloud| {
        let mut n = 0;
        while broken_at(&cloud, n, Breaks::Unanswered).await {
            n += 1;
            assert!(n < WRITES_MAX);
        }
        assert!(n >= 6, "{n}");
    });
}
