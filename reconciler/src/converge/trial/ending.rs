//! How a trial ends that nobody vouched for: the way back is taken, and the records say so.

use super::super::rollback::RollBack;
use super::super::{Source, StatusState, Trouble, World};
use super::{no_trial, trial_at, trouble};
use crate::store::{Outcome as Recorded, PassEnd};

impl<S: Source> World<'_, S> {
    /// The branch went back to what is in force: what is on trial was never wanted, which is no fault of the commit.
    pub(in crate::converge) async fn drop_trial(&mut self) -> Result<(), Trouble> {
        let Some(trial) = self.memory.trial.clone() else { return Ok(()) };
        let started = (self.clock)();
        self.roll_back_all().await?;
        *self.memory.rollbacks.entry(RollBack::Operator.word()).or_default() += 1;
        let Some(commit) = trial.id() else { return self.forget_trial().await };
        let reason = format!("{} was taken back before it was kept: what is in force is wanted again", commit.short());
        tracing::warn!("{reason}");
        // The forge heard last that it is on trial.
        let status = Some(self.settings.status(commit, StatusState::Error, &reason));
        let end = PassEnd { status, notes: vec![no_trial()], ..PassEnd::of(Recorded::Held, &reason, (self.clock)()) };
        self.end(Some(commit), None, end, started).await?;
        self.memory.trial = None;
        Ok(())
    }

    /// Takes back whatever is on trial; nothing else.
    pub(in crate::converge) async fn roll_back_all(&mut self) -> Result<(), Trouble> {
        for target in self.targets.iter_mut() {
            if trial_at(target.as_mut()).await?.is_some() {
                let name = target.name().to_owned();
                target.roll_back().await.map_err(|cause| trouble(name, cause))?;
            }
            target.end_trial();
        }
        Ok(())
    }

    pub(super) async fn forget_trial(&mut self) -> Result<(), Trouble> {
        self.store.note(no_trial(), (self.clock)()).await?;
        for target in self.targets.iter_mut() {
            target.end_trial();
        }
        self.memory.trial = None;
        Ok(())
    }

    /// A trial of which nothing is on record is nobody's: the way back is what was vouched for.
    pub(super) async fn end_strange_trials(&mut self) -> Result<(), Trouble> {
        for target in self.targets.iter_mut() {
            if trial_at(target.as_mut()).await?.is_some() {
                let name = target.name().to_owned();
                tracing::warn!(target = %name, "something is on trial that is not on record; it is taken back");
                target.roll_back().await.map_err(|cause| trouble(name, cause))?;
            }
        }
        Ok(())
    }
}
