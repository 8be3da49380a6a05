//! A plan: the ordered steps for one target, and whether they are small enough to take without asking.
//!
//! A plan over the limits is **held**: a person reads it and confirms exactly this plan by its hash. If the world or the head
//! changes, so does the hash. A plan carries the type of its backend's rules, so that one for AWS cannot be applied to Azure.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;

use crate::diff::{Change, diff};
use crate::digest::{Canonical, Digest};

/// Changed rules of a large target, in percent, beyond which a plan is held.
pub const CHANGE_PERCENT_MAX: u32 = 30;
/// From this many rules on, the share counts; below, [`SMALL_TARGET_CHANGES_MAX`].
pub const SMALL_TARGET_RULES: usize = 10;
/// Changed rules of a small target beyond which a plan is held: a share of few rules says nothing.
pub const SMALL_TARGET_CHANGES_MAX: usize = 5;
/// Changed rules in one pass beyond which a plan is held, whatever the share.
pub const CHANGES_MAX: usize = 200;

/// What may happen without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Share of the owned rules that may be removed or changed, in percent (`limits.change_percent`).
    pub change_percent: u32,
    /// Removed or changed rules in one pass.
    pub changes: usize,
    /// Whether a target may lose its last rule (`limits.empty_state`).
    pub empty_state: EmptyState,
}

impl Default for Limits {
    fn default() -> Self {
        Self { change_percent: CHANGE_PERCENT_MAX, changes: CHANGES_MAX, empty_state: EmptyState::Hold }
    }
}

/// What to do with a plan that removes every rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyState {
    /// Hold it.
    Hold,
    /// Treat it as any other.
    Allow,
}

/// Why a plan waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Excess {
    /// A target that had rules would have none.
    EmptyState {
        /// How many it has.
        owned: usize,
    },
    /// Too large a share of a target's rules.
    Share {
        /// Removed or changed.
        changed: usize,
        /// Rules that are there.
        owned: usize,
        /// The limit in percent.
        percent_max: u32,
    },
    /// Too many rules, of a small target or of any.
    Count {
        /// Removed or changed.
        changed: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyState { owned } => write!(f, "all {owned} rules would be removed"),
            Self::Share { changed, owned, percent_max } => {
                write!(f, "{changed} of {owned} rules would be removed or changed; the limit is {percent_max} %")
            }
            Self::Count { changed, max } => write!(f, "{changed} rules would be removed or changed; the limit is {max}"),
        }
    }
}

/// The steps from what was observed to what is desired, for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<K, R> {
    /// The steps, in order of their keys. Nothing is removed before all that is added was verified; that is the applier's part.
    pub changes: Vec<Change<K, R>>,
    /// Rules that stay.
    pub unchanged: usize,
    /// Rules that were observed.
    pub owned: usize,
    /// Hash of the desired table.
    pub desired_hash: Digest,
    /// Hash of the observed table; another one just before applying means planning again.
    pub observed_hash: Digest,
    empties: bool,
}

impl<K: Ord + Clone + Canonical, R: Eq + Clone + Canonical> Plan<K, R> {
    /// Plans.
    #[must_use]
    pub fn new(observed: &BTreeMap<K, R>, desired: &BTreeMap<K, R>) -> Self {
        let difference = diff(observed, desired);
        Self {
            changes: difference.changes,
            unchanged: difference.unchanged,
            owned: observed.len(),
            desired_hash: Digest::of_table(desired),
            observed_hash: Digest::of_table(observed),
            empties: desired.is_empty() && !observed.is_empty(),
        }
    }
}

impl<K, R> Plan<K, R> {
    /// Whether nothing needs to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What a person confirms: a hash over both states.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut both = [0; 64];
        for (to, from) in both.iter_mut().zip(self.observed_hash.0.iter().chain(&self.desired_hash.0)) {
            *to = *from;
        }
        Digest::of(&both)
    }

    /// How many rules that are there would be removed or changed.
    #[must_use]
    pub fn disturbed(&self) -> usize {
        self.changes.iter().filter(|c| !matches!(c, Change::Create { .. })).count()
    }

    /// The first limit that the plan passes, if any.
    #[must_use]
    pub fn excess(&self, limits: &Limits) -> Option<Excess> {
        limits.excess(self.disturbed(), self.owned, self.empties)
    }

    /// Whether a target that had rules would have none.
    #[must_use]
    pub const fn empties(&self) -> bool {
        self.empties
    }
}

impl Limits {
    /// The first limit that is passed where so many of the rules that are owned would be removed or changed, or all.
    #[must_use]
    pub fn excess(&self, changed: usize, owned: usize, empties: bool) -> Option<Excess> {
        if empties && self.empty_state == EmptyState::Hold {
            return Some(Excess::EmptyState { owned });
        }
        if owned < SMALL_TARGET_RULES && changed > SMALL_TARGET_CHANGES_MAX {
            return Some(Excess::Count { changed, max: SMALL_TARGET_CHANGES_MAX });
        }
        let percent_max = self.change_percent;
        let allowed = owned.saturating_mul(usize::try_from(percent_max).unwrap_or(usize::MAX));
        if owned >= SMALL_TARGET_RULES && changed.saturating_mul(100) > allowed {
            return Some(Excess::Share { changed, owned, percent_max });
        }
        (changed > self.changes).then_some(Excess::Count { changed, max: self.changes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct N(usize);

    impl Canonical for N {
        fn canonical(&self, out: &mut Vec<u8>) {
            crate::digest::count(out, self.0);
        }
    }

    fn table(keys: core::ops::Range<usize>, rule: usize) -> BTreeMap<N, N> {
        keys.map(|k| (N(k), N(rule))).collect()
    }

    fn excess(old: &BTreeMap<N, N>, new: &BTreeMap<N, N>) -> Option<Excess> {
        Plan::new(old, new).excess(&Limits::default())
    }

    #[test]
    fn a_first_application_is_never_held() {
        assert_eq!(excess(&table(0..0, 1), &table(0..5000, 1)), None);
    }

    #[test]
    fn thirty_percent_pass_and_one_more_is_held() {
        assert_eq!(excess(&table(0..10, 1), &table(3..10, 1)), None);
        assert_eq!(excess(&table(0..10, 1), &table(4..10, 1)), Some(Excess::Share { changed: 4, owned: 10, percent_max: 30 }));
    }

    #[test]
    fn below_ten_rules_five_may_change() {
        assert_eq!(excess(&table(0..9, 1), &table(5..9, 1)), None);
        assert_eq!(excess(&table(0..9, 1), &table(6..9, 1)), Some(Excess::Count { changed: 6, max: 5 }));
    }

    #[test]
    fn two_hundred_changes_pass_and_one_more_is_held() {
        assert_eq!(excess(&table(0..1000, 1), &table(200..1000, 1)), None);
        assert_eq!(excess(&table(0..1000, 1), &table(201..1000, 1)), Some(Excess::Count { changed: 201, max: 200 }));
    }

    #[test]
    fn the_last_rule_is_never_removed_without_asking() {
        assert_eq!(excess(&table(0..1, 1), &table(0..0, 1)), Some(Excess::EmptyState { owned: 1 }));
        let allow = Limits { empty_state: EmptyState::Allow, ..Limits::default() };
        assert_eq!(Plan::new(&table(0..1, 1), &table(0..0, 1)).excess(&allow), None);
    }

    /// Rules of ours and of others, as a provider without transactions holds them.
    type World = BTreeMap<(bool, N), N>;

    fn ours(world: &World) -> BTreeMap<N, N> {
        world.iter().filter(|((own, _), _)| *own).map(|((_, key), rule)| (key.clone(), rule.clone())).collect()
    }

    /// A step as such a provider takes it. What is done already is done.
    fn take(world: &mut World, step: &Change<N, N>) {
        match step {
            Change::Create { key, rule } | Change::Replace { key, new: rule, .. } => {
                world.insert((true, key.clone()), rule.clone());
            }
            Change::Delete { key, .. } => {
                world.remove(&(true, key.clone()));
            }
        }
    }

    /// A plan's steps as an applier takes them: what adds first, what removes last.
    fn in_order(observed: &BTreeMap<N, N>, desired: &BTreeMap<N, N>) -> Vec<Change<N, N>> {
        let (removes, adds): (Vec<_>, Vec<_>) =
            Plan::new(observed, desired).changes.into_iter().partition(|change| matches!(change, Change::Delete { .. }));
        adds.into_iter().chain(removes).collect()
    }

    fn rules() -> impl Strategy<Value = BTreeMap<N, N>> {
        proptest::collection::btree_map((0..12_usize).prop_map(N), (0..3_usize).prop_map(N), 0..10)
    }

    proptest! {
        #[test]
        fn a01_a_plan_cut_short_anywhere_lies_between_old_and_new_and_ends_the_same_when_planned_again(
            old in rules(), new in rules(), foreign in rules()
        ) {
            let with = |own: &BTreeMap<N, N>| -> World {
                let tag = |own: bool| move |(key, rule): (&N, &N)| ((own, key.clone()), rule.clone());
                own.iter().map(tag(true)).chain(foreign.iter().map(tag(false))).collect()
            };
            let (steps, done) = (in_order(&old, &new), with(&new));
            for cut in 0..=steps.len() {
                let mut world = with(&old);
                steps.iter().take(cut).for_each(|step| take(&mut world, step));
                let now = ours(&world);
                let has = |set: &BTreeMap<N, N>, key: &N, rule: &N| set.get(key) == Some(rule);
                prop_assert!(old.iter().filter(|(key, rule)| has(&new, key, rule)).all(|(key, rule)| has(&now, key, rule)));
                prop_assert!(now.iter().all(|(key, rule)| has(&old, key, rule) || has(&new, key, rule)));
                prop_assert!(foreign.iter().all(|(key, rule)| world.get(&(false, key.clone())) == Some(rule)));
                let removed = old.keys().any(|key| !now.contains_key(key));
                prop_assert!(!removed || new.iter().all(|(key, rule)| has(&now, key, rule)), "removed before all is added");
                in_order(&now, &new).iter().for_each(|step| take(&mut world, step));
                prop_assert_eq!(&world, &done);
            }
        }
    }

    #[test]
    fn hashes_follow_content_and_nothing_else() {
        let (a, b) = (Plan::new(&table(0..3, 1), &table(0..3, 2)), Plan::new(&table(0..3, 1), &table(0..3, 2)));
        assert_eq!((a.hash(), a.desired_hash), (b.hash(), b.desired_hash));
        assert_ne!(a.desired_hash, a.observed_hash);
        assert_ne!(a.hash(), Plan::new(&table(0..3, 2), &table(0..3, 1)).hash());
    }
}
