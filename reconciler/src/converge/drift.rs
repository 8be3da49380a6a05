//! Drift: what is enforced differs from what should be, and no commit explains it.
//!
//! What is put back is not on trial: it was confirmed when a commit brought it, and the way back would be what somebody did by hand.

use std::time::Duration;

use jiff::Timestamp;

use super::suspended::{DISABLED, until};
use super::{Deviation, Difference, Source, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{AUDIT, DriftKind, DriftSeen, Outcome as Recorded, PassEnd, Resolution, Why};

/// What is said of a target on which audit was turned on by hand.
pub(super) const AUDITED: &str = "nothing is dropped: audit was turned on by hand; end it with pci-segment rescue enforce";
/// A difference that lasts is written down again after this long.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// Compares every target with what should be in force and writes down what differs; in mode heal, puts it back. Returns how many
/// differences are left.
///
/// # Errors
/// A target or the store did not answer.
pub async fn check_drift<S: Source>(world: &mut World<'_, S>) -> Result<usize, Trouble> {
    let mut found = 0;
    for index in 0..world.targets.len() {
        found += world.check_target(index).await?;
    }
    Ok(found)
}

impl<S: Source> World<'_, S> {
    async fn check_target(&mut self, index: usize) -> Result<usize, Trouble> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(0) };
        if !target.knows() {
            return Ok(0);
        }
        target.discard();
        let name = target.name().to_owned();
        let plan = target.plan().await.map_err(|cause| Trouble::Backend { target: name.clone(), cause })?;
        let Some(plan) = plan else { return Ok(0) };
        let audited = if plan.audited { Some(self.audited().await?) } else { None };
        let seen: Vec<DriftSeen> = plan.differences.iter().map(row).chain(audited).collect();
        let count = seen.len();
        if !self.is_noted(&name, &seen).await? && (count > 0 || self.has_open_drift().await?) {
            let now = (self.clock)();
            let noted = self.store.note_drift(name.clone(), seen.clone(), None, now).await;
            if noted.is_err() && !plan.damage.is_empty() {
                // What cannot be written down is put back all the same: a full disk must not open a host.
                self.rehook(index, &plan).await;
            }
            let noted = noted?;
            self.memory.drift_noted.insert(name.clone(), (seen, now));
            if noted.opened > 0 {
                tracing::warn!(target = %name, found = count, "what is enforced is not what should be");
            }
        }
        if !plan.damage.is_empty() || plan.changes > 0 {
            // What follows changes what is on record.
            self.memory.drift_noted.remove(&name);
        }
        // Where nothing is left at all, putting it back is more than a question of rules that differ.
        let damaged = if plan.blank { plan.differences.len() } else { plan.damage.len() };
        let mended = if damaged > 0 && self.rehook(index, &plan).await { damaged } else { 0 };
        let changed = if plan.blank && mended > 0 { 0 } else { plan.changes };
        // What is on trial is a question for whoever vouches for it, and audit by hand for whoever turned it on.
        let may_heal = self.settings.heal && self.memory.trial.is_none() && !plan.audited && self.stopped().await?.is_none();
        let healed = if changed > 0 && may_heal && self.heal(index, plan).await? { changed } else { 0 };
        Ok(count - mended - healed)
    }

    /// Whether the same was written down a short while ago: what lasts is looked at far more often than it has to be written.
    ///
    /// Others close rows too: what was mended and is lost again is news, however soon.
    async fn is_noted(&self, target: &str, seen: &[DriftSeen]) -> Result<bool, Trouble> {
        let fresh = |at: Timestamp| (self.clock)().duration_since(at).unsigned_abs() < NOTED_AGAIN;
        let noted = self.memory.drift_noted.get(target).is_some_and(|(noted, at)| noted == seen && fresh(*at));
        if seen.is_empty() || !noted {
            return Ok(false);
        }
        let open = self.store.drift(true).await?;
        let is_open = |one: &DriftSeen| open.iter().any(|row| row.target == target && row.key == one.key && row.kind == one.kind);
        Ok(seen.iter().all(is_open))
    }

    /// Nothing is dropped on the whole target, whatever its rules: enforcement was switched off, or somebody has turned audit on.
    async fn audited(&self) -> Result<DriftSeen, Trouble> {
        let off = self.store.switch_get(DISABLED, (self.clock)()).await?;
        let observed = off.map_or_else(
            || AUDITED.to_owned(),
            |switch| format!("nothing is dropped: enforcement is off {} by {}: {}", until(&switch), switch.who, switch.why),
        );
        Ok(DriftSeen {
            key: AUDIT.to_owned(),
            kind: DriftKind::Changed,
            expected: Some("what no rule allows is dropped".to_owned()),
            observed: Some(observed),
        })
    }

    /// Says something of a target once, however often it is found.
    fn say_once(&mut self, target: &str, text: String) {
        if self.memory.drift_said.get(target) != Some(&text) {
            tracing::error!(target, "{text}");
            self.memory.drift_said.insert(target.to_owned(), text);
        }
    }

    async fn has_open_drift(&self) -> Result<bool, Trouble> {
        Ok(!self.store.drift(true).await?.is_empty())
    }

    /// Hooks, the failsafe list and a firewall that is gone altogether are ours whatever the mode: without them nothing is enforced at
    /// all. What was mended is closed as healed at once; what was not stays open.
    async fn rehook(&mut self, index: usize, plan: &TargetPlan) -> bool {
        let name = plan.target.clone();
        let mended = self.mend(index, plan.blank).await;
        if let Err(trouble) = &mended {
            let text = format!("not enforced everywhere: {}", chain(trouble));
            self.say_once(&name, text);
            return false;
        }
        self.memory.drift_said.remove(&name);
        tracing::warn!(target = %name, mended = plan.damage.len(), "put back what enforcement hangs on");
        let other = plan.differences.iter().filter(|d| !plan.blank && !plan.damage.contains(d));
        let audited = if plan.audited { self.audited().await.ok() } else { None };
        let left = other.map(row).chain(audited).collect();
        if let Err(error) = self.store.note_drift(name, left, Some(Resolution::Healed), (self.clock)()).await {
            tracing::error!("cannot record: {}", chain(&error));
        }
        true
    }

    /// Puts back what should be in force, as a pass like any other.
    async fn heal(&mut self, index: usize, plan: TargetPlan) -> Result<bool, Trouble> {
        let Some(base) = self.store.last_in_force().await?.map(|last| last.commit) else { return Ok(false) };
        let name = plan.target.clone();
        if let Some(excess) = self.targets.get(index).and_then(|target| target.excess(&self.settings.limits)) {
            self.say_once(&name, format!("drift is not healed: {excess}; push a commit, or mend it by hand"));
            return Ok(false);
        }
        let changes = plan.differences.len() as u64;
        let plans = [plan];
        let pass = self.open(base, Some(base), &plans, Why::Drift, (self.clock)(), None).await?;
        let Some(target) = self.targets.get_mut(index) else { return Ok(false) };
        // One target at a time: `apply_all` works on a slice that begins with it.
        let mut one = World { targets: std::slice::from_mut(target), memory: self.memory, ..*self };
        let enforced = one
            .apply_all(base, pass, &plans, None)
            .await
            .inspect_err(|trouble| tracing::error!("drift is not healed: {}", chain(trouble)))?;
        let end = PassEnd { enforced, changes, ..PassEnd::of(Recorded::InForce, "drift healed", (self.clock)()) };
        self.store.close_pass(pass, end).await?;
        self.store.note_drift(name, Vec::new(), Some(Resolution::Healed), (self.clock)()).await?;
        Ok(true)
    }
}

/// A difference as it is recorded.
pub(crate) fn row(difference: &Difference) -> DriftSeen {
    let side = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    DriftSeen {
        key: difference.key.clone(),
        kind: match difference.kind {
            Deviation::Missing => DriftKind::Missing,
            Deviation::Extra => DriftKind::Extra,
            Deviation::Changed => DriftKind::Changed,
            Deviation::Detached => DriftKind::Detached,
        },
        expected: side(&difference.expected),
        observed: side(&difference.observed),
    }
}
