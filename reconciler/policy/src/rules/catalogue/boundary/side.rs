//! One of two sets that are compared: who is in its CDE, what applies to whom, and what that reaches beyond the CDE.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::super::super::facts::Facts;
use super::super::super::found::Here;
use super::super::super::patches::{NO_PEER, Patch, Tree, Work, lane};
use super::super::super::reach::{Named, named, spans};
use crate::model::inventory::{Member, NamedPort};
use crate::model::zones::Class;
use crate::model::{Mode, NetworkPolicy};
use crate::net::{AddressSet, Direction, Family, ServiceRange, ServiceSet};
use crate::select::Selector;

/// Somebody in the CDE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who<'a> {
    /// An endpoint of the Inventory, by its name.
    Endpoint(&'a str),
    /// Whatever a selector selects in a namespace.
    Selected(&'a str, &'a Selector),
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(name) => f.write_str(name),
            Self::Selected(_, selector) => write!(f, "{selector}"),
        }
    }
}

/// Where a finding about somebody is shown.
pub(super) enum Speaker<'a> {
    Endpoint(&'a Member),
    Policy(&'a NetworkPolicy),
}

/// What applies to somebody.
pub(super) struct Applies<'a> {
    /// The enforced policies, in order.
    pub(super) policies: Vec<&'a NetworkPolicy>,
    /// The ports it declares.
    pub(super) ports: &'a [NamedPort],
}

/// What somebody may exchange with addresses outside the CDE.
#[derive(Default)]
pub(super) struct Reach<'a> {
    pub(super) patches: Vec<Patch>,
    pub(super) tree: Tree,
    owners: Vec<(Here<'a>, Named<'a>)>,
}

impl<'a> Reach<'a> {
    /// The rule and peer that a rectangle comes from; none where nothing isolates.
    pub(super) fn owner(&self, patch: &Patch) -> Option<&(Here<'a>, Named<'a>)> {
        self.owners.get(usize::try_from(patch.owner).ok()?)
    }
}

/// One of the two sets.
pub(super) struct Side<'c, 'a> {
    pub(super) facts: &'c Facts<'a>,
    /// The addresses of the CDE.
    pub(super) inside: [AddressSet; 2],
    policies: BTreeMap<&'a str, &'a NetworkPolicy>,
    /// Per endpoint of the CDE, its group.
    groups: BTreeMap<&'a str, usize>,
    selections: BTreeMap<(&'a str, &'a Selector), usize>,
}

impl<'c, 'a> Side<'c, 'a> {
    pub(super) fn new(facts: &'c Facts<'a>) -> Self {
        let mut groups = BTreeMap::new();
        for (number, group) in facts.cde.iter().enumerate() {
            for known in group.endpoints.iter().filter_map(|endpoint| facts.endpoints.get(*endpoint)) {
                groups.insert(&*known.member.name, number);
            }
        }
        let namespace = |members: &[usize]| facts.set.policies.get(*members.first()?).map(|policy| &*policy.namespace);
        let numbered = facts.selections.iter().enumerate();
        Self {
            facts,
            inside: Family::BOTH.map(|family| inside(facts, family)),
            policies: facts.set.policies.iter().map(|policy| (&*policy.name, policy)).collect(),
            groups,
            selections: numbered.filter_map(|(number, s)| Some(((namespace(&s.members)?, s.selector), number))).collect(),
        }
    }

    /// The policy with this name.
    pub(super) fn policy(&self, name: &str) -> Option<&'a NetworkPolicy> {
        self.policies.get(name).copied()
    }

    /// The group of an endpoint of the CDE.
    pub(super) fn group(&self, name: &str) -> Option<usize> {
        self.groups.get(name).copied()
    }

    /// Everybody in the CDE.
    pub(super) fn everybody(&self) -> impl Iterator<Item = Who<'a>> {
        let selected = self.facts.cde.iter().filter_map(|group| {
            let selector = group.selector?;
            Some(Who::Selected(&group.members.first()?.namespace, selector))
        });
        self.groups.keys().map(|name| Who::Endpoint(name)).chain(selected)
    }

    /// What applies to somebody; `None` if the set knows nobody like that.
    pub(super) fn applies(&self, who: &Who<'_>, work: &mut Work) -> Option<Applies<'a>> {
        let (policies, ports) = match who {
            Who::Endpoint(name) => {
                let group = self.facts.cde.get(self.group(name)?)?;
                (group.standing.clone(), group.ports)
            }
            Who::Selected(namespace, selector) => (self.covering(namespace, selector, work), &[][..]),
        };
        let enforced: Vec<_> = policies.iter().copied().filter(|policy| policy.mode == Mode::Enforce).collect();
        (!policies.is_empty() || matches!(who, Who::Endpoint(_))).then_some(Applies { policies: enforced, ports })
    }

    /// The policies that select whatever this selects.
    fn covering(&self, namespace: &str, selector: &Selector, work: &mut Work) -> Vec<&'a NetworkPolicy> {
        if let Some(own) = self.selections.get(&(namespace, selector)).and_then(|number| self.facts.selections.get(*number)) {
            return own.standing.clone();
        }
        work.spend(self.facts.selections.len());
        let wider = self.selections.iter().filter(|((other, wider), _)| *other == namespace && wider.covers(selector));
        let selections = wider.filter_map(|(_, number)| self.facts.selections.get(*number));
        let mut numbers: Vec<usize> = selections.flat_map(|selection| selection.members.iter().copied()).collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.facts.set.policies.get(number)).collect()
    }

    /// What somebody may exchange with addresses outside the CDE.
    pub(super) fn reach(&self, applies: &Applies<'a>, work: &mut Work) -> Reach<'a> {
        let mut reach = Reach::default();
        for direction in Direction::BOTH {
            if !applies.policies.iter().any(|policy| policy.isolates(direction)) {
                for family in Family::BOTH {
                    let question = |span| Patch::question(span, lane(direction, family), ServiceRange::ALL);
                    reach.patches.extend(self.outside((0, family.last()), family).into_iter().map(question));
                }
                continue;
            }
            let rules = applies.policies.iter().flat_map(|policy| Here::of(policy, direction));
            for here in rules.filter(|here| !self.facts.is_expired(here)) {
                self.rule(here, applies.ports, &mut reach, work);
            }
        }
        reach.tree = Tree::new(reach.patches.clone());
        reach
    }

    fn rule(&self, here: Here<'a>, ports: &[NamedPort], reach: &mut Reach<'a>, work: &mut Work) {
        for grant in here.rule.grants(here.direction, ports) {
            let services = ServiceSet::of(grant.services);
            for one in named(&here, grant.whom) {
                let family = one.part.cidr.family();
                let owner = u32::try_from(reach.owners.len()).unwrap_or(u32::MAX);
                for span in spans(one.part).into_iter().flat_map(|span| self.outside(span, family)) {
                    if !work.spend(services.ranges().len()) {
                        return;
                    }
                    let patch = |range: &ServiceRange| Patch::question(span, lane(here.direction, family), *range);
                    reach.patches.extend(services.ranges().iter().map(|range| Patch { owner, peer: NO_PEER, ..patch(range) }));
                }
                reach.owners.push((here, one));
            }
        }
    }

    /// What of a span of addresses is outside the CDE.
    fn outside(&self, span: (u128, u128), family: Family) -> Vec<(u128, u128)> {
        let [v4, v6] = &self.inside;
        let inside = if family == Family::V4 { v4 } else { v6 };
        if inside.first_between(span.0, span.1).is_none() {
            return [span].into();
        }
        AddressSet::from_spans(family, [span].into()).minus(inside).spans().to_vec()
    }

    /// Where a finding about somebody is shown.
    pub(super) fn speaker(&self, who: &Who<'_>) -> Option<Speaker<'a>> {
        match who {
            Who::Endpoint(name) => {
                let known = self.facts.endpoints.iter().find(|known| &*known.member.name == *name);
                known.map(|known| Speaker::Endpoint(known.member))
            }
            Who::Selected(namespace, selector) => {
                let covering = self.covering(namespace, selector, &mut Work::new(usize::MAX));
                let own = covering.iter().find(|policy| policy.selector == **selector).or(covering.first());
                own.copied().map(Speaker::Policy)
            }
        }
    }
}

/// The addresses of the CDE, of one family.
fn inside(facts: &Facts<'_>, family: Family) -> AddressSet {
    let zones = facts.zones.addresses(family, |zone| zone.is_some_and(|zone| zone.is(Class::Cde)));
    let endpoints = facts.endpoints.iter().filter(|known| known.cde).flat_map(|known| known.member.addresses.iter());
    AddressSet::union(family, [&zones, &AddressSet::of(family, endpoints.map(|(cidr, _)| *cidr))])
}
