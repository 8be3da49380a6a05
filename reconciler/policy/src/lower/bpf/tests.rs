//! The worked example, limits, and stable numbers.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Key, NETS_MAX, Rule, RuleIds, Table, lower};
use crate::compile::{Endpoint, Ruleset};
use crate::model::Labels;
use crate::net::{Cidr, Direction};
use crate::read::read;
use crate::rules::tests::{day, snapshot};

fn ruleset(spec: &str) -> Ruleset {
    let text =
        format!("apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{}}, {spec}}}\n");
    Ruleset::of(&read(&snapshot(&text)).set, day())
}

fn table(spec: &str) -> Table {
    let rules = ruleset(spec);
    let ids = RuleIds::assign(&RuleIds::default(), &rules);
    lower(&rules, &Endpoint::host(Labels::new()), &ids).unwrap()
}

fn services(table: &Table, prefix: &str) -> Option<Vec<(u32, u32)>> {
    let key = Key::Prefix { direction: Direction::Ingress, prefix: Cidr::parse(prefix).unwrap() };
    match table.get(&key)? {
        Rule::Services(list) => Some(list.iter().map(|i| (i.lo, i.hi)).collect()),
        Rule::Isolation(_) => None,
    }
}

#[test]
fn the_worked_example_comes_out_as_worked() {
    let found = table(
        "policyTypes: [Ingress], ingress: [
        {from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 443}]},
        {from: [{ipBlock: {cidr: 10.1.0.0/16}}], ports: [{port: 22}]},
        {from: [{ipBlock: {cidr: 10.1.2.0/24, except: [10.1.2.128/25]}}], ports: [{port: 8000, endPort: 8100}]},
        {from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 80}]},
        {from: [{ipBlock: {cidr: 10.1.2.3/32}}], ports: [{protocol: UDP, port: 53}]}]",
    );
    let (https, ssh, range, dns) = ((0x0601BB, 0x0601BB), (0x060016, 0x060016), (0x061F40, 0x061FA4), (0x110035, 0x110035));
    assert_eq!(services(&found, "10.0.0.0/8").unwrap(), [https]);
    assert_eq!(services(&found, "10.1.0.0/16").unwrap(), [ssh]);
    assert_eq!(services(&found, "10.1.2.0/24").unwrap(), [ssh, range]);
    assert_eq!(services(&found, "10.1.2.128/25").unwrap(), [ssh]);
    assert_eq!(services(&found, "10.1.2.3/32").unwrap(), [ssh, range, dns]);
    // Five prefixes, Any and the isolation itself.
    assert_eq!(found.len(), 7);
}

#[test]
fn a_prefix_that_says_what_its_parent_says_is_left_out() {
    let found = table(
        "policyTypes: [Ingress], ingress: [{name: a, from: [{ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 10.1.0.0/16}}], ports: [{port: 443}]}]",
    );
    assert_eq!((services(&found, "10.0.0.0/8").is_some(), services(&found, "10.1.0.0/16")), (true, None));
}

#[test]
fn an_exception_without_another_grant_is_an_empty_entry() {
    let found = table(
        "policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 443}]}]",
    );
    assert_eq!(services(&found, "10.1.0.0/16").unwrap(), []);
}

#[test]
fn more_than_the_maps_hold_is_unsupported_with_the_counts() {
    let spec = |n: usize| {
        let rules: Vec<String> = (0..n.div_ceil(1000))
            .map(|r| {
                let peers: Vec<String> = (r * 1000..((r + 1) * 1000).min(n))
                    .map(|i| {
                        format!(
                            "{{ipBlock: {{cidr: {}.{}.{}.{}/31}}}}",
                            1 + (i >> 23),
                            (i >> 15) & 255,
                            (i >> 7) & 255,
                            (i << 1) & 255
                        )
                    })
                    .collect();
                format!("{{from: [{}], ports: [{{port: 1}}]}}", peers.join(", "))
            })
            .collect();
        format!("policyTypes: [Ingress], ingress: [{}]", rules.join(", "))
    };
    // More than one file holds; the limits of reading are not the matter here.
    let mut rules = ruleset(&spec(20_000));
    let sets: Vec<_> = (0..8_u32).map(|i| shifted(&rules, i)).collect();
    rules = Ruleset::of(&crate::model::PolicySet { policies: sets, ..Default::default() }, day());
    let refused = lower(&rules, &Endpoint::host(Labels::new()), &RuleIds::default()).unwrap_err();
    assert!(refused[0].message.contains(&NETS_MAX.to_string()) && refused[0].message.contains("160000"), "{refused:?}");
}

/// The same policy, so many /3 further on.
fn shifted(rules: &Ruleset, by: u32) -> crate::model::NetworkPolicy {
    let mut policy = rules.policies()[0].clone();
    for peer in policy.ingress.list.iter_mut().flat_map(|r| &mut r.peers) {
        if let crate::model::Peer::Block(block) = peer {
            let first = crate::net::cidr::number(block.cidr.first()) | u128::from(by << 29);
            block.cidr = Cidr::new(block.cidr.family().address(first), block.cidr.length()).unwrap();
        }
    }
    policy
}

#[test]
fn a_rule_keeps_its_number_over_commits_and_a_free_one_rests() {
    let rule = |name: &str| format!("{{name: {name}, from: [{{ipBlock: {{cidr: 10.0.0.0/24}}}}], ports: [{{port: 443}}]}}");
    let spec = |names: &[&str]| ruleset(&format!("ingress: [{}]", names.iter().map(|n| rule(n)).collect::<Vec<_>>().join(", ")));
    let number = |ids: &RuleIds, name: &str| ids.iter().find(|(n, _)| n.rule == name).map(|(_, id)| id);
    let first = RuleIds::assign(&RuleIds::default(), &spec(&["a", "b"]));
    let second = RuleIds::assign(&first, &spec(&["c", "b"]));
    assert_eq!((number(&first, "a"), number(&first, "b")), (Some(1), Some(2)));
    assert_eq!((number(&second, "b"), number(&second, "c")), (Some(2), Some(3)), "1 rests");
    let third = RuleIds::assign(&second, &spec(&["b", "c", "d"]));
    assert_eq!(number(&third, "d"), Some(4), "1 still rests");
    let fourth = RuleIds::assign(&third, &spec(&["b", "c", "d", "e"]));
    assert_eq!(number(&fourth, "e"), Some(1));
    let kept: RuleIds = serde_json::from_str(&serde_json::to_string(&fourth).unwrap()).unwrap();
    assert_eq!(kept, fourth);
}
