//! What changed since the enforced set.
//!
//! The calendar never un-admits what is enforced: a review that falls due or a date that passes is an error only for a commit that
//! touches the policy. "Touches" is about what documents say: a policy that only moves within its file, or to another file, is not
//! touched. Where no enforced set is known, everything counts as touched.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::admit::Circumstances;
use crate::finding::Severity;
use crate::model::inventory::Member;
use crate::model::records::{RuleRecord, Waiver};
use crate::model::{NetworkPolicy, Peer, PolicySet, Rule};
use crate::net::Direction;
use crate::roster::{Roster, TooMany};

/// A set beside the one in force.
pub(super) struct Since<'a> {
    set: &'a PolicySet,
    enforced: Option<&'a PolicySet>,
    records: BTreeMap<(&'a str, &'a str), &'a RuleRecord>,
    waivers: BTreeMap<&'a str, &'a Waiver>,
    /// Names of policies that are new, gone or changed, or that have such records or waivers.
    touched: BTreeSet<&'a str>,
    /// Names of endpoints that are as they were and that no touched policy selects or selected.
    quiet: BTreeSet<&'a str>,
    /// Names of policies that select an endpoint which is new or changed; only those that a waiver is about.
    joined: BTreeSet<&'a str>,
    /// Nothing at all changed, not even a place.
    unchanged: bool,
}

impl<'a> Since<'a> {
    pub(super) fn new(set: &'a PolicySet, circumstances: &'a Circumstances) -> Self {
        let enforced = circumstances.enforced.as_deref();
        let before = enforced.into_iter();
        let mut since = Self {
            set,
            enforced,
            records: before.clone().flat_map(|set| by_rule(&set.records)).collect(),
            waivers: before.flat_map(|set| by_name(&set.waivers)).collect(),
            touched: BTreeSet::new(),
            quiet: BTreeSet::new(),
            joined: BTreeSet::new(),
            unchanged: false,
        };
        if let Some(enforced) = enforced {
            since.touched = since.compare(enforced);
            let about = |of: fn(&Waiver) -> bool| set.waivers.iter().any(of);
            if about(|waiver| waiver.endpoint.is_some()) {
                since.quiet = since.quiet(enforced).unwrap_or_default();
            }
            since.joined = since.joined(enforced).unwrap_or_default();
            since.unchanged = about(|waiver| waiver.endpoint.is_none() && waiver.policy.is_none()) && set == enforced;
        }
        since
    }

    fn compare(&self, enforced: &'a PolicySet) -> BTreeSet<&'a str> {
        let name = |policy: &'a NetworkPolicy| (&*policy.name, policy);
        let (now, then): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (self.set.policies.iter().map(name).collect(), enforced.policies.iter().map(name).collect());
        let mut touched = differing(&now, &then, same_policy).map(|(name, _)| name).collect::<BTreeSet<_>>();
        let records = by_rule(&self.set.records).collect();
        touched.extend(differing(&records, &self.records, same_record).map(|((policy, _), _)| policy));
        let waivers = by_name(&self.set.waivers).collect();
        touched.extend(differing(&waivers, &self.waivers, same_waiver).filter_map(|(_, waiver)| waiver.policy.as_deref()));
        touched
    }

    /// Whether the policy, a record of its rules or a waiver about it is not what is enforced.
    pub(super) fn touches(&self, policy: &str) -> bool {
        self.enforced.is_none() || self.touched.contains(policy)
    }

    /// How bad it is that a date has passed, for something about this policy.
    pub(super) fn calendar(&self, policy: &str) -> Severity {
        if self.touches(policy) { Severity::Error } else { Severity::Warning }
    }

    /// Whether a record is not what is enforced.
    pub(super) fn touches_record(&self, record: &RuleRecord) -> bool {
        self.record(record).is_none_or(|before| !same_record(record, before))
    }

    /// The record of the same rule in the enforced set.
    pub(super) fn record(&self, record: &RuleRecord) -> Option<&'a RuleRecord> {
        self.records.get(&(&*record.policy, &*record.rule)).copied()
    }

    /// Whether a waiver, or what it is about, is not what is enforced.
    pub(super) fn touches_waiver(&self, waiver: &Waiver) -> bool {
        let known = self.waivers.get(&*waiver.name);
        known.is_none_or(|before| !same_waiver(waiver, before))
            || match (&waiver.policy, &waiver.endpoint) {
                (Some(policy), _) => self.touches(policy) || self.joined.contains(&**policy),
                (None, Some(endpoint)) => !self.quiet.contains(&**endpoint),
                // A finding about the set is about all of it.
                (None, None) => !self.unchanged,
            }
    }

    fn joined(&self, enforced: &PolicySet) -> Result<BTreeSet<&'a str>, TooMany> {
        let about: BTreeSet<&str> = self.set.waivers.iter().filter_map(|waiver| waiver.policy.as_deref()).collect();
        let mut joined = BTreeSet::new();
        if about.is_empty() {
            return Ok(joined);
        }
        let before: BTreeMap<&str, &Member> = enforced.members.iter().map(|member| (&*member.name, member)).collect();
        let other = |member: &Member| before.get(&*member.name).is_none_or(|before| !same_network(member, before));
        let others: BTreeSet<usize> = self.set.members.iter().enumerate().filter(|(_, m)| other(m)).map(|(n, _)| n).collect();
        let mut roster = Roster::new(self.set);
        for policy in self.set.policies.iter().filter(|policy| about.contains(&*policy.name)) {
            if roster.selected(&policy.namespace, &policy.selector)?.into_iter().any(|member| others.contains(&member)) {
                joined.insert(&*policy.name);
            }
        }
        Ok(joined)
    }

    fn quiet(&self, enforced: &'a PolicySet) -> Result<BTreeSet<&'a str>, TooMany> {
        let mut roster = Roster::new(self.set);
        let mut selected = BTreeSet::new();
        for policy in self.set.policies.iter().chain(&enforced.policies).filter(|policy| self.touches(&policy.name)) {
            selected.extend(roster.selected(&policy.namespace, &policy.selector)?);
        }
        let before: BTreeMap<&str, &Member> = enforced.members.iter().map(|member| (&*member.name, member)).collect();
        let same = |member: &Member| before.get(&*member.name).is_some_and(|before| same_member(member, before));
        let members = self.set.members.iter().enumerate();
        Ok(members.filter(|(n, member)| !selected.contains(n) && same(member)).map(|(_, member)| &*member.name).collect())
    }
}

fn by_rule(records: &[RuleRecord]) -> impl Iterator<Item = ((&str, &str), &RuleRecord)> {
    // The first of several is the one that counts; the reader reports the others.
    records.iter().rev().map(|record| ((&*record.policy, &*record.rule), record))
}

fn by_name(waivers: &[Waiver]) -> impl Iterator<Item = (&str, &Waiver)> {
    waivers.iter().rev().map(|waiver| (&*waiver.name, waiver))
}

/// What is new, gone or changed, with each value it has or had.
fn differing<'m, 'a, K: Ord + Copy, V>(
    now: &'m BTreeMap<K, &'a V>,
    then: &'m BTreeMap<K, &'a V>,
    same: fn(&V, &V) -> bool,
) -> impl Iterator<Item = (K, &'a V)> {
    let differs = move |other: &'m BTreeMap<K, &'a V>| {
        move |(key, value): &(&K, &&'a V)| other.get(key).is_none_or(|before| !same(value, before))
    };
    now.iter().filter(differs(then)).chain(then.iter().filter(differs(now))).map(|(key, value)| (*key, *value))
}

/// Whether two policies say the same, wherever they stand.
pub(crate) fn same_policy(a: &NetworkPolicy, b: &NetworkPolicy) -> bool {
    let same_rules = |direction| {
        let (ours, theirs) = (&a.rules(direction).list, &b.rules(direction).list);
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same_rule(a, b))
    };
    (&a.name, &a.namespace, a.mode, a.means_deny, &a.selector) == (&b.name, &b.namespace, b.mode, b.means_deny, &b.selector)
        && (a.types.ingress, a.types.egress, requirements(a)) == (b.types.ingress, b.types.egress, requirements(b))
        && Direction::BOTH.into_iter().all(same_rules)
}

fn requirements(policy: &NetworkPolicy) -> Option<&str> {
    policy.requirements.as_ref().map(|(text, _)| &**text)
}

fn same_rule(a: &Rule, b: &Rule) -> bool {
    a.name == b.name
        && a.peers.len() == b.peers.len()
        && a.peers.iter().zip(&b.peers).all(|(a, b)| same_peer(a, b))
        && a.ports.iter().map(|item| &item.port).eq(b.ports.iter().map(|item| &item.port))
}

fn same_peer(a: &Peer, b: &Peer) -> bool {
    match (a, b) {
        (Peer::Block(a), Peer::Block(b)) => (a.cidr, &a.except) == (b.cidr, &b.except),
        (Peer::Selected(a), Peer::Selected(b)) => (&a.pods, &a.namespaces, &a.members) == (&b.pods, &b.namespaces, &b.members),
        (Peer::Nobody { .. }, Peer::Nobody { .. }) => true,
        (Peer::Block(_) | Peer::Selected(_) | Peer::Nobody { .. }, _) => false,
    }
}

fn same_record(a: &RuleRecord, b: &RuleRecord) -> bool {
    a == b || *a == RuleRecord { origin: a.origin.clone(), ..b.clone() }
}

fn same_waiver(a: &Waiver, b: &Waiver) -> bool {
    a == b || *a == Waiver { origin: a.origin.clone(), ..b.clone() }
}

fn same_member(a: &Member, b: &Member) -> bool {
    let cidrs = a.addresses.iter().map(|(cidr, _)| cidr).eq(b.addresses.iter().map(|(cidr, _)| cidr));
    a == b || (cidrs && *a == Member { origin: a.origin.clone(), addresses: a.addresses.clone(), ..b.clone() })
}

/// The same in the network; what it is for and who enforces there may be written otherwise.
fn same_network(a: &Member, b: &Member) -> bool {
    let Member { function, enforced_by, identity, .. } = a.clone();
    same_member(a, &Member { function, enforced_by, identity, ..b.clone() })
}
