//! A target: one place where rules are enforced, with the backend that speaks its language.
//!
//! [`Backend`] is what a backend implements, with its own types of key and rule, so that a plan for one cannot be applied to
//! another. [`Target`] is the same thing with the types hidden, so that a pass can hold several.
//! [`Managed`](super::Managed) turns one into the other.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use policy::compile::Ruleset;
use policy::digest::{Canonical, Digest};
use policy::lower::Unsupported;
use policy::plan::{Excess, Limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use super::planned::{Class, Deviation, Difference, Step, TargetPlan};
use super::provider::{Actor, Part};
use crate::store::StepState;

/// A boxed future.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A backend could not look or could not act. Always worth another try; what was enforced stays enforced.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct BackendError {
    /// What was being done, and what to do about it.
    pub doing: String,
    /// The cause.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a backend sees.
#[derive(Debug)]
pub struct Observed<K, R> {
    /// The rules that are there and ours; `None` where nothing was ever enforced.
    pub rules: Option<BTreeMap<K, R>>,
    /// What is wrong beside the rules: hooks gone, programs replaced.
    pub damage: Vec<Difference>,
    /// Nothing is dropped on the whole target, whatever the rules say.
    pub audited: bool,
    /// What cannot be guarded yet because it is not there, an interface say. Nothing passes through it either.
    pub absent: Vec<Difference>,
}

/// What one call to a target that is changed step by step came to.
#[derive(Debug)]
pub struct Taken {
    /// The steps of the plan that ended.
    pub ended: Vec<EndedStep>,
    /// Why the target stops here, if it does. What was added stays, nothing is removed.
    pub failed: Option<BackendError>,
}

/// How one step of a plan ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedStep {
    /// Its key, in words.
    pub key: String,
    /// How.
    pub state: StepState,
    /// The provider's own code, where there is one.
    pub code: Option<String>,
}

/// Rules that are in force until somebody confirms them; the target itself takes the way back when the time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// What is left; zero once the way back judges.
    pub left: Duration,
}

impl Trial {
    /// Whether the time is over, so that the way back is in force.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }
}

/// What a first enforcement would do to connections that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// Each open connection that would be cut, in words without times and without ports that change; sorted, each once.
    pub cut: Vec<String>,
}

/// What enforces rules: the kernel of this host, later clouds.
pub trait Backend: Send {
    /// What a rule is about.
    type Key: Ord + Clone + Canonical + Send + Sync;
    /// What it says.
    type Rule: Eq + Clone + Canonical + Send + Sync;
    /// What `lower` remembers from one ruleset to the next, over restarts too.
    type Memory: Clone + Default + Serialize + DeserializeOwned + Send + Sync;

    /// `ebpf`, later `nftables`, `aws`, `azure`.
    fn name(&self) -> &'static str;
    /// Which place: `host/eth0`.
    fn target(&self) -> &str;
    /// The meaning in this backend's words, exactly or not at all.
    ///
    /// # Errors
    /// What cannot be said, or why nobody knows what should be said.
    fn lower(&self, ruleset: &Ruleset, memory: &Self::Memory) -> Result<Lowered<Self>, NotLowered>;
    /// What is there.
    fn observe(&mut self) -> impl Future<Output = Result<Observed<Self::Key, Self::Rule>, BackendError>> + Send;
    /// Makes it so: all of `desired` is in force afterwards and was read back, or nothing has changed. Returns the generation.
    ///
    /// With `within` it is on trial: what was confirmed last comes back by itself after that time unless [`Backend::confirm`] is
    /// called before, whether this process lives or not; where nothing was ever enforced, nothing is dropped then. A trial that runs
    /// is replaced, and the way back stays the one of before it. A rehearsal ends with the same step that puts `desired` in force.
    fn apply(
        &mut self,
        desired: &BTreeMap<Self::Key, Self::Rule>,
        digest: Digest,
        within: Option<Duration>,
    ) -> impl Future<Output = Result<u64, BackendError>> + Send;
    /// The generation that judges, where there are generations.
    fn generation(&mut self) -> impl Future<Output = Result<Option<u64>, BackendError>> + Send {
        std::future::ready(Ok(None))
    }
    /// What is on trial, also when its time is over and nobody has settled it yet.
    fn trial(&mut self) -> impl Future<Output = Result<Option<Trial>, BackendError>> + Send;
    /// Ends the trial: what is on it stays. Fails if its time is over.
    fn confirm(&mut self) -> impl Future<Output = Result<(), BackendError>> + Send;
    /// Puts the way back in force, whether the time is over or not. Returns its generation; `None` if there is none.
    fn roll_back(&mut self) -> impl Future<Output = Result<Option<u64>, BackendError>> + Send;
    /// For a host that was never enforced: everything is in place, nothing is dropped, connections that are open are known. May be
    /// called again, with the same or with other rules.
    fn rehearse(
        &mut self,
        desired: &BTreeMap<Self::Key, Self::Rule>,
        digest: Digest,
    ) -> impl Future<Output = Result<Rehearsal, BackendError>> + Send;
    /// Puts hooks back where they are gone, as far as that is possible now. Where `blank` says that nothing is there at all, `desired`
    /// is put in force first. Returns the generation.
    fn mend(
        &mut self,
        desired: &BTreeMap<Self::Key, Self::Rule>,
        digest: Digest,
        blank: bool,
    ) -> impl Future<Output = Result<Option<u64>, BackendError>> + Send;
    /// Whether another firewall of ours, used before, still guards here as well.
    fn takes_over(&self) -> bool {
        false
    }
    /// Takes that one away.
    fn be_alone(&mut self) -> impl Future<Output = Result<(), BackendError>> + Send {
        std::future::ready(Ok(()))
    }
    /// Everything the rules depend on beside the commit: labels, mode. Another text means that the same commit may mean other rules.
    fn setup_text(&self) -> String;
    /// The rules in force and what `lower` remembered of them, each time they may have changed: for counters.
    fn in_force(&mut self, _rules: &BTreeMap<Self::Key, Self::Rule>, _memory: &Self::Memory) {}
    /// Rules as text, to be kept over restarts.
    fn keep(rules: &BTreeMap<Self::Key, Self::Rule>) -> String;
    /// The other way round; `None` for what is not such a text.
    fn recall(text: &str) -> Option<BTreeMap<Self::Key, Self::Rule>>;
    /// A key in words, stable: records are filed under it.
    fn key_text(key: &Self::Key) -> String;
    /// A rule in words.
    fn rule_text(rule: &Self::Rule) -> String;
}

/// Why there is no candidate.
#[derive(Debug)]
pub enum NotLowered {
    /// The backend cannot say it exactly.
    Unsupported(Vec<Unsupported>),
    /// Nobody knows what this target should enforce: the Inventory does not know it, say.
    Failed(BackendError),
}

/// A ruleset in a backend's words.
#[derive(Debug)]
pub struct Lowered<B: Backend + ?Sized> {
    /// What should be there.
    pub rules: BTreeMap<B::Key, B::Rule>,
    /// What to remember for the next one.
    pub memory: B::Memory,
}

/// What enforces, beside rules it is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Exactly these, and they are not only audited.
    These,
    /// Others, or these only audited.
    Others,
    /// None at all.
    Nothing,
}

/// A target of any backend. Two states are kept apart: what is **in force** (drift is measured against it) and the **candidate** of
/// the pass that runs, which takes its place only when it was applied or found to be there.
pub trait Target: Send {
    /// Which place.
    fn name(&self) -> &str;
    /// Which backend.
    fn backend(&self) -> &'static str;
    /// The entry of the configuration it belongs to; empty for the host. One entry can be the first wave.
    fn entry(&self) -> &str {
        ""
    }
    /// Plans are made and shown, nothing is applied.
    fn dry_run(&self) -> bool {
        false
    }
    /// Finds who is there to be protected; before `aim`, and before `setup_text` is compared.
    fn survey(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Whether it is changed step by step, with [`Target::take`], and not by [`Target::apply`].
    fn in_steps(&self) -> bool {
        false
    }
    /// Makes the next call of a part of the last plan; `None` once all of the part is made and verified. What was begun is given up
    /// by `plan` and by `discard`.
    fn take(&mut self, _part: Part) -> Boxed<'_, Result<Option<Taken>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Why the last plan waits for a person whatever its size.
    fn waits(&self) -> Option<String> {
        None
    }
    /// As [`Target::excess`], of one group of rules where there are several; in words.
    fn excess_of_group(&self, _limits: &Limits) -> Option<String> {
        None
    }
    /// Why the last plan cannot be carried out: old and new do not fit at the same time. Nothing was called.
    fn narrow(&self) -> &[Unsupported] {
        &[]
    }
    /// Who changed what differs under a key, if the provider's own log names exactly one.
    fn actor<'a>(&'a mut self, _key: &'a str) -> Boxed<'a, Option<Actor>> {
        Box::pin(std::future::ready(None))
    }
    /// Whether it is known what should be in force.
    fn knows(&self) -> bool;
    /// Sets the candidate.
    ///
    /// # Errors
    /// What the backend cannot say, or that nobody knows what it should.
    fn aim(&mut self, ruleset: &Ruleset) -> Result<(), NotLowered>;
    /// Looks, and plans towards the candidate, else towards what should be in force. `None` if neither is known.
    fn plan(&mut self) -> Boxed<'_, Result<Option<TargetPlan>, BackendError>>;
    /// Whether the last plan is too large to be applied without asking.
    fn excess(&self, limits: &Limits) -> Option<Excess>;
    /// Applies the candidate, else what should be in force; returns the generation. With `within` it is on trial.
    fn apply(&mut self, within: Option<Duration>) -> Boxed<'_, Result<u64, BackendError>>;
    /// The generation that judges, where there are generations.
    fn generation(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// What is on trial, also when its time is over.
    fn trial(&mut self) -> Boxed<'_, Result<Option<Trial>, BackendError>>;
    /// Ends the trial: what is on it stays.
    fn confirm(&mut self) -> Boxed<'_, Result<(), BackendError>>;
    /// Puts the way back in force.
    fn roll_back(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>>;
    /// Puts the candidate in place without dropping anything.
    fn rehearse(&mut self) -> Boxed<'_, Result<Rehearsal, BackendError>>;
    /// The candidate is on trial from now on: drift is measured against it while the trial runs.
    fn begin_trial(&mut self);
    /// What is on trial is in force from now on.
    fn adopt_trial(&mut self);
    /// Nothing is on trial any more.
    fn end_trial(&mut self);
    /// Takes up what an earlier process had on trial, if it hashes to `desired_hash`.
    fn recall_trial(&mut self, kept: &Kept, desired_hash: &str) -> bool;
    /// Whether what enforces holds the rules with this hash.
    fn holds<'a>(&'a mut self, desired_hash: &'a str) -> Boxed<'a, Result<Holding, BackendError>>;
    /// Puts hooks back, and everything if `blank`.
    fn mend(&mut self, blank: bool) -> Boxed<'_, Result<Option<u64>, BackendError>>;
    /// Takes away another firewall of ours that was used before, if what should be in force is, here and without a trial.
    fn be_alone(&mut self) -> Boxed<'_, Result<(), BackendError>>;
    /// The candidate is in force from now on.
    fn adopt(&mut self);
    /// Forgets the candidate.
    fn discard(&mut self);
    /// What differs under these keys is left as it is found by every plan and every apply, until this is called again.
    fn leave(&mut self, keys: BTreeSet<String>);
    /// What should be in force under a key, in words.
    fn wanted(&self, key: &str) -> Option<String>;
    /// What should be in force and what the rules depend on, to be kept over restarts.
    fn remember(&self) -> Kept;
    /// Takes up what an earlier process kept, if it hashes to `desired_hash`. Says whether it did.
    fn recall(&mut self, kept: &Kept, desired_hash: &str) -> bool;
    /// Everything the rules depend on beside the commit.
    fn setup_text(&self) -> String;
}

/// What a target keeps over restarts: enough to put the last good rules back without a repository, a network or a judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What should be in force.
    pub rules: String,
    /// What `lower` remembers.
    pub memory: String,
    /// What the rules depended on.
    pub setup: String,
}
