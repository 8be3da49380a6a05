//! The table of the policy language once more, written from its rows: every rule asked alone, with nothing shared and nothing clever.

use std::string::String;
use std::vec::Vec;

use core::net::IpAddr;

use super::world::{Allow, Condition, Policy, Someone, Tags, What, Whom, World};
use crate::net::{Cidr, Direction};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// Protocol and port; 0 where the protocol has none.
    Port(u8, u16),
    /// Protocol, type and code.
    Icmp(u8, u8, u8),
}

/// S34, S37: both sides must agree, and an endpoint reaches itself.
pub(crate) fn passes(
    world: &World,
    source: (IpAddr, Option<&Someone>),
    destination: (IpAddr, Option<&Someone>),
    asked: Asked,
) -> bool {
    let find = |(address, made_up): (IpAddr, Option<&Someone>)| match made_up {
        Some(made_up) => Some(made_up.clone()),
        None => at(world, address).cloned(),
    };
    let (from, to) = (find(source), find(destination));
    if source.0 == destination.0 {
        return true;
    }
    if source.1.is_none() && destination.1.is_none() && from.is_some() && from == to {
        return true;
    }
    let out = from.is_none_or(|from| side(world, &from, Direction::Egress, destination.0, asked).1);
    let inn = to.is_none_or(|to| side(world, &to, Direction::Ingress, source.0, asked).1);
    out && inn
}

pub(crate) fn at(world: &World, address: IpAddr) -> Option<&Someone> {
    world.members.as_ref()?.iter().find(|someone| someone.addresses.iter().any(|cidr| inside(*cidr, address)))
}

/// Isolated, and allowed.
pub(crate) fn side(world: &World, who: &Someone, direction: Direction, peer: IpAddr, asked: Asked) -> (bool, bool) {
    let (mut isolated, mut allowed) = (false, false);
    for policy in &world.policies {
        // S2, S3, S20: namespace and selector. S6, S7: both directions unless policyTypes narrows. Audited: nothing.
        let selected = policy.namespace == who.namespace && holds(&policy.selector, &who.tags);
        let meant = policy.types.is_none_or(|only| only == direction);
        if !selected || !meant || policy.audit {
            continue;
        }
        isolated = true;
        // S9: the rules of the other direction are never looked at.
        for rule in policy.rules(direction) {
            allowed |= rule.expired != Some(true) && matches(world, policy, rule, who, direction, peer, asked);
        }
    }
    (isolated, !isolated || allowed)
}

fn matches(world: &World, policy: &Policy, rule: &Allow, who: &Someone, direction: Direction, peer: IpAddr, asked: Asked) -> bool {
    // S12, S14: nobody named is everybody, else any of them. S13: no port named is every service.
    let whom = rule.peers.is_empty() || rule.peers.iter().any(|one| contains(world, policy, one, peer));
    let what = rule.ports.is_empty()
        || rule.ports.iter().any(|port| match port {
            What::Numbers(protocol, None) => matches!(asked, Asked::Port(p, _) if p == *protocol),
            What::Numbers(protocol, Some((first, last))) => {
                matches!(asked, Asked::Port(p, port) if p == *protocol && *first <= port && port <= *last)
            }
            What::Icmp(protocol, kind) => matches!(asked, Asked::Icmp(p, t, c) if p == *protocol
                && kind.is_none_or(|(kind, code)| kind == t && code.is_none_or(|code| code == c))),
            // S27: in ingress our own port of that name; S28: in egress the destination's.
            What::Named(protocol, name) => {
                let owner = if direction == Direction::Ingress { Some(who) } else { at(world, peer) };
                let declared = owner.and_then(|owner| owner.ports.iter().find(|(n, p, _)| n == name && p == protocol));
                declared.is_some_and(|(_, p, port)| asked == Asked::Port(*p, *port))
            }
        });
    whom && what
}

pub(crate) fn contains(world: &World, policy: &Policy, peer: &Whom, address: IpAddr) -> bool {
    match peer {
        Whom::Block(cidr, except) => inside(*cidr, address) && !except.iter().any(|cidr| inside(*cidr, address)),
        // S18, S19, S20, S22: by the labels of the endpoint that has the address, and those of its namespace.
        Whom::Chosen { pods, namespaces } => at(world, address).is_some_and(|someone| {
            let space = match namespaces {
                None => someone.namespace == policy.namespace,
                Some(selector) => holds(selector, &tags_of(world, &someone.namespace)),
            };
            space && pods.as_ref().is_none_or(|selector| holds(selector, &someone.tags))
        }),
    }
}

fn tags_of(world: &World, namespace: &str) -> Tags {
    let mut tags = world.namespaces.iter().find(|(name, _)| name == namespace).map(|(_, tags)| tags.clone()).unwrap_or_default();
    tags.insert(String::from("kubernetes.io/metadata.name"), String::from(namespace));
    tags
}

/// S4.
pub(crate) fn holds(selector: &[Condition], tags: &Tags) -> bool {
    selector.iter().all(|condition| match condition {
        Condition::In(key, values) => tags.get(key).is_some_and(|value| values.contains(value)),
        Condition::NotIn(key, values) => !tags.get(key).is_some_and(|value| values.contains(value)),
        Condition::Exists(key) => tags.contains_key(key),
        Condition::Absent(key) => !tags.contains_key(key),
    })
}

/// Bit by bit.
pub(crate) fn inside(cidr: Cidr, address: IpAddr) -> bool {
    let bits = |address: IpAddr| -> Vec<u8> {
        match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        }
    };
    let (prefix, own) = (bits(cidr.first()), bits(address));
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    prefix.len() == own.len() && (0..usize::from(cidr.length())).all(|n| bit(&prefix, n) == bit(&own, n))
}
