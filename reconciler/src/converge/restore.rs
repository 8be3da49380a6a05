//! The start: what was last in force is known again, and in force again, before anything is asked of the head.
//!
//! The head may be rejected, held or out of reach; the last good commit is enforced all the same. It is read from the mirror, so no
//! network is needed. After a reboot the kernel is blank and the rules are put back; after a restart they are found as they were.

use super::{Outcome, Source, Trouble, World};

use policy::compile::compile;
use policy::snapshot::CommitId;

impl<S: Source> World<'_, S> {
    /// Once per process, until it succeeds.
    pub(super) async fn restore(&mut self) -> Result<(), Trouble> {
        if *self.restored {
            return Ok(());
        }
        if let Some(base) = self.store.last_in_force().await?.map(|last| last.commit) {
            self.restore_commit(base).await?;
        }
        *self.restored = true;
        Ok(())
    }

    async fn restore_commit(&mut self, base: CommitId) -> Result<(), Trouble> {
        let started = (self.clock)();
        let admitted = match self.examine(base).await? {
            Ok(judgement) => judgement.admitted,
            Err(reason) => {
                tracing::error!(commit = %base, "the commit in force cannot be judged: {reason}");
                None
            }
        };
        let Some(admitted) = admitted else {
            let reason = format!(
                "{} is in force, but this version would not admit it; drift is not measured until a newer commit is in force",
                base.short()
            );
            self.hold(Some(base), &reason, started).await?;
            return Ok(());
        };
        if let Err(problems) = self.aim(&compile(&admitted)) {
            self.inexpressible(base, &problems, started).await?;
            return Ok(());
        }
        let plans = self.plan().await?;
        if self.as_recorded(&plans).await? {
            self.adopt_all();
            return Ok(());
        }
        let blank = plans.iter().all(|plan| plan.blank);
        match self.too_large(base, &plans).await? {
            // With nothing there, putting back is no change of anything.
            Some(reason) if !blank => {
                self.hold_plan(base, &reason, &plans, started).await?;
            }
            _ => {
                tracing::warn!(commit = %base, "puts the last good commit back in force");
                let done: Outcome = self.carry_out(base, Some(base), &plans, started).await?;
                tracing::info!(?done, "put back");
            }
        }
        Ok(())
    }
}
