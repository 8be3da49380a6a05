//! Who selects an endpoint, and whose an address is, without looking at every policy and every endpoint.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::compile::{Endpoint, Ruleset};
use crate::model::inventory::Member;
use crate::net::{Family, cidr};

/// Policies by a label value they insist on, endpoints by name and by address.
#[derive(Debug)]
pub(super) struct Index {
    pinned: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<usize>>>>,
    others: BTreeMap<String, Vec<usize>>,
    names: BTreeMap<Arc<str>, usize>,
    /// Per family, first and last address and whose they are; sorted and apart.
    spans: [Vec<(u128, u128, usize)>; 2],
}

impl Index {
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        let spans = Family::BOTH.map(|family| spans(ruleset.members(), family));
        let names = ruleset.members().iter().enumerate().rev().map(|(number, member)| (member.name.clone(), number)).collect();
        let mut index = Self { pinned: BTreeMap::new(), others: BTreeMap::new(), names, spans };
        index.add_policies(ruleset);
        index
    }

    /// Each policy under the rarest value it insists on.
    fn add_policies(&mut self, ruleset: &Ruleset) {
        let mut frequency: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for policy in ruleset.policies() {
            for (key, value) in policy.selector.singles() {
                *frequency.entry((&policy.namespace, key, value)).or_default() += 1;
            }
        }
        for (number, policy) in ruleset.policies().iter().enumerate() {
            let pins = policy.selector.singles().map(|(key, value)| (&*policy.namespace, key, value));
            let list = match pins.min_by_key(|pin| frequency.get(pin).copied()) {
                Some((namespace, key, value)) => {
                    let keys = self.pinned.entry(namespace.to_string()).or_default();
                    keys.entry(key.to_string()).or_default().entry(value.to_string()).or_default()
                }
                None => self.others.entry(policy.namespace.to_string()).or_default(),
            };
            list.push(number);
        }
    }

    /// The numbers of the policies that select an endpoint, in order. Counts the terms that were looked at.
    pub(super) fn selecting(&self, ruleset: &Ruleset, endpoint: &Endpoint, steps: &mut usize) -> Vec<usize> {
        let keys = self.pinned.get(&endpoint.namespace);
        let pinned = endpoint.labels.iter().filter_map(|(key, value)| keys?.get(key)?.get(value));
        let candidates = pinned.chain(self.others.get(&endpoint.namespace)).flatten().copied();
        let selects = |number: &usize| {
            let Some(policy) = ruleset.policies().get(*number) else { return false };
            *steps = steps.saturating_add(1 + policy.selector.terms().len());
            policy.selector.matches(&endpoint.labels)
        };
        let mut found: Vec<usize> = candidates.filter(selects).collect();
        found.sort_unstable();
        found
    }

    /// The endpoint with a name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The endpoint with an address; of several, which only a set with problems has, the first.
    pub(super) fn at(&self, address: IpAddr) -> Option<usize> {
        let [v4, v6] = &self.spans;
        let list = if Family::of(address) == Family::V4 { v4 } else { v6 };
        let number = cidr::number(address);
        let span = list.get(list.partition_point(|(_, last, _)| *last < number))?;
        (span.0 <= number).then_some(span.2)
    }
}

/// First and last address and whose they are, sorted and apart: wherever several meet, those of the first.
fn spans(members: &[Member], family: Family) -> Vec<(u128, u128, usize)> {
    let each = members.iter().enumerate().flat_map(|(number, member)| member.addresses.iter().map(move |(c, _)| (*c, number)));
    let mut edges: Vec<(u128, bool, usize)> = Vec::new();
    for (cidr, number) in each.filter(|(cidr, _)| cidr.family() == family) {
        let (first, last) = cidr.bounds();
        edges.push((first, true, number));
        edges.extend(last.checked_add(1).map(|after| (after, false, number)));
    }
    edges.sort_unstable();
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    let mut list = Vec::new();
    let mut from = 0;
    for (at, begins, number) in edges {
        if let Some((whose, _)) = open.first_key_value().filter(|_| from < at) {
            list.push((from, at - 1, *whose));
        }
        from = at;
        let count = open.entry(number).or_insert(0);
        if begins {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
        }
        if *count == 0 {
            open.remove(&number);
        }
    }
    // Up to the very last address.
    list.extend(open.first_key_value().map(|(whose, _)| (from, family.last(), *whose)));
    list
}
