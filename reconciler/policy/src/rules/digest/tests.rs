use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::{Block, Named, Peer, PortItem, Spot};
use crate::net::service::{TCP, UDP};
use crate::read::read;
use crate::rules::tests::snapshot;

/// The digest of the only rule of a policy.
fn of(text: &str) -> String {
    let set = read(&snapshot(text)).set;
    let all: Vec<String> = digests(&set).map(|rule| rule.digest.to_string()).collect();
    assert_eq!(all.len(), 1, "{text}");
    all.concat()
}

/// A policy with this selector and these fields besides.
fn policy(selector: &str, fields: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: db}}, spec: {{podSelector: {selector}, {fields}}}}}\n"
    )
}

const CDE: &str = "{matchLabels: {pci-env: cde, tier: db}}";
const RULE: &str = "ingress: [{name: a, from: [{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: 10.0.9.0/28}}], ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 5432, endPort: 5433}]}]";

#[test]
fn the_digest_is_the_documented_sum() {
    // Computed apart from this program, from the description in the module's documentation.
    assert_eq!(of(&policy(CDE, RULE)), "ef3b2acdb3bd4d5c727fc211837ae75109558ff55b77746666d49f43f3d5d778");
}

#[test]
fn what_only_reads_differently_has_the_same_digest() {
    let same = [
        policy("{matchLabels: {tier: db, pci-env: cde}}", RULE),
        policy("{matchLabels: {tier: db}, matchExpressions: [{key: pci-env, operator: In, values: [cde]}]}", RULE),
        policy("{matchLabels: {tier: db, pci-env: cde}, matchExpressions: [{key: tier, operator: In, values: [db]}]}", RULE),
        policy(
            CDE,
            "ingress: [{name: b, ports: [{port: 5433}, {port: 5432}, {port: 443}], from: [{ipBlock: {cidr: 10.0.9.0/29}}, {ipBlock: {cidr: 10.0.9.8/29}}, {ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: 10.0.1.0/25}}]}]",
        ),
        format!("# A comment.\n\n{}", policy(CDE, RULE)),
    ];
    for text in same {
        assert_eq!(of(&text), of(&policy(CDE, RULE)), "{text}");
    }
}

#[test]
fn everything_that_means_something_else_has_its_own_digest() {
    let texts = [
        policy(CDE, RULE),
        policy(CDE, RULE).replace("name: db}", "name: dc}"),
        policy(CDE, RULE).replace("{name: db}", "{name: db, namespace: shop}"),
        policy("{matchLabels: {pci-env: cde}}", RULE),
        policy("{}", RULE),
        policy("{matchLabels: {pci-env: cde}, matchExpressions: [{key: tier, operator: NotIn, values: [db]}]}", RULE),
        policy("{matchLabels: {pci-env: cde}, matchExpressions: [{key: tier, operator: Exists}]}", RULE),
        policy("{matchLabels: {pci-env: cde}, matchExpressions: [{key: tier, operator: DoesNotExist}]}", RULE),
        policy("{matchLabels: {pci-env: cde}, matchExpressions: [{key: tier, operator: In, values: [db, app]}]}", RULE),
        policy(CDE, &RULE.replace("ingress", "egress").replace("from", "to")),
        policy(CDE, &RULE.replace("10.0.1.0/24", "10.0.0.0/23")),
        policy(CDE, &RULE.replace("cidr: 10.0.1.0/24", "cidr: 10.0.1.0/24, except: [10.0.1.7/32]")),
        policy(CDE, &RULE.replace("5433", "5434")),
        policy(CDE, &RULE.replace("protocol: TCP, port: 443", "protocol: UDP, port: 443")),
        policy(CDE, &RULE.replace(", ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 5432, endPort: 5433}]", "")),
        policy(CDE, "ingress: [{ports: [{port: 443}, {port: 5432, endPort: 5433}]}]"),
    ];
    let digests: BTreeSet<String> = texts.iter().map(|text| of(text)).collect();
    assert_eq!(digests.len(), texts.len());
}

#[test]
fn everybody_is_the_same_however_it_is_written() {
    let all = policy(CDE, "ingress: [{ports: [{port: 443}]}]");
    let halves = policy(
        CDE,
        "ingress: [{from: [{ipBlock: {cidr: \"::/0\"}}, {ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}], ports: [{port: 443}]}]",
    );
    assert_eq!(of(&all), of(&halves));
}

fn rule(peers: Vec<Peer>, ports: Vec<Port>) -> Rule {
    let item = |port| PortItem { at: Spot::START, port };
    Rule { at: Spot::START, name: None, peers, ports: ports.into_iter().map(item).collect(), ports_at: None }
}

fn block(cidr: &str) -> Peer {
    Peer::Block(Block { at: Spot::START, cidr: Cidr::parse(cidr).unwrap(), except: Vec::new() })
}

fn tcp(first: u16, last: u16) -> ServiceRange {
    ServiceRange::ports(TCP, first, last)
}

fn egress(rule: &Rule) -> Digest {
    let set = read(&snapshot(&policy(CDE, "ingress: []"))).set;
    digest(&set.policies[0], Direction::Egress, rule)
}

#[test]
fn a_port_name_counts_for_those_who_declare_it() {
    let named = |found: &[(u16, &[&str])]| {
        let each = found.iter().map(|(port, members)| {
            (tcp(*port, *port), members.iter().map(|text| Cidr::parse(text).unwrap()).collect::<Arc<[Cidr]>>())
        });
        Port::Named(Named { protocol: TCP, name: "postgres".into(), found: each.collect() })
    };
    let peers = || [block("10.0.0.1/32"), block("10.0.0.2/32")].into();
    let of = |ports: Vec<Port>| egress(&rule(peers(), ports));
    let by_number = of([Port::Numbers(tcp(5432, 5432))].into());
    let all = of([named(&[(5432, &["10.0.0.1/32", "10.0.0.2/32"])])].into());
    let one = of([named(&[(5432, &["10.0.0.1/32"])])].into());
    let other = of([named(&[(5432, &["10.0.0.2/32"])])].into());
    let both = of([named(&[(5432, &["10.0.0.1/32"])]), Port::Numbers(tcp(5432, 5432))].into());
    let swapped = [[(1, "10.0.0.1/32"), (2, "10.0.0.2/32")], [(2, "10.0.0.1/32"), (1, "10.0.0.2/32")]];
    let [ours, theirs] =
        swapped.map(|pairs| of([named(&pairs.each_ref().map(|(port, to)| (*port, core::slice::from_ref(to))))].into()));
    assert_eq!(all, by_number);
    assert_eq!(both, by_number);
    assert!(one != other && one != all && other != all && ours != theirs);
}

/// What a rule over eight addresses and eight ports of two protocols means, point by point.
fn meaning(rule: &Rule) -> (Vec<bool>, Vec<bool>) {
    let address = |n: u8| core::net::IpAddr::from([10, 0, 0, n]);
    let holds = |n| {
        let part =
            |part: crate::model::Part<'_>| part.cidr.contains(address(n)) && !part.except.iter().any(|e| e.contains(address(n)));
        rule.peers.iter().flat_map(Peer::parts).any(part)
    };
    let service = |protocol, port| rule.services().iter().any(|range| range.contains(crate::net::Service::new(protocol, port)));
    let services = (0..8).map(|port| service(TCP, port)).chain((0..8).map(|port| service(UDP, port)));
    ((0..8).map(holds).collect(), services.collect())
}

fn any_peer() -> impl Strategy<Value = Peer> {
    (0_u8..8, 29_u8..=32, vec((0_u8..8, 30_u8..=32), 0..2)).prop_map(|(address, prefix, except)| {
        let masked = |address: u8, prefix: u8| {
            let host = 8_u8.checked_shr(u32::from(prefix) - 29).unwrap_or(1).max(1);
            Cidr::parse(&format!("10.0.0.{}/{prefix}", address / host * host)).unwrap()
        };
        let cidr = masked(address, prefix);
        let except = except.into_iter().map(|(a, p)| masked(a, p)).filter(|e| cidr.covers(*e) && cidr != *e).collect();
        Peer::Block(Block { at: Spot::START, cidr, except })
    })
}

fn any_port() -> impl Strategy<Value = Port> {
    (prop_oneof![Just(TCP), Just(UDP)], 0_u16..8, 0_u16..8)
        .prop_map(|(protocol, a, b)| Port::Numbers(ServiceRange::ports(protocol, a, b)))
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (vec(any_peer(), 1..5), vec(any_port(), 1..4)).prop_map(|(peers, ports)| rule(peers, ports))
}

proptest! {
    #[test]
    fn two_rules_share_a_digest_exactly_if_they_mean_the_same(a in any_rule(), b in any_rule()) {
        prop_assert_eq!(egress(&a) == egress(&b), meaning(&a) == meaning(&b));
    }

    #[test]
    fn order_and_repetition_mean_nothing(whole in any_rule(), turn in 0_usize..4) {
        let mut other = whole.clone();
        other.peers.rotate_left(turn % whole.peers.len());
        other.ports.reverse();
        other.peers.extend(whole.peers.first().cloned());
        other.ports.extend(whole.ports.last().cloned());
        prop_assert_eq!(egress(&whole), egress(&other));
    }

    #[test]
    fn a_rule_that_allows_more_has_another_digest(narrow in any_rule(), peer in any_peer(), port in any_port()) {
        let mut wide = narrow.clone();
        wide.peers.push(peer);
        wide.ports.push(PortItem { at: Spot::START, port });
        prop_assert_eq!(egress(&narrow) == egress(&wide), meaning(&narrow) == meaning(&wide));
    }
}
