//! From an admitted head to rules in force: aim, plan, limits, intent, apply, verify, record.

use std::time::Duration;

use jiff::Timestamp;
use policy::compile::Ruleset;
use policy::lower::Unsupported;
use policy::snapshot::CommitId;

use super::quarantine::{Failed, forgotten};
use super::rollback::RollBack;
use super::trial::{CONFIRMED_TRIAL, OnTrial, no_trial};
use super::words::unguarded;
use super::{
    ACCEPTED_HEAD, BackendError, CONFIRMED_PLAN, Errand, NotLowered, Outcome, Source, StatusState, Target, TargetPlan, Trouble,
    World,
};
use crate::chain::chain;
use crate::store::{
    EndedPass, EnforcedNow, Ensure, NewStep, Note, OpenPass, Outcome as Recorded, PassEnd, PassId, Plan, StepEnd, StepState, Why,
};

/// What a pass is about.
pub(super) struct Deed {
    pub head: CommitId,
    /// What is in force.
    pub base: Option<CommitId>,
    pub decisions: Decisions,
    pub started: Timestamp,
    /// What connects now and must go on connecting; `None` where nothing is put on trial.
    pub reached: Option<Vec<Errand>>,
}

/// Whether a pass is what people decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decisions {
    /// It is: an accepted head or a confirmed plan is used up.
    Used,
    /// It only follows the calendar.
    Kept,
}

/// Why no target has a candidate.
pub(super) enum NotAimed {
    /// A backend cannot say it.
    Unsupported(Vec<Unsupported>),
    /// A target does not know what it should say.
    Failed(Trouble),
}

impl<S: Source> World<'_, S> {
    /// Sets every target's candidate, or none.
    pub(super) async fn aim(&mut self, ruleset: &Ruleset) -> Result<(), NotAimed> {
        let mut problems = Vec::new();
        let mut failed = None;
        for target in self.targets.iter_mut() {
            if let Err(cause) = target.survey().await {
                failed = Some(Trouble::Backend { target: target.name().to_owned(), cause });
                continue;
            }
            match target.aim(ruleset) {
                Ok(()) => {}
                Err(NotLowered::Unsupported(more)) => problems.extend(more),
                Err(NotLowered::Failed(cause)) => failed = Some(Trouble::Backend { target: target.name().to_owned(), cause }),
            }
        }
        if problems.is_empty() && failed.is_none() {
            return Ok(());
        }
        self.discard();
        // What no retry mends is said first.
        Err(failed.filter(|_| problems.is_empty()).map_or(NotAimed::Unsupported(problems), NotAimed::Failed))
    }

    /// What each target needs.
    pub(super) async fn plan(&mut self) -> Result<Vec<TargetPlan>, Trouble> {
        let mut plans = Vec::with_capacity(self.targets.len());
        for target in self.targets.iter_mut() {
            let name = target.name().to_owned();
            plans.extend(target.plan().await.map_err(|cause| Trouble::Backend { target: name, cause })?);
        }
        Ok(plans)
    }

    /// Why a plan waits for a person, unless one has confirmed it.
    pub(super) async fn too_large(&self, head: CommitId, plans: &[TargetPlan]) -> Result<Option<String>, Trouble> {
        for (target, plan) in self.targets.iter().zip(plans) {
            let Some(excess) = target.excess(&self.settings.limits) else { continue };
            let hash = plan.hash.short();
            if self.is_plan_confirmed(&hash).await? {
                continue;
            }
            let short = head.short();
            return Ok(Some(format!(
                "{short} on {}: {excess}; release exactly this plan with pci-segment confirm {hash} --reason …",
                target.name()
            )));
        }
        Ok(None)
    }

    /// Does what the plans say, or records that there is nothing to do.
    pub(super) async fn carry_out(&mut self, deed: Deed, plans: &[TargetPlan]) -> Result<Outcome, Trouble> {
        let Deed { head, base, decisions, started, .. } = deed;
        let mut confirmed_by = if decisions == Decisions::Used { self.released_by(head, plans).await? } else { None };
        if plans.iter().all(TargetPlan::is_empty) {
            if let Some(trial) = self.memory.trial.clone() {
                return self.join_trial(head, trial, started).await;
            }
            let enforced = self.enforced_now(plans).await?;
            let end = PassEnd { enforced, confirmed_by, ..self.in_force(head, plans) };
            let git_ref = self.settings.git_ref.clone();
            let plan = Some(evidence(plans));
            self.store.record_pass(EndedPass { head: Some(head), git_ref, enforced_before: base, plan, started, end }).await?;
        } else {
            let trial = deed.reached.map(|reached| self.trial_of(head, plans, reached));
            let why = match head {
                head if base == Some(head) => Why::Drift,
                head if self.memory.pinned == Some(head) => Why::Rollback,
                _ => Why::Commit,
            };
            let pass = self.open(head, base, plans, why, started, trial.as_ref()).await?;
            let within = trial.as_ref().map(|_| self.settings.trial_time());
            let enforced = self.apply_all(head, pass, plans, within).await?;
            if let Some(trial) = trial {
                if trial.by_hand {
                    return self.wait_for_confirmation(pass, trial, &enforced, head, started).await;
                }
                if let Some(lost) = self.first_unreached(&trial.reached).await {
                    return self.take_back(trial, (RollBack::Probe, &lost), Some(pass), started).await;
                }
                if let Err(trouble) = self.confirm_all().await {
                    return Err(self.fail(head, pass, enforced, trouble).await);
                }
                // It was on trial, and the controller vouched for it.
                confirmed_by.get_or_insert_with(|| "system".to_owned());
            }
            let end = PassEnd { enforced, confirmed_by, ..self.in_force(head, plans) };
            self.store.close_pass(pass, end).await?;
        }
        self.adopt_all();
        self.memory.trial = None;
        self.memory.learning_since = None;
        if decisions == Decisions::Used {
            self.forget_decisions(started).await?;
        }
        let changes = plans.iter().map(TargetPlan::changes_made).sum();
        Ok(self.settle(head, Outcome::InForce { commit: head, changes }))
    }

    /// Who accepted this head or confirmed one of these plans, if anybody had to.
    pub(super) async fn released_by(&self, head: CommitId, plans: &[TargetPlan]) -> Result<Option<String>, Trouble> {
        let mut who = Vec::new();
        for name in [ACCEPTED_HEAD, CONFIRMED_PLAN] {
            let Some(switch) = self.store.switch_get(name, (self.clock)()).await? else { continue };
            let is_meant = match name {
                ACCEPTED_HEAD => head.to_string().starts_with(&switch.value),
                _ => plans.iter().any(|plan| plan.hash.short() == switch.value),
            };
            if is_meant && !who.contains(&switch.who) {
                who.push(switch.who);
            }
        }
        Ok((!who.is_empty()).then(|| who.join(", ")))
    }

    /// Who confirmed what is on trial; where nobody had to, the controller did.
    pub(super) async fn vouched_by(&self, hash: &str) -> Result<String, Trouble> {
        let switch = self.store.switch_get(CONFIRMED_TRIAL, (self.clock)()).await?;
        Ok(switch.filter(|switch| switch.value == hash).map_or_else(|| "system".to_owned(), |switch| switch.who))
    }

    /// The end of a pass that put the head in force, with all that later starts need, but for what is in force.
    fn in_force(&self, head: CommitId, plans: &[TargetPlan]) -> PassEnd {
        let changes = plans.iter().map(TargetPlan::changes_made).sum();
        let (mut sentence, unguarded) = (self.settings.posture.sentence(changes), unguarded(plans));
        if !unguarded.is_empty() {
            sentence = format!("{sentence}; {unguarded}");
        }
        let status = Some(self.settings.status(head, StatusState::Success, &sentence));
        let kept =
            |target: &dyn Target| Note { name: kept_name(target.name()), value: serde_json::to_string(&target.remember()).ok() };
        let notes = self.targets.iter().map(|target| kept(target.as_ref())).chain([no_trial(), forgotten()]).collect();
        PassEnd { changes: changes as u64, status, notes, ..PassEnd::of(Recorded::InForce, &unguarded, (self.clock)()) }
    }

    pub(super) fn adopt_all(&mut self) {
        for target in self.targets.iter_mut() {
            target.adopt();
        }
    }

    /// Writes the plan and every step down before the first change.
    pub(super) async fn open(
        &self,
        head: CommitId,
        base: Option<CommitId>,
        plans: &[TargetPlan],
        why: Why,
        at: Timestamp,
        trial: Option<&OnTrial>,
    ) -> Result<PassId, Trouble> {
        let steps = plans.iter().flat_map(|plan| steps(plan, why)).collect();
        let (git_ref, plan, notes) =
            (self.settings.git_ref.clone(), evidence(plans), trial.map(OnTrial::note).into_iter().collect());
        Ok(self.store.open_pass(OpenPass { head, git_ref, enforced_before: base, plan, steps, notes, at }).await?)
    }

    /// Applies target by target and looks again; a failure ends the pass as failed, with what was done on record.
    pub(super) async fn apply_all(
        &mut self,
        head: CommitId,
        pass: PassId,
        plans: &[TargetPlan],
        within: Option<Duration>,
    ) -> Result<Vec<EnforcedNow>, Trouble> {
        let mut enforced = Vec::with_capacity(plans.len());
        let mut first = 0;
        for (i, plan) in plans.iter().enumerate() {
            let count = u32::try_from(steps(plan, Why::Commit).len()).unwrap_or(u32::MAX);
            let result = self.apply_one(i, plan, within).await;
            let (state, code) = match &result {
                Ok(_) => (StepState::Done, None),
                Err(trouble) => (StepState::Failed, Some(chain(trouble))),
            };
            let ends = (first..first + count).map(|n| StepEnd { n, state, code: code.clone() }).collect();
            self.store.close_steps(pass, ends, (self.clock)()).await?;
            first += count;
            match result {
                Ok(now) => enforced.push(now),
                Err(trouble) => return Err(self.fail(head, pass, enforced, trouble).await),
            }
        }
        Ok(enforced)
    }

    /// Ends a pass as failed, with what was done on record. What it had put on trial is taken back; that the commit is at fault is not
    /// known.
    async fn fail(&mut self, head: CommitId, pass: PassId, enforced: Vec<EnforcedNow>, trouble: Trouble) -> Trouble {
        self.discard();
        if let Err(more) = self.roll_back_all().await {
            tracing::error!("what is on trial is left to its deadline: {}", chain(&more));
        }
        self.memory.trial = None;
        let reason = chain(&trouble);
        let (failed, quarantine) = match self.count_failure(head, &trouble, &reason).await {
            Ok(counted) => counted,
            Err(unrecorded) => return unrecorded,
        };
        let said = quarantine.clone().unwrap_or_else(|| format!("compliant, but not in force: {reason}"));
        let status = Some(self.settings.status(head, StatusState::Error, &said));
        let notes = failed.iter().map(Failed::note).chain([no_trial()]).collect();
        let end = PassEnd { enforced, status, quarantine, notes, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) };
        self.store.close_pass(pass, end).await.err().map_or(trouble, Into::into)
    }

    async fn apply_one(&mut self, index: usize, plan: &TargetPlan, within: Option<Duration>) -> Result<EnforcedNow, Trouble> {
        let Some(target) = self.targets.get_mut(index) else {
            let cause = BackendError { doing: "the target is gone".to_owned(), cause: None };
            return Err(Trouble::Backend { target: plan.target.clone(), cause });
        };
        let name = plan.target.clone();
        let generation = target.apply(within).await.map_err(|cause| Trouble::Backend { target: name.clone(), cause })?;
        let after = target.plan().await.map_err(|cause| Trouble::Backend { target: name.clone(), cause })?;
        if let Some(left) = after.filter(|after| !after.is_empty()) {
            let detail = left.differences.first().map_or_else(|| "nothing is there".to_owned(), |d| d.key.clone());
            return Err(Trouble::NotVerified { target: name, detail });
        }
        Ok(EnforcedNow { backend: plan.backend.to_owned(), target: name, desired_hash: plan.desired_hash.0, generation })
    }

    /// Puts hooks back, and everything if `blank`; what is then in force.
    pub(super) async fn mend(&mut self, index: usize, blank: bool) -> Result<Option<EnforcedNow>, Trouble> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(None) };
        let (name, backend) = (target.name().to_owned(), target.backend());
        let trouble = |cause| Trouble::Backend { target: name.clone(), cause };
        let generation = target.mend(blank).await.map_err(trouble)?;
        let Some(after) = target.plan().await.map_err(trouble)? else { return Ok(None) };
        if let Some(left) = after.damage.first() {
            return Err(Trouble::NotVerified { target: name, detail: format!("{} ({})", left.key, left.observed) });
        }
        let recorded = self.store.enforced(backend, &name).await?.map_or(0, |row| row.generation);
        let generation = generation.unwrap_or(recorded);
        Ok(Some(EnforcedNow { backend: backend.to_owned(), target: name, desired_hash: after.desired_hash.0, generation }))
    }

    /// What is in force where nothing had to change: the generation stays the one on record.
    async fn enforced_now(&self, plans: &[TargetPlan]) -> Result<Vec<EnforcedNow>, Trouble> {
        let mut rows = Vec::with_capacity(plans.len());
        for plan in plans {
            let generation = self.store.enforced(plan.backend, &plan.target).await?.map_or(0, |row| row.generation);
            rows.push(EnforcedNow {
                backend: plan.backend.to_owned(),
                target: plan.target.clone(),
                desired_hash: plan.desired_hash.0,
                generation,
            });
        }
        Ok(rows)
    }

    /// A decision is for one head and one plan; it is used up now.
    /// What somebody decided since `started` may be for another one, and stays; but a trial is the only one.
    pub(super) async fn forget_decisions(&self, started: Timestamp) -> Result<(), Trouble> {
        for name in [ACCEPTED_HEAD, CONFIRMED_PLAN, CONFIRMED_TRIAL] {
            let Some(switch) = self.store.switch_row(name).await? else { continue };
            if name == CONFIRMED_TRIAL || switch.set_at <= started {
                self.store.switch_end(&switch, ("system".to_owned(), "used".to_owned()), Vec::new(), (self.clock)()).await?;
            }
        }
        Ok(())
    }

    pub(super) fn discard(&mut self) {
        for target in self.targets.iter_mut() {
            target.discard();
        }
    }

    pub(super) fn settle(&mut self, head: CommitId, outcome: Outcome) -> Outcome {
        self.memory.settled = Some((head, outcome.clone()));
        outcome
    }
}

/// Under which name a target's rules are kept.
#[must_use]
pub fn kept_name(target: &str) -> String {
    format!("kept:{target}")
}

fn steps(plan: &TargetPlan, why: Why) -> Vec<NewStep> {
    let step = |key: &str, ensure| NewStep {
        backend: plan.backend.to_owned(),
        target: plan.target.clone(),
        key: key.to_owned(),
        ensure,
        why,
    };
    let present = plan.create.iter().map(|s| step(&s.key, Ensure::Present));
    let absent = plan.delete.iter().map(|s| step(&s.key, Ensure::Absent));
    let damage = plan.damage.iter().map(|d| step(&d.key, Ensure::Present));
    let rehearsed = plan.audited.then(|| step("enforcement", Ensure::Present));
    present.chain(absent).chain(damage).chain(rehearsed).collect()
}

pub(super) fn evidence(plans: &[TargetPlan]) -> Plan {
    let digest = |pick: fn(&TargetPlan) -> [u8; 32]| {
        let all: Vec<u8> = plans.iter().flat_map(pick).collect();
        // One target's hash stands for itself, so that it can be compared with what `enforced` says.
        plans.first().filter(|_| plans.len() == 1).map_or_else(|| policy::digest::Digest::of(&all).0, pick)
    };
    let json = serde_json::to_string(&serde_json::json!({ "targets": plans })).unwrap_or_default();
    Plan { json, desired_hash: digest(|p| p.desired_hash.0), observed_hash: digest(|p| p.observed_hash.0) }
}
