//! One trip of the loop: look at the head, judge what is new, plan, apply, record.
//!
//! Level-triggered: whatever woke it, a trip looks again and decides from what it sees. What happens next is in [`Outcome`]; an
//! `Err` always means "try again later", with what is enforced left as it is. Everything it knows of the world comes through the
//! seams, the store, and a clock given as an argument.

mod aiming;
mod announced;
mod calendar;
mod drift;
mod ended;
mod first;
mod flaps;
mod judge;
mod lineage;
mod managed;
mod outcome;
mod pass;
mod phases;
mod pinned;
mod planned;
mod probe;
mod provider;
mod quarantine;
mod requests;
mod restore;
mod rollback;
mod seams;
mod signed;
mod stepped;
mod suspended;
mod target;
mod trial;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policy::admit::Admitted;
use policy::compile::compile;
use policy::date::Date;
use policy::host::HostIdentity;
use policy::model::inventory::Enforcer;
use policy::model::{PolicySet, Profile};
use policy::plan::{EmptyState, Limits};
use policy::snapshot::CommitId;

pub use self::announced::{announce, watch_announced};
#[cfg(test)]
pub(crate) use self::calendar::tests as kit;
pub(crate) use self::drift::row as drift_row;
pub use self::drift::{Compared, Scope, check_drift, check_drift_of};
pub use self::first::FirstEnforcement;
pub use self::managed::Managed;
pub use self::outcome::{Outcome, Trouble};
pub use self::pass::kept_name;
pub use self::pinned::PINNED;
pub use self::probe::{Errand, Prober, Tried};
pub use self::provider::{Acted, Actor, Ended, Part, Provider, Shown, Stage};
pub(crate) use self::quarantine::ends_with_a_look;
pub use self::quarantine::{FAILED, Failed};
pub use self::requests::{COMMENT_MARK, judge_left_over, judge_request, request_out_of_reach};
pub use self::rollback::RollBack;
pub use self::seams::{
    Ancestry, Annotation, Approval, Comment, CommitInfo, CommitStatus, Forge, Gone, Head, Level, ReportError, RequestHeads,
    Reviewed, SignerList, Source, SourceError, Standing, StatusState, StoredCommits,
};
pub use self::signed::{Verify, VerifyMode};
pub use self::stepped::{Entry, Stepped};
pub use self::suspended::{AUDIT_HOLD, DISABLED, SUSPENDED, until};
pub use self::target::{
    Backend, BackendError, Boxed, Class, Deviation, Difference, EndedStep, Holding, Kept, Lowered, NotLowered, Observed, Rehearsal,
    Step, Taken, Target, TargetPlan, Trial,
};
pub use self::trial::{CONFIRMED_TRIAL, ON_TRIAL, OnTrial, SELF_CONFIRM};

use self::aiming::{NotAimed, Plans};
use self::judge::Judged;
use self::lineage::Lineage;
use self::pass::{Decisions, Deed};
use crate::metrics::Judging;
pub use crate::store::StepState;
use crate::store::{self, Came, Store};

/// The switch that accepts one head although it does not descend from the commit in force.
pub const ACCEPTED_HEAD: &str = "accepted_head";
/// The switch that releases one held plan by its hash.
pub const CONFIRMED_PLAN: &str = "confirmed_plan";

/// A trial that could not be settled is looked at again after this.
const TRIAL_RETRY: Duration = Duration::from_secs(2);

/// What time it is; a function, so that tests choose.
pub type Clock = fn() -> Timestamp;

/// What does not change from trip to trip.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `refs/heads/main`.
    pub git_ref: String,
    /// Under which name a forge files the verdict.
    pub context: String,
    /// How people reach this controller.
    pub public_url: Option<String>,
    /// A commit with a weaker profile is rejected.
    pub pinned_profile: Option<Profile>,
    /// What enforces here.
    pub backends: Vec<Enforcer>,
    /// How much one pass may change.
    pub limits: Limits,
    /// The entry of the configuration whose targets are changed before those of any other.
    pub first_wave: Option<String>,
    /// Whether drift is put back.
    pub heal: bool,
    /// Program, catalogue and pinned profile: a verdict of another one is given again.
    pub judged_by: String,
    /// What being in force means here.
    pub posture: Posture,
    /// How long a person has to confirm what is on trial; without, the controller vouches by itself.
    pub confirm_within: Option<Duration>,
    /// What happens on a host that was never enforced.
    pub first: FirstEnforcement,
    /// Which start of the host this is: what is on trial does not outlive one.
    pub boot_id: String,
    /// Whose commits are taken.
    pub verify: Verify,
    /// Whether the verdict on a request's head is written below the request.
    pub comment: bool,
    /// Who this host is, to know which declared flows begin here.
    pub identity: Option<HostIdentity>,
}

/// What being in force means here: nobody shall think that packets are dropped where they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posture {
    /// What no rule allows is dropped.
    Enforced,
    /// It is counted.
    Audited,
    /// No target is configured.
    JudgedOnly,
}

/// Everything a trip works with.
pub struct World<'a, S> {
    /// Where policies come from.
    pub source: &'a S,
    /// Where everything is recorded.
    pub store: &'a Store,
    /// Where rules are enforced.
    pub targets: &'a mut [Box<dyn Target>],
    /// What does not change.
    pub settings: &'a Settings,
    /// What tries connections.
    pub prober: &'a dyn Prober,
    /// What time it is.
    pub clock: Clock,
    /// What earlier trips of this process found.
    pub memory: &'a mut Memory,
}

/// What one trip leaves for the next. Nothing here outlives the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// The head of the last trip, if that trip left nothing to do for it.
    pub settled: Option<(CommitId, Outcome)>,
    /// Whether what was last in force is known again since the start.
    pub restored: bool,
    /// After this time the loop has to look again: a trial or the time of learning ends then.
    pub look_in: Option<Duration>,
    /// What is left of the time of learning.
    pub learning: Option<Duration>,
    /// What is on trial.
    pub(crate) trial: Option<OnTrial>,
    /// Whether an earlier process was asked for its trial.
    pub(crate) trial_known: bool,
    /// Since when a first enforcement is rehearsed.
    pub(crate) learning_since: Option<Timestamp>,
    /// The day on which what is in force was last looked at: rules end, reviews come due.
    pub(crate) looked_on: Option<Date>,
    /// How often what was on trial was taken back, by cause.
    pub rollbacks: BTreeMap<&'static str, u64>,
    /// What was last written down as drift of a target, and when.
    pub(crate) drift_noted: BTreeMap<String, (Vec<store::DriftSeen>, Timestamp)>,
    /// What was last said of a target's drift.
    pub(crate) drift_said: BTreeMap<String, String>,
    /// When it was last put on record that a target was looked at, and why that gave no answer.
    pub(crate) looks_noted: BTreeMap<String, (Timestamp, Option<String>)>,
    /// Tries to put an object back that did not help.
    pub(crate) heals: flaps::Heals,
    /// Which commit a person went back to, if one did.
    pub(crate) pinned: Option<CommitId>,
    /// Where the branch was seen last.
    pub(crate) head: Option<Head>,
    /// What a forge announced and is not there yet.
    pub(crate) announced: Option<announced::Announced>,
    /// When we were told of commits.
    pub told: BTreeMap<CommitId, Timestamp>,
    /// What was judged, counted.
    pub judging: Arc<Judging>,
    /// Set from outside: a pass stops before its next call.
    pub stop: Arc<std::sync::atomic::AtomicBool>,
    /// Targets that were changed in steps towards a commit that is not in force there yet: what differs is no drift.
    pub(crate) unfinished: BTreeMap<String, CommitId>,
    /// When we last wrote to a target.
    pub(crate) written: BTreeMap<String, Timestamp>,
    /// When who is to be protected was last looked for beside a pass.
    pub(crate) surveyed: Option<Timestamp>,
    /// The set in force, read once.
    pub(crate) enforced: Option<(CommitId, Arc<PolicySet>)>,
}

/// One trip.
///
/// # Errors
/// The world did not answer; try again later. What is enforced stays enforced.
pub async fn converge<S: Source>(world: &mut World<'_, S>, came: Came) -> Result<Outcome, Trouble> {
    if let Err(trouble) = world.restore().await {
        // A target that does not answer must not keep commits from being judged; the next trip tries again.
        tracing::error!("what was last in force is not back: {}", crate::chain::chain(&trouble));
    }
    let started = (world.clock)();
    world.look_who_is_there().await;
    world.catch_up(started).await?;
    world.keep_in_force().await?;
    if let Some(pin) = world.pin().await? {
        return world.hold_to(&pin, came, started).await;
    }
    let seen = world.source.head().await?;
    world.memory.head = Some(seen.clone());
    let head = match seen {
        Head::At(commit) => commit,
        Head::EmptyRepository => return world.hold(None, "the repository is empty: push a first commit", started).await,
        Head::BranchMissing => {
            return world.hold(None, &format!("{} is gone, or never was", world.settings.git_ref), started).await;
        }
    };
    if let Some(outcome) = world.head_on_trial(head) {
        return Ok(outcome);
    }
    if let Some((_, outcome)) = world.memory.settled.as_ref().filter(|(settled, _)| *settled == head) {
        return Ok(outcome.clone());
    }
    let base = world.store.last_in_force().await?.map(|last| last.commit);
    if base == Some(head) {
        world.drop_trial().await?;
    }
    if base == Some(head) && world.memory.restored && world.is_known().await? {
        return world.still_in_force(head, started).await;
    }
    let new = match world.lineage(base, head).await? {
        Lineage::New(commits) => commits,
        Lineage::Held(reason) => return world.hold(Some(head), &reason, started).await,
    };
    world.know_enforced(base).await;
    let admitted = match world.judge(new, head, base, came).await? {
        Judged::Compliant(admitted) => *admitted,
        Judged::Rejected(rejection) if rejection.empty && world.settings.limits.empty_state == EmptyState::Hold => {
            return world.hold(Some(head), "empty state: the commit has no policy document", started).await;
        }
        Judged::Rejected(rejection) => return world.rejected(head, rejection, started).await,
    };
    world.put_in_force(admitted, head, base, started).await
}

impl<S: Source> World<'_, S> {
    /// From an admitted commit to rules in force, or to why not.
    async fn put_in_force(
        &mut self,
        admitted: Admitted,
        head: CommitId,
        base: Option<CommitId>,
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        if let Some(reason) = self.quarantined(head).await? {
            return self.hold_quarantined(head, &reason, started).await;
        }
        if let Some(reason) = self.stopped().await? {
            return self.hold_back(head, &reason, started).await;
        }
        let ruleset = compile(&admitted);
        let left_out = match self.aim(&ruleset).await {
            Ok(left_out) => left_out,
            Err(NotAimed::Unsupported(unsupported)) => return self.inexpressible(head, &unsupported, started).await,
            Err(NotAimed::Failed(trouble)) => return Err(self.failed_to_aim(head, trouble, started).await),
        };
        let Plans { plans, left_out } = match self.plan(left_out).await {
            Ok(plans) => plans,
            Err(trouble @ Trouble::Backend { .. }) => return Err(self.failed_to_aim(head, trouble, started).await),
            Err(trouble) => return Err(trouble),
        };
        let narrow = self.narrow();
        if !narrow.is_empty() {
            self.discard();
            return self.inexpressible(head, &narrow, started).await;
        }
        if let Some(reason) = self.too_large(head, &plans).await? {
            return self.hold_plan(head, &reason, &plans, started).await;
        }
        let first = self.is_first(&plans).await?;
        if let Some(outcome) = self.rehearse(first, head, &plans, started).await? {
            return Ok(outcome);
        }
        let reached = Some(self.reached(admitted.set(), &ruleset, first).await);
        // Planning and asking who connects take their time, and somebody may have ordered a stop meanwhile.
        if let Some(reason) = self.stopped().await? {
            self.discard();
            return self.hold_back(head, &reason, started).await;
        }
        let deed = Deed { head, base, decisions: Decisions::Used, started, reached, left_out };
        let outcome = self.carry_out(deed, &plans).await?;
        if !matches!(outcome, Outcome::InForce { .. }) {
            return Ok(outcome);
        }
        self.memory.looked_on = Some(admitted.today());
        self.memory.enforced = Some((head, Arc::new(admitted.into_set())));
        Ok(outcome)
    }

    /// What time has brought since the last trip: a trial that ended, a day on which rules end. Only what cannot be recorded keeps the
    /// head from being looked at.
    async fn catch_up(&mut self, started: Timestamp) -> Result<(), Trouble> {
        if let Err(trouble) = self.settle_trial(started).await {
            if matches!(trouble, Trouble::Store(_)) {
                return Err(trouble);
            }
            self.memory.look_in = Some(TRIAL_RETRY);
            tracing::error!("what is on trial is left to its deadline: {}", crate::chain::chain(&trouble));
        }
        self.end_switches().await?;
        if self.stopped().await?.is_some() {
            return Ok(());
        }
        if let Err(trouble) = self.on_a_new_day(started).await {
            if matches!(trouble, Trouble::Store(_)) {
                return Err(trouble);
            }
            tracing::error!("rules that end today are still in force: {}", crate::chain::chain(&trouble));
        }
        Ok(())
    }
}
