//! The difference against two verdicts, and what it says of boundary and scope.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::prelude::*;

use super::{Change, Difference, Flows, Isolation, Thing, Turn, Who, difference};
use crate::compile::tests::generate::{addresses, services, world};
use crate::compile::tests::naive::{self, Asked};
use crate::compile::tests::property::{service, set};
use crate::compile::tests::world::{Someone, World};
use crate::compile::{Endpoint, Flow, Ruleset};
use crate::model::{Labels, PolicySet};
use crate::net::{Direction, Service};
use crate::read::read;
use crate::rules::tests::{day, snapshot};

fn between(old: &str, new: &str) -> Difference {
    let set = |text: &str| read(&snapshot(text.trim_end_matches("---\n"))).set;
    difference(&set(old), &set(new), day())
}

fn holds(flows: &[Flows], peer: IpAddr, service: Service) -> bool {
    let meets = |flows: &&Flows| {
        flows.peers.iter().any(|(first, last)| first.is_ipv4() == peer.is_ipv4() && *first <= peer && peer <= *last)
            && flows.services.iter().any(|range| range.contains(service))
    };
    flows.iter().filter(meets).count() == 1
}

/// Whether the difference says of a flow what the two worlds say.
fn agrees(
    found: &Difference,
    who: &Who,
    worlds: [(&World, Option<&Someone>); 2],
    peers: &[IpAddr],
    asked: &[Asked],
) -> Result<(), String> {
    for direction in Direction::BOTH {
        let change = found.changes.iter().find(|change| change.who.contains(who) && change.direction == direction);
        for (peer, asked) in peers.iter().flat_map(|peer| asked.iter().map(move |asked| (*peer, *asked))) {
            let side = |(world, someone): (&World, Option<&Someone>)| {
                someone.map_or((false, true), |someone| naive::side(world, someone, direction, peer, asked))
            };
            let [(was_isolated, passed), (isolated, passes)] = worlds.map(side);
            let listed =
                |flows: fn(&Change) -> &Vec<Flows>| change.is_some_and(|change| holds(flows(change), peer, service(asked)));
            let isolation = match (was_isolated, isolated) {
                (false, true) => Some(Isolation::Gained),
                (true, false) => Some(Isolation::Lost),
                _ => None,
            };
            let expected = (!passed && passes, passed && !passes, isolation);
            let said = (listed(|c| &c.allowed), listed(|c| &c.denied), change.and_then(|change| change.isolation));
            if said != expected {
                return Err(format!("{who} {} {peer} {asked:?}: {said:?}, not {expected:?}", direction.name()));
            }
        }
    }
    Ok(())
}

/// A world, and one that has something else here and there.
fn two_worlds() -> impl Strategy<Value = (World, World)> {
    (world(), world(), any::<u8>()).prop_map(|(old, other, keep)| {
        // Mostly the same policies: legal as they are only in a network that is the same.
        let mut new = old.clone();
        new.policies = old.policies.iter().enumerate().filter(|(n, _)| keep >> n & 1 == 1).map(|(_, p)| p.clone()).collect();
        for policy in &mut new.policies {
            policy.audit ^= keep >> 6 == 3;
        }
        if keep >> 6 == 0 { (old, other) } else { (old, new) }
    })
}

fn all<T: Ord>(mut a: Vec<T>, b: Vec<T>) -> Vec<T> {
    a.extend(b);
    a.sort();
    a.dedup();
    a
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_flow_is_in_the_difference_exactly_if_the_two_verdicts_differ((old, new) in two_worlds()) {
        let sets: [PolicySet; 2] = [set(&old), set(&new)];
        let found = difference(&sets[0], &sets[1], day());
        prop_assert!(found.not_compared.is_empty() && found.more == 0);
        let peers = all(addresses(&old, 16), addresses(&new, 16));
        let asked = all(services(&old, 8), services(&new, 8));
        let named = |world: &World, name: &str| world.members.iter().flatten().find(|someone| someone.name == name).cloned();
        let mut names: Vec<String> = [&old, &new].iter().flat_map(|w| w.members.iter().flatten()).map(|s| s.name.clone()).collect();
        names.sort();
        names.dedup();
        for name in &names {
            let (then, now) = (named(&old, name), named(&new, name));
            let in_old = if old.members.is_some() { then.as_ref() } else { now.as_ref() };
            let in_new = if new.members.is_some() { now.as_ref() } else { then.as_ref() };
            let who = Who::Endpoint(name.as_str().into());
            let said = agrees(&found, &who, [(&old, in_old), (&new, in_new)], &peers, &asked);
            prop_assert!(said.is_ok(), "{said:?}\n{}\n→\n{}", old.text(), new.text());
        }
        if old.members.is_none() && new.members.is_none() {
            for policy in sets.iter().flat_map(|set| &set.policies) {
                let Some(tags) = policy.selector.sample() else { continue };
                let namespace = policy.namespace.to_string();
                let someone = Someone { namespace, tags, ..Someone::default() };
                let who = Who::Selected { namespace: policy.namespace.clone(), selector: policy.selector.to_string() };
                let said = agrees(&found, &who, [(&old, Some(&someone)), (&new, Some(&someone))], &peers, &asked);
                prop_assert!(said.is_ok(), "{said:?}\n{}\n→\n{}", old.text(), new.text());
            }
        }
    }

    #[test]
    fn a_set_does_not_differ_from_itself(world in world()) {
        let set = set(&world);
        prop_assert!(difference(&set, &set, day()).is_empty());
    }
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{matchLabels: {{pci-env: cde}}}}, {spec}}}\n---\n"
    )
}

fn ingress(blocks: &str, ports: &str) -> String {
    policy(&format!("policyTypes: [Ingress], ingress: [{{from: [{blocks}], ports: [{ports}]}}]"))
}

fn texts(flows: &[Flows]) -> Vec<(String, String)> {
    flows.iter().map(|flows| (flows.peers_text().join(", "), flows.services_text().join(", "))).collect()
}

fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect()
}

#[test]
fn what_was_widened_and_what_was_narrowed_is_said_in_blocks_and_services() {
    let old = ingress("{ipBlock: {cidr: 10.0.0.0/24}}, {ipBlock: {cidr: 10.0.2.0/24}}", "{port: 443}");
    let new = ingress("{ipBlock: {cidr: 10.0.0.0/23}}", "{port: 443}, {port: 444}");
    let found = between(&old, &new);
    assert_eq!(found.changes.len(), 1);
    let change = &found.changes[0];
    assert_eq!((change.direction, change.isolation, change.cde), (Direction::Ingress, None, true));
    assert_eq!(texts(&change.allowed), own(&[("10.0.0.0/24", "TCP 444"), ("10.0.1.0/24", "TCP 443-444")]));
    assert_eq!(texts(&change.denied), own(&[("10.0.2.0/24", "TCP 443")]));
}

#[test]
fn the_same_in_other_words_is_no_difference() {
    let old = ingress("{ipBlock: {cidr: 10.0.0.0/24}}, {ipBlock: {cidr: 10.0.1.0/24}}", "{port: 1}, {port: 2}");
    let new = ingress("{ipBlock: {cidr: 10.0.0.0/23}}", "{port: 1, endPort: 2}").replace("name: p", "name: renamed");
    assert!(between(&old, &new).is_empty());
}

#[test]
fn isolation_that_comes_or_goes_is_said_and_what_it_stops_is_listed() {
    let new = ingress("{ipBlock: {cidr: 0.0.0.0/0}}", "{protocol: UDP}");
    let found = between("", &new);
    assert_eq!(found.changes[0].isolation, Some(Isolation::Gained));
    assert_eq!(
        texts(&found.changes[0].denied),
        own(&[("0.0.0.0/0", "protocols 0-16, protocols 18-255"), ("::/0", "every protocol")])
    );
    let found = between(&new, "");
    assert_eq!((found.changes[0].isolation, found.changes[0].denied.len()), (Some(Isolation::Lost), 0));
    assert_eq!(found.changes[0].who, [Who::Selected { namespace: "default".into(), selector: "pci-env=cde".into() }]);
}

fn facts(zone: &str, addresses: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Zones, metadata: {{name: z}}, spec: {{zones: [
          {{name: vault, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24]}}{zone}]}}}}
---
{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{workloads: [
          {{name: db-01, labels: {{pci-env: cde}}, addresses: [10.0.30.1]}},
          {{name: db-02, labels: {{pci-env: cde}}, addresses: [{addresses}]}},
          {{name: web-01, labels: {{pci-env: dmz}}, addresses: [10.0.50.1]}}]}}}}
---
"
    )
}

#[test]
fn a_change_across_the_boundary_of_the_cde_is_told_from_one_within() {
    let facts = facts("", "10.0.30.2");
    let set = |block: &str| format!("{facts}{}", ingress(&format!("{{ipBlock: {{cidr: {block}}}}}"), "{port: 443}"));
    let within = between(&set("10.0.30.0/25"), &set("10.0.30.0/24"));
    assert!(!within.is_empty() && !within.moves_boundary());
    let across = between(&set("10.0.30.0/24"), &set("10.0.30.0/23"));
    assert!(across.moves_boundary());
    let both = between(&set("10.0.30.0/25"), &set("10.0.30.0/23"));
    let flows: Vec<(Vec<String>, bool)> = both.changes[0].allowed.iter().map(|flows| (flows.peers_text(), flows.crosses)).collect();
    assert_eq!(flows, [(vec!["10.0.31.0/24".to_string()], true), (vec!["10.0.30.128/25".to_string()], false)]);
    // The same rules for both databases are said once.
    assert_eq!(both.changes[0].who.len(), 2);
}

#[test]
fn from_outside_the_boundary_is_the_cde_itself() {
    let facts = facts("", "10.0.30.2");
    let set = |block: &str| {
        format!(
            "{facts}{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: w}}, spec: {{podSelector: {{matchLabels: {{pci-env: dmz}}}}, egress: [{{to: [{{ipBlock: {{cidr: {block}}}}}], ports: [{{port: 443}}]}}]}}}}\n---\n"
        )
    };
    assert!(between(&set("10.0.50.0/24"), &set("10.0.0.0/16")).moves_boundary());
    assert!(!between(&set("10.0.50.0/24"), &set("10.0.50.0/23")).moves_boundary());
}

#[test]
fn what_comes_into_scope_and_what_leaves_it_is_said() {
    let old = facts(", {name: shop, classes: [dmz], pciScope: in, cidrs: [10.0.50.0/24]}", "10.0.30.2");
    let new = facts(", {name: shop, classes: [dmz, cde], pciScope: in, cidrs: [10.0.50.0/23]}", "10.0.60.2");
    let found = between(&old, &new);
    let said: Vec<(Turn, Thing, &str, bool, &str)> =
        found.scope.iter().map(|change| (change.change, change.kind, &*change.name, change.cde, &*change.detail)).collect();
    assert_eq!(
        said,
        [
            (Turn::Added, Thing::CdeAddresses, "IPv4", true, "10.0.50.0/23, 10.0.60.2/32"),
            (
                Turn::Changed,
                Thing::Zone,
                "shop",
                true,
                "was dmz, untrusted, in scope, is cde and dmz, untrusted, in scope; gained 10.0.51.0/24"
            ),
            (Turn::Changed, Thing::Endpoint, "db-02", true, "gained 10.0.60.2; lost 10.0.30.2"),
            (Turn::Changed, Thing::Endpoint, "web-01", true, "is now in the CDE"),
        ]
    );
    assert!(found.changes.is_empty() && !found.is_empty());
}

#[test]
fn the_output_has_the_promised_fields() {
    let new = ingress("{ipBlock: {cidr: 10.0.0.0/24}}", "{port: 443}");
    let json = serde_json::to_value(between(&new, &new.replace("443", "8443"))).unwrap();
    assert_eq!((&json["different"], &json["cde_boundary_changed"]), (&true.into(), &true.into()));
    let change = &json["changes"][0];
    assert_eq!((&change["who"][0]["selector"], &change["direction"]), (&"pci-env=cde".into(), &"ingress".into()));
    let allowed = serde_json::json!({"peers": ["10.0.0.0/24"], "services": ["TCP 8443"], "crosses_cde_boundary": true});
    assert_eq!(change["newly_allowed"], serde_json::json!([allowed]));
    assert_eq!(change["isolation"], serde_json::Value::Null);
}

/// Labels over two keys and three values, each perhaps absent.
fn combinations() -> Vec<Labels> {
    let value = |n: usize| ["a", "b", "c"].get(n).map(|value| (*value).to_string());
    let pair = |key: &str, n| value(n).map(|value| (key.to_string(), value));
    (0..16).map(|n| [pair("k", n / 4), pair("l", n % 4)].into_iter().flatten().collect()).collect()
}

fn selector() -> impl Strategy<Value = String> {
    let values = proptest::sample::subsequence(vec!["a", "b", "c"], 1..3);
    let term = (proptest::sample::select(vec!["k", "l"]), 0_u8..4, values).prop_map(|(key, operator, values)| {
        let values = values.join(", ");
        match operator {
            0 => format!("{{key: {key}, operator: In, values: [{values}]}}"),
            1 => format!("{{key: {key}, operator: NotIn, values: [{values}]}}"),
            2 => format!("{{key: {key}, operator: Exists}}"),
            _ => format!("{{key: {key}, operator: DoesNotExist}}"),
        }
    });
    proptest::collection::vec(term, 0..3).prop_map(|terms| format!("{{matchExpressions: [{}]}}", terms.join(", ")))
}

fn selecting(selectors: &[String]) -> String {
    let policy = |(n, selector): (usize, &String)| {
        format!(
            "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p{n}}}, spec: {{podSelector: {selector}, policyTypes: [Ingress], ingress: [{{from: [{{ipBlock: {{cidr: 10.0.{n}.0/24}}}}], ports: [{{port: 1}}]}}]}}}}\n---\n"
        )
    };
    selectors.iter().enumerate().map(policy).collect()
}

proptest! {
    #[test]
    fn whatever_labels_get_other_verdicts_there_is_a_difference(
        old in proptest::collection::vec(selector(), 1..4),
        new in proptest::collection::vec(selector(), 1..4),
    ) {
        let [(old, old_text), (new, new_text)] = [&old, &new].map(|selectors| {
            let text = selecting(selectors);
            (read(&snapshot(text.trim_end_matches("---\n"))).set, text)
        });
        let verdict = |set: &PolicySet, labels: &Labels, peer: &str| {
            let flow = Flow {
                endpoint: Endpoint::host(labels.clone()),
                direction: Direction::Ingress,
                peer: peer.parse().unwrap(),
                service: Service::new(crate::net::service::TCP, 1),
            };
            Ruleset::of(set, day()).verdict(&flow).allow
        };
        let peers = ["10.0.0.1", "10.0.1.1", "10.0.2.1", "8.8.8.8"];
        let found = difference(&old, &new, day());
        prop_assert!(found.not_compared.is_empty());
        for peer in peers {
            let differs = |labels: &Labels| (verdict(&old, labels, peer), verdict(&new, labels, peer));
            for (was, is) in combinations().iter().map(differs).filter(|(was, is)| was != is) {
                let listed = |change: &Change| {
                    let flows = if is { &change.allowed } else { &change.denied };
                    was != is && holds(flows, peer.parse().unwrap(), Service::new(crate::net::service::TCP, 1))
                };
                prop_assert!(found.changes.iter().any(listed), "{peer}\n{old_text}\n→\n{new_text}");
            }
        }
    }
}

#[test]
fn a_selector_that_lets_go_of_the_cde_is_a_difference_both_ways() {
    let standard = "{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: s}, spec: {profile: baseline, version: \"1\", cdeLabels: {pci-env: [cde], zone: [cde]}}}\n---\n";
    let set = |term: &str| format!("{standard}{}", selecting(&[format!("{{matchExpressions: [{term}]}}")]));
    for (old, new, who) in [
        ("{key: pci-env, operator: In, values: [cde, aaa]}", "{key: pci-env, operator: In, values: [aaa]}", "pci-env=cde"),
        ("", "{key: pci-env, operator: DoesNotExist}", "pci-env=cde"),
        ("{key: zone, operator: NotIn, values: [x]}", "{key: zone, operator: NotIn, values: [x, cde]}", "zone=cde"),
    ] {
        for (old, new, isolation) in [(old, new, Isolation::Lost), (new, old, Isolation::Gained)] {
            let found = between(&set(old), &set(new));
            let says = |change: &&Change| change.who.iter().any(|other| other.to_string() == who);
            let change = found.changes.iter().find(says).unwrap_or_else(|| panic!("{old} → {new}: {found:?}"));
            assert_eq!((change.cde, change.isolation), (true, Some(isolation)), "{old} → {new}");
            assert!(found.moves_boundary());
        }
    }
}

#[test]
fn what_is_too_much_to_be_compared_is_said() {
    let set = |operator: &str| {
        let term = |key: usize| format!("{{key: k{key}, operator: {operator}, values: [a{key}, b]}}");
        let one = |n: usize| format!("{{matchExpressions: [{}]}}", (n..n + 30).map(term).collect::<Vec<_>>().join(", "));
        selecting(&(0..60).map(one).collect::<Vec<_>>())
    };
    let found = between(&set("In"), &set("NotIn"));
    assert_eq!(found.not_compared, ["namespace default beyond 20000 combinations of labels"]);
    assert!(between(&set("In"), &set("In")).is_empty());
}

#[test]
fn other_labels_that_mark_the_cde_are_another_scope() {
    let set = |labels: &str| {
        format!(
            "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: baseline, version: \"1\", cdeLabels: {labels}}}}}\n---\n"
        )
    };
    let said = |old: &str, new: &str| -> Vec<String> {
        let found = between(old, new);
        assert!(found.scope.iter().all(|change| change.kind == Thing::CdeLabels && change.cde));
        found.scope.iter().map(|change| format!("{:?} {} {}", change.change, change.name, change.detail)).collect()
    };
    let (one, other) = (set("{pci-env: [cde, vault]}"), set("{pci-env: [cde, safe], zone: [cde]}"));
    assert_eq!(said(&one, &other), ["Changed pci-env gained safe; lost vault", "Added zone gained cde"]);
    assert_eq!(said(&other, &one), ["Changed pci-env gained vault; lost safe", "Removed zone lost cde"]);
    assert_eq!(said("", &one), ["Changed pci-env gained vault"]);
    assert!(between(&one, &one).is_empty());
    let json = serde_json::to_value(between(&one, &other)).unwrap();
    assert_eq!(json["scope"][1]["kind"], "cde-labels");
}
