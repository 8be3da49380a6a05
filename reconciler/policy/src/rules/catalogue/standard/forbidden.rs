//! Flows that the Standard forbids between zones, in part too. Each side's own rules are judged: one side that allows is one lock
//! less.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::super::super::facts::Facts;
use super::super::super::found::{Found, Here, sample};
use super::super::super::patches::Work;
use super::super::super::people::Known;
use super::super::super::reach::{Named, below, first_shared, grants, named};
use super::super::Item;
use crate::finding::Finding;
use crate::model::standard::{Area, Forbidden};
use crate::model::zones::{Class, INTERNET, Zone};
use crate::model::{Mode, NetworkPolicy};
use crate::net::{AddressSet, Direction, Family, Service, ServiceRange, ServiceSet};

/// Comparisons of a policy or a block with a forbidden flow. Honest sets forbid a few dozen.
const STEPS_MAX: usize = 20_000_000;

pub(super) fn flows(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if facts.standard.forbidden.is_empty() {
        return;
    }
    let bans: Vec<Ban<'_>> = facts.standard.forbidden.iter().map(|forbidden| Ban::new(facts, forbidden)).collect();
    let areas = Areas::new(facts);
    let mut search = Search { item, facts, found, areas, work: Work::new(STEPS_MAX) };
    for (number, homes) in homes(facts).into_iter().enumerate() {
        let Some(policy) = facts.set.policies.get(number) else { continue };
        for direction in Direction::BOTH {
            for ban in bans.iter().filter(|ban| homes.iter().any(|home| home.is_in(ban.own(direction)))) {
                search.policy(number, policy, direction, ban);
            }
            search.work.spend(bans.len());
        }
    }
    search.unisolated(&bans);
    if search.work.is_done() {
        let message = "there are too many rules for as many forbidden flows: not all of them were compared";
        found.add(item.whole_set(facts, "limit", message.into()));
    }
}

/// A forbidden flow and its services.
struct Ban<'a> {
    forbidden: &'a Forbidden,
    services: ServiceSet,
}

impl<'a> Ban<'a> {
    fn new(facts: &Facts<'a>, forbidden: &'a Forbidden) -> Self {
        let named = facts.set.services.iter().filter(|entry| forbidden.services.contains(&entry.name));
        let services = match forbidden.services.is_empty() {
            true => ServiceSet::of([ServiceRange::ALL]),
            false => ServiceSet::of(named.flat_map(|entry| entry.ports.iter().copied())),
        };
        Self { forbidden, services }
    }

    /// Where whoever the rule selects is, so that it matters.
    fn own(&self, direction: Direction) -> &'a Area {
        if direction == Direction::Ingress { &self.forbidden.to } else { &self.forbidden.from }
    }

    /// Where the other side is.
    fn other(&self, direction: Direction) -> &'a Area {
        if direction == Direction::Ingress { &self.forbidden.from } else { &self.forbidden.to }
    }
}

/// Where an endpoint is.
#[derive(Clone, Copy)]
struct Home<'a> {
    /// `None` is the Internet; where there is no Inventory, nobody knows.
    zone: Option<&'a Zone>,
    /// An endpoint of an Inventory, not what a selector stands for.
    known: bool,
    cde: bool,
}

impl Home<'_> {
    fn is_in(&self, area: &Area) -> bool {
        match (area, self.zone) {
            (Area::Class(class), zone) => zone.is_some_and(|zone| zone.is(*class)) || (*class == Class::Cde && self.cde),
            (Area::Zone(name), Some(zone)) => zone.name == *name,
            (Area::Zone(name), None) => self.known && &**name == INTERNET,
        }
    }
}

fn home<'a>(known: &Known<'a>) -> Home<'a> {
    Home { zone: known.zone, known: true, cde: known.cde }
}

/// Per policy, in order, where those are whom it selects.
fn homes<'a>(facts: &Facts<'a>) -> Vec<Vec<Home<'a>>> {
    let mut homes: Vec<Vec<Home<'a>>> = vec![Vec::new(); facts.set.policies.len()];
    let mut seen = BTreeSet::new();
    for known in &facts.endpoints {
        let home = home(known);
        for number in &known.numbers {
            if let Some(homes) = homes.get_mut(*number)
                && seen.insert((*number, home.zone.map(|zone| &*zone.name), home.cde))
            {
                homes.push(home);
            }
        }
    }
    for (homes, (_, cde)) in homes.iter_mut().zip(facts.policies()).filter(|(homes, (_, cde))| homes.is_empty() && *cde) {
        homes.push(Home { zone: None, known: false, cde });
    }
    homes
}

/// The addresses of each area asked for, once.
struct Areas<'f, 'a> {
    facts: &'f Facts<'a>,
    known: BTreeMap<(bool, String), [AddressSet; 2]>,
}

impl<'f, 'a> Areas<'f, 'a> {
    fn new(facts: &'f Facts<'a>) -> Self {
        Self { facts, known: BTreeMap::new() }
    }

    fn of(&mut self, area: &Area) -> &[AddressSet; 2] {
        let key = match area {
            Area::Zone(name) => (false, name.to_string()),
            Area::Class(class) => (true, words(Area::Class(*class))),
        };
        let facts = self.facts;
        self.known.entry(key).or_insert_with(|| Family::BOTH.map(|family| addresses(facts, area, family)))
    }
}

/// Those of its zones, and those of endpoints in it whatever their addresses.
fn addresses(facts: &Facts<'_>, area: &Area, family: Family) -> AddressSet {
    let in_zones = facts.zones.addresses(family, |zone| Home { zone, known: true, cde: false }.is_in(area));
    let endpoints = facts.endpoints.iter().filter(|known| home(known).is_in(area));
    let own = endpoints.flat_map(|known| known.member.addresses.iter().map(|(cidr, _)| *cidr));
    AddressSet::union(family, [&in_zones, &AddressSet::of(family, own)])
}

struct Search<'s, 'f, 'a> {
    item: &'s Item,
    facts: &'f Facts<'a>,
    found: &'s mut Found,
    areas: Areas<'f, 'a>,
    work: Work,
}

impl Search<'_, '_, '_> {
    /// Whoever nothing isolates for a direction has every flow of it, the forbidden ones too.
    fn unisolated(&mut self, bans: &[Ban<'_>]) {
        let facts = self.facts;
        for direction in Direction::BOTH {
            for group in facts.everybody.iter().filter(|group| !group.is_isolated(direction)) {
                if !self.work.spend(bans.len()) {
                    return;
                }
                let home = Home { zone: group.zone, known: true, cde: group.cde };
                let ban = bans.iter().find(|ban| home.is_in(ban.own(direction)) && self.is_possible(ban, direction));
                let known = group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number));
                for (ban, known) in ban.into_iter().flat_map(|ban| known.clone().map(move |known| (ban, known))) {
                    self.found.add(open(self.item, known, ban, direction));
                }
            }
        }
    }

    /// Whether there is anybody on the other side, and anything to ask for.
    fn is_possible(&mut self, ban: &Ban<'_>, direction: Direction) -> bool {
        !ban.services.is_empty() && self.areas.of(ban.other(direction)).iter().any(|addresses| !addresses.is_empty())
    }

    fn policy(&mut self, number: usize, policy: &NetworkPolicy, direction: Direction, ban: &Ban<'_>) {
        let [v4, v6] = self.areas.of(ban.other(direction));
        for here in Here::of(policy, direction) {
            for grant in grants(&here) {
                let shared = ServiceSet::of(grant.services).intersection(&ban.services);
                let Some(services) = shared.ranges().first().copied() else { continue };
                for one in named(&here, grant.whom) {
                    if !self.work.spend(1) {
                        return;
                    }
                    let family = one.part.cidr.family();
                    let Some(address) = first_shared(one.part, if family == Family::V4 { v4 } else { v6 }) else { continue };
                    let flow = Forbidding { ban, one, address: family.address(address), service: sample(services) };
                    self.found.add(flow.finding(self.item, self.facts, number, &here));
                }
            }
        }
    }
}

/// An endpoint that has a forbidden flow because nothing isolates it.
fn open(item: &Item, known: &Known<'_>, ban: &Ban<'_>, direction: Direction) -> Finding {
    let (from, to) = (words(ban.forbidden.from.clone()), words(ban.forbidden.to.clone()));
    let (name, direction) = (&known.member.name, direction.name());
    let message = format!("the Standard forbids flows from {from} to {to}, and nothing isolates {name} for {direction}");
    Finding { related: [ban.forbidden.origin.place.clone()].into(), ..item.about_endpoint(known.member, "labels", message) }
}

/// A peer that a rule should not have.
struct Forbidding<'b> {
    ban: &'b Ban<'b>,
    one: Named<'b>,
    address: core::net::IpAddr,
    service: Service,
}

impl Forbidding<'_> {
    fn finding(&self, item: &Item, facts: &Facts<'_>, number: usize, here: &Here<'_>) -> Finding {
        let Self { ban, one, address, service } = self;
        let (from, to) = (words(ban.forbidden.from.clone()), words(ban.forbidden.to.clone()));
        let side = if here.direction == Direction::Ingress { "from" } else { "to" };
        let message = format!("the Standard forbids flows from {from} to {to}; this rule allows {service} {side} {address}");
        let enforced = here.policy.mode == Mode::Enforce;
        // An endpoint in the area, for which the rule means this service.
        let own = |known: &&Known<'_>| {
            known.numbers.binary_search(&number).is_ok() && home(known).is_in(ban.own(here.direction)) && {
                let grants = here.rule.grants(here.direction, &known.member.ports);
                grants.iter().any(|grant| grant.services.iter().any(|services| services.contains(*service)))
            }
        };
        let known = facts.endpoints.iter().find(own);
        let witness = match known {
            Some(known) if enforced => facts.witness_for(known, here.direction, *address, *service),
            None if facts.endpoints.is_empty() => facts.witness_of(here.policy, here.direction, *address, *service),
            Some(_) | None => None,
        };
        let related = [ban.forbidden.origin.place.clone()].into();
        Finding { witness, related, ..item.about_rule(here, one.part.at, &below(here, one.peer), message) }
    }
}

/// An area as the Standard writes it.
fn words(area: Area) -> String {
    match area {
        Area::Zone(name) => name.to_string(),
        Area::Class(class) => {
            let word = Class::WORDS.iter().find(|(_, known)| *known == class).map_or("", |(word, _)| word);
            format!("class:{word}")
        }
    }
}
