//! What a set may cost: limits that only many documents together reach.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{codes, reading};
use crate::model::Peer;
use crate::read::limits::{GUESS_STEPS_MAX, ITEMS_PER_LIST_MAX, RESOLVE_STEPS_MAX, RESOLVED_PREFIXES_MAX};
use crate::read::{Code, Reading};

/// Endpoints with 64 addresses each, and a policy with these peers.
fn wide(endpoints: usize, peers: &[String]) -> Reading {
    let addresses = |i: usize| (0..64).map(|k| format!("10.{}.{}.{k}", i / 256, i % 256)).collect::<Vec<_>>().join(", ");
    let members: String =
        (0..endpoints).map(|i| format!("{{name: m{i}, labels: {{}}, addresses: [{}]}},\n", addresses(i))).collect();
    let rules: Vec<String> = peers.chunks(1_000).map(|peers| format!("{{from: [{}]}}", peers.join(", "))).collect();
    reading(&format!(
        "{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{workloads: [{members}]}}}}\n---\n\
         {{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: {{}}, ingress: [{}]}}}}\n",
        rules.join(", ")
    ))
}

fn nobody_after_the_limit(found: &Reading, limit: &str) {
    assert_eq!(found.problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::Limit]);
    assert!(found.problems[0].message.contains(limit), "{}", found.problems[0].message);
    let last = found.set.policies[0].ingress.list.last().unwrap().peers.last();
    assert!(matches!(last, Some(Peer::Nobody { .. })));
}

#[test]
fn peers_that_stand_for_too_many_addresses_together_are_refused() {
    let endpoints = 300;
    let peers = RESOLVE_STEPS_MAX / (endpoints * 64) + 1;
    let found = wide(endpoints, &alloc::vec!["{podSelector: {}}".to_string(); peers]);
    nobody_after_the_limit(&found, "RESOLVE_STEPS_MAX");
    assert!(wide(endpoints, &["{podSelector: {}}".to_string()]).problems.is_empty());
}

#[test]
fn different_selectors_that_stand_for_too_many_addresses_together_are_refused() {
    let endpoints = 300;
    let peer = |i| format!("{{podSelector: {{matchExpressions: [{{key: app, operator: NotIn, values: [a{i}]}}]}}}}");
    let peers: Vec<String> = (0..=RESOLVED_PREFIXES_MAX / (endpoints * 64)).map(peer).collect();
    nobody_after_the_limit(&wide(endpoints, &peers), "RESOLVED_PREFIXES_MAX");
}

#[test]
fn names_are_guessed_up_to_a_limit_and_told_beyond_it() {
    let (names, typos) = (2_000, GUESS_STEPS_MAX / 2_000 + 10);
    let zone =
        |i: usize| format!("{{name: zone-{i:04}, classes: [cde], pciScope: in, cidrs: [10.{}.{}.0/24]}},\n", i / 256, i % 256);
    let zones: String = (0..names).map(zone).collect();
    let services: String = (0..typos).map(|i| format!("{{from: zome-{i:04}, to: internet}},")).collect();
    let found = reading(&format!(
        "{{apiVersion: pci-segment/v1, kind: Zones, metadata: {{name: z}}, spec: {{zones: [{zones}]}}}}\n---\n\
         {{apiVersion: pci-segment/v1, kind: Services, metadata: {{name: s}}, spec: {{services: [{{name: s, classes: [secure], \
         ports: [{{protocol: TCP, port: 1}}], zones: [{services}], approvedBy: me, approvedAt: 2026-01-12}}]}}}}\n"
    ));
    assert!(found.problems.iter().all(|p| p.code == Code::UnknownReference) && found.problems.len() == typos);
    let guessed = found.problems.iter().filter(|p| p.did_you_mean.is_some()).count();
    assert!((1..typos).contains(&guessed), "{guessed}");
    assert_eq!(found.problems[0].did_you_mean.as_deref(), Some("zone-0000"));
}

#[test]
fn a_list_has_at_most_so_many_items() {
    let flows = |count: usize| {
        let ids = "DF-1, ".repeat(count);
        format!(
            "{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: r, owner: o, justification: j, dataFlows: [{ids}]}}]}}}}\n"
        )
    };
    let limits = |count| codes(&flows(count)).iter().filter(|code| **code == "limit").count();
    assert_eq!((limits(ITEMS_PER_LIST_MAX), limits(ITEMS_PER_LIST_MAX + 1)), (0, 1));
}

#[test]
fn a_list_that_lost_its_end_is_not_whole() {
    let except = (0..257).map(|i| format!("10.{}.{}.0/24", i / 256, i % 256)).collect::<Vec<_>>().join(", ");
    let found = reading(&super::ingress_from(&format!("[{{ipBlock: {{cidr: 10.0.0.0/8, except: [{except}]}}}}]")));
    assert_eq!(found.problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::Limit]);
    assert!(matches!(found.set.policies[0].ingress.list[0].peers[..], [Peer::Nobody { .. }]));
}
