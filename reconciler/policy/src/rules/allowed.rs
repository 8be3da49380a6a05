//! What the rules of each selection allow, findable by address and service.
//!
//! One tree holds the rules of all policies with the same selector; what applies to a selection is in its own tree and in those of
//! the selections that cover it. Rules past their last day allow nothing. Audited policies are in, marked as such.
//!
//! A named port of ingress is a number of the endpoint's own (S27). Two rules with one name always agree on it, so a name has its own
//! service number; it stands for a number as well, surely where every endpoint in question declares that one.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::facts::Facts;
use super::found::Here;
use super::patches::{NO_PEER, Patch, Tree, Work, by_name, lane};
use super::reach::{named, spans};
use crate::model::{Mode, Named, Port, Whom};
use crate::net::{Direction, ServiceSet};

/// Rectangles made of one set; beyond, the rest is left out and whoever asks says so. An honest set of 100,000 rules has 300,000.
const PATCHES_MAX: usize = 2_000_000;

/// One rule, by its number.
pub(super) struct Owner<'a> {
    pub(super) here: Here<'a>,
    /// The policy's number in the set.
    pub(super) policy: usize,
    /// It is counted, not enforced.
    pub(super) audit: bool,
    /// A port of it goes by a name that each endpoint resolves for itself.
    pub(super) by_name: bool,
}

/// All rules of a set.
pub(super) struct Allowed<'a> {
    /// Sorted by selection, policy, direction and index.
    pub(super) owners: Vec<Owner<'a>>,
    /// Per selection, the numbers of its rules, from and to.
    pub(super) of_selection: Vec<(usize, usize)>,
    trees: Vec<Tree>,
    names: Names<'a>,
    /// Not every rule is in.
    pub(super) overfull: bool,
}

/// What a rule allows.
#[derive(Default)]
pub(super) struct Meaning {
    /// By number: for everybody it selects.
    pub(super) plain: Vec<Patch>,
    /// Per named port of ingress: under its name, and as the numbers that it stands for.
    pub(super) named: Vec<(Vec<Patch>, Vec<Patch>)>,
}

impl Meaning {
    /// Every rectangle by number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &Patch> {
        self.plain.iter().chain(self.named.iter().flat_map(|(_, numbers)| numbers))
    }

    /// Every rectangle.
    fn all(self) -> impl Iterator<Item = Patch> {
        self.plain.into_iter().chain(self.named.into_iter().flat_map(|(name, numbers)| name.into_iter().chain(numbers)))
    }
}

impl<'a> Allowed<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let mut all = Self {
            owners: Vec::new(),
            of_selection: Vec::with_capacity(facts.selections.len()),
            trees: Vec::with_capacity(facts.selections.len()),
            names: Names::new(facts),
            overfull: false,
        };
        let mut left = PATCHES_MAX;
        for selection in &facts.selections {
            let from = all.owners.len();
            let mut patches = Vec::new();
            let members = selection.members.iter().filter_map(|number| Some((*number, facts.set.policies.get(*number)?)));
            for (number, policy) in members {
                for here in Here::all(policy).filter(|here| !facts.is_expired(here)) {
                    all.add(number, here, &mut left, &mut patches);
                }
            }
            all.of_selection.push((from, all.owners.len()));
            all.trees.push(Tree::new(patches));
        }
        all
    }

    fn add(&mut self, policy: usize, here: Here<'a>, left: &mut usize, patches: &mut Vec<Patch>) {
        let Some(meaning) = self.meaning(self.owners.len(), policy, &here, *left) else {
            self.overfull = true;
            return;
        };
        let (before, by_name) = (patches.len(), !meaning.named.is_empty());
        patches.extend(meaning.all());
        *left -= patches.len() - before;
        self.owners.push(Owner { here, policy, audit: here.policy.mode == Mode::Audit, by_name });
    }

    /// What a rule allows, made again: it is not kept.
    pub(super) fn again(&self, number: usize) -> Meaning {
        let owner = self.owners.get(number);
        owner.and_then(|owner| self.meaning(number, owner.policy, &owner.here, PATCHES_MAX)).unwrap_or_default()
    }

    /// The first wanted rectangle among all that applies to a selection.
    pub(super) fn find(
        &self,
        facts: &Facts<'_>,
        selection: usize,
        asked: &Patch,
        work: &mut Work,
        mut wanted: impl FnMut(&Patch, &Owner<'a>) -> bool,
    ) -> Option<Patch> {
        let mut wanted = |patch: &Patch| self.owner(patch).is_some_and(|owner| wanted(patch, owner));
        let wider = facts.selections.get(selection)?.wider.iter();
        wider.filter_map(|number| self.trees.get(*number)).find_map(|tree| tree.find(asked, work, &mut wanted))
    }

    /// Whose a rectangle is.
    pub(super) fn owner(&self, patch: &Patch) -> Option<&Owner<'a>> {
        self.owners.get(usize::try_from(patch.owner).ok()?)
    }

    /// `None` if it takes more rectangles than are left.
    fn meaning(&self, number: usize, policy: usize, here: &Here<'a>, left: usize) -> Option<Meaning> {
        let mut maker = Maker { here, owner: u32::try_from(number).ok()?, left };
        let mut meaning = Meaning::default();
        // Without declared ports, named ports of ingress grant nothing here.
        for grant in here.rule.grants(here.direction, &[]) {
            let services: Vec<(u32, u32)> =
                ServiceSet::of(grant.services).ranges().iter().map(|range| (range.lo(), range.hi())).collect();
            maker.add(grant.whom, &services, true, &mut meaning.plain)?;
        }
        let whom = if here.rule.peers.is_empty() { Whom::Everybody } else { Whom::Peers(&here.rule.peers) };
        for item in here.rule.ports.iter().filter(|_| here.direction == Direction::Ingress) {
            let Port::Named(port) = &item.port else { continue };
            let (mut under_name, mut numbers) = (Vec::new(), Vec::new());
            let name = self.names.number(port);
            maker.add(whom, &[(name, name)], true, &mut under_name)?;
            for (service, _) in port.found.iter() {
                let sure = self.names.is_everybodys(port, policy);
                maker.add(whom, &[(service.lo(), service.hi())], sure, &mut numbers)?;
            }
            meaning.named.push((under_name, numbers));
        }
        Some(meaning)
    }
}

/// Makes the rectangles of one rule.
struct Maker<'h, 'a> {
    here: &'h Here<'a>,
    owner: u32,
    left: usize,
}

impl<'a> Maker<'_, 'a> {
    fn add(&mut self, whom: Whom<'a>, services: &[(u32, u32)], sure: bool, out: &mut Vec<Patch>) -> Option<()> {
        for one in named(self.here, whom) {
            let peer = one.peer.and_then(|number| u16::try_from(number).ok()).unwrap_or(NO_PEER);
            let lane = lane(self.here.direction, one.part.cidr.family());
            for (first, last) in spans(one.part) {
                self.left = self.left.checked_sub(services.len())?;
                let patch = |(lo, hi): &(u32, u32)| {
                    let (lo, hi) = (lane | lo, lane | hi);
                    Patch { first, last, lo, hi, owner: self.owner, peer, sure }
                };
                out.extend(services.iter().map(patch));
            }
        }
        Some(())
    }
}

/// The port names of a set.
struct Names<'a> {
    numbers: BTreeMap<(&'a str, u8), u32>,
    /// Per policy, how many address blocks its endpoints have. Empty where there are no names.
    blocks: Vec<usize>,
}

impl<'a> Names<'a> {
    fn new(facts: &Facts<'a>) -> Self {
        let mut numbers = BTreeMap::new();
        let rules = facts.set.policies.iter().flat_map(|policy| policy.live_rules(Direction::Ingress));
        for port in rules.flat_map(|rule| rule.ports.iter().filter_map(|item| item.port.name())) {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            numbers.entry((&*port.name, port.protocol)).or_insert(next);
        }
        let mut blocks = Vec::new();
        if !numbers.is_empty() {
            blocks = vec![0; facts.set.policies.len()];
            for known in &facts.endpoints {
                for policy in &known.numbers {
                    if let Some(count) = blocks.get_mut(*policy) {
                        *count += known.member.addresses.len();
                    }
                }
            }
        }
        Self { numbers, blocks }
    }

    fn number(&self, port: &Named) -> u32 {
        by_name(self.numbers.get(&(&*port.name, port.protocol)).copied().unwrap_or(u32::MAX))
    }

    /// Whether every endpoint that a policy selects declares the same number under this name. No two endpoints share an address.
    fn is_everybodys(&self, port: &Named, policy: usize) -> bool {
        match &*port.found {
            [(_, members)] => self.blocks.get(policy) == Some(&members.len()),
            _ => false,
        }
    }
}
