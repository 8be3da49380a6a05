//! Rules on trial: every commit is, between the moment it judges packets and the moment somebody vouches for it.
//!
//! The target keeps the time and takes the way back by itself, whether this process lives or not. Here it is decided who vouches: the
//! controller, once what connected before connects still, or a person (`host.confirm_within`). What is on trial stands in the store
//! beside the pass that put it there, so that a restart knows it. A commit that was taken back is quarantined: it is not tried again
//! until a newer one comes, or a person accepts it.

mod ending;

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde::{Deserialize, Serialize};

use super::pass::kept_name;
use super::rollback::RollBack;
use super::{
    BackendError, Errand, Holding, Kept, Outcome, Settings, Source, StatusState, Target, TargetPlan, Trial, Trouble, World,
};
use crate::store::{EnforcedNow, Note, Outcome as Recorded, PassEnd, PassId};

/// The time a target gives the controller to vouch by itself.
pub const SELF_CONFIRM: Duration = Duration::from_secs(60);
/// Under which name the store keeps what is on trial.
pub const ON_TRIAL: &str = "on_trial";
/// The switch with which a person vouches for what is on trial.
pub const CONFIRMED_TRIAL: &str = "confirmed_trial";
/// Targets keep time in steps of up to 134 ms.
const MARGIN: Duration = Duration::from_millis(200);

/// What is on trial, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnTrial {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// What a person confirms: twelve digits of the plan's hash.
    pub hash: String,
    /// Whether a person has to.
    pub by_hand: bool,
    /// When the way back is taken. `None` until it is known that the rules judge packets.
    pub until: Option<Timestamp>,
    /// How many changes were made.
    pub changes: u64,
    /// In which start of the host.
    boot_id: String,
    /// What connected just before.
    pub(super) reached: Vec<Errand>,
    /// Where it is on trial.
    pub(super) targets: Vec<TargetOnTrial>,
}

/// One target's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetOnTrial {
    target: String,
    backend: String,
    desired_hash: String,
    generation: u64,
    kept: Kept,
}

/// What became of a trial.
enum State {
    /// It runs; this much is left.
    Runs(Duration),
    /// Its time is over.
    Over,
    /// It was confirmed.
    Kept,
    /// It was ended otherwise; how.
    Ended(RollBack, &'static str),
    /// It never began.
    NeverBegan,
}

impl OnTrial {
    /// The commit.
    pub(super) fn id(&self) -> Option<CommitId> {
        self.commit.parse().ok()
    }

    /// `on trial until 12:00:00 UTC; …`, for people.
    pub(super) fn sentence(&self) -> String {
        let until = self.until.map_or_else(String::new, |until| format!(" until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC")));
        format!("{} is on trial{until}; keep it with pci-segment confirm {}", short(&self.commit), self.hash)
    }

    pub(super) fn note(&self) -> Note {
        Note { name: ON_TRIAL.to_owned(), value: serde_json::to_string(self).ok() }
    }
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// Nothing is on trial any more.
pub(super) fn no_trial() -> Note {
    Note { name: ON_TRIAL.to_owned(), value: None }
}

impl Settings {
    /// How long a commit is on trial.
    pub(super) fn trial_time(&self) -> Duration {
        self.confirm_within.unwrap_or(SELF_CONFIRM)
    }
}

impl<S: Source> World<'_, S> {
    /// What a pass is about to put on trial.
    pub(super) fn trial_of(&self, head: CommitId, plans: &[TargetPlan], reached: Vec<Errand>) -> OnTrial {
        // Clouds have no trial: what takes away there waits until this one is confirmed.
        let on_host = || plans.iter().filter(|plan| !plan.in_steps);
        let part = |plan: &TargetPlan| {
            let target = self.targets.iter().find(|target| target.name() == plan.target)?;
            Some(TargetOnTrial {
                target: plan.target.clone(),
                backend: plan.backend.to_owned(),
                desired_hash: plan.desired_hash.to_string(),
                generation: 0,
                kept: target.remember(),
            })
        };
        OnTrial {
            commit: head.to_string(),
            hash: plans.iter().find(|plan| !plan.in_steps).map_or_else(String::new, |plan| plan.hash.short()),
            by_hand: self.settings.confirm_within.is_some(),
            until: None,
            changes: on_host().map(|plan| plan.changes_made() as u64).sum(),
            boot_id: self.settings.boot_id.clone(),
            reached,
            targets: on_host().filter_map(part).collect(),
        }
    }

    /// Leaves a trial to a person: it runs, and the pass is held.
    pub(super) async fn wait_for_confirmation(
        &mut self,
        pass: PassId,
        mut trial: OnTrial,
        enforced: &[EnforcedNow],
        head: CommitId,
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        let mut left = self.settings.trial_time();
        for target in self.targets.iter_mut() {
            let running = trial_at(target.as_mut()).await?;
            left = running.map_or(left, |running| left.min(running.left));
            if target.in_steps() {
                target.discard();
            } else {
                target.begin_trial();
            }
        }
        for part in &mut trial.targets {
            let now = enforced.iter().find(|now| now.target == part.target);
            part.generation = now.map_or(0, |now| now.generation);
        }
        trial.until = (self.clock)().checked_add(left).ok();
        let reason = trial.sentence();
        let status = Some(self.settings.status(head, StatusState::Pending, &reason));
        let notes = vec![trial.note()];
        self.store.close_pass(pass, PassEnd { status, notes, ..PassEnd::of(Recorded::Held, &reason, (self.clock)()) }).await?;
        self.forget_decisions(started).await?;
        self.memory.look_in = Some(left + MARGIN);
        self.memory.trial = Some(trial);
        // A branch that goes back to what is in force ends the trial: that head is settled no longer.
        self.memory.settled = None;
        Ok(Outcome::Held { reason })
    }

    /// The head that is on trial needs no second look.
    pub(super) fn head_on_trial(&self, head: CommitId) -> Option<Outcome> {
        let trial = self.memory.trial.as_ref().filter(|trial| trial.id() == Some(head))?;
        Some(Outcome::Held { reason: trial.sentence() })
    }

    /// A newer head means the rules that are on trial already: it takes their place, and their time runs on.
    pub(super) async fn join_trial(&mut self, head: CommitId, mut trial: OnTrial, started: Timestamp) -> Result<Outcome, Trouble> {
        trial.commit = head.to_string();
        let reason = trial.sentence();
        let status = Some(self.settings.status(head, StatusState::Pending, &reason));
        let notes = vec![trial.note()];
        self.end(Some(head), None, PassEnd { status, notes, ..PassEnd::of(Recorded::Held, &reason, (self.clock)()) }, started)
            .await?;
        self.memory.trial = Some(trial);
        Ok(Outcome::Held { reason })
    }

    /// The start of a trip: what was on trial is kept, taken back or left to run, before anything is asked of the head.
    pub(super) async fn settle_trial(&mut self, started: Timestamp) -> Result<(), Trouble> {
        self.memory.look_in = None;
        self.know_trial().await?;
        let Some(trial) = self.memory.trial.clone() else { return self.end_strange_trials().await };
        match self.state_of(&trial).await? {
            State::Runs(left) if trial.by_hand => {
                if self.is_confirmed(&trial).await? {
                    self.confirm_all().await?;
                    return self.keep_trial(trial, started).await;
                }
                self.memory.look_in = Some(left + MARGIN);
                Ok(())
            }
            // The process ended before it could vouch.
            State::Runs(_) => match self.first_unreached(&trial.reached).await {
                None => {
                    self.confirm_all().await?;
                    self.keep_trial(trial, started).await
                }
                Some(lost) => self.take_back(trial, (RollBack::Probe, &lost), None, started).await.map(drop),
            },
            State::Kept => self.keep_trial(trial, started).await,
            State::Over => {
                self.take_back(trial, (RollBack::Deadline, "it was not confirmed in time"), None, started).await.map(drop)
            }
            State::Ended(cause, how) => self.take_back(trial, (cause, how), None, started).await.map(drop),
            State::NeverBegan => self.forget_trial().await,
        }
    }

    /// Once per process: what an earlier one left on trial.
    async fn know_trial(&mut self) -> Result<(), Trouble> {
        if self.memory.trial_known {
            return Ok(());
        }
        let kept = self.store.meta_get(ON_TRIAL).await?;
        let trial = kept.and_then(|text| serde_json::from_str::<OnTrial>(&text).ok());
        if let Some(trial) = &trial {
            tracing::info!(commit = %trial.commit, "an earlier start left this on trial");
            for target in self.targets.iter_mut() {
                if let Some(part) = trial.targets.iter().find(|part| part.target == target.name()) {
                    target.recall_trial(&part.kept, &part.desired_hash);
                }
            }
        }
        self.memory.trial = trial;
        self.memory.trial_known = true;
        Ok(())
    }

    async fn state_of(&mut self, trial: &OnTrial) -> Result<State, Trouble> {
        if trial.boot_id != self.settings.boot_id {
            // It may well be why: better once too careful than a host that goes down at each start.
            return Ok(State::Ended(RollBack::Reboot, "the host went down while it was on trial"));
        }
        let mut state = State::NeverBegan;
        for target in self.targets.iter_mut() {
            let Some(part) = trial.targets.iter().find(|part| part.target == target.name()) else { continue };
            let name = part.target.clone();
            let found = match trial_at(target.as_mut()).await? {
                Some(running) if running.is_over() => return Ok(State::Over),
                Some(running) => State::Runs(running.left),
                None => match target.holds(&part.desired_hash).await.map_err(|cause| trouble(name, cause))? {
                    Holding::These => State::Kept,
                    _ if trial.until.is_none() => State::NeverBegan,
                    Holding::Nothing | Holding::Others => State::Ended(RollBack::Operator, "it was taken back by hand"),
                },
            };
            state = match (state, found) {
                (State::Runs(a), State::Runs(b)) => State::Runs(a.min(b)),
                (State::Runs(left), _) => State::Runs(left),
                (_, found) => found,
            };
        }
        Ok(state)
    }

    async fn is_confirmed(&self, trial: &OnTrial) -> Result<bool, Trouble> {
        let switch = self.store.switch_get(CONFIRMED_TRIAL, (self.clock)()).await?;
        Ok(switch.is_some_and(|switch| switch.value == trial.hash))
    }

    pub(super) async fn confirm_all(&mut self) -> Result<(), Trouble> {
        for target in self.targets.iter_mut() {
            let name = target.name().to_owned();
            target.confirm().await.map_err(|cause| trouble(name, cause))?;
        }
        Ok(())
    }

    /// The generation of a trial; a process that ended before it could write it down leaves the target to be asked.
    async fn generation_of(&mut self, part: &TargetOnTrial) -> Result<u64, Trouble> {
        let target = self.targets.iter_mut().find(|target| part.generation == 0 && target.name() == part.target);
        let Some(target) = target else { return Ok(part.generation) };
        let seen = target.generation().await.map_err(|cause| trouble(part.target.clone(), cause))?;
        Ok(seen.unwrap_or_default())
    }

    /// What is on trial is in force now, in the records too.
    async fn keep_trial(&mut self, trial: OnTrial, started: Timestamp) -> Result<(), Trouble> {
        let Some(commit) = trial.id() else { return self.forget_trial().await };
        let mut notes = vec![no_trial()];
        let mut enforced = Vec::new();
        for part in &trial.targets {
            let kept = serde_json::to_string(&part.kept).ok();
            notes.push(Note { name: kept_name(&part.target), value: kept });
            let Some(desired) = policy::digest::Digest::parse(&format!("sha256:{}", part.desired_hash)) else { continue };
            let (backend, target) = (part.backend.clone(), part.target.clone());
            let generation = self.generation_of(part).await?;
            enforced.push(EnforcedNow { backend, target, desired_hash: desired.0, generation });
        }
        let changes = trial.changes;
        let sentence = self.settings.posture.sentence(usize::try_from(changes).unwrap_or(usize::MAX));
        let status = Some(self.settings.status(commit, StatusState::Success, &sentence));
        let confirmed_by = Some(self.vouched_by(&trial.hash).await?);
        let end = PassEnd {
            enforced,
            changes,
            status,
            notes,
            confirmed_by,
            ..PassEnd::of(Recorded::InForce, "confirmed", (self.clock)())
        };
        self.end(Some(commit), None, end, started).await?;
        for target in self.targets.iter_mut() {
            target.adopt_trial();
        }
        self.forget_decisions(started).await?;
        tracing::info!(%commit, "confirmed: in force");
        self.memory.trial = None;
        self.memory.settled = None;
        self.memory.enforced = None;
        Ok(())
    }

    /// Puts the way back in force, quarantines the commit, and says so. `pass` is the one that is still open.
    pub(super) async fn take_back(
        &mut self,
        trial: OnTrial,
        (kind, cause): (RollBack, &str),
        pass: Option<PassId>,
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        self.roll_back_all().await?;
        *self.memory.rollbacks.entry(kind.word()).or_default() += 1;
        let Some(commit) = trial.id() else {
            self.forget_trial().await?;
            return Ok(Outcome::Held { reason: cause.to_owned() });
        };
        let back = match self.store.last_in_force().await? {
            Some(last) => format!("{} is in force again", last.commit.short()),
            None => "nothing is dropped again".to_owned(),
        };
        let reason = format!(
            "{} was taken back: {cause}; {back}. Push a newer commit, or try it again with pci-segment reconcile --accept-head {} --reason …",
            commit.short(),
            commit.short()
        );
        tracing::error!("{reason}");
        let status = Some(self.settings.status(commit, StatusState::Error, &reason));
        let (notes, quarantine) = (vec![no_trial()], Some(reason.clone()));
        let end = PassEnd { status, notes, quarantine, ..PassEnd::of(Recorded::Held, &reason, (self.clock)()) };
        match pass {
            Some(pass) => self.store.close_pass(pass, end).await?,
            None => self.end(Some(commit), None, end, started).await?,
        }
        self.forget_decisions(started).await?;
        self.discard();
        self.memory.trial = None;
        self.memory.settled = None;
        Ok(Outcome::Held { reason })
    }
}

async fn trial_at(target: &mut dyn Target) -> Result<Option<Trial>, Trouble> {
    let name = target.name().to_owned();
    target.trial().await.map_err(|cause| trouble(name, cause))
}

fn trouble(target: String, cause: BackendError) -> Trouble {
    Trouble::Backend { target, cause }
}
