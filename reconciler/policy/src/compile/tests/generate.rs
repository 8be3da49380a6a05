//! Random policies and flows aimed at their edges: first and last address of each prefix and one beyond, port bounds and one beyond,
//! neighbouring protocols, both families, borders of exceptions.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use crate::compile::{Endpoint, Flow, Ruleset};
use crate::lower::bpf::{Key, Rule as TableRule, RuleIds, Table, lower};
use crate::model::{Block, Mode, NetworkPolicy, Peer, PolicySet, Port, PortItem, Rule, Rules, Spot, Types};
use crate::net::{Cidr, Direction, Family, Service, ServiceRange};
use crate::select::{Selector, Term};

/// Few addresses, so that prefixes nest and meet.
fn cidr() -> impl Strategy<Value = Cidr> {
    let v4 = (
        select(vec!["10.0.0.0", "10.0.1.0", "10.0.1.128", "10.0.1.129", "10.255.255.255", "0.0.0.0", "255.255.255.255"]),
        0_u8..=32,
    );
    let v6 = (select(vec!["fd00::", "fd00::1:0", "fd00::1:1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]), 0_u8..=128);
    let make = |(text, length): (&str, u8)| Cidr::new(text.parse().unwrap(), length).unwrap();
    // Short and long prefixes matter most; anything in between may happen.
    prop_oneof![3 => v4.prop_map(make), 2 => v6.prop_map(make)]
}

fn block() -> impl Strategy<Value = Block> {
    (cidr(), proptest::collection::vec((any::<u128>(), 1_u8..=16), 0..3)).prop_map(|(cidr, inner)| {
        let inside = |(random, deeper): (u128, u8)| {
            let length = cidr.length().checked_add(deeper).filter(|l| *l <= cidr.family().bits())?;
            let (first, last) = cidr.bounds();
            Cidr::new(cidr.family().address(first | (random & (last - first))), length)
        };
        Block { at: Spot::START, cidr, except: inner.into_iter().filter_map(inside).collect() }
    })
}

fn services() -> impl Strategy<Value = ServiceRange> {
    let ports = (select(vec![1_u8, 6, 17, 58, 132]), select(vec![0_u16, 1, 22, 443, 65534]), 0_u16..3);
    prop_oneof![
        4 => ports.prop_map(|(protocol, first, more)| ServiceRange::ports(protocol, first, first.saturating_add(more))),
        1 => select(vec![1_u8, 6, 17]).prop_map(ServiceRange::protocol),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let peer = prop_oneof![9 => block().prop_map(Peer::Block), 1 => Just(Peer::Nobody { at: Spot::START })];
    let port = prop_oneof![9 => services().prop_map(Some), 1 => Just(None)]
        .prop_map(|services| PortItem { at: Spot::START, port: services.map_or(Port::Unreadable, Port::Numbers) });
    (proptest::collection::vec(peer, 0..4), proptest::collection::vec(port, 0..3)).prop_map(|(peers, ports)| Rule {
        at: Spot::START,
        name: None,
        peers,
        ports,
        ports_at: None,
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    proptest::collection::vec(rule(), 0..3).prop_map(|list| Rules { key_at: None, list })
}

fn policy() -> impl Strategy<Value = NetworkPolicy> {
    let selector = select(vec![vec![], vec!["cde"], vec!["dmz"], vec!["cde", "dmz"]]);
    let types = select(vec![(true, true), (true, true), (true, false), (false, true)]);
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Audit)];
    (selector, types, mode, rules(), rules()).prop_map(|(values, (ingress, egress), mode, inn, out)| NetworkPolicy {
        file: "p.yaml".into(),
        at: Spot::START,
        name: "p".into(),
        namespace: "default".into(),
        requirements: None,
        mode,
        means_deny: false,
        selector: Selector::new(if values.is_empty() {
            vec![]
        } else {
            vec![Term::In("env".to_string(), values.iter().map(ToString::to_string).collect())]
        }),
        spec_at: Spot::START,
        selector_at: Spot::START,
        types: Types { written: true, ingress, egress },
        ingress: inn,
        egress: out,
    })
}

fn set() -> impl Strategy<Value = PolicySet> {
    proptest::collection::vec(policy(), 0..5).prop_map(|mut policies| {
        for (i, policy) in policies.iter_mut().enumerate() {
            policy.name = Arc::from(alloc::format!("p{i}"));
        }
        PolicySet { policies, ..PolicySet::default() }
    })
}

fn edge_addresses(set: &PolicySet) -> Vec<IpAddr> {
    let rules = set.policies.iter().flat_map(|p| p.ingress.list.iter().chain(&p.egress.list));
    let blocks = rules.flat_map(|r| r.peers.iter().filter_map(Peer::block));
    let mut edges: Vec<IpAddr> = vec!["8.8.8.8".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for cidr in blocks.flat_map(|b| core::iter::once(b.cidr).chain(b.except.iter().copied())) {
        let (first, last) = cidr.bounds();
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        edges.extend(around.into_iter().filter(|n| *n <= cidr.family().last()).map(|n| cidr.family().address(n)));
    }
    edges.sort();
    edges.dedup();
    edges
}

fn edge_services(set: &PolicySet) -> Vec<Service> {
    let rules = set.policies.iter().flat_map(|p| p.ingress.list.iter().chain(&p.egress.list));
    let mut edges = vec![Service::new(6, 443), Service::new(47, 0), Service::new(0, 0), Service::new(255, 65535)];
    for range in rules.flat_map(Rule::services) {
        let around = [range.lo().wrapping_sub(1), range.lo(), range.hi(), range.hi() + 1, range.lo() ^ 0x1_0000];
        edges.extend(around.into_iter().filter_map(Service::from_number));
    }
    edges.sort();
    edges.dedup();
    edges
}

/// The table once more, in another shape: every rule asked alone, with sets instead of loops.
fn naive(set: &PolicySet, own: &str, direction: Direction, peer: IpAddr, service: Service) -> (bool, bool) {
    let (mut isolated, mut allowed) = (false, false);
    for policy in &set.policies {
        let selected = policy.selector.terms().iter().all(|t| matches!(t, Term::In(_, values) if values.iter().any(|v| v == own)));
        let meant = match direction {
            Direction::Ingress => policy.types.ingress,
            Direction::Egress => policy.types.egress,
        };
        if !selected || !meant || policy.mode == Mode::Audit {
            continue;
        }
        isolated = true;
        let list = if direction == Direction::Ingress { &policy.ingress.list } else { &policy.egress.list };
        allowed |= list.iter().any(|rule| {
            let family = if peer.is_ipv4() { Family::V4 } else { Family::V6 };
            let port = rule.services().iter().any(|r| (r.lo()..=r.hi()).contains(&service.number()));
            rule.addresses(family).contains(peer) && port
        });
    }
    (isolated, !isolated || allowed)
}

/// What the program does with the table: longest match, then any.
fn look_up(table: &Table, direction: Direction, peer: IpAddr, service: Service) -> (bool, bool) {
    let Some(TableRule::Isolation(mode)) = table.get(&Key::Isolation { direction }) else {
        return (false, true);
    };
    if *mode == Mode::Audit {
        return (false, true);
    }
    let family = Family::of(peer);
    let longest = (0..=family.bits())
        .rev()
        .find_map(|length| table.get(&Key::Prefix { direction, prefix: Cidr::new(peer, length).unwrap() }));
    let any = table.get(&Key::Any { direction, family });
    let permits = |rule: Option<&TableRule>| match rule {
        Some(TableRule::Services(list)) => {
            assert!(list.windows(2).all(|w| w[0].hi < w[1].lo), "sorted and disjoint");
            list.iter().any(|i| i.lo <= service.number() && service.number() <= i.hi && !i.audit)
        }
        _ => false,
    };
    (true, permits(longest) || permits(any))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn verdict_and_the_lowered_table_say_what_the_policy_language_says(set in set()) {
        let ruleset = Ruleset::of(&set, crate::rules::tests::day());
        let endpoint = Endpoint::host([("env".to_string(), "cde".to_string())].into());
        let table = lower(&ruleset, &endpoint, &RuleIds::assign(&RuleIds::default(), &ruleset)).unwrap();
        let services = edge_services(&set);
        for peer in edge_addresses(&set) {
            for &service in &services {
                for direction in Direction::BOTH {
                    let expected = naive(&set, "cde", direction, peer, service);
                    let verdict = ruleset.verdict(&Flow { endpoint: endpoint.clone(), direction, peer, service });
                    prop_assert_eq!((verdict.isolated, verdict.allow), expected, "{} {} {}", direction.name(), peer, service);
                    prop_assert_eq!(look_up(&table, direction, peer, service), expected, "{} {} {}", direction.name(), peer, service);
                }
            }
        }
    }
}
