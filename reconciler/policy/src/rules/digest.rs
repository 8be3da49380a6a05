//! The digest of what a rule means, so that a review can say which meaning was reviewed.
//!
//! SHA-256 over `pci-segment/v1 rule`, policy, namespace, sorted selector terms, direction, merged peers, merged ports. It stays the
//! same where only the text changes: order, repetition, one block or its two halves, a rule's place or name. It changes with every
//! address, port or endpoint that comes or goes, an endpoint's address in the Inventory included: peers are what they resolve to (S22).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::found::Here;
use crate::digest::{Digest, count, text};
use crate::model::{NetworkPolicy, PolicySet, Port, Rule};
use crate::net::{AddressSet, Cidr, Direction, Family, ServiceRange, ServiceSet};
use crate::select::Term;

/// What every digest begins with, so that it is never taken for the sum of something else.
const DOMAIN: &str = "pci-segment/v1 rule";

/// A rule and the digest of its meaning.
#[derive(Debug, Clone, Copy)]
pub struct RuleDigest<'a> {
    /// The policy it stands in.
    pub policy: &'a NetworkPolicy,
    /// Its direction.
    pub direction: Direction,
    /// Its place in the list of that direction, from 0.
    pub index: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// What `reviewedDigest` has to be.
    pub digest: Digest,
}

/// The digests of all rules that mean something, in order of file and place.
pub fn digests(set: &PolicySet) -> impl Iterator<Item = RuleDigest<'_>> {
    set.policies.iter().flat_map(Here::all).map(|Here { policy, direction, index, rule }| RuleDigest {
        policy,
        direction,
        index,
        rule,
        digest: digest(policy, direction, rule),
    })
}

/// The digest of one rule's meaning.
#[must_use]
pub fn digest(policy: &NetworkPolicy, direction: Direction, rule: &Rule) -> Digest {
    let mut out = Vec::with_capacity(256);
    for part in [DOMAIN, &policy.name, &policy.namespace] {
        text(&mut out, part);
    }
    terms(&mut out, policy.selector.terms());
    text(&mut out, direction.name());
    let peers = Family::BOTH.map(|family| rule.addresses(family));
    peers.iter().for_each(|set| addresses(&mut out, set));
    let (everywhere, apart) = ports(direction, rule, &peers);
    services(&mut out, everywhere.ranges());
    count(&mut out, apart.len());
    for (service, members) in &apart {
        services(&mut out, &[*service]);
        members.iter().for_each(|set| addresses(&mut out, set));
    }
    Digest::of(&out)
}

/// Services of some peers only.
type Apart = Vec<(ServiceRange, [AddressSet; 2])>;

/// What holds for all peers; and, for port names in egress (S28), what holds for those that declare it.
fn ports(direction: Direction, rule: &Rule, peers: &[AddressSet; 2]) -> (ServiceSet, Apart) {
    let named = |port: &Port| direction == Direction::Egress && port.numbers().is_none();
    let by_number = rule.ports.iter().filter(|item| !named(&item.port)).flat_map(|item| item.port.services());
    let mut everywhere: Vec<ServiceRange> = if rule.ports.is_empty() { [ServiceRange::ALL].into() } else { by_number.collect() };
    let mut declared: BTreeMap<ServiceRange, Vec<Cidr>> = BTreeMap::new();
    for item in rule.ports.iter().filter(|item| named(&item.port)) {
        if let Port::Named(named) = &item.port {
            for (service, members) in named.found.iter() {
                declared.entry(*service).or_default().extend(members.iter());
            }
        }
    }
    let sets = declared.into_iter().map(|(service, members)| {
        let of = |family| AddressSet::of(family, members.iter().copied());
        (service, Family::BOTH.map(of))
    });
    let (all, some): (Apart, Apart) = sets.partition(|(_, members)| members == peers);
    everywhere.extend(all.into_iter().map(|(service, _)| service));
    let everywhere = ServiceSet::of(everywhere);
    let apart = some.into_iter().filter(|(service, _)| !everywhere.covers(*service)).collect();
    (everywhere, apart)
}

fn terms(out: &mut Vec<u8>, terms: &[Term]) {
    let mut sorted: Vec<Vec<u8>> = terms.iter().map(term).collect();
    sorted.sort_unstable();
    sorted.dedup();
    count(out, sorted.len());
    sorted.iter().for_each(|term| out.extend_from_slice(term));
}

fn term(term: &Term) -> Vec<u8> {
    let (operator, values) = match term {
        Term::In(_, values) => ("In", &**values),
        Term::NotIn(_, values) => ("NotIn", &**values),
        Term::Exists(_) => ("Exists", &[][..]),
        Term::DoesNotExist(_) => ("DoesNotExist", &[][..]),
    };
    let mut values: Vec<&str> = values.iter().map(|value| &**value).collect();
    values.sort_unstable();
    values.dedup();
    let mut out = Vec::new();
    text(&mut out, operator);
    text(&mut out, term.key());
    count(&mut out, values.len());
    values.iter().for_each(|value| text(&mut out, value));
    out
}

fn addresses(out: &mut Vec<u8>, set: &AddressSet) {
    count(out, set.spans().len());
    for (first, last) in set.spans() {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&last.to_be_bytes());
    }
}

fn services(out: &mut Vec<u8>, ranges: &[ServiceRange]) {
    count(out, ranges.len());
    for range in ranges {
        out.extend_from_slice(&range.lo().to_be_bytes());
        out.extend_from_slice(&range.hi().to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
