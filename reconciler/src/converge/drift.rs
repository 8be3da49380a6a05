//! Drift: what is enforced differs from what should be, and no commit explains it.
//!
//! What is put back is not on trial: it was confirmed when a commit brought it, and the way back would be what somebody did by hand.
//! What a person has accepted, and what is quarantined (see [`flaps`](super::flaps)), is left as it is found; hooks, the failsafe list
//! and a firewall that is gone altogether are not: without them nothing is enforced at all, so they are put back each time.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::suspended::{DISABLED, until};
use super::{Class, Deviation, Difference, Head, Source, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{AUDIT, Closing, DriftClass, DriftDecision, DriftKind, DriftSeen, DriftVerdict};

/// What is said of a target on which audit was turned on by hand.
pub(super) const AUDITED: &str = "nothing is dropped: audit was turned on by hand; end it with pci-segment rescue enforce";
/// A difference that lasts is written down again after this long.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// Somebody who changed a cloud is looked for so long: its log may name them only after a while.
const ASKED_FOR: Duration = Duration::from_secs(3600);
/// Questions of one look.
const ACTORS_ASKED_MAX: usize = 20;
/// Rules of others named in one alarm.
const FOREIGN_NAMED_MAX: usize = 8;
/// After our own write a cloud is not judged for so long: reads may lag behind it.
const SETTLES: Duration = Duration::from_secs(30);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This host: a comparison costs next to nothing.
    Host,
    /// Clouds as well, where every reading is paid for with calls.
    Everywhere,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    /// Differences that are left, without those that are accepted.
    pub left: usize,
    /// When to look again because something is to be put back then.
    pub again_in: Option<Duration>,
}

/// What a target's differences are by what was decided about them.
pub(super) struct Found {
    /// Everything that differs.
    pub(super) seen: Vec<DriftSeen>,
    /// What is decided and holds.
    pub(super) decisions: Vec<DriftDecision>,
}

impl Found {
    pub(super) fn is(&self, target: &str, one: &DriftSeen, verdict: DriftVerdict) -> bool {
        self.decisions.iter().any(|held| held.decision == verdict && held.is_about(target, &one.key, one.kind))
    }

    fn open(&self, target: &str) -> usize {
        self.seen.iter().filter(|one| !self.is(target, one, DriftVerdict::Accepted)).count()
    }
}

/// Compares every target with what should be in force and writes down what differs; in mode heal, puts it back. One target that does
/// not answer keeps no other from being compared.
///
/// # Errors
/// A target or the store did not answer.
pub async fn check_drift<S: Source>(world: &mut World<'_, S>) -> Result<Compared, Trouble> {
    check_drift_of(world, Scope::Everywhere).await
}

/// As [`check_drift`], of some targets.
///
/// # Errors
/// A target or the store did not answer.
pub async fn check_drift_of<S: Source>(world: &mut World<'_, S>, scope: Scope) -> Result<Compared, Trouble> {
    // Also where nothing can be read or written: what enforcement hangs on is looked at all the same.
    let mut failed = world.end_acceptances().await.err();
    let mut all = Compared::default();
    for index in 0..world.targets.len() {
        if scope == Scope::Host && world.targets.get(index).is_some_and(|target| target.in_steps()) {
            continue;
        }
        match world.check_target(index).await {
            Ok(one) => {
                all.left += one.left;
                all.again_in = all.again_in.into_iter().chain(one.again_in).min();
            }
            Err(trouble) => failed = Some(trouble),
        }
    }
    failed.map_or(Ok(all), Err)
}

impl<S: Source> World<'_, S> {
    async fn check_target(&mut self, index: usize) -> Result<Compared, Trouble> {
        let Some(target) = self.targets.get_mut(index) else { return Ok(Compared::default()) };
        let name = target.name().to_owned();
        if !target.knows() || (target.in_steps() && self.has_to_settle(&name)) {
            return Ok(Compared::default());
        }
        let Some(target) = self.targets.get_mut(index) else { return Ok(Compared::default()) };
        target.discard();
        let looked = target.plan().await.map_err(|cause| Trouble::Backend { target: name.clone(), cause });
        self.note_look(&name, looked.as_ref().err()).await;
        let Some(plan) = looked? else { return Ok(Compared::default()) };
        self.alarm_foreign(&name, &plan);
        // What cannot be written down is put back all the same: a full disk must not open a host. The failure is told after that.
        let recorded = self.write_down(index, &plan).await;
        if !plan.damage.is_empty() || plan.blank {
            // What follows changes what is on record.
            self.memory.drift_noted.remove(&name);
        }
        // Where nothing is left at all, putting it back is more than a question of rules that differ.
        let damaged = if plan.blank { plan.differences.len() } else { plan.damage.len() };
        let mended = if damaged > 0 && self.rehook(index, &plan).await { damaged } else { 0 };
        let found = recorded?;
        let left = found.open(&name).saturating_sub(mended);
        let changed = if plan.blank && mended > 0 { 0 } else { plan.changes };
        // What is on trial is a question for whoever vouches for it, and audit by hand for whoever turned it on.
        let may_heal = self.settings.heal && self.memory.trial.is_none() && !plan.audited && self.stopped().await?.is_none();
        if changed == 0 || !may_heal {
            return Ok(Compared { left, again_in: None });
        }
        let (healed, again_in) = self.heal_what_is_due(index, plan, &found).await?;
        Ok(Compared { left: left.saturating_sub(healed), again_in })
    }

    /// Whether what differs on a cloud may be our own doing: reads lag behind a write, a commit is only half in force there, or what takes
    /// away waits for a trial on this host to be confirmed.
    fn has_to_settle(&self, target: &str) -> bool {
        let lately = |at: &Timestamp| (self.clock)().duration_since(*at).unsigned_abs() < SETTLES;
        let written = self.memory.written.get(target).is_some_and(lately);
        let wanted = |commit: &CommitId| self.memory.head == Some(Head::At(*commit));
        written || self.memory.unfinished.get(target).is_some_and(wanted) || self.memory.trial.is_some()
    }

    /// Who changed what is found on a cloud, where its own log names exactly one; asked of what differs in verdicts, and not of all.
    async fn ask_who(&mut self, index: usize, seen: &[DriftSeen]) -> Result<(), Trouble> {
        let Some(target) = self.targets.get_mut(index).filter(|target| target.in_steps()) else { return Ok(()) };
        let name = target.name().to_owned();
        let now = (self.clock)();
        let nameless = self.store.drift(true).await?.into_iter().filter(|row| {
            row.target == name && row.actor.is_none() && now.duration_since(row.first_seen).unsigned_abs() < ASKED_FOR
        });
        let is_flow = |key: &str| seen.iter().any(|one| one.key == key && one.class == DriftClass::Flow);
        for row in nameless.filter(|row| is_flow(&row.key)).take(ACTORS_ASKED_MAX) {
            if let Some(actor) = target.actor(&row.key).await {
                self.store.name_drift_actor(name.clone(), row.key, row.kind, (actor.who, actor.evidence), now).await?;
            }
        }
        Ok(())
    }

    /// A rule of somebody else that lets in what no policy allows is beyond our reach: whoever watches the alarms has to know.
    fn alarm_foreign(&mut self, target: &str, plan: &TargetPlan) {
        let opens = |one: &&Difference| one.kind == Deviation::Extra && one.class == Class::Flow;
        let found: Vec<String> = plan
            .foreign
            .iter()
            .filter(opens)
            .map(|one| format!("{} ({})", one.key, one.observed))
            .take(FOREIGN_NAMED_MAX)
            .collect();
        let about = format!("{target} foreign");
        if found.is_empty() {
            self.memory.drift_said.remove(&about);
            return;
        }
        let text = format!("rules of others open what no policy allows, and are never changed by us: {}", found.join("; "));
        self.say_once(&about, text);
    }

    /// Writes down what differs, unless the same was written down a short while ago.
    async fn write_down(&mut self, index: usize, plan: &TargetPlan) -> Result<Found, Trouble> {
        let audited = if plan.audited { Some(self.audited().await?) } else { None };
        let seen: Vec<DriftSeen> = plan.differences.iter().map(row).chain(audited).collect();
        let (name, now) = (plan.target.clone(), (self.clock)());
        if !self.is_noted(&name, &seen).await? && (!seen.is_empty() || self.has_open_drift().await?) {
            let closing = Closing { wanted: self.wanted_now(index).await?, ..Closing::default() };
            let noted = self.store.note_drift(name.clone(), seen.clone(), closing, now).await?;
            self.memory.drift_noted.insert(name.clone(), (seen.clone(), now));
            self.ask_who(index, &seen).await?;
            if noted.opened > 0 {
                tracing::warn!(target = %name, found = seen.len(), "what is enforced is not what should be");
            }
        }
        // After it is written down: what is found otherwise than it was accepted is accepted no longer.
        let decisions = self.store.drift_decisions(now).await?;
        Ok(Found { seen, decisions })
    }

    /// Keys of open rows under which what was found is what should be there now: a newer commit wants it so.
    async fn wanted_now(&self, index: usize) -> Result<Vec<String>, Trouble> {
        let Some(target) = self.targets.get(index) else { return Ok(Vec::new()) };
        let base = self.store.last_in_force().await?.map(|last| last.commit.to_string());
        let mut rows = self.store.drift(true).await?;
        rows.retain(|row| row.target == target.name() && row.commit != base && row.expected != row.observed);
        rows.retain(|row| matches!(row.kind, DriftKind::Missing | DriftKind::Extra | DriftKind::Changed));
        rows.retain(|row| target.wanted(&row.key) == row.observed);
        Ok(rows.into_iter().map(|row| row.key).collect())
    }

    /// Keeps that a target was looked at, or that it did not answer: a report has to tell.
    async fn note_look(&mut self, target: &str, failed: Option<&Trouble>) {
        let (now, reason) = ((self.clock)(), failed.map(|trouble| chain(trouble)));
        let known = self.memory.looks_noted.get(target);
        if known.is_some_and(|(at, said)| *said == reason && now.duration_since(*at).unsigned_abs() < NOTED_AGAIN) {
            return;
        }
        match self.store.note_observed(target.to_owned(), reason.clone(), now).await {
            Ok(()) => drop(self.memory.looks_noted.insert(target.to_owned(), (now, reason))),
            Err(error) => tracing::error!("cannot record that {target} was looked at: {}", chain(&error)),
        }
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
    pub(super) async fn audited(&self) -> Result<DriftSeen, Trouble> {
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
            class: DriftClass::Flow,
            ours: Some(true),
        })
    }

    /// Says something of a target once, however often it is found.
    pub(super) fn say_once(&mut self, target: &str, text: String) {
        if self.memory.drift_said.get(target) != Some(&text) {
            tracing::error!(target, "{text}");
            self.memory.drift_said.insert(target.to_owned(), text);
        }
    }

    async fn has_open_drift(&self) -> Result<bool, Trouble> {
        Ok(!self.store.drift(true).await?.is_empty())
    }

    /// Hooks, the failsafe list and a firewall that is gone altogether are ours whatever the mode and whatever was decided: without
    /// them nothing is enforced at all. What was mended is closed as healed at once; what was not stays open.
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
        if let Err(error) = self.store.note_drift(name, left, Closing::healed(None), (self.clock)()).await {
            tracing::error!("cannot record: {}", chain(&error));
        }
        true
    }

    /// What was accepted for a time that is over is open again.
    async fn end_acceptances(&mut self) -> Result<(), Trouble> {
        let now = (self.clock)();
        let held = self.store.drift_decisions(Timestamp::MIN).await?;
        let old = now - crate::store::RELEASED_KEPT;
        let is_over = |one: &DriftDecision| match one.decision {
            DriftVerdict::Accepted => one.until.is_some_and(|until| until <= now),
            DriftVerdict::Released => one.set_at < old,
            DriftVerdict::Quarantined => false,
        };
        if !held.iter().any(is_over) {
            return Ok(());
        }
        for over in self.store.end_drift_decisions(now, old).await? {
            tracing::warn!(target = %over.target, key = %over.key, "the time for which a difference was accepted is over");
        }
        Ok(())
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
        class: match difference.class {
            Class::Flow => DriftClass::Flow,
            Class::Cosmetic => DriftClass::Cosmetic,
        },
        ours: difference.ours,
    }
}

/// Keys, each once.
pub(super) fn keys<'a>(seen: impl IntoIterator<Item = &'a DriftSeen>) -> BTreeSet<String> {
    seen.into_iter().map(|one| one.key.clone()).collect()
}

#[cfg(test)]
mod tests;
