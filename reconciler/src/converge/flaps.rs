//! The flap guard: an object that somebody changes back each time is put back with growing pauses, and then no longer.
//!
//! At once, after 2 s, 6 s, 18 s and so on, at most 300 s, for the same object. Put back five times within ten minutes and changed once
//! more, it is quarantined: whoever changes it has to be found, and each time it is put back moves the host between two states. Only
//! rules are quarantined. Hooks, the failsafe list and a firewall that is gone are put back however often it takes, because without
//! them nothing at all is enforced. What happened is counted from the records, so that a restart forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::drift::{Found, keys, row};
use super::{Source, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{Closing, DriftSeen, DriftVerdict, Outcome as Recorded, PassEnd, PutBack, Why};

/// An object that was put back so often within [`WINDOW`] is not put back again.
const PUT_BACK_MAX: u32 = 5;
/// What happened longer ago does not count.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long an object rests after it was put back, or that was tried, so often.
fn pause(times: u32) -> Duration {
    match times {
        0 => Duration::ZERO,
        _ => Duration::from_secs(2).saturating_mul(3_u32.saturating_pow(times - 1)).min(PAUSE_MAX),
    }
}

/// What is left of the pause.
fn rest(tried: Option<&PutBack>, now: Timestamp) -> Duration {
    let Some(tried) = tried else { return Duration::ZERO };
    let passed = Duration::try_from(now.duration_since(tried.last)).unwrap_or_default();
    pause(tried.times).saturating_sub(passed)
}

/// Tries of this process in vain, beside what is on record as put back; of both the one that says more.
fn worse(a: Option<&PutBack>, b: Option<&PutBack>) -> Option<PutBack> {
    match (a, b) {
        (Some(a), Some(b)) => Some(PutBack { times: a.times.max(b.times), last: a.last.max(b.last) }),
        (one, other) => one.or(other).copied(),
    }
}

impl<S: Source> World<'_, S> {
    /// Puts back what is neither accepted nor quarantined and has rested long enough. How many differences that ended, and when the
    /// next one is due.
    pub(super) async fn heal_what_is_due(
        &mut self,
        index: usize,
        plan: TargetPlan,
        found: &Found,
    ) -> Result<(usize, Option<Duration>), Trouble> {
        let (name, now) = (plan.target.clone(), (self.clock)());
        let known = self.store.put_back_lately(&name, now - WINDOW).await?;
        let (mut left, mut again_in, mut due) = (BTreeSet::new(), None::<Duration>, BTreeSet::new());
        for one in plan.differences.iter().take(plan.changes).map(row) {
            if found.is(&name, &one, DriftVerdict::Accepted) || found.is(&name, &one, DriftVerdict::Quarantined) {
                left.insert(one.key);
                continue;
            }
            if known.get(&one.key).is_some_and(|put| put.times >= PUT_BACK_MAX) {
                left.insert(one.key.clone());
                self.quarantine_object(&name, one, now).await?;
                continue;
            }
            let tried = worse(known.get(&one.key), self.tries(&name, &one.key, now).as_ref());
            let rest = rest(tried.as_ref(), now);
            if rest.is_zero() {
                due.insert(one.key);
            } else {
                again_in = again_in.into_iter().chain([rest]).min();
                left.insert(one.key);
            }
        }
        if due.is_empty() {
            return Ok((0, again_in));
        }
        let changes = due.len();
        let healed = self.heal(index, plan, left, found).await?;
        self.count_tries(&name, due, healed, (self.clock)());
        if healed { Ok((changes, again_in)) } else { Ok((0, again_in.into_iter().chain([pause(1)]).min())) }
    }

    /// An alarm, and a row that outlives this process.
    async fn quarantine_object(&mut self, target: &str, one: DriftSeen, now: Timestamp) -> Result<(), Trouble> {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        let why = format!("put back {PUT_BACK_MAX} times within {} minutes and changed again", WINDOW.as_mins());
        tracing::error!(
            target,
            key = %one.key,
            expected = %side(&one.expected),
            observed = %side(&one.observed),
            "quarantined, healed no longer: {why}; find who changes it, then pci-segment drift release"
        );
        self.store.quarantine_drift(target.to_owned(), one, why, now).await?;
        Ok(())
    }

    fn tries(&self, target: &str, key: &str, now: Timestamp) -> Option<PutBack> {
        let known = self.memory.heals.get(&(target.to_owned(), key.to_owned()));
        known.filter(|tried| now.duration_since(tried.last) < WINDOW).copied()
    }

    /// What was put back is counted by its record; what was not, here.
    fn count_tries(&mut self, target: &str, due: BTreeSet<String>, healed: bool, now: Timestamp) {
        self.memory.heals.retain(|_, tried| now.duration_since(tried.last) < WINDOW);
        for key in due {
            let name = (target.to_owned(), key);
            if healed {
                self.memory.heals.remove(&name);
            } else {
                let tried = self.memory.heals.entry(name).or_insert(PutBack { times: 0, last: now });
                *tried = PutBack { times: tried.times.saturating_add(1), last: now };
            }
        }
    }

    /// Puts back what should be in force but for what is left, as a pass like any other.
    async fn heal(&mut self, index: usize, whole: TargetPlan, left: BTreeSet<String>, found: &Found) -> Result<bool, Trouble> {
        let name = whole.target.clone();
        self.memory.drift_noted.remove(&name);
        let stays: Vec<DriftSeen> = found.seen.iter().filter(|one| left.contains(&one.key)).cloned().collect();
        let rules = keys(&whole.differences.iter().take(whole.changes).map(row).collect::<Vec<_>>());
        let beside = found.seen.iter().filter(|one| !rules.contains(&one.key));
        let still = beside.chain(&stays).cloned().collect();
        if let Some(target) = self.targets.get_mut(index) {
            target.leave(left);
        }
        let healed = self.heal_rest(index, &whole).await;
        if let Some(target) = self.targets.get_mut(index) {
            target.leave(BTreeSet::new());
        }
        match healed {
            Ok(Some(pass)) => {
                self.memory.drift_said.remove(&name);
                self.store.note_drift(name, still, Closing::healed(Some(pass)), (self.clock)()).await?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(trouble @ Trouble::Store(_)) => Err(trouble),
            Err(trouble) => {
                self.say_once(&name, format!("drift is not healed: {}", chain(&trouble)));
                Ok(false)
            }
        }
    }

    async fn heal_rest(&mut self, index: usize, whole: &TargetPlan) -> Result<Option<crate::store::PassId>, Trouble> {
        let Some(base) = self.store.last_in_force().await?.map(|last| last.commit) else { return Ok(None) };
        let name = whole.target.clone();
        let Some(target) = self.targets.get_mut(index) else { return Ok(None) };
        let dry_run = target.dry_run();
        let plan = target.plan().await.map_err(|cause| Trouble::Backend { target: name.clone(), cause })?;
        let Some(plan) = plan.filter(|plan| plan.changes > 0 && !dry_run) else { return Ok(None) };
        let excess = target.excess(&self.settings.limits).map(|excess| excess.to_string());
        if let Some(why) = excess.or(self.why_it_waits(&plan).await?) {
            self.say_once(&name, format!("drift is not healed: {why}; push a commit, or mend it by hand"));
            return Ok(None);
        }
        let changes = plan.changes as u64;
        let plans = [plan];
        let pass = self.open(base, Some(base), &plans, Why::Drift, (self.clock)(), None).await?;
        let Some(target) = self.targets.get_mut(index) else { return Ok(None) };
        // One target at a time, and what it fails at ends the pass.
        let mut one = World { targets: std::slice::from_mut(target), memory: self.memory, ..*self };
        let mut enforced = match one.apply_alone(base, pass, &plans).await {
            Ok(enforced) => enforced,
            Err(trouble @ Trouble::Store(_)) => return Err(trouble),
            Err(trouble) => return Err(one.fail(base, pass, Vec::new(), trouble).await),
        };
        // On record stays what should be in force, also where something is left as it is: a restart looks for that.
        for row in &mut enforced {
            row.desired_hash = whole.desired_hash.0;
        }
        let end = PassEnd { enforced, changes, ..PassEnd::of(Recorded::InForce, "drift healed", (self.clock)()) };
        self.store.close_pass(pass, end).await?;
        Ok(Some(pass))
    }
}

/// Tries in vain, by target and key.
pub(crate) type Heals = BTreeMap<(String, String), PutBack>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_put_back_at_once_and_then_after_pauses_that_grow_to_five_minutes() {
        let pauses: Vec<u64> = (0..8).map(|times| pause(times).as_secs()).collect();
        assert_eq!(pauses, [0, 2, 6, 18, 54, 162, 300, 300]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn a_pause_counts_from_the_last_time_and_is_over_at_its_end() {
        let at = |seconds: i64| Timestamp::from_second(1_767_225_600 + seconds).unwrap();
        let twice = PutBack { times: 2, last: at(0) };
        assert_eq!(rest(Some(&twice), at(1)), Duration::from_secs(5));
        assert_eq!((rest(Some(&twice), at(6)), rest(None, at(0))), (Duration::ZERO, Duration::ZERO));
        let in_vain = PutBack { times: 4, last: at(-60) };
        assert_eq!(worse(Some(&twice), Some(&in_vain)), Some(PutBack { times: 4, last: at(0) }));
    }
}
