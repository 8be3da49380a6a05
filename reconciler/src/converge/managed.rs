//! A backend with what should be in force, the candidate, and the plan made last: what a pass works with, for any backend.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::compile::Ruleset;
use policy::diff::Change;
use policy::digest::Digest;
use policy::plan::{Excess, Limits, Plan};

use super::target::{
    Backend, BackendError, Boxed, Deviation, Difference, Holding, Kept, NotLowered, Rehearsal, Step, Target, TargetPlan, Trial,
};

/// A backend, what should be in force, the candidate, and the plan made last.
#[derive(Debug)]
pub struct Managed<B: Backend> {
    backend: B,
    in_force: Option<Rules<B>>,
    candidate: Option<Rules<B>>,
    plan: Option<Plan<B::Key, B::Rule>>,
    memory: B::Memory,
    candidate_memory: Option<B::Memory>,
    on_trial: Option<(Rules<B>, B::Memory)>,
    left: BTreeSet<String>,
    /// What should be in force, but for what is left as it was found by the last look.
    but_left: Option<Rules<B>>,
}

/// What a backend enforces, by key.
type Rules<B> = BTreeMap<<B as Backend>::Key, <B as Backend>::Rule>;

impl<B: Backend> Managed<B> {
    /// A target of which nothing is known yet.
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            in_force: None,
            candidate: None,
            plan: None,
            memory: B::Memory::default(),
            candidate_memory: None,
            on_trial: None,
            left: BTreeSet::new(),
            but_left: None,
        }
    }

    async fn look(&mut self) -> Result<Option<TargetPlan>, BackendError> {
        // While a trial runs, what is on it is what judges packets; once its time is over, what was in force before does again.
        let tried = match &self.on_trial {
            Some((rules, _)) if self.backend.trial().await?.is_some_and(|trial| !trial.is_over()) => Some(rules),
            _ => None,
        };
        let Some(desired) = self.candidate.as_ref().or(tried).or(self.in_force.as_ref()) else { return Ok(None) };
        let observed = self.backend.observe().await?;
        let blank = observed.rules.is_none();
        let found = observed.rules.unwrap_or_default();
        self.but_left = (!blank && !self.left.is_empty()).then(|| but_left::<B>(desired, &found, &self.left));
        let plan = Plan::new(&found, self.but_left.as_ref().unwrap_or(desired));
        let mut shown = self.describe(&plan, observed.damage, blank, observed.audited);
        shown.differences.extend(observed.absent.iter().cloned());
        shown.absent = observed.absent;
        self.plan = Some(plan);
        Ok(Some(shown))
    }

    fn describe(&self, plan: &Plan<B::Key, B::Rule>, damage: Vec<Difference>, blank: bool, audited: bool) -> TargetPlan {
        let mut differences: Vec<Difference> = plan.changes.iter().map(difference::<B>).collect();
        let step = |d: &Difference| Step { key: d.key.clone(), from: d.observed.clone(), to: d.expected.clone() };
        let create = differences.iter().filter(|d| d.kind != Deviation::Extra).map(step).collect();
        let delete = differences.iter().filter(|d| d.kind == Deviation::Extra).map(step).collect();
        let changes = differences.len();
        differences.extend(damage.iter().cloned());
        TargetPlan {
            target: self.backend.target().to_owned(),
            backend: self.backend.name(),
            create,
            delete,
            unchanged: plan.unchanged,
            damage,
            desired_hash: plan.desired_hash,
            observed_hash: plan.observed_hash,
            hash: plan.hash(),
            blank,
            audited,
            dry_run: false,
            in_steps: false,
            absent: Vec::new(),
            foreign: Vec::new(),
            changes,
            differences,
        }
    }
}

/// `desired`, but under the keys that are left what is found there.
fn but_left<B: Backend>(desired: &Rules<B>, found: &Rules<B>, left: &BTreeSet<String>) -> Rules<B> {
    let is_left = |key: &B::Key| left.contains(&B::key_text(key));
    let own = desired.iter().filter(|(key, _)| !is_left(key));
    own.chain(found.iter().filter(|(key, _)| is_left(key))).map(|(key, rule)| (key.clone(), rule.clone())).collect()
}

fn unknown() -> BackendError {
    BackendError { doing: "nothing is known of what should be enforced".to_owned(), cause: None }
}

fn difference<B: Backend>(change: &Change<B::Key, B::Rule>) -> Difference {
    let (kind, expected, observed) = match change {
        Change::Create { rule, .. } => (Deviation::Missing, B::rule_text(rule), String::new()),
        Change::Replace { old, new, .. } => (Deviation::Changed, B::rule_text(new), B::rule_text(old)),
        Change::Delete { rule, .. } => (Deviation::Extra, String::new(), B::rule_text(rule)),
    };
    Difference { key: B::key_text(change.key()), kind, expected, observed, ..Difference::default() }
}

impl<B: Backend> Target for Managed<B> {
    fn name(&self) -> &str {
        self.backend.target()
    }

    fn backend(&self) -> &'static str {
        self.backend.name()
    }

    fn knows(&self) -> bool {
        self.in_force.is_some()
    }

    fn aim(&mut self, ruleset: &Ruleset) -> Result<(), NotLowered> {
        let lowered = self.backend.lower(ruleset, &self.memory)?;
        self.candidate = Some(lowered.rules);
        self.candidate_memory = Some(lowered.memory);
        self.plan = None;
        Ok(())
    }

    fn plan(&mut self) -> Boxed<'_, Result<Option<TargetPlan>, BackendError>> {
        Box::pin(self.look())
    }

    fn excess(&self, limits: &Limits) -> Option<Excess> {
        self.plan.as_ref().and_then(|plan| plan.excess(limits))
    }

    fn apply(&mut self, within: Option<Duration>) -> Boxed<'_, Result<u64, BackendError>> {
        Box::pin(async move {
            let whole = self.candidate.as_ref().or(self.in_force.as_ref()).ok_or_else(unknown)?;
            let desired = self.but_left.as_ref().unwrap_or(whole);
            self.backend.apply(desired, Digest::of_table(desired), within).await
        })
    }

    fn generation(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(self.backend.generation())
    }

    fn trial(&mut self) -> Boxed<'_, Result<Option<Trial>, BackendError>> {
        Box::pin(self.backend.trial())
    }

    fn confirm(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(self.backend.confirm())
    }

    fn roll_back(&mut self) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(self.backend.roll_back())
    }

    fn rehearse(&mut self) -> Boxed<'_, Result<Rehearsal, BackendError>> {
        Box::pin(async {
            let desired = self.candidate.as_ref().ok_or_else(unknown)?;
            self.backend.rehearse(desired, Digest::of_table(desired)).await
        })
    }

    fn begin_trial(&mut self) {
        if let Some(rules) = self.candidate.take() {
            self.on_trial = Some((rules, self.candidate_memory.take().unwrap_or_default()));
        }
    }

    fn adopt_trial(&mut self) {
        if let Some((rules, memory)) = self.on_trial.take() {
            self.backend.in_force(&rules, &memory);
            self.in_force = Some(rules);
            self.memory = memory;
        }
    }

    fn end_trial(&mut self) {
        self.on_trial = None;
    }

    fn recall_trial(&mut self, kept: &Kept, desired_hash: &str) -> bool {
        let rules = B::recall(&kept.rules).filter(|rules| Digest::of_table(rules).to_string() == desired_hash);
        self.on_trial = rules.map(|rules| (rules, serde_json::from_str(&kept.memory).unwrap_or_default()));
        self.on_trial.is_some()
    }

    fn holds<'a>(&'a mut self, desired_hash: &'a str) -> Boxed<'a, Result<Holding, BackendError>> {
        Box::pin(async move {
            let seen = self.backend.observe().await?;
            Ok(match seen.rules {
                None => Holding::Nothing,
                Some(rules) if !seen.audited && Digest::of_table(&rules).to_string() == desired_hash => Holding::These,
                Some(_) => Holding::Others,
            })
        })
    }

    fn mend(&mut self, blank: bool) -> Boxed<'_, Result<Option<u64>, BackendError>> {
        Box::pin(async move {
            let Some(desired) = &self.in_force else { return Ok(None) };
            let digest = Digest::of_table(desired);
            if blank && self.backend.takes_over() {
                // What is open passes the firewall used before: it becomes known here before this one drops anything. No trial, as
                // that one has these rules in force.
                self.backend.rehearse(desired, digest).await?;
                return self.backend.apply(desired, digest, None).await.map(Some);
            }
            self.backend.mend(desired, digest, blank).await
        })
    }

    fn be_alone(&mut self) -> Boxed<'_, Result<(), BackendError>> {
        Box::pin(async {
            if !self.backend.takes_over() || self.backend.trial().await?.is_some() {
                return Ok(());
            }
            let seen = self.backend.observe().await?;
            if seen.audited || seen.rules.as_ref() != self.in_force.as_ref() {
                return Ok(());
            }
            self.backend.be_alone().await
        })
    }

    fn adopt(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.in_force = Some(candidate);
        }
        if let Some(memory) = self.candidate_memory.take() {
            self.memory = memory;
        }
        if let Some(rules) = &self.in_force {
            self.backend.in_force(rules, &self.memory);
        }
    }

    fn discard(&mut self) {
        self.candidate = None;
        self.candidate_memory = None;
    }

    fn leave(&mut self, keys: BTreeSet<String>) {
        self.left = keys;
        self.but_left = None;
    }

    fn wanted(&self, key: &str) -> Option<String> {
        let rules = self.in_force.as_ref()?;
        rules.iter().find(|(own, _)| B::key_text(own) == key).map(|(_, rule)| B::rule_text(rule))
    }

    fn remember(&self) -> Kept {
        let rules = self.candidate.as_ref().or(self.in_force.as_ref()).map(B::keep).unwrap_or_default();
        let memory = self.candidate_memory.as_ref().unwrap_or(&self.memory);
        Kept { rules, memory: serde_json::to_string(memory).unwrap_or_default(), setup: self.backend.setup_text() }
    }

    fn recall(&mut self, kept: &Kept, desired_hash: &str) -> bool {
        // What cannot be read is forgotten: rules get new numbers, nothing else depends on it.
        self.memory = serde_json::from_str(&kept.memory).unwrap_or_default();
        let rules = B::recall(&kept.rules).filter(|rules| Digest::of_table(rules).to_string() == desired_hash);
        self.in_force = rules;
        if let Some(rules) = &self.in_force {
            self.backend.in_force(rules, &self.memory);
        }
        self.in_force.is_some()
    }

    fn setup_text(&self) -> String {
        self.backend.setup_text()
    }
}
