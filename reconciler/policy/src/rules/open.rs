//! What "open" means: decided on merged sets of addresses per service, over every policy that can apply, never on text.
//!
//! Two halves of the Internet in two policies are open; one half on TCP 443 and the other on UDP 443 are not.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, sample};
use super::group::{Group, Source};
use crate::finding::Finding;
use crate::model::{NetworkPolicy, Peer, Place};
use crate::net::service::SERVICE_MAX;
use crate::net::{AddressSet, Direction, Family, Service, ServiceRange, ServiceSet};

/// Blocks looked at for one rule; beyond, the set is refused, because nobody knows whether what is left is open. Honest sets stay far
/// below, since most groups of policies are settled by their size alone.
const STEPS_MAX: usize = 5_000_000;
/// Other places listed with a finding.
const RELATED_MAX: usize = 32;

pub(super) fn ingress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    Search { item, facts, found, steps: 0 }.all(Direction::Ingress);
}

pub(super) fn egress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    Search { item, facts, found, steps: 0 }.all(Direction::Egress);
}

struct Search<'a, 'f> {
    item: &'a Item,
    facts: &'a Facts<'a>,
    found: &'f mut Found,
    steps: usize,
}

/// How many addresses some blocks hold at most, counted as if none met another.
#[derive(Clone, Copy, Default)]
struct Reach {
    all: u128,
    public: u128,
}

impl Reach {
    fn plus(self, other: Self) -> Self {
        Self { all: self.all.saturating_add(other.all), public: self.public.saturating_add(other.public) }
    }
}

impl Search<'_, '_> {
    fn all(&mut self, direction: Direction) {
        let facts = self.facts;
        for family in Family::BOTH {
            let mut known: BTreeMap<*const NetworkPolicy, Reach> = BTreeMap::new();
            for group in &facts.cde {
                let reaches = group.standing.iter().map(|policy| {
                    let known = known.entry(core::ptr::from_ref(*policy));
                    *known.or_insert_with(|| reach(facts, policy, direction, family))
                });
                let most = reaches.fold(Reach::default(), Reach::plus);
                if most.public >= enough(facts, family) || most.all >= family.last() {
                    self.look(group, direction, family);
                }
                if self.steps > STEPS_MAX {
                    // Said once for the whole set, and never waivable: what was not judged is not accepted either.
                    facts.spend(usize::MAX);
                    return;
                }
            }
        }
    }

    fn look(&mut self, group: &Group<'_>, direction: Direction, family: Family) {
        let sources = sources(group, direction, family);
        self.steps += cost(sources.iter());
        let all = AddressSet::union(family, sources.iter().map(|s| &s.addresses));
        // Most sets end here: not even all ports together are open.
        if is_open(self.facts, &all) {
            self.per_service(group, &sources);
        }
    }

    /// Walks the axis of services; between two cuts the same blocks apply.
    fn per_service(&mut self, group: &Group<'_>, sources: &[Source<'_>]) {
        let edges = edges(sources);
        let mut active: BTreeSet<usize> = BTreeSet::new();
        for piece in edges.chunk_by(|a, b| a.0 == b.0) {
            for (_, begins, number) in piece {
                if *begins {
                    active.insert(*number)
                } else {
                    active.remove(number)
                };
            }
            let here: Vec<&Source<'_>> = active.iter().filter_map(|n| sources.get(*n)).collect();
            let Some(first) = here.first() else { continue };
            let Some(from) = piece.first().map(|p| p.0).filter(|from| *from <= SERVICE_MAX) else { continue };
            self.steps += cost(here.iter().copied());
            let union = AddressSet::union(first.addresses.family(), here.iter().map(|s| &s.addresses));
            if self.steps > STEPS_MAX {
                return;
            }
            if is_open(self.facts, &union) {
                let service = service_between(from, until(&edges, from));
                self.found.add(finding(self.item, self.facts, group, &here, &union, service));
            }
        }
    }
}

fn reach(facts: &Facts<'_>, policy: &NetworkPolicy, direction: Direction, family: Family) -> Reach {
    let rules = policy.live_rules(direction).iter();
    let parts = rules.flat_map(|rule| rule.peers.iter().flat_map(Peer::parts));
    parts.filter(|part| part.cidr.family() == family).fold(Reach::default(), |sum, part| {
        let (first, last) = part.cidr.bounds();
        let all = (last - first).saturating_add(1);
        sum.plus(Reach { all, public: if facts.is_private(part.cidr) { 0 } else { all } })
    })
}

/// Rules without peers are left to the rule that says so more simply.
fn sources<'a>(group: &Group<'a>, direction: Direction, family: Family) -> Vec<Source<'a>> {
    let sources = group.sources(direction, family).into_iter();
    sources.filter(|source| !source.here.rule.peers.is_empty()).collect()
}

/// What it takes to merge some peers: one step for each prefix and exception.
fn cost<'s>(sources: impl Iterator<Item = &'s Source<'s>>) -> usize {
    sources.map(|source| source.weight).sum()
}

/// Public addresses that count as open.
fn enough(facts: &Facts<'_>, family: Family) -> u128 {
    let thresholds = facts.thresholds();
    match family {
        Family::V4 => thresholds.open_v4_addresses,
        Family::V6 => 1_u128.checked_shl(128 - u32::from(thresholds.open_v6_prefix)).unwrap_or(u128::MAX),
    }
}

/// Whether some addresses are so many that they count as open.
pub(super) fn is_open(facts: &Facts<'_>, addresses: &AddressSet) -> bool {
    let family = addresses.family();
    addresses.is_all() || addresses.intersection(facts.public(family)).size() >= enough(facts, family)
}

/// A service at which a block begins or ends to apply.
type Edge = (u32, bool, usize);

fn edges(sources: &[Source<'_>]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        // Merged, so that a block is on once however many of its rule's ports hold a service.
        for range in ServiceSet::of(source.services.iter().copied()).ranges() {
            edges.push((range.lo(), true, number));
            edges.push((range.hi() + 1, false, number));
        }
    }
    edges.sort_unstable();
    edges
}

/// The last service before the next cut.
fn until(edges: &[Edge], from: u32) -> u32 {
    let next = edges.partition_point(|edge| edge.0 <= from);
    edges.get(next).map_or(SERVICE_MAX, |edge| edge.0 - 1)
}

/// At the block that adds most, the first among equals.
fn finding(
    item: &Item,
    facts: &Facts<'_>,
    group: &Group<'_>,
    here: &[&Source<'_>],
    union: &AddressSet,
    service: Service,
) -> Finding {
    let largest = here.iter().rev().max_by_key(|s| s.addresses.size());
    let Some(top) = largest.or(here.first()) else {
        return item.finding(Place { file: ".".into(), spot: crate::model::Spot::START }, String::new());
    };
    let direction = top.here.direction;
    let lowest = union.intersection(facts.public(union.family())).lowest().or(union.lowest());
    let related = here.iter().filter(|s| !core::ptr::eq(**s, *top)).map(|s| s.here.policy.place(s.at)).take(RELATED_MAX);
    // An audited policy opens nothing yet.
    let enforced = here.iter().all(|s| s.here.policy.mode == crate::model::Mode::Enforce);
    Finding {
        related: related.collect(),
        witness: lowest.filter(|_| enforced).and_then(|address| facts.witness(group, top.here.policy, direction, address, service)),
        ..item.about_rule(&top.here, top.at, &top.below(), message(group, top, here.len(), union, service))
    }
}

fn message(group: &Group<'_>, top: &Source<'_>, blocks: usize, union: &AddressSet, service: Service) -> String {
    let reach = match top.here.direction {
        Direction::Ingress => "can be reached from",
        Direction::Egress => "can reach",
    };
    let family = union.family().name();
    let amount = if union.is_all() { format!("all of {family}") } else { format!("so much of {family} that it counts as open") };
    let together = match blocks {
        0 | 1 => String::new(),
        2 => " and another block".into(),
        more => format!(" and {} other blocks", more - 1),
    };
    format!("{} {reach} {amount} on {service}, by {}{together}", group.name, top.text())
}

fn service_between(from: u32, to: u32) -> Service {
    let range = Service::from_number(from).zip(Service::from_number(to)).map(|(lo, hi)| ServiceRange::between(lo, hi));
    sample(range.unwrap_or(ServiceRange::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::Circumstances;
    use crate::model::Profile;
    use crate::rules::catalogue;
    use crate::rules::recorded::tests::{POLICY, date, set};

    #[test]
    fn a_search_that_gives_up_refuses_the_set() {
        let set = set(&POLICY.replace("{cidr: 10.0.1.0/24}", "{cidr: 0.0.0.0/0}"));
        let circumstances = Circumstances::on(date("2026-02-01"));
        let item = catalogue().find(|item| item.id == "PCI-1.3.1-004").unwrap();
        for (steps, given_up) in [(0, false), (STEPS_MAX, true)] {
            let facts = Facts::new(&set, Profile::Baseline, &circumstances);
            let mut found = Found::default();
            Search { item, facts: &facts, found: &mut found, steps }.all(Direction::Ingress);
            assert_eq!((facts.is_spent(), found.finish().0.is_empty()), (given_up, given_up));
        }
    }
}
