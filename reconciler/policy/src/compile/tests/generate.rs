//! Random worlds, and flows aimed at their edges: first and last address of each prefix, exception and endpoint and one beyond, port
//! bounds and one beyond, neighbouring protocols, types and codes, both families.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::collection::vec as many;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::naive::{self, Asked};
use super::world::{Allow, Condition, Policy, Someone, Tags, What, Whom, World};
use crate::net::{Cidr, Direction, Family};

/// Addresses of endpoints: apart from one another, on the edges of the blocks below.
const OWN: [&str; 12] = [
    "10.0.0.0/32",
    "10.0.0.255/32",
    "10.0.1.0/32",
    "10.0.1.128/32",
    "10.0.1.130/31",
    "10.255.255.255/32",
    "255.255.255.255/32",
    "fd00::/128",
    "fd00::1:0/128",
    "fd00::1:2/127",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "2001:db8::1/128",
];
const NAMESPACES: [&str; 3] = ["default", "pay", "lab"];
const PORT_NAMES: [&str; 2] = ["web", "db"];

/// Few addresses, so that prefixes nest and meet.
fn cidr() -> impl Strategy<Value = Cidr> {
    let v4 = select(vec!["10.0.0.0", "10.0.1.0", "10.0.1.128", "10.0.1.129", "10.255.255.255", "0.0.0.0", "255.255.255.255"]);
    let v6 = select(vec!["fd00::", "fd00::1:0", "fd00::1:1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
    let make = |(text, length): (&str, u8)| Cidr::new(text.parse().unwrap(), length).unwrap();
    let short = || prop_oneof![Just(0_u8), 8_u8..=32];
    // Short and long prefixes matter most; anything in between may happen.
    prop_oneof![3 => (v4, short()).prop_map(make), 2 => (v6, prop_oneof![1 => short(), 2 => 96_u8..=128]).prop_map(make)]
}

/// A block and at most two exceptions, each at most a quarter of it.
fn block() -> impl Strategy<Value = Whom> {
    (cidr(), many((any::<u128>(), 2_u8..=16), 0..3)).prop_map(|(cidr, inner)| {
        let (first, last) = cidr.bounds();
        let inside = |(random, deeper): (u128, u8)| {
            let length = cidr.length().checked_add(deeper).filter(|length| *length <= cidr.family().bits())?;
            Cidr::new(cidr.family().address(first | (random & (last - first))), length)
        };
        let mut except: Vec<Cidr> = inner.into_iter().filter_map(inside).collect();
        except.dedup();
        Whom::Block(cidr, except)
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = || select(vec![vec!["cde"], vec!["dmz"], vec!["cde", "dmz"]]);
    let texts = |values: Vec<&str>| values.into_iter().map(String::from).collect::<Vec<_>>();
    prop_oneof![
        4 => values().prop_map(move |v| Condition::In("env".to_string(), texts(v))),
        1 => values().prop_map(move |v| Condition::NotIn("env".to_string(), texts(v))),
        1 => select(vec!["env", "tier"]).prop_map(|key| Condition::Exists(key.to_string())),
        1 => select(vec!["env", "tier"]).prop_map(|key| Condition::Absent(key.to_string())),
        1 => Just(Condition::In("tier".to_string(), vec!["db".to_string()])),
    ]
}

fn selector() -> impl Strategy<Value = Vec<Condition>> {
    prop_oneof![2 => many(condition(), 0..2), 1 => many(condition(), 2)]
}

/// By a namespace's own labels, or by the one that every namespace has (S20).
fn namespaces() -> impl Strategy<Value = Vec<Condition>> {
    let named = select(NAMESPACES.to_vec())
        .prop_map(|name| vec![Condition::In("kubernetes.io/metadata.name".to_string(), vec![name.to_string()])]);
    prop_oneof![1 => Just(vec![]), 2 => named, 2 => many(condition(), 1)]
}

fn chosen() -> impl Strategy<Value = Whom> {
    let chosen = |pods, namespaces| Whom::Chosen { pods, namespaces };
    prop_oneof![
        2 => selector().prop_map(move |pods| chosen(Some(pods), None)),
        1 => namespaces().prop_map(move |spaces| chosen(None, Some(spaces))),
        1 => (selector(), namespaces()).prop_map(move |(pods, spaces)| chosen(Some(pods), Some(spaces))),
    ]
}

fn port() -> impl Strategy<Value = What> {
    let protocol = || select(vec![6_u8, 6, 17, 132]);
    let first = select(vec![1_u16, 22, 443, 5432, 65534]);
    let kinds = (select(vec![0_u8, 3, 8, 255]), option::of(select(vec![0_u8, 4, 255])));
    prop_oneof![
        4 => (protocol(), first, 0_u16..3).prop_map(|(protocol, first, more)| What::Numbers(protocol, Some((first, first.saturating_add(more))))),
        1 => protocol().prop_map(|protocol| What::Numbers(protocol, None)),
        1 => (select(vec![1_u8, 58]), option::of(kinds)).prop_map(|(protocol, kind)| What::Icmp(protocol, kind)),
        3 => (select(vec![6_u8, 6, 17]), select(PORT_NAMES.to_vec())).prop_map(|(protocol, name)| What::Named(protocol, name.to_string())),
    ]
}

fn rule() -> impl Strategy<Value = Allow> {
    let peers = prop_oneof![
        1 => Just(vec![]),
        3 => many(block(), 1..4),
        4 => many(chosen(), 1..3),
        2 => many(prop_oneof![block(), chosen()], 1..4),
    ];
    let expired = prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (peers, many(port(), 0..4), expired).prop_map(|(peers, ports, expired)| Allow { peers, ports, expired })
}

fn policy() -> impl Strategy<Value = Policy> {
    let types = select(vec![None, None, Some(Direction::Ingress), Some(Direction::Egress)]);
    let namespace = select(vec!["default", "default", "pay", "lab"]).prop_map(String::from);
    let audit = prop_oneof![4 => Just(false), 1 => Just(true)];
    (namespace, selector(), types, audit, many(rule(), 0..3), many(rule(), 0..3)).prop_map(
        |(namespace, selector, types, audit, ingress, egress)| Policy { namespace, selector, types, audit, ingress, egress },
    )
}

fn tags() -> impl Strategy<Value = Tags> {
    let env = prop_oneof![4 => Just(Some("cde")), 2 => Just(Some("dmz")), 1 => Just(None)];
    (env, option::of(select(vec!["db", "app"]))).prop_map(|(env, tier)| {
        let pairs = [env.map(|env| ("env", env)), tier.map(|tier| ("tier", tier))];
        pairs.into_iter().flatten().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    })
}

/// Namespace, labels, how many addresses, and port names.
type Described = (&'static str, Tags, usize, Vec<(&'static str, u8, u16)>);

fn members() -> impl Strategy<Value = Vec<Someone>> {
    let ports = many((select(PORT_NAMES.to_vec()), select(vec![6_u8, 6, 17]), select(vec![443_u16, 5432, 8443])), 1..4);
    let one = (select(vec!["default", "default", "pay", "lab"]), tags(), 1_usize..4, ports);
    (many(one, 2..7), Just(OWN.to_vec()).prop_shuffle()).prop_map(|(each, own)| {
        let mut own = own.into_iter().map(|text| Cidr::parse(text).unwrap());
        let make = |(number, (namespace, tags, count, ports)): (usize, Described)| {
            let mut ports: Vec<_> = ports.into_iter().map(|(name, protocol, port)| (name.to_string(), protocol, port)).collect();
            ports.sort();
            ports.dedup_by_key(|(name, protocol, _)| (name.clone(), *protocol));
            let addresses = own.by_ref().take(count).collect();
            Someone { name: alloc::format!("e{number}"), namespace: namespace.to_string(), tags, addresses, ports }
        };
        let all = each.into_iter().enumerate().map(make);
        all.filter(|someone| !someone.addresses.is_empty()).collect()
    })
}

/// With an Inventory most of the time.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let labels = select(vec![vec![], vec![("env", "cde")], vec![("env", "dmz"), ("tier", "db")]]);
    let spaces = (labels.clone(), labels).prop_map(|(pay, lab)| {
        let tags = |pairs: Vec<(&str, &str)>| pairs.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Tags>();
        vec![("pay".to_string(), tags(pay)), ("lab".to_string(), tags(lab))]
    });
    let inventory = prop_oneof![4 => (spaces, members()).prop_map(Some), 1 => Just(None)];
    (inventory, many(policy(), 0..6)).prop_map(|(inventory, policies)| match inventory {
        Some((namespaces, members)) => legal(World { namespaces, members: Some(members), policies }),
        None => legal(World { namespaces: vec![], members: None, policies }),
    })
}

/// Without what is a problem of the text: what resolves to nothing (S23 without an Inventory, S28, S29) or can match no packet (S32).
fn legal(mut world: World) -> World {
    let known = world.clone();
    for policy in &mut world.policies {
        if known.members.is_none() {
            policy.namespace = "default".to_string();
        }
        let whole = policy.clone();
        for direction in Direction::BOTH {
            let rules = if direction == Direction::Ingress { &mut policy.ingress } else { &mut policy.egress };
            rules.retain_mut(|rule| mend(&known, &whole, rule, direction));
        }
    }
    world
}

fn mend(world: &World, policy: &Policy, rule: &mut Allow, direction: Direction) -> bool {
    let (some_peer, some_port) = (!rule.peers.is_empty(), !rule.ports.is_empty());
    rule.peers.retain(|peer| world.members.is_some() || matches!(peer, Whom::Block(..)));
    let peers = rule.peers.clone();
    rule.ports.retain(|port| match port {
        What::Numbers(..) => true,
        What::Icmp(protocol, _) => {
            let family = if *protocol == 1 { Family::V4 } else { Family::V6 };
            peers.is_empty() || peers.iter().any(|peer| has(world, policy, peer, family))
        }
        What::Named(protocol, name) => {
            let declares = |someone: &&Someone| someone.ports.iter().any(|(n, p, _)| n == name && p == protocol);
            let mut declaring = world.members.iter().flatten().filter(declares);
            match direction {
                Direction::Ingress => {
                    declaring.any(|someone| someone.namespace == policy.namespace && naive::holds(&policy.selector, &someone.tags))
                }
                Direction::Egress => {
                    let alone = |peer: &Whom, someone: &Someone| {
                        let mut world = world.clone();
                        world.members = Some(vec![someone.clone()]);
                        naive::contains(&world, policy, peer, someone.addresses[0].first())
                    };
                    let selectors = peers.iter().all(|peer| matches!(peer, Whom::Chosen { .. }));
                    selectors && declaring.any(|someone| peers.iter().any(|peer| alone(peer, someone)))
                }
            }
        }
    });
    // An emptied list would mean everybody or everything.
    some_peer != rule.peers.is_empty() && some_port != rule.ports.is_empty()
}

/// Whether a peer holds an address of a family.
fn has(world: &World, policy: &Policy, peer: &Whom, family: Family) -> bool {
    match peer {
        Whom::Block(cidr, _) => cidr.family() == family,
        Whom::Chosen { .. } => {
            let own = world.members.iter().flatten().flat_map(|someone| &someone.addresses);
            own.filter(|cidr| cidr.family() == family).any(|cidr| naive::contains(world, policy, peer, cidr.first()))
        }
    }
}

/// Addresses at the edges, at most so many.
pub(crate) fn addresses(world: &World, most: usize) -> Vec<IpAddr> {
    let rules = world.policies.iter().flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
    let blocks = rules.flat_map(|rule| &rule.peers).flat_map(|peer| match peer {
        Whom::Block(cidr, except) => core::iter::once(*cidr).chain(except.iter().copied()).collect(),
        Whom::Chosen { .. } => vec![],
    });
    let own = world.members.iter().flatten().flat_map(|someone| someone.addresses.iter().copied());
    let mut edges: Vec<IpAddr> = vec!["8.8.8.8".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for cidr in own.chain(blocks) {
        let (first, last) = cidr.bounds();
        let around = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
        edges.extend(around.into_iter().filter(|n| *n <= cidr.family().last()).map(|n| cidr.family().address(n)));
    }
    spread(edges, most)
}

/// Services at the edges, at most so many.
pub(crate) fn services(world: &World, most: usize) -> Vec<Asked> {
    let mut edges = vec![Asked::Port(6, 443), Asked::Port(47, 0), Asked::Port(0, 0), Asked::Icmp(1, 8, 0), Asked::Port(255, 65535)];
    let rules = world.policies.iter().flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
    for port in rules.flat_map(|rule| &rule.ports) {
        match port {
            What::Numbers(protocol, Some((first, last))) => {
                let around = [*first, *last, first.saturating_sub(1), last.saturating_add(1)];
                edges.extend(around.map(|port| Asked::Port(*protocol, port)));
                edges.push(Asked::Port(if *protocol == 6 { 17 } else { 6 }, *first));
            }
            What::Numbers(protocol, None) => edges.extend([Asked::Port(*protocol, 0), Asked::Port(*protocol, 65535)]),
            What::Icmp(protocol, kind) => {
                let (kind, code) = (kind.map_or(8, |kind| kind.0), kind.and_then(|kind| kind.1).unwrap_or(255));
                let around = [(kind, code), (kind, code.wrapping_add(1)), (kind.wrapping_add(1), code)];
                edges.extend(around.map(|(kind, code)| Asked::Icmp(*protocol, kind, code)));
            }
            What::Named(protocol, _) => edges.extend([443, 5432, 8443].map(|port| Asked::Port(*protocol, port))),
        }
    }
    spread(edges, most)
}

/// Evenly chosen ones where there are too many.
fn spread<T: Ord>(mut edges: Vec<T>, most: usize) -> Vec<T> {
    edges.sort();
    edges.dedup();
    let step = edges.len().div_ceil(most).max(1);
    edges.into_iter().step_by(step).collect()
}
