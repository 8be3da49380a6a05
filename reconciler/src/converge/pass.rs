//! From an admitted head to rules in force: aim, plan, limits, intent, apply, verify, record.

use policy::compile::Ruleset;
use policy::lower::Unsupported;
use policy::snapshot::CommitId;

use jiff::Timestamp;

use super::judge::Rejection;
use super::words::unguarded;
use super::{ACCEPTED_HEAD, BackendError, CONFIRMED_PLAN, NotLowered, Outcome, Source, StatusState, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{
    EndedPass, EnforcedNow, Ensure, NewStep, OpenPass, Outcome as Recorded, PassEnd, PassId, Plan, StepEnd, StepState, Verdict, Why,
};

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
    pub(super) fn aim(&mut self, ruleset: &Ruleset) -> Result<(), NotAimed> {
        let mut problems = Vec::new();
        let mut failed = None;
        for target in self.targets.iter_mut() {
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
        let confirmed = self.store.switch_get(CONFIRMED_PLAN, (self.clock)()).await?;
        for (target, plan) in self.targets.iter().zip(plans) {
            let Some(excess) = target.excess(&self.settings.limits) else { continue };
            let hash = plan.hash.short();
            if confirmed.as_ref().is_some_and(|switch| switch.value == hash) {
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
    pub(super) async fn carry_out(
        &mut self,
        head: CommitId,
        base: Option<CommitId>,
        plans: &[TargetPlan],
        decisions: Decisions,
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        let changes = plans.iter().map(|plan| plan.changes).sum();
        let unguarded = unguarded(plans);
        let mut sentence = self.settings.posture.sentence(changes);
        if !unguarded.is_empty() {
            sentence = format!("{sentence}; {unguarded}");
        }
        let status = self.settings.status(head, StatusState::Success, &sentence);
        let why = if base == Some(head) { Why::Drift } else { Why::Commit };
        if plans.iter().all(TargetPlan::is_empty) {
            let enforced = self.enforced_now(plans).await?;
            let end = PassEnd { enforced, status: Some(status), ..PassEnd::of(Recorded::InForce, &unguarded, (self.clock)()) };
            let git_ref = self.settings.git_ref.clone();
            let plan = Some(evidence(plans));
            self.store.record_pass(EndedPass { head: Some(head), git_ref, enforced_before: base, plan, started, end }).await?;
        } else {
            let pass = self.open(head, base, plans, why, started).await?;
            let enforced = self.apply_all(head, pass, plans).await?;
            let end = PassEnd {
                enforced,
                changes: changes as u64,
                status: Some(status),
                ..PassEnd::of(Recorded::InForce, &unguarded, (self.clock)())
            };
            self.store.close_pass(pass, end).await?;
        }
        self.adopt().await?;
        if decisions == Decisions::Used {
            self.forget_decisions().await?;
        }
        Ok(self.settle(head, Outcome::InForce { commit: head, changes }))
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
    ) -> Result<PassId, Trouble> {
        let steps = plans.iter().flat_map(|plan| steps(plan, why)).collect();
        let git_ref = self.settings.git_ref.clone();
        Ok(self.store.open_pass(OpenPass { head, git_ref, enforced_before: base, plan: evidence(plans), steps, at }).await?)
    }

    /// Applies target by target and looks again; a failure ends the pass as failed, with what was done on record.
    pub(super) async fn apply_all(
        &mut self,
        head: CommitId,
        pass: PassId,
        plans: &[TargetPlan],
    ) -> Result<Vec<EnforcedNow>, Trouble> {
        let mut enforced = Vec::with_capacity(plans.len());
        let mut first = 0;
        for (i, plan) in plans.iter().enumerate() {
            let count = u32::try_from(steps(plan, Why::Commit).len()).unwrap_or(u32::MAX);
            let result = self.apply_one(i, plan).await;
            let (state, code) = match &result {
                Ok(_) => (StepState::Done, None),
                Err(trouble) => (StepState::Failed, Some(chain(trouble))),
            };
            let ends = (first..first + count).map(|n| StepEnd { n, state, code: code.clone() }).collect();
            self.store.close_steps(pass, ends, (self.clock)()).await?;
            first += count;
            match result {
                Ok(now) => enforced.push(now),
                Err(trouble) => {
                    self.discard();
                    let reason = chain(&trouble);
                    let status =
                        Some(self.settings.status(head, StatusState::Error, &format!("compliant, but not in force: {reason}")));
                    let end = PassEnd { enforced, status, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) };
                    self.store.close_pass(pass, end).await?;
                    return Err(trouble);
                }
            }
        }
        Ok(enforced)
    }

    async fn apply_one(&mut self, index: usize, plan: &TargetPlan) -> Result<EnforcedNow, Trouble> {
        let Some(target) = self.targets.get_mut(index) else {
            let cause = BackendError { doing: "the target is gone".to_owned(), cause: None };
            return Err(Trouble::Backend { target: plan.target.clone(), cause });
        };
        let name = plan.target.clone();
        let generation = target.apply(None).await.map_err(|cause| Trouble::Backend { target: name.clone(), cause })?;
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

    async fn adopt(&mut self) -> Result<(), Trouble> {
        for target in self.targets.iter() {
            let kept = serde_json::to_string(&target.remember()).unwrap_or_default();
            self.store.meta_set(kept_name(target.name()), kept, (self.clock)()).await?;
        }
        self.adopt_all();
        Ok(())
    }

    /// A decision is for one head and one plan; it is used up now.
    async fn forget_decisions(&self) -> Result<(), Trouble> {
        for name in [ACCEPTED_HEAD, CONFIRMED_PLAN] {
            self.store.switch_clear(name.to_owned(), "system".to_owned(), "used".to_owned(), (self.clock)()).await?;
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

    /// The head waits for a person before anything was planned.
    pub(super) async fn hold(&mut self, head: Option<CommitId>, reason: &str, started: Timestamp) -> Result<Outcome, Trouble> {
        let status = head.map(|head| self.settings.status(head, StatusState::Failure, reason));
        self.end(head, None, PassEnd { status, ..PassEnd::of(Recorded::Held, reason, (self.clock)()) }, started).await?;
        self.memory.settled = None;
        Ok(Outcome::Held { reason: reason.to_owned() })
    }

    /// The head's plan waits for a person.
    pub(super) async fn hold_plan(
        &mut self,
        head: CommitId,
        reason: &str,
        plans: &[TargetPlan],
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        self.discard();
        let status = Some(self.settings.status(head, StatusState::Pending, reason));
        self.end(
            Some(head),
            Some(evidence(plans)),
            PassEnd { status, ..PassEnd::of(Recorded::Held, reason, (self.clock)()) },
            started,
        )
        .await?;
        Ok(Outcome::Held { reason: reason.to_owned() })
    }

    /// The head is what is in force. The records say so too, also after a look that failed or was held.
    pub(super) async fn still_in_force(&mut self, head: CommitId, started: Timestamp) -> Result<Outcome, Trouble> {
        let newest = self.store.history(1).await?.pop();
        let said =
            newest.is_some_and(|row| row.outcome == Some(Recorded::InForce) && row.commit.as_deref() == Some(&head.to_string()));
        if !said {
            let status = Some(self.settings.status(head, StatusState::Success, &self.settings.posture.sentence(0)));
            self.end(Some(head), None, PassEnd { status, ..PassEnd::of(Recorded::InForce, "", (self.clock)()) }, started).await?;
        }
        Ok(self.settle(head, Outcome::InForce { commit: head, changes: 0 }))
    }

    pub(super) async fn rejected(&mut self, head: CommitId, rejection: Rejection, started: Timestamp) -> Result<Outcome, Trouble> {
        let Rejection { reason, findings, rule_ids, .. } = rejection;
        self.end(
            Some(head),
            None,
            PassEnd { findings, rule_ids, ..PassEnd::of(Recorded::Rejected, &reason, (self.clock)()) },
            started,
        )
        .await?;
        Ok(self.settle(head, Outcome::Rejected { commit: head, reason }))
    }

    /// The head cannot be aimed at; tried again later.
    pub(super) async fn failed_to_aim(&mut self, head: CommitId, trouble: Trouble, started: Timestamp) -> Trouble {
        let reason = chain(&trouble);
        let status = Some(self.settings.status(head, StatusState::Error, &format!("compliant, but not in force: {reason}")));
        let end = PassEnd { status, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) };
        match self.end(Some(head), None, end, started).await {
            Ok(()) => trouble,
            Err(unrecorded) => unrecorded,
        }
    }

    pub(super) async fn inexpressible(
        &mut self,
        head: CommitId,
        problems: &[Unsupported],
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        let reason = problems.first().map_or_else(String::new, |p| format!("{}: {}", p.backend, p.message));
        let findings: Vec<_> = problems.iter().map(policy::rules::from_unsupported).collect();
        let rule = findings.first().map_or_else(String::new, |finding| finding.rule_id.to_owned());
        let findings = serde_json::to_value(findings).unwrap_or_default();
        let status = self.settings.status(head, StatusState::Failure, &reason);
        self.record(head, Verdict::Inexpressible, findings, vec![rule.clone()], Some(status)).await?;
        let end = PassEnd {
            findings: problems.len() as u64,
            rule_ids: vec![rule],
            ..PassEnd::of(Recorded::Inexpressible, &reason, (self.clock)())
        };
        self.end(Some(head), None, end, started).await?;
        Ok(self.settle(head, Outcome::Inexpressible { commit: head, reason }))
    }

    async fn end(&self, head: Option<CommitId>, plan: Option<Plan>, end: PassEnd, started: Timestamp) -> Result<(), Trouble> {
        let enforced_before = self.store.last_in_force().await?.map(|last| last.commit);
        let git_ref = self.settings.git_ref.clone();
        self.store.record_pass(EndedPass { head, git_ref, enforced_before, plan, started, end }).await?;
        Ok(())
    }
}

/// Under which name a target's rules are kept.
pub(super) fn kept_name(target: &str) -> String {
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
    present.chain(absent).chain(plan.damage.iter().map(|d| step(&d.key, Ensure::Present))).collect()
}

fn evidence(plans: &[TargetPlan]) -> Plan {
    let digest = |pick: fn(&TargetPlan) -> [u8; 32]| {
        let all: Vec<u8> = plans.iter().flat_map(pick).collect();
        // One target's hash stands for itself, so that it can be compared with what `enforced` says.
        plans.first().filter(|_| plans.len() == 1).map_or_else(|| policy::digest::Digest::of(&all).0, pick)
    };
    let json = serde_json::to_string(&serde_json::json!({ "targets": plans })).unwrap_or_default();
    Plan { json, desired_hash: digest(|p| p.desired_hash.0), observed_hash: digest(|p| p.observed_hash.0) }
}
