//! What two sets mean differently, in flows.
//!
//! Endpoint by endpoint and direction by direction: which flows pass now and did not, which passed and do not, whether a policy
//! isolates. A flow is listed exactly if the two verdicts differ; whatever only moved, was renamed or says the same in other words is
//! not. Changed flows that cross the boundary of the CDE are told apart (PCI DSS v4.0.1 11.4.5), and so is what comes into scope and
//! what leaves it (12.5.2).
//!
//! Endpoints are those of both Inventories, by their names; where a set has no Inventory, an endpoint has the labels that the other set
//! gives it. An endpoint that a set with an Inventory does not know is filtered by nobody there. Without any Inventory, each selector of
//! either set stands for somebody with just the labels it asks for, and labels that no selector asks for are tried too.

mod boundary;
mod cells;
mod compare;
mod scope;
mod selectors;
mod show;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::Serialize;

use crate::answers::{Answers, Side, Subject, Tangled};
use crate::compile::Endpoint;
use crate::date::Date;
use crate::model::inventory::Member;
use crate::model::{Kind, Labels, PolicySet};
use crate::net::{AddressSet, Direction, Family, ServiceRange};
use crate::select::Selector;
use boundary::Boundary;

pub use scope::{ScopeChange, Thing, Turn};

/// Changes that are listed; the rest is counted.
const CHANGES_MAX: usize = 10_000;

/// How two sets differ in meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changed for whom, in order of names.
    pub changes: Vec<Change>,
    /// What came into scope or left it.
    pub scope: Vec<ScopeChange>,
    /// Changes and scope changes beyond the limit, counted and not listed.
    pub more: usize,
    /// Endpoints whose rules are too tangled to be compared, and what is too much to be. One is enough to count as different.
    pub not_compared: Vec<String>,
}

/// What changed for some endpoints in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For whom; several where the same changed for each.
    pub who: Vec<Who>,
    /// They are, or were, in the CDE.
    pub cde: bool,
    /// The direction.
    pub direction: Direction,
    /// Whether a policy isolates them now and did not, or the reverse.
    pub isolation: Option<Isolation>,
    /// Flows that pass now and did not.
    pub allowed: Vec<Flows>,
    /// Flows that passed and do not now.
    pub denied: Vec<Flows>,
}

/// Whom a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// An endpoint of an Inventory.
    Endpoint(Arc<str>),
    /// Whoever has the labels that a selector asks for, or just these labels.
    Selected {
        /// The namespace.
        namespace: Arc<str>,
        /// The selector as `kubectl` writes it, or labels; of these `<other>` is a value that neither set writes.
        selector: String,
    },
}

/// What became of isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A policy isolates now; before, everything passed.
    Gained,
    /// No policy isolates any more; everything passes.
    Lost,
}

/// Addresses on the other side, and services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flows {
    /// First and last addresses, sorted and apart from one another, of one family.
    pub peers: Vec<(IpAddr, IpAddr)>,
    /// Services, sorted and apart from one another.
    pub services: Vec<ServiceRange>,
    /// One end is in the CDE and the other is not, before or after.
    pub crosses: bool,
}

impl Difference {
    /// Whether the sets mean the same and have the same scope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.scope.is_empty() && self.more == 0 && self.not_compared.is_empty()
    }

    /// Whether a changed flow crosses the boundary of the CDE: segmentation is to be tested again (PCI DSS v4.0.1 11.4.5).
    #[must_use]
    pub fn moves_boundary(&self) -> bool {
        self.changes.iter().flat_map(|change| change.allowed.iter().chain(&change.denied)).any(|flows| flows.crosses)
    }
}

/// How the meaning of two sets, admitted or not, differs on a day.
#[must_use]
pub fn difference(old: &PolicySet, new: &PolicySet, today: Date) -> Difference {
    let (before, after) = (Boundary::new(old), Boundary::new(new));
    let mut comparison = Comparison {
        old: Answers::new(old, today),
        new: Answers::new(new, today),
        groups: BTreeMap::new(),
        not_compared: Vec::new(),
    };
    match old.kinds.contains(&Kind::Inventory) || new.kinds.contains(&Kind::Inventory) {
        true => comparison.endpoints(old, new, &before, &after),
        false => comparison.selectors(old, new, &before, &after),
    }
    let mut difference = comparison.finish(&before, &after);
    difference.scope = scope::changes(old, new, &before, &after);
    let over = difference.scope.len().saturating_sub(CHANGES_MAX);
    difference.scope.truncate(CHANGES_MAX);
    difference.more += over;
    difference
}

/// Who has the same rules before, the same rules after, and is equally in the CDE before and after.
type Alike = (Option<usize>, Option<usize>, bool, bool);

struct Comparison {
    old: Answers,
    new: Answers,
    groups: BTreeMap<Alike, Group>,
    not_compared: Vec<String>,
}

/// Somebody before and after.
type Subjects = (Option<Subject>, Option<Subject>);

fn alike((old, new): &Subjects, (was, is): (bool, bool)) -> Alike {
    (old.as_ref().map(Subject::arrangement), new.as_ref().map(Subject::arrangement), was, is)
}

struct Group {
    old: Option<Subject>,
    new: Option<Subject>,
    who: Vec<Who>,
    /// The selectors that they stand for.
    selectors: Vec<Selector>,
    /// The labels of those that stand for no selector.
    cells: Vec<Labels>,
}

/// What changed, whoever it changed for.
type What = (Direction, Option<Isolation>, bool, Vec<Flows>, Vec<Flows>);

impl Comparison {
    fn endpoints(&mut self, old: &PolicySet, new: &PolicySet, before: &Boundary<'_>, after: &Boundary<'_>) {
        let mut pairs: BTreeMap<&Arc<str>, (Option<&Member>, Option<&Member>)> = BTreeMap::new();
        for member in &old.members {
            pairs.entry(&member.name).or_default().0.get_or_insert(member);
        }
        for member in &new.members {
            pairs.entry(&member.name).or_default().1.get_or_insert(member);
        }
        for (name, (then, now)) in pairs {
            let then = if old.kinds.contains(&Kind::Inventory) { then } else { now };
            let now = if new.kinds.contains(&Kind::Inventory) { now } else { then };
            let cde = (then.is_some_and(|member| before.has(member)), now.is_some_and(|member| after.has(member)));
            let subjects = (
                then.map(|member| self.old.subject(Endpoint::from(member))),
                now.map(|member| self.new.subject(Endpoint::from(member))),
            );
            self.add(Who::Endpoint(name.clone()), subjects, cde);
        }
    }

    fn add(&mut self, who: Who, subjects: Subjects, cde: (bool, bool)) -> &mut Group {
        let alike = alike(&subjects, cde);
        let group = self.groups.entry(alike).or_insert_with(|| Group::of(subjects));
        group.who.push(who);
        group
    }

    fn finish(self, before: &Boundary<'_>, after: &Boundary<'_>) -> Difference {
        let mut difference = Difference { not_compared: self.not_compared, ..Difference::default() };
        let mut changes: Vec<Change> = Vec::new();
        let mut said: BTreeMap<What, Vec<Selector>> = BTreeMap::new();
        // What selectors say first: made-up labels that one of them selects need not say the same again.
        let (cells, own): (Vec<_>, Vec<_>) = self.groups.into_iter().partition(|(_, group)| !group.cells.is_empty());
        for ((_, _, was, is), group) in own.into_iter().chain(cells) {
            let across =
                Family::BOTH.map(|family| AddressSet::union(family, [&before.across(was, family), &after.across(is, family)]));
            for direction in Direction::BOTH {
                match group.compare(direction, &across) {
                    Ok(change) => {
                        let change = change.map(|change| Change { cde: was || is, ..change });
                        changes.extend(change.filter(|change| group.is_news(change, &mut said)));
                    }
                    Err(Tangled) => difference.not_compared.extend(group.who.iter().map(ToString::to_string)),
                }
            }
        }
        changes.sort_by(|a, b| (&a.who, a.direction).cmp(&(&b.who, b.direction)));
        difference.more = changes.len().saturating_sub(CHANGES_MAX);
        changes.truncate(CHANGES_MAX);
        difference.not_compared.sort();
        difference.not_compared.dedup();
        Difference { changes, ..difference }
    }
}

impl Group {
    fn of((old, new): Subjects) -> Self {
        Self { old, new, who: Vec::new(), selectors: Vec::new(), cells: Vec::new() }
    }

    /// Whether no selector that selects all of them says the same.
    fn is_news(&self, change: &Change, said: &mut BTreeMap<What, Vec<Selector>>) -> bool {
        let what = (change.direction, change.isolation, change.cde, change.allowed.clone(), change.denied.clone());
        if self.cells.is_empty() {
            said.entry(what).or_default().extend(self.selectors.iter().cloned());
            return true;
        }
        let known = said.get(&what).map_or(&[][..], Vec::as_slice);
        !self.cells.iter().all(|labels| known.iter().any(|selector| selector.matches(labels)))
    }

    fn compare(&self, direction: Direction, across: &[AddressSet; 2]) -> Result<Option<Change>, Tangled> {
        let (old, new) = (side(self.old.as_ref(), direction)?, side(self.new.as_ref(), direction)?);
        let (mut allowed, mut denied) = (Vec::new(), Vec::new());
        for (family, across) in Family::BOTH.into_iter().zip(across) {
            let (gained, lost) = compare::compare(old, new, family);
            allowed.extend(gained.into_iter().flat_map(|(addresses, services)| split(&addresses, &services, across)));
            denied.extend(lost.into_iter().flat_map(|(addresses, services)| split(&addresses, &services, across)));
        }
        let isolated = |side: Option<&Side>| side.is_some_and(|side| side.isolating().is_some());
        let isolation = match (isolated(old), isolated(new)) {
            (false, true) => Some(Isolation::Gained),
            (true, false) => Some(Isolation::Lost),
            (true, true) | (false, false) => None,
        };
        let same = isolation.is_none() && allowed.is_empty() && denied.is_empty();
        Ok((!same).then(|| Change { who: self.who.clone(), cde: false, direction, isolation, allowed, denied }))
    }
}

fn side(subject: Option<&Subject>, direction: Direction) -> Result<Option<&Side>, Tangled> {
    subject.map(|subject| subject.side(direction)).transpose()
}

/// The same flows, those across the boundary apart from the others.
fn split(addresses: &AddressSet, services: &[ServiceRange], across: &AddressSet) -> Vec<Flows> {
    let family = addresses.family();
    let flows = |peers: &AddressSet, crosses| Flows {
        peers: peers.spans().iter().map(|(first, last)| (family.address(*first), family.address(*last))).collect(),
        services: services.to_vec(),
        crosses,
    };
    let parts = [(addresses.intersection(across), true), (addresses.minus(across), false)];
    parts.iter().filter(|(peers, _)| !peers.is_empty()).map(|(peers, crosses)| flows(peers, *crosses)).collect()
}

#[cfg(test)]
mod tests;
