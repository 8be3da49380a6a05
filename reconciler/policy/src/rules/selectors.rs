//! Whom a policy selects, and whom its peers mean.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::catalogue::Item;
use super::facts::{Facts, names};
use super::found::{Found, Here, with_severity};
use super::people::Known;
use crate::finding::{Finding, Severity};
use crate::model::{NetworkPolicy, Peer};
use crate::net::{Cidr, Direction};
use crate::select::Selector;

/// One policy for the CDE and for others widens both; so does a peer that means everybody.
pub(super) fn mixed(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let with_rules = |p: &&NetworkPolicy| Direction::BOTH.into_iter().any(|d| !p.live_rules(d).is_empty());
    let samples = samples(facts);
    for policy in facts.cde_policies().filter(with_rules) {
        if let Some((severity, message)) = mixture(facts, policy, &samples) {
            let finding = item.about(policy, policy.selector_at, "/spec/podSelector", message);
            found.add(with_severity(finding, severity));
        }
    }
    let mut crowds = Crowds::new(facts);
    for here in facts.cde_policies().flat_map(Here::all) {
        for (number, peer) in here.rule.peers.iter().enumerate() {
            if !means_everybody(peer) && !crowds.hold_everybody(facts, peer) {
                continue;
            }
            let message = String::from("the peer means every endpoint, inside the CDE and outside");
            let finding = item.about_rule(&here, peer.at(), &format!("/{}/{number}", here.direction.peers()), message);
            found.add(Finding { witness: here.witness(facts, None, None), ..finding });
        }
    }
}

/// Per policy, in order, an endpoint of the CDE that it selects, and another one.
fn samples<'f, 'a>(facts: &'f Facts<'a>) -> Vec<[Option<&'f Known<'a>>; 2]> {
    let mut samples = vec![[None, None]; facts.set.policies.len()];
    for known in &facts.endpoints {
        for number in &known.numbers {
            if let Some([inside, outside]) = samples.get_mut(*number) {
                if known.cde { inside } else { outside }.get_or_insert(known);
            }
        }
    }
    samples
}

fn mixture(facts: &Facts<'_>, policy: &NetworkPolicy, samples: &[[Option<&Known<'_>>; 2]]) -> Option<(Severity, String)> {
    let selector = &policy.selector;
    if selector.is_everything() {
        return Some((Severity::Error, "allow rules for every endpoint, inside the CDE and outside".into()));
    }
    if facts.has_endpoints() {
        let [inside, outside] = samples.get(facts.number(policy)?)?;
        let (inside, outside) = (&(*inside)?.member.name, &(*outside)?.member.name);
        return Some((Severity::Error, format!("{selector} selects {inside} in the CDE and {outside} outside")));
    }
    let labels = &facts.standard.cde_labels;
    let mentioned = labels.iter().filter(|(key, _)| selector.mentions(key));
    let Some((key, values)) = mentioned.clone().next() else {
        let keys: Vec<&str> = labels.keys().map(String::as_str).collect();
        let message = format!("{selector} says nothing of {}: it may select the CDE and others", keys.join(", "));
        return Some((Severity::Warning, message));
    };
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let others = selector.can_match_other(key, &values);
    others.then(|| (Severity::Error, format!("{selector} selects the CDE and others")))
}

fn means_everybody(peer: &Peer) -> bool {
    let all = |selector: &Option<Selector>| selector.as_ref().is_some_and(Selector::is_everything);
    match peer {
        Peer::Selected(selected) => {
            let (pods, namespaces) = (all(&selected.pods), all(&selected.namespaces));
            (pods && (selected.namespaces.is_none() || namespaces)) || (namespaces && selected.pods.is_none())
        }
        Peer::Block(_) | Peer::Nobody { .. } => false,
    }
}

/// Who is in each namespace, to tell selectors that everybody there matches, however they are written.
struct Crowds<'f, 'a> {
    owners: BTreeMap<Cidr, &'f Known<'a>>,
    /// How many prefixes the endpoints of a namespace have.
    sizes: BTreeMap<&'a str, usize>,
    known: BTreeMap<*const Cidr, bool>,
}

impl<'f, 'a> Crowds<'f, 'a> {
    fn new(facts: &'f Facts<'a>) -> Self {
        let prefixes =
            || facts.endpoints.iter().flat_map(|known| known.member.addresses.iter().map(move |(cidr, _)| (*cidr, known)));
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, known) in prefixes() {
            *sizes.entry(&known.member.namespace).or_default() += 1;
        }
        Self { owners: prefixes().collect(), sizes, known: BTreeMap::new() }
    }

    /// Whether a peer matches every endpoint of each namespace it matches any in, in the CDE and outside.
    fn hold_everybody(&mut self, facts: &Facts<'_>, peer: &Peer) -> bool {
        let Peer::Selected(selected) = peer else { return false };
        let members = &selected.members;
        let (owners, sizes) = (&self.owners, &self.sizes);
        let look = || {
            let known = || members.iter().filter_map(|cidr| owners.get(cidr));
            let has = |cde: bool| known().any(|known| known.cde == cde);
            let namespaces: BTreeSet<&str> = known().map(|known| &*known.member.namespace).collect();
            let all: usize = namespaces.iter().filter_map(|name| sizes.get(name)).sum();
            facts.spend(members.len()) && has(true) && has(false) && members.len() == all
        };
        *self.known.entry(members.as_ptr()).or_insert_with(look)
    }
}

/// Whether a selector names a value that marks the CDE.
pub(super) fn names_cde(facts: &Facts<'_>, selector: &Selector) -> bool {
    let labels = facts.standard.cde_labels.iter();
    labels.into_iter().any(|(key, values)| values.iter().any(|value| names(selector, key, value)))
}
