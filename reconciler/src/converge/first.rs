//! The first enforcement on a host, where other firewalls cut what they never looked at.
//!
//! Everything is put in place with nothing dropped, open connections become known, and after a time of learning what the policies
//! would cut is listed. If that is anything, a person decides. Nothing here waits: the state is in the kernel, and the loop looks
//! again when the time is over, so that newer heads and the end of the process work meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::drift::AUDITED;
use super::{CONFIRMED_PLAN, Outcome, Posture, Source, TargetPlan, Trouble, World};

/// Connections named in a reason; the log has all.
const NAMED_MAX: usize = 8;

/// What happens on a host that was never enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstEnforcement {
    /// How long connections are learnt.
    pub learning: Duration,
    /// Whether what the policies would cut is cut without asking.
    pub cut: bool,
}

impl<S: Source> World<'_, S> {
    /// Whether this controller never enforced where it is about to: nothing is there, or it is a rehearsal.
    pub(super) async fn is_first(&self, plans: &[TargetPlan]) -> Result<bool, Trouble> {
        for plan in plans.iter().filter(|plan| plan.blank || plan.audited) {
            if self.store.enforced(plan.backend, &plan.target).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(self.settings.posture == Posture::Enforced && plans.iter().any(|plan| plan.blank || plan.audited))
    }

    /// Rehearses where nothing was ever enforced. `None` means go on.
    pub(super) async fn rehearse(
        &mut self,
        first: bool,
        head: CommitId,
        plans: &[TargetPlan],
        started: Timestamp,
    ) -> Result<Option<Outcome>, Trouble> {
        self.memory.learning = None;
        if !first {
            return self.hold_audited(head, plans, started).await;
        }
        let mut cut = Vec::new();
        // Only a host is rehearsed: on a cloud nothing is dropped before the plan for it is confirmed.
        for plan in plans.iter().filter(|plan| !plan.in_steps) {
            let Some(target) = self.targets.iter_mut().find(|target| target.name() == plan.target) else { continue };
            let rehearsal = match target.rehearse().await {
                Ok(rehearsal) => rehearsal,
                Err(cause) => {
                    let trouble = Trouble::Backend { target: plan.target.clone(), cause };
                    return Err(self.failed_to_aim(head, trouble, started).await);
                }
            };
            cut.extend(rehearsal.cut);
        }
        let now = (self.clock)();
        let learning = self.settings.first.learning;
        let since = *self.memory.learning_since.get_or_insert(now);
        let learnt = Duration::try_from(now.duration_since(since)).unwrap_or(learning);
        if learnt < learning {
            let left = learning.saturating_sub(learnt);
            self.memory.look_in = Some(left);
            self.memory.learning = Some(left);
            let reason = format!(
                "first enforcement: learning open connections for {} s before anything is dropped; nothing to do",
                learning.as_secs()
            );
            return self.hold_plan(head, &reason, plans, started).await.map(Some);
        }
        let hash = plans.iter().find(|plan| !plan.in_steps).map_or_else(String::new, |plan| plan.desired_hash.short());
        for line in &cut {
            tracing::warn!("the first enforcement would cut {line}");
        }
        if cut.is_empty() || self.settings.first.cut || self.is_plan_confirmed(&hash).await? {
            return Ok(None);
        }
        let reason = format!("first enforcement would cut {}; cut them with pci-segment confirm {hash} --reason …", named(&cut));
        self.hold_plan(head, &reason, plans, started).await.map(Some)
    }

    /// Who turned audit on where rules were in force had a reason: no commit ends it.
    async fn hold_audited(&mut self, head: CommitId, plans: &[TargetPlan], started: Timestamp) -> Result<Option<Outcome>, Trouble> {
        for plan in plans.iter().filter(|plan| plan.audited) {
            if self.store.enforced(plan.backend, &plan.target).await?.is_some() {
                self.discard();
                return self.hold(Some(head), &format!("{}: {AUDITED}", plan.target), started).await.map(Some);
            }
        }
        Ok(None)
    }

    pub(super) async fn is_plan_confirmed(&self, hash: &str) -> Result<bool, Trouble> {
        let confirmed = self.store.switch_get(CONFIRMED_PLAN, (self.clock)()).await?;
        Ok(confirmed.is_some_and(|switch| switch.value == hash))
    }
}

/// `2 open connections: a, b`.
fn named(cut: &[String]) -> String {
    let word = if cut.len() == 1 { "connection" } else { "connections" };
    let shown: Vec<&str> = cut.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = if cut.len() > NAMED_MAX { format!(" and {} more", cut.len() - NAMED_MAX) } else { String::new() };
    format!("{} open {word}: {}{more}", cut.len(), shown.join(", "))
}
