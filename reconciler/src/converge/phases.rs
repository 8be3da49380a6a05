//! The order in which targets are changed: what adds on all clouds, then this host, then what takes away on the clouds.
//!
//! So no path is cut that the old and the new commit both allow. One entry may go first, as a whole, before any other cloud. A target
//! that fails stops where it is and keeps no other from going on; every call is on record right after it ended. Between two calls a
//! pass stops if the controller is told to, or a newer commit was announced.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::pass::{kept_name, steps};
use super::{BackendError, Part, Source, Taken, Target, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{EnforcedNow, NewStep, Note, PassId, StepEnd, StepState, Why};

/// Why the targets after a first wave that failed are left as they are.
const FIRST_WAVE_FAILED: &str = "left as it is: stopped after the first wave";

/// A pass on its way through the targets.
pub(super) struct Run {
    head: CommitId,
    pass: PassId,
    why: Why,
    started: Timestamp,
    jobs: Vec<Job>,
    steps: u32,
    /// Why it stopped before its end.
    pub superseded: Option<&'static str>,
}

/// What is to be done on one target.
struct Job {
    index: usize,
    plan: TargetPlan,
    /// The steps of the plan by their keys.
    steps: BTreeMap<String, u32>,
    state: State,
}

enum State {
    /// Nothing was made yet.
    Waits,
    /// What adds is made and verified.
    Added,
    /// All of it is, or it was so before.
    InForce(EnforcedNow),
    /// It stopped.
    Failed(Trouble),
}

impl Run {
    /// Everything but what is only shown. The steps are on record in the order of the plans.
    pub(super) fn new(
        head: CommitId,
        (pass, why): (PassId, Why),
        plans: &[TargetPlan],
        targets: &[Box<dyn Target>],
        started: Timestamp,
    ) -> Self {
        let mut run = Self { head, pass, why, started, jobs: Vec::new(), steps: 0, superseded: None };
        for plan in plans.iter().filter(|plan| !plan.dry_run) {
            let Some(index) = targets.iter().position(|target| target.name() == plan.target) else { continue };
            let new = steps(plan, why);
            let steps = run.number(&new);
            let state = if plan.in_steps && plan.is_empty() { State::InForce(now(plan, 0)) } else { State::Waits };
            run.jobs.push(Job { index, plan: plan.clone(), steps, state });
        }
        run
    }

    fn number(&mut self, new: &[NewStep]) -> BTreeMap<String, u32> {
        let first = self.steps;
        self.steps = first.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
        new.iter().zip(first..).map(|(step, n)| (step.key.clone(), n)).collect()
    }

    /// What was verified to be in force.
    pub(super) fn enforced(&self) -> Vec<EnforcedNow> {
        let in_force = self.jobs.iter().filter_map(|job| match &job.state {
            State::InForce(now) => Some(now.clone()),
            State::Waits | State::Added | State::Failed(_) => None,
        });
        in_force.collect()
    }

    /// The same without this host, where what failed is taken back.
    pub(super) fn enforced_on_clouds(&self) -> Vec<EnforcedNow> {
        let is_cloud = |now: &EnforcedNow| self.jobs.iter().any(|job| job.plan.in_steps && job.plan.target == now.target);
        self.enforced().into_iter().filter(is_cloud).collect()
    }

    /// Why targets are not in force, by target.
    pub(super) fn failures(&self) -> Vec<(String, String)> {
        let failed = self.jobs.iter().filter_map(|job| match &job.state {
            State::Failed(trouble) => Some((job.plan.target.clone(), cause(trouble))),
            State::Waits | State::Added => Some((job.plan.target.clone(), "not reached".to_owned())),
            State::InForce(_) => None,
        });
        failed.collect()
    }

    fn is_over(&self) -> bool {
        self.superseded.is_some()
    }

    fn fail_rest(&mut self, why: &str) {
        for job in self.jobs.iter_mut().filter(|job| matches!(job.state, State::Waits)) {
            let cause = BackendError { doing: why.to_owned(), cause: None };
            job.state = State::Failed(Trouble::Backend { target: job.plan.target.clone(), cause });
        }
    }
}

/// Why, without the name of the target, which is said beside it.
pub(super) fn cause(trouble: &Trouble) -> String {
    if let Trouble::Backend { cause, .. } = trouble { chain(cause) } else { chain(trouble) }
}

impl<S: Source> World<'_, S> {
    /// What adds on every cloud, the first wave before all others. Says whether the pass may go on; `left_out` are targets nobody could
    /// plan for.
    pub(super) async fn add_on_clouds(&mut self, run: &mut Run, left_out: &[String], removes: bool) -> Result<bool, Trouble> {
        let first_wave = self.settings.first_wave.clone().unwrap_or_default();
        let in_first = |target: &dyn Target| target.in_steps() && !first_wave.is_empty() && target.entry() == first_wave;
        let firsts: Vec<bool> = self.targets.iter().map(|target| in_first(target.as_ref())).collect();
        let lost =
            self.targets.iter().zip(&firsts).any(|(target, first)| *first && left_out.iter().any(|name| name == target.name()));
        let is_first = |run: &Run, n: usize| run.jobs.get(n).is_some_and(|job| firsts.get(job.index) == Some(&true));
        let wave: Vec<usize> = (0..run.jobs.len()).filter(|n| is_first(run, *n)).collect();
        for n in &wave {
            self.do_part(run, *n, Part::Adding).await?;
        }
        for n in wave.iter().filter(|_| removes) {
            self.do_part(run, *n, Part::Removing).await?;
        }
        let stopped = |n: &usize| run.jobs.get(*n).is_some_and(|job| matches!(job.state, State::Failed(_)));
        if lost || wave.iter().any(stopped) {
            run.fail_rest(FIRST_WAVE_FAILED);
            return Ok(false);
        }
        for n in 0..run.jobs.len() {
            if !is_first(run, n) {
                self.do_part(run, n, Part::Adding).await?;
            }
        }
        Ok(!run.is_over())
    }

    /// What takes away, on every cloud where all that adds was verified.
    pub(super) async fn remove_on_clouds(&mut self, run: &mut Run) -> Result<(), Trouble> {
        for n in 0..run.jobs.len() {
            self.do_part(run, n, Part::Removing).await?;
        }
        Ok(())
    }

    /// What is not changed in steps, at once; the first failure ends the pass.
    pub(super) async fn apply_on_host(&mut self, run: &mut Run, within: Option<std::time::Duration>) -> Result<(), Trouble> {
        for job in run.jobs.iter_mut().filter(|job| !job.plan.in_steps) {
            if job.plan.is_empty() {
                let generation = self.store.enforced(job.plan.backend, &job.plan.target).await?.map_or(0, |row| row.generation);
                job.state = State::InForce(now(&job.plan, generation));
                continue;
            }
            let result = self.apply_one(job.index, &job.plan, within).await;
            let (state, code) = match &result {
                Ok(_) => (StepState::Done, None),
                Err(trouble) => (StepState::Failed, Some(chain(trouble))),
            };
            let mut numbers: Vec<u32> = job.steps.values().copied().collect();
            numbers.sort_unstable();
            let ends = numbers.into_iter().map(|n| StepEnd { n, state, code: code.clone() }).collect();
            self.store.close_steps(run.pass, ends, (self.clock)()).await?;
            job.state = State::InForce(result?);
        }
        Ok(())
    }

    /// A part of what is to be done on one cloud, if it is its turn.
    async fn do_part(&mut self, run: &mut Run, n: usize, part: Part) -> Result<(), Trouble> {
        let due = |job: &Job| {
            job.plan.in_steps
                && match part {
                    Part::Adding => matches!(job.state, State::Waits),
                    Part::Removing => matches!(job.state, State::Added),
                }
        };
        if run.is_over() || !run.jobs.get(n).is_some_and(due) {
            return Ok(());
        }
        let done = match part {
            Part::Adding if !self.is_still_so(run, n).await? => return Ok(()),
            Part::Adding | Part::Removing => self.take_all(run, n, part).await?,
        };
        let Some(job) = run.jobs.get_mut(n).filter(|_| done) else { return Ok(()) };
        job.state = match part {
            Part::Adding => State::Added,
            Part::Removing => State::InForce(now(&job.plan, 0)),
        };
        if part == Part::Removing {
            self.memory.unfinished.remove(&job.plan.target);
        }
        Ok(())
    }

    /// Looks just before the first change. What differs by then is planned anew, once, and what was confirmed for the old plan is void.
    async fn is_still_so(&mut self, run: &mut Run, n: usize) -> Result<bool, Trouble> {
        let Some(job) = run.jobs.get_mut(n) else { return Ok(false) };
        let Some(target) = self.targets.get_mut(job.index) else { return Ok(false) };
        let name = job.plan.target.clone();
        let again = match target.plan().await {
            Ok(Some(again)) => again,
            Ok(None) => return Ok(false),
            Err(cause) => {
                job.state = State::Failed(Trouble::Backend { target: name, cause });
                return Ok(false);
            }
        };
        if again.hash == job.plan.hash {
            return Ok(true);
        }
        let why_not = self.why_it_waits(&again).await?;
        let Some(job) = run.jobs.get_mut(n) else { return Ok(false) };
        if let Some(why) = why_not {
            let doing = format!("somebody changed it after it was planned: {why}");
            job.state = State::Failed(Trouble::Backend { target: name, cause: BackendError { doing, cause: None } });
            return Ok(false);
        }
        tracing::warn!(target = %name, "somebody changed it after it was planned: planned again");
        let (first, new) = (run.steps, steps(&again, run.why));
        let numbered = run.number(&new);
        self.store.add_steps(run.pass, first, new, (self.clock)()).await?;
        if let Some(job) = run.jobs.get_mut(n) {
            (job.plan, job.steps) = (again, numbered);
        }
        Ok(true)
    }

    /// Call by call, until all of the part is made and verified.
    async fn take_all(&mut self, run: &mut Run, n: usize, part: Part) -> Result<bool, Trouble> {
        loop {
            if let Some(why) = self.comes_first(run.head, run.started).await? {
                run.superseded = Some(why);
                return Ok(false);
            }
            let Some(job) = run.jobs.get_mut(n) else { return Ok(false) };
            let Some(target) = self.targets.get_mut(job.index) else { return Ok(false) };
            let failed = match target.take(part).await {
                Ok(None) => return Ok(true),
                Ok(Some(Taken { ended, failed })) => {
                    self.memory.unfinished.insert(job.plan.target.clone(), run.head);
                    self.memory.written.insert(job.plan.target.clone(), (self.clock)());
                    let end = |step: super::EndedStep| {
                        let n = job.steps.get(&step.key).copied()?;
                        Some(StepEnd { n, state: step.state, code: step.code })
                    };
                    let ends: Vec<StepEnd> = ended.into_iter().filter_map(end).collect();
                    if !ends.is_empty() {
                        self.store.close_steps(run.pass, ends, (self.clock)()).await?;
                    }
                    failed
                }
                Err(cause) => Some(cause),
            };
            if let Some(cause) = failed {
                job.state = State::Failed(Trouble::Backend { target: job.plan.target.clone(), cause });
                return Ok(false);
            }
        }
    }

    /// Why a pass stops before its next call, if it does.
    async fn comes_first(&self, head: CommitId, started: Timestamp) -> Result<Option<&'static str>, Trouble> {
        if self.memory.stop.load(Ordering::Relaxed) {
            return Ok(Some("superseded: the controller was told to stop"));
        }
        let (head, waiting) = (head.to_string(), self.store.deliveries_waiting().await?);
        let is_newer = |one: &crate::store::Waiting| {
            one.request.is_none() && one.received > started && one.after.as_ref().is_some_and(|after| *after != head)
        };
        Ok(waiting.iter().any(is_newer).then_some("superseded: a newer commit was announced"))
    }

    /// What one target needs, all of it, by itself.
    pub(super) async fn apply_alone(
        &mut self,
        head: CommitId,
        pass: PassId,
        plans: &[TargetPlan],
    ) -> Result<Vec<EnforcedNow>, Trouble> {
        let started = (self.clock)();
        let mut run = Run::new(head, (pass, Why::Drift), plans, self.targets, started);
        self.apply_on_host(&mut run, None).await?;
        self.add_on_clouds(&mut run, &[], true).await?;
        self.remove_on_clouds(&mut run).await?;
        // Nobody follows this up but the next comparison.
        self.memory.unfinished.retain(|name, _| !plans.iter().any(|plan| plan.target == *name));
        if let Some(why) = run.superseded {
            return Err(Trouble::Superseded { why });
        }
        let enforced = run.enforced();
        match run.jobs.into_iter().find_map(|job| if let State::Failed(trouble) = job.state { Some(trouble) } else { None }) {
            Some(trouble) => Err(trouble),
            None => Ok(enforced),
        }
    }

    /// What was verified is what is known to be in force from now on; the candidates of the others are forgotten. What to keep of it.
    pub(super) fn adopt_verified(&mut self, enforced: &[EnforcedNow]) -> Vec<Note> {
        let mut notes = Vec::new();
        for target in self.targets.iter_mut() {
            if enforced.iter().any(|now| now.target == target.name()) {
                target.adopt();
                notes.push(kept(target.as_ref()));
            } else {
                target.discard();
            }
        }
        notes
    }
}

/// What a later start needs to know of a target.
pub(super) fn kept(target: &dyn Target) -> Note {
    Note { name: kept_name(target.name()), value: serde_json::to_string(&target.remember()).ok() }
}

fn now(plan: &TargetPlan, generation: u64) -> EnforcedNow {
    let (backend, target) = (plan.backend.to_owned(), plan.target.clone());
    EnforcedNow { backend, target, desired_hash: plan.desired_hash.0, generation }
}

#[cfg(test)]
mod tests;
