//! A cloud as the loop sees it: rules that are changed call by call, with no way to change them all at once.
//!
//! [`Provider`] is what a cloud implements, with its own types of key and rule. [`Stepped`](super::Stepped) turns it into a target:
//! what adds comes first, is read back twice, and only then comes what takes away.

use std::collections::BTreeMap;
use std::future::Future;

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Canonical;
use policy::lower::Unsupported;

use super::target::{BackendError, Class, Difference, NotLowered};
use crate::store::StepState;

/// When a change is made, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Groups are made, rules that allow are added or widened.
    Add,
    /// What takes away where nobody is affected yet: the default rules of a group without members. After all of `Add` was verified.
    Settle,
    /// Members join groups where that only allows more.
    Join,
    /// What takes away: rules are narrowed or removed, members leave, denies are put in place. After all of the above was verified.
    Remove,
    /// What can only go once all of that is gone: groups.
    Clear,
}

/// A part of a pass: on all clouds what adds comes before the host, what takes away after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// [`Stage::Add`], [`Stage::Settle`] and [`Stage::Join`], verified.
    Adding,
    /// [`Stage::Remove`] and [`Stage::Clear`], verified.
    Removing,
}

impl Stage {
    /// Of which part it is.
    #[must_use]
    pub const fn part(self) -> Part {
        match self {
            Self::Add | Self::Settle | Self::Join => Part::Adding,
            Self::Remove | Self::Clear => Part::Removing,
        }
    }
}

/// How one change of a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended<K> {
    /// What it was about.
    pub key: K,
    /// How. `Unknown` where a call was sent and nobody knows what became of it: only looking tells.
    pub state: StepState,
    /// The provider's own code, where there is one.
    pub code: Option<String>,
}

/// What became of one call.
#[derive(Debug)]
pub struct Acted<K> {
    /// What it was about, in any order. What is missing here was not tried.
    pub ended: Vec<Ended<K>>,
    /// Why the target stops here, if it does: the action, the resource, and what to do.
    pub failed: Option<BackendError>,
}

/// What a cloud shows.
#[derive(Debug)]
pub struct Shown<K, R> {
    /// What is there and ours.
    pub rules: BTreeMap<K, R>,
    /// What others put where ours is, and what is beside the rules: reported, never changed. An `Extra` of class `Flow` opens what no
    /// policy allows, and is alarmed.
    pub foreign: Vec<Difference>,
}

/// What enforces rules and is changed call by call: the groups of one network.
pub trait Provider: Send {
    /// What a rule is about.
    type Key: Ord + Clone + Canonical + Send + Sync;
    /// What it says.
    type Rule: Eq + Clone + Canonical + Send + Sync;

    /// `aws` or `azure`.
    fn name(&self) -> &'static str;
    /// Which place: `aws/us-east-1/vpc-0123`.
    fn target(&self) -> &str;
    /// Everything the rules depend on beside the commit: who was found, and the settings. Another text means that the same commit may
    /// mean other rules.
    fn setup_text(&self) -> String;
    /// Finds who is there to be protected.
    fn survey(&mut self) -> impl Future<Output = Result<(), BackendError>> + Send;
    /// The meaning in this cloud's words, exactly or not at all, for those found by the last survey.
    ///
    /// # Errors
    /// What cannot be said, or why nobody knows what should be said.
    fn lower(&self, ruleset: &Ruleset) -> Result<BTreeMap<Self::Key, Self::Rule>, NotLowered>;
    /// What is there.
    fn observe(&mut self) -> impl Future<Output = Result<Shown<Self::Key, Self::Rule>, BackendError>> + Send;
    /// Whether old and new fit at the same time, beside what is not ours, by the last look.
    ///
    /// # Errors
    /// What does not, with the numbers.
    fn fits(
        &self,
        observed: &BTreeMap<Self::Key, Self::Rule>,
        desired: &BTreeMap<Self::Key, Self::Rule>,
    ) -> Result<(), Vec<Unsupported>>;
    /// When a change is made. One that replaces is made twice where [`Provider::widened`] differs from the new rule: widened in
    /// `Add`, narrowed in `Remove`; for those this is not asked.
    fn stage(&self, change: &Change<Self::Key, Self::Rule>) -> Stage;
    /// A rule that allows what either allows, and nothing else.
    fn widened(old: &Self::Rule, new: &Self::Rule) -> Self::Rule;
    /// What a rule that differs means for packets.
    fn class(old: &Self::Rule, new: &Self::Rule) -> Class;
    /// Why the first plan towards `desired` waits for a person whatever its size, if it does: something that only takes away begins.
    fn waits(&self, _observed: &BTreeMap<Self::Key, Self::Rule>, _changes: &[Change<Self::Key, Self::Rule>]) -> Option<String> {
        None
    }
    /// Makes the first of these changes, with as many of the next ones as one call takes. All are of one stage.
    fn act(&mut self, changes: &[Change<Self::Key, Self::Rule>]) -> impl Future<Output = Acted<Self::Key>> + Send;
    /// The group a key is about: limits are by group.
    fn group(key: &Self::Key) -> &str;
    /// Rules as text, to be kept over restarts.
    fn keep(rules: &BTreeMap<Self::Key, Self::Rule>) -> String;
    /// The other way round; `None` for what is not such a text.
    fn recall(text: &str) -> Option<BTreeMap<Self::Key, Self::Rule>>;
    /// A key in words, stable: records are filed under it.
    fn key_text(key: &Self::Key) -> String;
    /// A rule in words.
    fn rule_text(rule: &Self::Rule) -> String;
    /// Who changed something that differs, if the provider's own log names exactly one; with the evidence as it stands there.
    fn actor(&mut self, _key: &str) -> impl Future<Output = Option<Actor>> + Send {
        std::future::ready(None)
    }
}

/// Who changed something, by the provider's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who, as the log has it.
    pub who: String,
    /// The event as it stands there, without secrets.
    pub evidence: String,
}
