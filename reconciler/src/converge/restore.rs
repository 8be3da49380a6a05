//! The start: what was last in force is known again, and in force again, before anything is asked of the head.
//!
//! The head may be rejected, held or out of reach, the mirror lost, the network down: the last good rules are enforced all the same.
//! They stand in the store, beside the hash that says they are the ones. After a reboot the kernel is blank and they are put back;
//! after a restart they are found as they were, and content that differs is drift, which has its own way. On a host that goes back to a
//! firewall it had before they are put in force beside those of the other one, which goes last.

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::pass::kept_name;
use super::{Kept, Source, Trouble, World};
use crate::store::{Outcome as Recorded, PassEnd, Why};

/// Between two looks at who is there on clouds.
const SURVEYED_AGAIN: Duration = Duration::from_secs(60);

impl<S: Source> World<'_, S> {
    /// Once per process, until every target answered.
    pub(super) async fn restore(&mut self) -> Result<(), Trouble> {
        if self.memory.restored {
            return Ok(());
        }
        if let Some(base) = self.store.last_in_force().await?.map(|last| last.commit) {
            for index in 0..self.targets.len() {
                self.restore_target(index, base).await?;
            }
        }
        self.memory.restored = true;
        Ok(())
    }

    /// Finds who is to be protected on clouds, at most once a minute: the head that is in force may mean other rules by now.
    pub(super) async fn look_who_is_there(&mut self) {
        let now = (self.clock)();
        let fresh = |at: &Timestamp| now.duration_since(*at).unsigned_abs() < SURVEYED_AGAIN;
        if self.memory.surveyed.as_ref().is_some_and(fresh) {
            return;
        }
        for target in self.targets.iter_mut().filter(|target| target.in_steps()) {
            self.memory.surveyed = Some(now);
            let before = target.setup_text();
            if let Err(error) = target.survey().await {
                tracing::warn!(target = target.name(), "cannot see who is there: {}", crate::chain::chain(&error));
            } else if before != target.setup_text() {
                self.memory.settled = None;
            }
        }
    }

    /// Whether every target knows what should be in force, and nothing it depends on beside the commit has changed.
    pub(super) async fn is_known(&self) -> Result<bool, Trouble> {
        let base = self.store.last_in_force().await?.map(|last| last.commit.to_string());
        for target in self.targets.iter().filter(|target| !target.dry_run()) {
            // A pass may have put another commit in force here and failed elsewhere; and what takes away on a cloud waits for a trial on
            // this host to be confirmed.
            let row = self.store.enforced(target.backend(), target.name()).await?;
            if row.map(|row| row.commit) != base {
                return Ok(false);
            }
            let kept = self.store.meta_get(&kept_name(target.name())).await?;
            let kept = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
            if !target.knows() || kept.is_none_or(|kept| kept.setup != target.setup_text()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn restore_target(&mut self, index: usize, base: CommitId) -> Result<(), Trouble> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(()) };
        let (name, backend) = (target.name().to_owned(), target.backend());
        let Some(row) = self.store.enforced(backend, &name).await? else { return Ok(()) };
        let kept = self.store.meta_get(&kept_name(&name)).await?;
        let Some(kept) = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok()) else { return Ok(()) };
        if !target.recall(&kept, &row.desired_hash) {
            tracing::error!(target = %name, "what was kept of the rules in force does not hash to what is on record; the head decides");
            return Ok(());
        }
        if target.in_steps() {
            // Nothing of it is gone because we were.
            return Ok(());
        }
        let trouble = |cause| Trouble::Backend { target: name.clone(), cause };
        let Some(plan) = target.plan().await.map_err(trouble)? else { return Ok(()) };
        if !plan.blank && plan.damage.is_empty() {
            // An earlier start may have ended between putting them in force here and taking another firewall away.
            return target.be_alone().await.map_err(trouble);
        }
        tracing::warn!(target = %name, commit = %base, "puts the last good rules back in force");
        let plans = [plan];
        let pass = self.open(base, Some(base), &plans, Why::Drift, (self.clock)(), None).await?;
        let [plan] = plans;
        let mut end = PassEnd::of(Recorded::InForce, "put back at start", (self.clock)());
        match self.mend(index, plan.blank).await {
            Ok(enforced) => {
                end.enforced.extend(enforced);
                end.changes = plan.differences.len() as u64;
                self.store.close_pass(pass, end).await?;
                Ok(())
            }
            Err(trouble) => {
                let reason = crate::chain::chain(&trouble);
                self.store.close_pass(pass, PassEnd { outcome: Recorded::Failed, reason, ..end }).await?;
                Err(trouble)
            }
        }
    }
}
