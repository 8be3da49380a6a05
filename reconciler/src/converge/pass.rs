//! From plans to rules in force: intent, apply, verify, record.

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::phases::{Run, kept};
use super::quarantine::{Failed, forgotten};
use super::rollback::RollBack;
use super::trial::{CONFIRMED_TRIAL, OnTrial, no_trial};
use super::words::unguarded;
use super::{ACCEPTED_HEAD, BackendError, CONFIRMED_PLAN, Errand, Outcome, Source, StatusState, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{EndedPass, EnforcedNow, Ensure, NewStep, OpenPass, Outcome as Recorded, PassEnd, PassId, Plan, Why};

/// What a pass is about.
pub(super) struct Deed {
    pub head: CommitId,
    /// What is in force.
    pub base: Option<CommitId>,
    pub decisions: Decisions,
    pub started: Timestamp,
    /// What connects now and must go on connecting; `None` where nothing is put on trial.
    pub reached: Option<Vec<Errand>>,
    /// Targets that nobody could plan for, and why.
    pub left_out: Vec<(String, String)>,
}

/// What the end of a pass needs to know.
struct End {
    head: CommitId,
    decisions: Decisions,
    started: Timestamp,
    confirmed_by: Option<String>,
    left_out: Vec<(String, String)>,
}

/// Where a pass is on record.
enum Row {
    /// It was opened before the first change.
    Open(PassId),
    /// There was nothing to change: what was in force before, and the plan.
    Ended(Option<CommitId>, Plan),
}

/// Whether a pass is what people decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decisions {
    /// It is: an accepted head or a confirmed plan is used up.
    Used,
    /// It only follows the calendar.
    Kept,
}

impl<S: Source> World<'_, S> {
    /// Does what the plans say, or records that there is nothing to do.
    pub(super) async fn carry_out(&mut self, deed: Deed, plans: &[TargetPlan]) -> Result<Outcome, Trouble> {
        let Deed { head, base, decisions, started, reached, left_out } = deed;
        let host_changes = plans.iter().any(|plan| !plan.in_steps && !plan.is_empty());
        let has_host = plans.iter().any(|plan| !plan.in_steps);
        if let Some(trial) = self.memory.trial.clone().filter(|_| has_host && !host_changes) {
            // The host has these rules on trial already. Clouds wait until somebody vouches for them.
            return self.join_trial(head, trial, started).await;
        }
        let confirmed_by = if decisions == Decisions::Used { self.released_by(head, plans).await? } else { None };
        let ended = End { head, decisions, started, confirmed_by, left_out };
        let idle = plans.iter().filter(|plan| !plan.dry_run).all(TargetPlan::is_empty);
        if idle {
            let enforced = self.enforced_now(plans).await?;
            let row = Row::Ended(base, evidence(plans));
            return self.end_pass(ended, row, plans, (enforced, Vec::new())).await;
        }
        let trial = reached.filter(|_| host_changes).map(|reached| self.trial_of(head, plans, reached));
        let why = match head {
            head if base == Some(head) => Why::Drift,
            head if self.memory.pinned == Some(head) => Why::Rollback,
            _ => Why::Commit,
        };
        let pass = self.open(head, base, plans, why, started, trial.as_ref()).await?;
        let run = Run::new(head, (pass, why), plans, self.targets, started);
        self.work_through(run, pass, trial, plans, ended).await
    }

    /// All phases of an open pass.
    async fn work_through(
        &mut self,
        mut run: Run,
        pass: PassId,
        trial: Option<OnTrial>,
        plans: &[TargetPlan],
        mut ended: End,
    ) -> Result<Outcome, Trouble> {
        let (head, started) = (ended.head, ended.started);
        let by_hand = trial.as_ref().is_some_and(|trial| trial.by_hand);
        let left_out: Vec<String> = ended.left_out.iter().map(|(name, _)| name.clone()).collect();
        if self.add_on_clouds(&mut run, &left_out, !by_hand).await? {
            let within = trial.as_ref().map(|_| self.settings.trial_time());
            if let Err(trouble) = self.apply_on_host(&mut run, within).await {
                return Err(self.fail(head, pass, run.enforced_on_clouds(), trouble).await);
            }
            if let Some(trial) = trial {
                if by_hand {
                    return self.wait_for_confirmation(pass, trial, &run.enforced(), head, started).await;
                }
                if let Some(lost) = self.first_unreached(&trial.reached).await {
                    return self.take_back(trial, (RollBack::Probe, &lost), Some(pass), started).await;
                }
                if let Err(trouble) = self.confirm_all().await {
                    return Err(self.fail(head, pass, run.enforced_on_clouds(), trouble).await);
                }
                // It was on trial, and the controller vouched for it.
                ended.confirmed_by.get_or_insert_with(|| "system".to_owned());
            }
            self.remove_on_clouds(&mut run).await?;
        }
        if let Some(why) = run.superseded {
            return self.stop_in_between(ended, pass, run.enforced(), why).await;
        }
        self.end_pass(ended, Row::Open(pass), plans, (run.enforced(), run.failures())).await
    }

    /// What was verified is in force, whatever became of the rest; the head is, if that is everything.
    async fn end_pass(
        &mut self,
        ended: End,
        row: Row,
        plans: &[TargetPlan],
        (enforced, mut failures): (Vec<EnforcedNow>, Vec<(String, String)>),
    ) -> Result<Outcome, Trouble> {
        let End { head, decisions, started, confirmed_by, left_out } = ended;
        failures.extend(left_out);
        let trouble = failures.first().map(|(target, why)| Trouble::Partly {
            in_force: enforced.len(),
            of: enforced.len() + failures.len(),
            target: target.clone(),
            why: why.clone(),
        });
        let end = match &trouble {
            None => PassEnd { enforced, confirmed_by, ..self.in_force(head, plans) },
            Some(trouble) => {
                let reason = chain(trouble);
                let said = format!("compliant, but not everywhere in force: {reason}");
                let status = Some(self.settings.status(head, StatusState::Error, &said));
                let mut notes = self.adopt_verified(&enforced);
                notes.push(no_trial());
                PassEnd { enforced, confirmed_by, status, notes, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) }
            }
        };
        match row {
            Row::Open(pass) => self.store.close_pass(pass, end).await?,
            Row::Ended(enforced_before, plan) => {
                let (git_ref, plan) = (self.settings.git_ref.clone(), Some(plan));
                self.store.record_pass(EndedPass { head: Some(head), git_ref, enforced_before, plan, started, end }).await?;
            }
        }
        self.memory.trial = None;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.adopt_all();
        self.memory.unfinished.clear();
        self.memory.learning_since = None;
        if decisions == Decisions::Used {
            self.forget_decisions(started).await?;
        }
        let changes = plans.iter().map(TargetPlan::changes_made).sum();
        Ok(self.settle(head, Outcome::InForce { commit: head, changes }))
    }

    /// Something else comes first. What was verified so far stays in force, what was added stays, nothing is half removed: the next trip
    /// begins by looking.
    async fn stop_in_between(
        &mut self,
        ended: End,
        pass: PassId,
        enforced: Vec<EnforcedNow>,
        why: &'static str,
    ) -> Result<Outcome, Trouble> {
        let status = Some(self.settings.status(ended.head, StatusState::Pending, &format!("compliant, not applied: {why}")));
        let mut notes = self.adopt_verified(&enforced);
        notes.push(no_trial());
        let end = PassEnd { enforced, status, notes, ..PassEnd::of(Recorded::Failed, why, (self.clock)()) };
        self.store.close_pass(pass, end).await?;
        (self.memory.trial, self.memory.settled) = (None, None);
        self.memory.look_in = Some(Duration::ZERO);
        Ok(Outcome::Held { reason: why.to_owned() })
    }

    /// Who accepted this head or confirmed one of these plans, if anybody had to.
    pub(super) async fn released_by(&self, head: CommitId, plans: &[TargetPlan]) -> Result<Option<String>, Trouble> {
        let mut who = Vec::new();
        for name in [ACCEPTED_HEAD, CONFIRMED_PLAN] {
            let Some(switch) = self.store.switch_get(name, (self.clock)()).await? else { continue };
            let is_meant = match name {
                ACCEPTED_HEAD => head.to_string().starts_with(&switch.value),
                _ => {
                    let released = self.released_with(plans).is_some_and(|hash| hash == switch.value);
                    released || plans.iter().any(|plan| plan.hash.short() == switch.value)
                }
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
        let changes = plans.iter().filter(|plan| !plan.dry_run).map(TargetPlan::changes_made).sum();
        let (mut sentence, unguarded) = (self.settings.posture.sentence(changes), unguarded(plans));
        if !unguarded.is_empty() {
            sentence = format!("{sentence}; {unguarded}");
        }
        let status = Some(self.settings.status(head, StatusState::Success, &sentence));
        let real = self.targets.iter().filter(|target| !target.dry_run());
        let notes = real.map(|target| kept(target.as_ref())).chain([no_trial(), forgotten()]).collect();
        PassEnd { changes: changes as u64, status, notes, ..PassEnd::of(Recorded::InForce, &unguarded, (self.clock)()) }
    }

    pub(super) fn adopt_all(&mut self) {
        for target in self.targets.iter_mut() {
            if target.dry_run() {
                target.discard();
            } else {
                target.adopt();
            }
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
        let steps = plans.iter().filter(|plan| !plan.dry_run).flat_map(|plan| steps(plan, why)).collect();
        let (git_ref, plan, notes) =
            (self.settings.git_ref.clone(), evidence(plans), trial.map(OnTrial::note).into_iter().collect());
        Ok(self.store.open_pass(OpenPass { head, git_ref, enforced_before: base, plan, steps, notes, at }).await?)
    }

    /// Ends a pass as failed, with what was done on record. What it had put on trial is taken back; that the commit is at fault is not
    /// known.
    pub(super) async fn fail(&mut self, head: CommitId, pass: PassId, enforced: Vec<EnforcedNow>, trouble: Trouble) -> Trouble {
        let mut kept = self.adopt_verified(&enforced);
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
        kept.extend(failed.iter().map(Failed::note).chain([no_trial()]));
        let end = PassEnd { enforced, status, quarantine, notes: kept, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) };
        self.store.close_pass(pass, end).await.err().map_or(trouble, Into::into)
    }

    pub(super) async fn apply_one(
        &mut self,
        index: usize,
        plan: &TargetPlan,
        within: Option<Duration>,
    ) -> Result<EnforcedNow, Trouble> {
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
        for plan in plans.iter().filter(|plan| !plan.dry_run) {
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

pub(super) fn steps(plan: &TargetPlan, why: Why) -> Vec<NewStep> {
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
