//! Rule numbers for counters, stable over commits.
//!
//! A named rule keeps its number as long as policy, direction and name stay; an unnamed one goes by its place in the list. A number
//! that falls free rests for two generations, so that no counter still meant for the old rule is read as the new one's.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::compile::Ruleset;
use crate::model::Rule;
use crate::net::Direction;

/// The highest rule number; 0 means "not counted".
pub const RULE_IDS_MAX: u32 = 16_384;
/// Assignments that a free number rests.
const REST_GENERATIONS: u8 = 2;

/// A rule's identity over commits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleName {
    /// The policy.
    pub policy: String,
    /// The direction; `None` where one number stands for the whole policy.
    pub direction: Option<Direction>,
    /// The rule's name, or `#` and its index.
    pub rule: String,
}

/// The numbers in use and those at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct RuleIds {
    used: BTreeMap<RuleName, u32>,
    resting: BTreeMap<u32, u8>,
}

/// As lists, because a name cannot be a key in JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    used: Vec<(RuleName, u32)>,
    resting: Vec<(u32, u8)>,
}

impl From<Stored> for RuleIds {
    fn from(stored: Stored) -> Self {
        Self { used: stored.used.into_iter().collect(), resting: stored.resting.into_iter().collect() }
    }
}

impl From<RuleIds> for Stored {
    fn from(ids: RuleIds) -> Self {
        Self { used: ids.used.into_iter().collect(), resting: ids.resting.into_iter().collect() }
    }
}

impl RuleIds {
    /// Numbers for a ruleset: rules that had one keep it.
    #[must_use]
    pub fn assign(previous: &Self, ruleset: &Ruleset) -> Self {
        let mut names = rule_names(ruleset);
        if names.len() > usize::try_from(RULE_IDS_MAX).unwrap_or(usize::MAX) {
            names = ruleset.policies().iter().map(|p| policy_name(&p.name)).collect();
        }
        names.sort();
        names.dedup();
        let mut used: BTreeMap<RuleName, u32> = BTreeMap::new();
        let mut fresh = Vec::new();
        for name in names {
            match previous.used.get(&name) {
                Some(id) => drop(used.insert(name, *id)),
                None => fresh.push(name),
            }
        }
        let mut resting = previous.rested();
        for (name, id) in &previous.used {
            if !used.contains_key(name) {
                resting.insert(*id, REST_GENERATIONS);
            }
        }
        let taken: alloc::collections::BTreeSet<u32> = used.values().copied().collect();
        let free = |id: &u32| !taken.contains(id) && !resting.contains_key(id);
        // Numbers at rest are taken only when no other is left.
        let spare: Vec<u32> = (1..=RULE_IDS_MAX).filter(free).chain(resting.keys().copied()).collect();
        used.extend(fresh.into_iter().zip(spare));
        let in_use: alloc::collections::BTreeSet<u32> = used.values().copied().collect();
        resting.retain(|id, _| !in_use.contains(id));
        Self { used, resting }
    }

    fn rested(&self) -> BTreeMap<u32, u8> {
        let aged = self.resting.iter().map(|(id, age)| (*id, age.saturating_sub(1)));
        aged.filter(|(_, age)| *age > 0).collect()
    }

    /// The number of a rule; 0, which is not counted, if it has none.
    #[must_use]
    pub fn get(&self, policy: &str, direction: Direction, index: usize, rule: &Rule) -> u32 {
        let own = self.used.get(&name_of(policy, direction, index, rule));
        own.or_else(|| self.used.get(&policy_name(policy))).copied().unwrap_or(0)
    }

    /// All numbers in use.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleName, u32)> {
        self.used.iter().map(|(name, id)| (name, *id))
    }
}

fn rule_names(ruleset: &Ruleset) -> Vec<RuleName> {
    let mut names = Vec::new();
    for policy in ruleset.policies() {
        for direction in Direction::BOTH {
            let rules = policy.live_rules(direction).iter().enumerate();
            names.extend(rules.map(|(i, rule)| name_of(&policy.name, direction, i, rule)));
        }
    }
    names
}

fn name_of(policy: &str, direction: Direction, index: usize, rule: &Rule) -> RuleName {
    let rule = rule.name.as_deref().map_or_else(|| format!("#{index}"), ToString::to_string);
    RuleName { policy: policy.to_string(), direction: Some(direction), rule }
}

fn policy_name(policy: &str) -> RuleName {
    RuleName { policy: policy.to_string(), direction: None, rule: String::new() }
}
