//! Words, limits and priorities.

use super::*;
use crate::lower::cloud::subjects_by_selector;
use crate::read::read;
use crate::rules::tests::{day, snapshot};

fn lowered(spec: &str) -> Result<Table, Vec<Unsupported>> {
    let text =
        format!("apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: db}}\nspec: {{podSelector: {{}}, {spec}}}\n");
    let rules = Ruleset::of(&read(&snapshot(&text)).set, day());
    lower(&rules, &subjects_by_selector(&rules, BACKEND).unwrap())
}

#[test]
fn every_group_ends_with_a_deny_in_both_directions_and_a_rule_holds_many_prefixes() {
    let table = lowered(
        "policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, \
         {ipBlock: {cidr: 2001:db8::/32}}], ports: [{port: 443}, {port: 8000, endPort: 8100}]}]",
    )
    .unwrap();
    let denies = table.rules.keys().filter(|key| matches!(key, Key::Deny { .. })).count();
    let allows: Vec<_> = table.rules.iter().filter(|(key, _)| matches!(key, Key::Allow { .. })).collect();
    assert_eq!((denies, allows.len()), (2, 4));
    assert_eq!(allows.iter().map(|(_, rule)| rule.prefixes.len()).max(), Some(8));
}

#[test]
fn what_azure_cannot_say_is_refused() {
    for (port, why) in [
        ("{protocol: ICMP, icmpType: 8}", "only as a whole"),
        ("{protocol: ICMPv6}", "does not know protocol ICMPv6"),
        ("{protocol: SCTP}", "does not know protocol SCTP"),
    ] {
        let refused = lowered(&format!("policyTypes: [Ingress], ingress: [{{ports: [{port}]}}]")).unwrap_err();
        assert!(refused[0].message.contains(why), "{refused:?}");
    }
    assert!(lowered("policyTypes: [Ingress], ingress: [{ports: [{protocol: ICMP}]}]").is_ok());
}

#[test]
fn more_than_the_limits_is_refused_with_the_counts() {
    // A rule may name at most a thousand peers.
    let rule = |from: usize, to: usize| {
        let peers: Vec<_> = (from..to).map(|i| format!("{{ipBlock: {{cidr: 10.{}.{}.0/24}}}}", i / 256, i % 256)).collect();
        format!("{{from: [{}], ports: [{{port: 443}}]}}", peers.join(", "))
    };
    let spec = |n: usize| {
        let rules: Vec<_> = (0..n).step_by(1_000).map(|from| rule(from, n.min(from + 1_000))).collect();
        format!("policyTypes: [Ingress], ingress: [{}]", rules.join(", "))
    };
    assert!(lowered(&spec(4_000)).is_ok());
    let refused = lowered(&spec(4_001)).unwrap_err();
    assert!(refused[0].message.contains("needs 4001 ingress address prefixes, 4000 are allowed"), "{refused:?}");
}

fn allow(port: u16) -> Key {
    let traffic = Traffic::Ports { protocol: TCP, first: port, last: port };
    Key::Allow { group: "g".into(), direction: Direction::Ingress, traffic, family: Family::V4 }
}

#[test]
fn a_rule_that_survives_keeps_its_priority_and_a_new_one_takes_a_free_one() {
    let none = BTreeMap::new();
    let first = Priorities::default().assign(&[allow(1), allow(2), allow(3)], &none).unwrap();
    assert_eq!([1, 2, 3].map(|port| first.get(&allow(port))), [Some(1_000), Some(1_010), Some(1_020)]);
    let second = first.assign(&[allow(3), allow(4)], &none).unwrap();
    // Those of rules that are about to go are still taken.
    assert_eq!([1, 3, 4].map(|port| second.get(&allow(port))), [None, Some(1_020), Some(1_030)]);
    let foreign = BTreeMap::from([(("g".into(), Direction::Ingress), BTreeSet::from([1_000]))]);
    assert_eq!(Priorities::default().assign(&[allow(1)], &foreign).unwrap().get(&allow(1)), Some(1_010));
}

#[test]
fn a_full_band_uses_its_gaps_and_then_refuses_with_the_count() {
    let keys: Vec<Key> = (0..3_002).map(allow).collect();
    let fits = Priorities::default().assign(&keys[..3_000], &BTreeMap::new()).unwrap();
    let numbers: BTreeSet<u16> = keys[..3_000].iter().filter_map(|key| fits.get(key)).collect();
    assert_eq!((numbers.len(), numbers.first(), numbers.last()), (3_000, Some(&FIRST), Some(&LAST)));
    let refused = Priorities::default().assign(&keys, &BTreeMap::new()).unwrap_err();
    assert!(refused[0].message.contains("for 2 rules"), "{refused:?}");
}
