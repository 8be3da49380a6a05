//! What comes into the scope of PCI DSS and what leaves it (PCI DSS v4.0.1 12.5.2): zones, prefixes, labels, endpoints.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;

use super::boundary::Boundary;
use crate::model::PolicySet;
use crate::model::inventory::Member;
use crate::model::standard::Standard;
use crate::model::zones::{Class, Scope, Zone};
use crate::net::{AddressSet, Cidr, Family};
use crate::phrase;

/// Something whose place in the scope changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeChange {
    /// Whether it came, went, or is something else now.
    pub change: Turn,
    /// What it is.
    pub kind: Thing,
    /// Its name; for the CDE's addresses, the family.
    pub name: String,
    /// It is, or was, in the CDE.
    pub cde: bool,
    /// In words: what it is now, or what became of it.
    pub detail: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there, and otherwise.
    Changed,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A zone.
    Zone,
    /// An endpoint of the Inventory.
    Endpoint,
    /// The addresses of the CDE.
    CdeAddresses,
    /// The labels that mark the CDE, by their key.
    CdeLabels,
}

pub(super) fn changes(old: &PolicySet, new: &PolicySet, before: &Boundary<'_>, after: &Boundary<'_>) -> Vec<ScopeChange> {
    let mut changes = addresses(before, after);
    changes.extend(labels(&old.standard, &new.standard));
    changes.extend(zones(&old.zones, &new.zones));
    changes.extend(endpoints(&old.members, &new.members, before, after));
    changes
}

fn addresses(before: &Boundary<'_>, after: &Boundary<'_>) -> Vec<ScopeChange> {
    let mut changes = Vec::new();
    for family in Family::BOTH {
        let (old, new) = (before.inside(family), after.inside(family));
        for (change, moved) in [(Turn::Added, new.minus(old)), (Turn::Removed, old.minus(new))] {
            if !moved.is_empty() {
                let (name, detail) = (family.name().to_string(), spans(&moved));
                changes.push(ScopeChange { change, kind: Thing::CdeAddresses, name, cde: true, detail });
            }
        }
    }
    changes
}

fn labels(old: &Standard, new: &Standard) -> Vec<ScopeChange> {
    let keys: BTreeSet<&String> = old.cde_labels.keys().chain(new.cde_labels.keys()).collect();
    let change = |key: &String| {
        let of = |standard: &Standard| standard.cde_labels.get(key).into_iter().flatten().cloned().collect::<BTreeSet<String>>();
        let (then, now) = (of(old), of(new));
        let change = match (old.cde_labels.contains_key(key), new.cde_labels.contains_key(key)) {
            (false, _) => Turn::Added,
            (_, false) => Turn::Removed,
            (true, true) => Turn::Changed,
        };
        let list = |values: &BTreeSet<String>| phrase::list(&values.iter().cloned().collect::<Vec<_>>());
        let moved = [("gained", &now - &then), ("lost", &then - &now)];
        let parts: Vec<String> = moved
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(word, values)| format!("{word} {}", list(values)))
            .collect();
        let detail = parts.join("; ");
        (!parts.is_empty()).then(|| ScopeChange { change, kind: Thing::CdeLabels, name: key.clone(), cde: true, detail })
    };
    keys.into_iter().filter_map(change).collect()
}

fn spans(addresses: &AddressSet) -> String {
    let family = addresses.family();
    let each = addresses.spans().iter().map(|(first, last)| phrase::span(family.address(*first), family.address(*last)));
    phrase::list(&each.collect::<Vec<_>>())
}

/// Things of two sets by their names: before, after.
fn paired<'a, T>(old: &'a [T], new: &'a [T], name: impl Fn(&'a T) -> &'a str) -> BTreeMap<&'a str, (Option<&'a T>, Option<&'a T>)> {
    let mut pairs: BTreeMap<&str, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for thing in old {
        pairs.entry(name(thing)).or_default().0 = Some(thing);
    }
    for thing in new {
        pairs.entry(name(thing)).or_default().1 = Some(thing);
    }
    pairs
}

fn zones(old: &[Zone], new: &[Zone]) -> Vec<ScopeChange> {
    let change = |(name, pair): (&str, (Option<&Zone>, Option<&Zone>))| {
        let (change, detail) = match pair {
            (None, Some(zone)) => (Turn::Added, format!("{}, {}", nature(zone), prefixes(zone))),
            (Some(zone), None) => (Turn::Removed, format!("{}, {}", nature(zone), prefixes(zone))),
            (Some(before), Some(after)) => (Turn::Changed, zone_moved(before, after)?),
            (None, None) => return None,
        };
        let cde = [pair.0, pair.1].into_iter().flatten().any(|zone| zone.is(Class::Cde));
        Some(ScopeChange { change, kind: Thing::Zone, name: name.to_string(), cde, detail })
    };
    paired(old, new, |zone| &*zone.name).into_iter().filter_map(change).collect()
}

fn zone_moved(before: &Zone, after: &Zone) -> Option<String> {
    let mut parts = Vec::new();
    if nature(before) != nature(after) {
        parts.push(format!("was {}, is {}", nature(before), nature(after)));
    }
    for family in Family::BOTH {
        let of = |zone: &Zone| AddressSet::of(family, zone.cidrs.iter().map(|(cidr, _)| *cidr));
        let (old, new) = (of(before), of(after));
        let moved = [("gained", new.minus(&old)), ("lost", old.minus(&new))];
        parts.extend(moved.iter().filter(|(_, set)| !set.is_empty()).map(|(word, set)| format!("{word} {}", spans(set))));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `cde, dmz; trusted; in scope`.
fn nature(zone: &Zone) -> String {
    let classes = Class::WORDS.iter().filter(|(_, class)| zone.is(*class)).map(|(word, _)| *word);
    let scope = match zone.scope {
        Scope::In => "in scope",
        Scope::Connected => "connected to what is in scope",
        Scope::Out => "out of scope",
    };
    let trust = if zone.trusted { "trusted" } else { "untrusted" };
    format!("{}, {trust}, {scope}", classes.collect::<Vec<_>>().join(" and "))
}

fn prefixes(zone: &Zone) -> String {
    phrase::list(&zone.cidrs.iter().map(|(cidr, _)| cidr.to_string()).collect::<Vec<_>>())
}

fn endpoints(old: &[Member], new: &[Member], before: &Boundary<'_>, after: &Boundary<'_>) -> Vec<ScopeChange> {
    let change = |(name, (then, now)): (&str, (Option<&Member>, Option<&Member>))| {
        let (was, is) = (then.is_some_and(|member| before.has(member)), now.is_some_and(|member| after.has(member)));
        let (change, detail) = match (then, now) {
            (None, Some(member)) => (Turn::Added, whereabouts(member, is)),
            (Some(member), None) => (Turn::Removed, whereabouts(member, was)),
            (Some(then), Some(now)) => (Turn::Changed, endpoint_moved(then, now, was, is)?),
            (None, None) => return None,
        };
        Some(ScopeChange { change, kind: Thing::Endpoint, name: name.to_string(), cde: was || is, detail })
    };
    paired(old, new, |member| &*member.name).into_iter().filter_map(change).collect()
}

fn whereabouts(member: &Member, cde: bool) -> String {
    let each: Vec<String> = member.addresses.iter().map(|(cidr, _)| shown(*cidr)).collect();
    format!("{}, {}", if cde { "in the CDE" } else { "not in the CDE" }, phrase::list(&each))
}

fn endpoint_moved(then: &Member, now: &Member, was: bool, is: bool) -> Option<String> {
    let mut parts = Vec::new();
    match (was, is) {
        (false, true) => parts.push("is now in the CDE".to_string()),
        (true, false) => parts.push("is no longer in the CDE".to_string()),
        (true, true) | (false, false) => {}
    }
    for (word, with, without) in [("gained", now, then), ("lost", then, now)] {
        let has = |cidr: Cidr| without.addresses.iter().any(|(own, _)| *own == cidr);
        let moved: Vec<String> = with.addresses.iter().map(|(cidr, _)| *cidr).filter(|c| !has(*c)).map(shown).collect();
        if !moved.is_empty() {
            parts.push(format!("{word} {}", phrase::list(&moved)));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// An address without its full length.
fn shown(cidr: Cidr) -> String {
    if cidr.length() == cidr.family().bits() { cidr.first().to_string() } else { cidr.to_string() }
}
