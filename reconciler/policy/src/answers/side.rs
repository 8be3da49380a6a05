//! What an endpoint lets through in one direction, arranged so that two binary searches answer for a flow.
//!
//! Membership in each block and exception is constant between two neighbouring bounds. So each family's addresses are cut into
//! stretches, and each stretch has its services, each with the first grant, in order of file and place, that allows it. Grants for
//! everybody stand apart: they would be on in every stretch.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::steps::{Step, steps, who};
use crate::model::inventory::NamedPort;
use crate::model::{NetworkPolicy, Peer, Whom};
use crate::net::{AddressSet, Cidr, Direction, Family, Service, ServiceRange};

/// More steps than ever are made. Honest sets stay far below; sets made to be tangled are answered by `verdict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tangled;

/// Steps that may still be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget(pub(super) usize);

impl Budget {
    fn spend(&mut self, steps: usize) -> Result<(), Tangled> {
        self.0 = self.0.checked_sub(steps).ok_or(Tangled)?;
        Ok(())
    }
}

/// One direction of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Side {
    isolating: Option<usize>,
    rules: Vec<(usize, usize)>,
    lines: [Line; 2],
}

/// The addresses of one family, from the lowest to the highest.
#[derive(Debug, Default)]
struct Line {
    any: Vec<Step>,
    /// Where each stretch begins; it ends before the next.
    from: Vec<u128>,
    /// Per stretch, the number of its slice.
    slice_of: Vec<usize>,
    /// Every slice once.
    slices: Vec<Vec<Step>>,
}

impl Side {
    /// From the policies that select the endpoint, by their numbers in order.
    pub(super) fn new(
        policies: &[NetworkPolicy],
        selecting: &[usize],
        direction: Direction,
        declared: &[NamedPort],
        budget: &mut Budget,
    ) -> Result<Self, Tangled> {
        let mut side = Self::default();
        let mut sources = Sources::default();
        for (number, policy) in selecting.iter().filter_map(|number| Some((*number, policies.get(*number)?))) {
            if !policy.isolates(direction) {
                continue;
            }
            side.isolating.get_or_insert(number);
            for (place, rule) in policy.live_rules(direction).iter().enumerate() {
                for grant in rule.grants(direction, declared) {
                    side.rules.push((number, place));
                    sources.add(grant.whom, grant.services, budget)?;
                }
            }
        }
        let [v4, v6] = Family::BOTH;
        side.lines = [sources.line(v4, budget)?, sources.line(v6, budget)?];
        Ok(side)
    }

    /// The number of the first policy that isolates this direction.
    pub(crate) fn isolating(&self) -> Option<usize> {
        self.isolating
    }

    /// The first rule that allows a flow, by the numbers of its policy and its place there.
    pub(crate) fn ask(&self, peer: IpAddr, service: Service) -> Option<(usize, usize)> {
        let line = self.line(Family::of(peer));
        let slice = line.slice(crate::net::cidr::number(peer));
        let by = who(&line.any, service).into_iter().chain(who(slice, service)).min()?;
        self.rules.get(usize::try_from(by).ok()?).copied()
    }

    /// Where the stretches of a family begin.
    pub(crate) fn bounds(&self, family: Family) -> &[u128] {
        &self.line(family).from
    }

    /// What an address may use, as two lists: what every address may, and what this one may besides.
    pub(crate) fn at(&self, family: Family, address: u128) -> (&[Step], &[Step]) {
        let line = self.line(family);
        (&line.any, line.slice(address))
    }

    /// The same for all addresses of a family with the same number.
    pub(crate) fn number_at(&self, family: Family, address: u128) -> Option<usize> {
        self.line(family).number(address)
    }

    fn line(&self, family: Family) -> &Line {
        let [v4, v6] = &self.lines;
        if family == Family::V4 { v4 } else { v6 }
    }
}

impl Line {
    fn slice(&self, address: u128) -> &[Step] {
        self.number(address).and_then(|number| self.slices.get(number)).map_or(&[], Vec::as_slice)
    }

    fn number(&self, address: u128) -> Option<usize> {
        let stretch = self.from.partition_point(|from| *from <= address).checked_sub(1)?;
        self.slice_of.get(stretch).copied()
    }
}

/// Everything that rules of one direction allow.
#[derive(Default)]
struct Sources {
    /// Per grant, its services.
    services: Vec<Vec<ServiceRange>>,
    holds: [Holds; 2],
}

/// Which grants hold which addresses of one family.
#[derive(Default)]
struct Holds {
    /// Grants for all of it.
    any: Vec<u32>,
    /// Where a grant begins to hold, and where it no longer does.
    edges: Vec<(u128, bool, u32)>,
}

impl Sources {
    fn add(&mut self, whom: Whom<'_>, services: Vec<ServiceRange>, budget: &mut Budget) -> Result<(), Tangled> {
        let by = u32::try_from(self.services.len()).map_err(|_| Tangled)?;
        budget.spend(1 + services.len() + parts(whom))?;
        self.services.push(services);
        for (family, holds) in Family::BOTH.into_iter().zip(&mut self.holds) {
            let addresses = addresses(whom, family);
            if addresses.is_all() {
                holds.any.push(by);
                continue;
            }
            for &(first, last) in addresses.spans() {
                holds.edges.push((first, true, by));
                holds.edges.extend(last.checked_add(1).map(|after| (after, false, by)));
            }
        }
        Ok(())
    }

    fn line(&mut self, family: Family, budget: &mut Budget) -> Result<Line, Tangled> {
        let [v4, v6] = &mut self.holds;
        let holds = core::mem::take(if family == Family::V4 { v4 } else { v6 });
        let mut line = Line { any: self.steps(&holds.any, budget)?, ..Line::default() };
        let mut edges = holds.edges;
        edges.sort_unstable();
        let mut on: BTreeSet<u32> = BTreeSet::new();
        let mut known: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        for here in edges.chunk_by(|a, b| a.0 == b.0) {
            for &(_, begins, by) in here {
                if begins {
                    on.insert(by)
                } else {
                    on.remove(&by)
                };
            }
            budget.spend(1 + on.len())?;
            let grants: Vec<u32> = on.iter().copied().collect();
            let slice = match known.get(&grants) {
                Some(slice) => *slice,
                None => {
                    line.slices.push(self.steps(&grants, budget)?);
                    *known.entry(grants).or_insert(line.slices.len() - 1)
                }
            };
            line.from.extend(here.first().map(|edge| edge.0));
            line.slice_of.push(slice);
        }
        Ok(line)
    }

    fn steps(&self, grants: &[u32], budget: &mut Budget) -> Result<Vec<Step>, Tangled> {
        let of = |by: u32| usize::try_from(by).ok().and_then(|number| self.services.get(number)).map_or(&[][..], Vec::as_slice);
        budget.spend(grants.iter().map(|by| of(*by).len()).sum())?;
        Ok(steps(grants.iter().flat_map(|by| of(*by).iter().map(|range| (*range, *by)))))
    }
}

/// How many prefixes and exceptions a grant is written with.
fn parts(whom: Whom<'_>) -> usize {
    match whom {
        Whom::Everybody => 1,
        Whom::Members(members) => members.len(),
        Whom::Peers(peers) => peers.iter().map(|peer| peer.parts().map(|part| 1 + part.except.len()).sum::<usize>()).sum(),
    }
}

fn addresses(whom: Whom<'_>, family: Family) -> AddressSet {
    let of = |members: &[Cidr]| AddressSet::of(family, members.iter().copied());
    match whom {
        Whom::Everybody => AddressSet::all(family),
        Whom::Members(members) => of(members),
        Whom::Peers(peers) => {
            let each: Vec<AddressSet> = peers.iter().map(|peer| of_peer(peer, family)).collect();
            AddressSet::union(family, &each)
        }
    }
}

fn of_peer(peer: &Peer, family: Family) -> AddressSet {
    match peer {
        Peer::Block(block) if block.cidr.family() == family => block.addresses(family),
        Peer::Selected(selected) => AddressSet::of(family, selected.members.iter().copied()),
        Peer::Block(_) | Peer::Nobody { .. } => AddressSet::empty(family),
    }
}
