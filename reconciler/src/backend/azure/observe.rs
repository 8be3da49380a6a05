//! What a resource group shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::lower::cloud::NAME_PREFIX;
use policy::lower::network_security_group::{self as nsg, Priorities};
use policy::net::Direction;

use super::models::{Group, Rule as Seen};
use super::words::{Key, OTHERS_BELOW, Rule};
use crate::backend::cloud::MARK;
use crate::config::AzureTargetMode;
use crate::converge::{Class, Deviation, Difference, Shown};

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Groups with our mark, by name.
    pub(super) ours: BTreeMap<Arc<str>, Group>,
    /// Groups without it, by name in small letters, with whose mark they carry.
    pub(super) strangers: BTreeMap<String, (String, Option<String>)>,
}

/// How groups are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    pub(super) installation: &'a str,
    pub(super) mode: AzureTargetMode,
    pub(super) attach: bool,
}

impl Manner<'_> {
    pub(super) fn is_ours(&self, group: &Group) -> bool {
        group.tags.get(MARK).is_some_and(|mark| mark == self.installation)
    }

    /// Whether a rule in a group of ours is somebody else's: without a name of ours, below our band, where others may write at all.
    pub(super) fn is_foreign(&self, rule: &Seen) -> bool {
        self.mode == AzureTargetMode::Shared
            && rule.properties.priority < OTHERS_BELOW
            && !rule.name.to_ascii_lowercase().starts_with(NAME_PREFIX)
    }

    pub(super) fn look(&self, groups: Vec<Group>) -> Look {
        let mut look = Look::default();
        for group in groups {
            if self.is_ours(&group) && group.name.starts_with(NAME_PREFIX) {
                look.ours.insert(group.name.as_str().into(), group);
            } else {
                let mark = group.tags.get(MARK).cloned();
                look.strangers.insert(group.name.to_ascii_lowercase(), (group.id, mark));
            }
        }
        look
    }

    pub(super) fn shown(&self, look: &Look) -> Shown<Key, Rule> {
        let (mut rules, mut foreign) = (BTreeMap::new(), Vec::new());
        for (name, group) in &look.ours {
            rules.insert(Key::Lowered(nsg::Key::Group { group: name.clone() }), Rule::default());
            for seen in &group.properties.security_rules {
                if self.is_foreign(seen) {
                    foreign.push(extra(name, seen));
                } else {
                    let (key, rule) = Key::seen(name, seen);
                    rules.insert(key, rule);
                }
            }
            if self.attach {
                let member = |id: &str| Key::Lowered(nsg::Key::Member { group: name.clone(), id: id.to_ascii_lowercase().into() });
                rules.extend(group.properties.attached().map(|id| (member(id), Rule::default())));
            }
        }
        Shown { rules, foreign }
    }

    /// The numbers of our rules that allow, and those that others have.
    pub(super) fn numbers(&self, groups: &[&Group]) -> (Priorities, Taken) {
        let (mut own, mut taken) = (Vec::new(), Taken::new());
        for group in groups {
            let name: Arc<str> = group.name.as_str().into();
            for seen in &group.properties.security_rules {
                let number = seen.properties.priority;
                match Key::of_name(&name, &seen.name).filter(|_| !self.is_foreign(seen)) {
                    Some(Key::Lowered(key @ nsg::Key::Allow { .. })) if number <= nsg::LAST => own.push((key, number)),
                    _ => drop(taken.entry((name.clone(), way(seen))).or_default().insert(number)),
                }
            }
        }
        (Priorities::observed(own), taken)
    }
}

/// Numbers that rules may not take.
pub(super) type Taken = BTreeMap<(Arc<str>, Direction), BTreeSet<u16>>;

pub(super) fn way(rule: &Seen) -> Direction {
    if rule.properties.inbound() { Direction::Ingress } else { Direction::Egress }
}

/// A rule of others: it is before our deny, so it may defeat it.
fn extra(group: &str, seen: &Seen) -> Difference {
    Difference {
        key: format!("{group} rule {}", seen.name),
        kind: Deviation::Extra,
        expected: String::new(),
        observed: seen.properties.text(),
        // One that denies opens nothing.
        class: if seen.properties.allows() { Class::Flow } else { Class::Cosmetic },
        ours: Some(false),
    }
}
