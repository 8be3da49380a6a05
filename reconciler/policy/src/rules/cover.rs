//! Who covers whom, decided on selectors alone: whatever P selects, Q selects.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::model::{NetworkPolicy, PolicySet};
use crate::select::Selector;

/// Pairs of a policy and one that covers it; beyond, the set is refused as it stands. Every policy of an honest set is covered by a
/// handful.
const COVERS_MAX: usize = 4_000_000;

/// Policies with the same namespace and selector.
pub(super) struct Selection<'a> {
    pub(super) selector: &'a Selector,
    /// Those policies' numbers in the set.
    pub(super) members: Vec<usize>,
    /// All policies that select whatever these select, themselves included, in order of file and place.
    pub(super) standing: Vec<&'a NetworkPolicy>,
    /// The selections that those policies are members of, by number: this one and all that cover it.
    pub(super) wider: Vec<usize>,
}

type Groups<'a> = BTreeMap<(&'a str, &'a Selector), Vec<usize>>;

/// Every selection, and whether there are more pairs than are ever looked at.
pub(super) fn selections(set: &PolicySet) -> (Vec<Selection<'_>>, bool) {
    let mut groups = Groups::new();
    for (number, policy) in set.policies.iter().enumerate() {
        groups.entry((&policy.namespace, &policy.selector)).or_default().push(number);
    }
    let index = Index::new(&groups);
    let policies = |numbers: &[usize]| numbers.iter().filter_map(|n| set.policies.get(*n)).collect();
    let (mut selections, mut pairs) = (Vec::with_capacity(groups.len()), 0);
    for ((namespace, selector), members) in &groups {
        let candidates = index.candidates(namespace, selector);
        let covering: Vec<Wider<'_>> = candidates.filter(|other| other.selector.covers(selector)).collect();
        let mut standing: Vec<usize> = covering.iter().flat_map(|other| other.members.iter().copied()).collect();
        standing.sort_unstable();
        let wider = covering.iter().map(|other| other.number).collect();
        pairs += standing.len();
        if pairs > COVERS_MAX {
            return (selections, true);
        }
        selections.push(Selection { selector, members: members.clone(), standing: policies(&standing), wider });
    }
    (selections, false)
}

/// One selection, as a candidate to cover others.
#[derive(Clone, Copy)]
struct Wider<'a> {
    number: usize,
    selector: &'a Selector,
    members: &'a [usize],
}

/// Selectors by the rarest label value they insist on, so that not every one is compared with every other.
struct Index<'a> {
    pinned: BTreeMap<(&'a str, &'a str, &'a str), Vec<Wider<'a>>>,
    others: BTreeMap<&'a str, Vec<Wider<'a>>>,
}

impl<'a> Index<'a> {
    fn new(groups: &'a Groups<'a>) -> Self {
        let mut frequency: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for (namespace, selector) in groups.keys() {
            for (key, value) in selector.singles() {
                *frequency.entry((namespace, key, value)).or_default() += 1;
            }
        }
        let mut index = Self { pinned: BTreeMap::new(), others: BTreeMap::new() };
        for (number, ((namespace, selector), members)) in groups.iter().enumerate() {
            let wider = Wider { number, selector, members };
            let pins = selector.singles().map(|(key, value)| (*namespace, key, value));
            match pins.min_by_key(|pin| frequency.get(pin).copied()) {
                Some(pin) => index.pinned.entry(pin).or_default().push(wider),
                None => index.others.entry(namespace).or_default().push(wider),
            }
        }
        index
    }

    /// Every selector that may cover this one: what insists on a value that this one does not insist on cannot.
    fn candidates(&self, namespace: &'a str, selector: &'a Selector) -> impl Iterator<Item = Wider<'a>> {
        let pinned = selector.singles().filter_map(move |(key, value)| self.pinned.get(&(namespace, key, value)));
        pinned.chain(self.others.get(namespace)).flatten().copied()
    }
}
