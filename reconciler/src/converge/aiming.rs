//! What every target should enforce and what that takes, and whether it is little enough to be done without asking.

use policy::compile::Ruleset;
use policy::digest::Digest;
use policy::lower::Unsupported;
use policy::snapshot::CommitId;

use super::phases::cause;
use super::{NotLowered, Source, Target, TargetPlan, Trouble, World};

/// More targets than this are not changed in one pass without asking.
const TARGETS_MAX: usize = 20;

/// Why no target has a candidate.
pub(super) enum NotAimed {
    /// A backend cannot say it.
    Unsupported(Vec<Unsupported>),
    /// A target does not know what it should say.
    Failed(Trouble),
}

/// What the targets need.
#[derive(Debug, Default)]
pub(super) struct Plans {
    /// One for each target that answered.
    pub plans: Vec<TargetPlan>,
    /// Who did not, and why: the others go on.
    pub left_out: Vec<(String, String)>,
}

impl<S: Source> World<'_, S> {
    /// Sets every target's candidate, or none. A target that does not answer is left out, unless none is left.
    pub(super) async fn aim(&mut self, ruleset: &Ruleset) -> Result<Vec<(String, String)>, NotAimed> {
        let (mut problems, mut left_out, mut failed, mut aimed) = (Vec::new(), Vec::new(), None, 0);
        for target in self.targets.iter_mut() {
            let lowered = match target.survey().await {
                Ok(()) => target.aim(ruleset),
                Err(cause) => Err(NotLowered::Failed(cause)),
            };
            match lowered {
                Ok(()) => aimed += 1,
                Err(NotLowered::Unsupported(more)) => problems.extend(more),
                Err(NotLowered::Failed(cause)) => {
                    let trouble = Trouble::Backend { target: target.name().to_owned(), cause };
                    left_out.push((target.name().to_owned(), self::cause(&trouble)));
                    failed = Some(trouble);
                }
            }
        }
        if problems.is_empty() && (failed.is_none() || aimed > 0) {
            return Ok(left_out);
        }
        self.discard();
        // What no retry mends is said first.
        Err(failed.filter(|_| problems.is_empty()).map_or(NotAimed::Unsupported(problems), NotAimed::Failed))
    }

    /// What each target needs that is not left out; who cannot be observed is left out as well, unless nobody is left.
    pub(super) async fn plan(&mut self, left_out: Vec<(String, String)>) -> Result<Plans, Trouble> {
        let (mut all, mut failed) = (Plans { plans: Vec::with_capacity(self.targets.len()), left_out }, None);
        for target in self.targets.iter_mut() {
            let name = target.name().to_owned();
            if all.left_out.iter().any(|(left, _)| *left == name) {
                continue;
            }
            match target.plan().await {
                Ok(plan) => all.plans.extend(plan),
                Err(cause) => {
                    let trouble = Trouble::Backend { target: name.clone(), cause };
                    all.left_out.push((name, self::cause(&trouble)));
                    failed = Some(trouble);
                }
            }
        }
        failed.filter(|_| all.plans.is_empty()).map_or(Ok(all), Err)
    }

    /// What does not fit beside what is there, before the first call.
    pub(super) fn narrow(&self) -> Vec<Unsupported> {
        self.targets.iter().filter(|target| !target.dry_run()).flat_map(|target| target.narrow().to_vec()).collect()
    }

    /// Why plans wait for a person, unless one has confirmed exactly these.
    pub(super) async fn too_large(&self, head: CommitId, plans: &[TargetPlan]) -> Result<Option<String>, Trouble> {
        let waiting = self.waiting(plans);
        let (Some(hash), Some((first, why))) = (confirmable(&waiting), waiting.first()) else { return Ok(None) };
        if self.is_plan_confirmed(&hash).await? {
            return Ok(None);
        }
        let more = if waiting.len() > 1 { format!(" (+{} more)", waiting.len() - 1) } else { String::new() };
        let (short, target) = (head.short(), &first.target);
        let exactly = if waiting.len() > 1 { "exactly these plans" } else { "exactly this plan" };
        Ok(Some(format!("{short} on {target}: {why}{more}; release {exactly} with pci-segment confirm {hash} --reason …")))
    }

    /// The hash with which a person releases these plans, if they wait for one.
    pub(super) fn released_with(&self, plans: &[TargetPlan]) -> Option<String> {
        confirmable(&self.waiting(plans))
    }

    /// Why one target's plan is not carried out now: it does not fit, or waits for a person who has not confirmed just this one.
    pub(super) async fn why_it_waits(&self, plan: &TargetPlan) -> Result<Option<String>, Trouble> {
        let Some(target) = self.targets.iter().find(|target| target.name() == plan.target) else { return Ok(None) };
        if let Some(problem) = target.narrow().first() {
            return Ok(Some(problem.message.clone()));
        }
        let Some(why) = self.reason_to_wait(target.as_ref()) else { return Ok(None) };
        let hash = plan.hash.short();
        let confirmed = self.is_plan_confirmed(&hash).await?;
        Ok((!confirmed).then(|| format!("{why}; release exactly this plan with pci-segment confirm {hash} --reason …")))
    }

    /// Which plans wait, and why.
    fn waiting<'p>(&self, plans: &'p [TargetPlan]) -> Vec<(&'p TargetPlan, String)> {
        let real: Vec<&TargetPlan> = plans.iter().filter(|plan| !plan.dry_run).collect();
        let changing = real.iter().filter(|plan| plan.changes > 0).count();
        if changing > TARGETS_MAX {
            let why = format!("{changing} targets would be changed in one pass; the limit is {TARGETS_MAX}");
            return real.into_iter().filter(|plan| plan.changes > 0).map(|plan| (plan, why.clone())).collect();
        }
        let (disturbed, most) = (real.iter().map(|plan| disturbed(plan)).sum::<usize>(), self.settings.limits.changes);
        if changing > 1 && disturbed > most {
            let why = format!("{disturbed} rules would be removed or changed in one pass; the limit is {most}");
            return real.into_iter().filter(|plan| plan.changes > 0).map(|plan| (plan, why.clone())).collect();
        }
        let of = |plan: &TargetPlan| self.targets.iter().find(|target| target.name() == plan.target);
        let why = |plan: &'p TargetPlan| Some((plan, self.reason_to_wait(of(plan)?.as_ref())?));
        real.into_iter().filter_map(why).collect()
    }

    fn reason_to_wait(&self, target: &dyn Target) -> Option<String> {
        let limits = &self.settings.limits;
        let whole = target.excess(limits).map(|excess| excess.to_string());
        whole.or_else(|| target.excess_of_group(limits)).or_else(|| target.waits())
    }
}

/// Rules that are there and would be removed or changed.
fn disturbed(plan: &TargetPlan) -> usize {
    plan.delete.len() + plan.create.iter().filter(|step| !step.from.is_empty()).count()
}

/// One plan is confirmed by its own hash, several by one over all of theirs.
fn confirmable(waiting: &[(&TargetPlan, String)]) -> Option<String> {
    match waiting {
        [] => None,
        [(only, _)] => Some(only.hash.short()),
        several => {
            let all: Vec<u8> = several.iter().flat_map(|(plan, _)| plan.hash.0).collect();
            Some(Digest::of(&all).short())
        }
    }
}
