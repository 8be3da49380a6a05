//! One walk over all prefixes with a stack.
//!
//! 𝒫 is every block and every exception that occurs, sorted so that a prefix stands directly before those inside it. Entering a
//! prefix switches its blocks on and what it excepts off; leaving reverses that. What is on is a set of rules; equal sets share one
//! list of intervals, found by a running hash and then compared, because an XOR of public hashes can be made to collide.

mod active;
mod services;
mod size;

use alloc::sync::Arc;
use alloc::vec::Vec;

use active::Active;
use services::{Grant, normalise};
use size::Size;

use super::{Interval, Key, Rule, RuleIds, Table};
use crate::compile::{Endpoint, Ruleset};
use crate::lower::Unsupported;
use crate::model::inventory::NamedPort;
use crate::model::{Mode, NetworkPolicy, Part, Peer, Whom};
use crate::net::{Cidr, Direction, Family};

pub(super) fn table(ruleset: &Ruleset, endpoint: &Endpoint, ids: &RuleIds) -> Result<Table, Vec<Unsupported>> {
    let selecting: Vec<&NetworkPolicy> = ruleset.selecting(endpoint).collect();
    let mut isolations = Vec::new();
    let mut anys = Vec::new();
    let mut prefixes = Vec::new();
    let mut size = Size::default();
    for direction in Direction::BOTH {
        let Some(mode) = isolation(&selecting, direction) else {
            continue;
        };
        isolations.push((Key::Isolation { direction }, Rule::Isolation(mode)));
        let sources = Sources::gather(&selecting, direction, &endpoint.ports, ids);
        for family in Family::BOTH {
            let any = normalise(sources.any(family).iter().flat_map(|rule| sources.grants(*rule)).copied());
            size.slice(&any);
            if !any.is_empty() {
                anys.push((Key::Any { direction, family }, Rule::Services(any.into())));
            }
            let found = walk(&sources, family, &mut size);
            prefixes.extend(found.into_iter().map(|(prefix, slice)| (Key::Prefix { direction, prefix }, Rule::Services(slice))));
        }
    }
    let refused = size.refuse(&selecting);
    if !refused.is_empty() {
        return Err(refused);
    }
    // Already in order of keys, so building the tree neither sorts nor splits.
    Ok(isolations.into_iter().chain(anys).chain(prefixes).collect())
}

/// Enforced if an enforcing policy isolates the direction, audited if only audited ones would.
fn isolation(selecting: &[&NetworkPolicy], direction: Direction) -> Option<Mode> {
    selecting.iter().filter(|p| p.speaks_of(direction)).map(|p| p.mode).min()
}

/// Everything that rules of one direction contribute.
#[derive(Default)]
struct Sources<'a> {
    /// Per rule, what it grants.
    grants: Vec<Vec<Grant>>,
    /// Rules for every address of a family.
    any: [Vec<usize>; 2],
    /// Prefixes and what is taken out of them, each with its rule.
    blocks: Vec<(usize, Part<'a>)>,
}

impl<'a> Sources<'a> {
    fn gather(selecting: &[&'a NetworkPolicy], direction: Direction, declared: &[NamedPort], ids: &RuleIds) -> Self {
        let mut sources = Self::default();
        for policy in selecting {
            for (i, rule) in policy.live_rules(direction).iter().enumerate() {
                let (id, audit) = (ids.get(&policy.name, direction, i, rule), policy.mode == Mode::Audit);
                for grant in rule.grants(direction, declared) {
                    let number = sources.grants.len();
                    let grants = grant.services.iter().map(|s| Grant { lo: s.lo(), hi: s.hi(), audit, rule: id });
                    sources.grants.push(grants.collect());
                    sources.allow(number, grant.whom);
                }
            }
        }
        sources
    }

    fn allow(&mut self, number: usize, whom: Whom<'a>) {
        match whom {
            Whom::Everybody => self.any.iter_mut().for_each(|any| any.push(number)),
            Whom::Peers(peers) => peers.iter().flat_map(Peer::parts).for_each(|part| self.add(number, part)),
            Whom::Members(members) => {
                let part = |cidr: &Cidr| Part { at: crate::model::Spot::START, cidr: *cidr, except: &[] };
                members.iter().map(part).for_each(|part| self.add(number, part));
            }
        }
    }

    fn add(&mut self, rule: usize, part: Part<'a>) {
        let [v4, v6] = &mut self.any;
        match (part.cidr.length() == 0 && part.except.is_empty(), part.cidr.family()) {
            (true, Family::V4) => v4.push(rule),
            (true, Family::V6) => v6.push(rule),
            (false, _) => self.blocks.push((rule, part)),
        }
    }

    fn any(&self, family: Family) -> &[usize] {
        let [v4, v6] = &self.any;
        if family == Family::V4 { v4 } else { v6 }
    }

    fn grants(&self, rule: usize) -> &[Grant] {
        self.grants.get(rule).map_or(&[], Vec::as_slice)
    }

    /// Every prefix of a family that occurs, with what happens there, in order of the walk.
    fn events(&self, family: Family) -> Vec<Event> {
        let mut events = Vec::with_capacity(self.blocks.len());
        for (number, (rule, block)) in self.blocks.iter().enumerate().filter(|(_, (_, b))| b.cidr.family() == family) {
            let event = |prefix, except| Event { prefix, except, block: number, rule: *rule };
            events.push(event(block.cidr, false));
            events.extend(block.except.iter().filter(|e| e.family() == family).map(|e| event(*e, true)));
        }
        events.sort_unstable();
        events.dedup();
        events
    }
}

/// At this prefix a block begins, or something is taken out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    prefix: Cidr,
    except: bool,
    block: usize,
    rule: usize,
}

/// A prefix that the walk is inside of.
struct Frame<'e> {
    prefix: Cidr,
    events: &'e [Event],
    /// The services of this prefix, or of the longest kept one above.
    slice: Arc<[Interval]>,
}

fn walk(sources: &Sources<'_>, family: Family, size: &mut Size) -> Vec<(Cidr, Arc<[Interval]>)> {
    let events = sources.events(family);
    let mut active = Active::new(sources.blocks.len(), sources.grants.len());
    let mut kept = Vec::with_capacity(events.len());
    let none: Arc<[Interval]> = Arc::new([]);
    let mut stack: Vec<Frame<'_>> = Vec::new();
    for here in events.chunk_by(|a, b| a.prefix == b.prefix) {
        let Some(prefix) = here.first().map(|e| e.prefix) else {
            continue;
        };
        while let Some(left) = stack.pop_if(|frame| !frame.prefix.covers(prefix)) {
            left.events.iter().rev().for_each(|event| active.leave(event));
        }
        here.iter().for_each(|event| active.enter(event));
        let above = stack.last().map_or(&none, |frame| &frame.slice);
        let slice = active.slice(sources, size);
        if *slice != **above {
            size.prefix(prefix);
            kept.push((prefix, slice.clone()));
        }
        if size.hopeless() {
            break;
        }
        stack.push(Frame { prefix, events: here, slice });
    }
    kept
}
