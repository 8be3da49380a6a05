//! What crosses the border of the CDE, now and in the set in force.
//!
//! Endpoints are compared by name; where no Inventory knows any, selectors are: whatever a policy of either set selects, by all the
//! policies of each set that cover it. Only what is enforced counts, and addresses inside the CDE are left out.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::super::facts::Facts;
use super::super::super::found::{Found, sample, with_severity};
use super::super::super::patches::{Patch, Tree, Work, uncovered};
use super::super::super::reach::below;
use super::super::super::same::same_policy;
use super::super::Item;
use super::side::{Applies, Reach, Side, Speaker, Who};
use crate::admit::Circumstances;
use crate::finding::{Finding, Severity};
use crate::net::{Direction, Service, ServiceRange};

/// Rectangles made and steps of searching. An honest change touches a few policies; one that moves a zone, each of them once.
const STEPS_MAX: usize = 20_000_000;

pub(super) fn changes(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let Some(enforced) = &facts.circumstances.enforced else { return };
    let then = Circumstances::on(facts.circumstances.today);
    let old = Facts::new(enforced, enforced.standard.profile, &then);
    let mut compare = Compare::new(item, facts, &old);
    for who in compare.everybody() {
        compare.one(&who, found);
    }
    if let Some(first) = compare.gone.first() {
        let more = compare.gone.len() - 1;
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{first}{rest} and all its flows are gone from the CDE: a segmentation test is due");
        found.add(with_severity(item.whole_set(facts, "gone", message), Severity::Warning));
    }
    if compare.work.is_done() {
        let message = "so much changed that not all of it was compared: a segmentation test is due";
        found.add(with_severity(item.whole_set(facts, "limit", message.into()), Severity::Warning));
    }
}

struct Compare<'c, 'a> {
    item: &'c Item,
    now: Side<'c, 'a>,
    then: Side<'c, 'a>,
    /// Policies whose name means the same in both sets.
    same: BTreeSet<&'a str>,
    /// The CDE has the same addresses in both.
    same_inside: bool,
    /// Endpoints that are alike in both sets are compared once.
    compared: BTreeSet<(Option<usize>, Option<usize>)>,
    gone: Vec<String>,
    work: Work,
}

impl<'c, 'a> Compare<'c, 'a> {
    fn new(item: &'c Item, new: &'c Facts<'a>, old: &'c Facts<'a>) -> Self {
        let (now, then) = (Side::new(new), Side::new(old));
        let pairs = new.set.policies.iter().filter_map(|policy| Some((policy, then.policy(&policy.name)?)));
        let same = pairs.filter(|(policy, was)| same_policy(new, policy, old, was)).map(|(policy, _)| &*policy.name).collect();
        let same_inside = now.inside == then.inside;
        Self { item, same, same_inside, now, then, compared: BTreeSet::new(), gone: Vec::new(), work: Work::new(STEPS_MAX) }
    }

    fn everybody(&self) -> BTreeSet<Who<'a>> {
        self.now.everybody().chain(self.then.everybody()).collect()
    }

    fn one(&mut self, who: &Who<'a>, found: &mut Found) {
        if let Who::Endpoint(name) = who
            && !self.compared.insert((self.then.group(name), self.now.group(name)))
        {
            return;
        }
        let then = self.then.applies(who, &mut self.work);
        let Some(now) = self.now.applies(who, &mut self.work) else {
            self.gone
                .extend(then.filter(|then| !self.then.reach(then, &mut self.work).patches.is_empty()).map(|_| who.to_string()));
            return;
        };
        if then.as_ref().is_some_and(|then| self.is_same(then, &now)) || self.work.is_done() {
            return;
        }
        let reached = then.map(|then| self.then.reach(&then, &mut self.work)).unwrap_or_default();
        let reaches = self.now.reach(&now, &mut self.work);
        for direction in Direction::BOTH {
            if let Some(new) = self.beyond(&reaches, &reached, direction) {
                found.add(self.allowed(who, &reaches, direction, &new));
            }
            if let Some(lost) = self.beyond(&reached, &reaches, direction) {
                found.add(self.denied(who, direction, &lost));
            }
        }
    }

    fn is_same(&self, then: &Applies<'_>, now: &Applies<'_>) -> bool {
        let names = |applies: &Applies<'_>| applies.policies.iter().map(|policy| policy.name.clone()).collect::<Vec<_>>();
        self.same_inside
            && then.ports == now.ports
            && names(then) == names(now)
            && now.policies.iter().all(|policy| self.same.contains(&*policy.name))
    }

    /// Something in one reach that is not in the other.
    fn beyond(&mut self, one: &Reach<'_>, other: &Reach<'_>, direction: Direction) -> Option<Patch> {
        let work = &mut self.work;
        let other: &Tree = &other.tree;
        let mut lanes = one.patches.iter().filter(|patch| patch.direction() == direction);
        let left = lanes.find_map(|patch| uncovered(*patch, |piece| other.find(piece, work, |_| true)));
        left.filter(|_| !self.work.is_done())
    }

    fn allowed(&self, who: &Who<'a>, reaches: &Reach<'a>, direction: Direction, new: &Patch) -> Finding {
        let (address, service) = (new.family().address(new.first), service(new));
        // What changed is worth knowing beside whatever else is wrong at that place.
        let (verb, code) = match direction {
            Direction::Ingress => ("can now be reached from", "new-ingress"),
            Direction::Egress => ("can now reach", "new-egress"),
        };
        let message = format!("{who} {verb} {address} on {service}, unlike in the set in force: a segmentation test is due");
        let owner = reaches.owner(new);
        let finding = match owner {
            Some((here, named)) => self.item.about_rule(here, named.part.at, &below(here, named.peer), message),
            None => self.about(who, message),
        };
        let facts = self.now.facts;
        let witness = match who {
            Who::Endpoint(name) => {
                let known = facts.endpoints.iter().find(|known| &*known.member.name == *name);
                known.and_then(|known| facts.witness_for(known, direction, address, service))
            }
            Who::Selected(..) => owner.and_then(|(here, _)| facts.witness_of(here.policy, direction, address, service)),
        };
        with_severity(Finding { code: Some(code), witness, ..finding }, Severity::Warning)
    }

    fn denied(&self, who: &Who<'a>, direction: Direction, lost: &Patch) -> Finding {
        let (address, service) = (lost.family().address(lost.first), service(lost));
        let (verb, code) = match direction {
            Direction::Ingress => ("can no longer be reached from", "lost-ingress"),
            Direction::Egress => ("can no longer reach", "lost-egress"),
        };
        let message = format!("{who} {verb} {address} on {service}: a segmentation test is due");
        with_severity(Finding { code: Some(code), ..self.about(who, message) }, Severity::Warning)
    }

    /// At the endpoint, or at whatever selects it.
    fn about(&self, who: &Who<'a>, message: String) -> Finding {
        let facts = self.now.facts;
        match self.now.speaker(who) {
            Some(Speaker::Endpoint(member)) => self.item.about_endpoint(member, "labels", message),
            Some(Speaker::Policy(policy)) => self.item.about(policy, policy.selector_at, "/spec/podSelector", message),
            None => self.item.whole_set(facts, "border", message),
        }
    }
}

fn service(patch: &Patch) -> Service {
    sample(patch.services().unwrap_or(ServiceRange::ALL))
}
