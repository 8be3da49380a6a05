//! What the day changes: rules end, reviews come due, although no commit says anything new.
//!
//! Once a day what is in force is compiled again, whatever the head is like. A rule past its last day falls out, so that its flow ends
//! on time. The calendar takes back nothing else: what was admitted stays in force, even if it would not be admitted today.

use std::sync::Arc;

use jiff::Timestamp;
use policy::admit::Admitted;
use policy::compile::compile;
use policy::date::Date;
use policy::model::PolicySet;
use policy::snapshot::CommitId;

use super::aiming::Plans;
use super::drift::AUDITED;
use super::pass::{Decisions, Deed};
use super::{Outcome, Source, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::reading::read;

impl<S: Source> World<'_, S> {
    /// Today in UTC.
    pub(super) fn today(&self) -> Result<Date, Trouble> {
        let day = (self.clock)().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        Date::parse(&day).ok_or(Trouble::Clock { says: day })
    }

    /// Reads the set in force, once, so that a commit is judged by what it changes. A commit that is gone is no reason to stop.
    pub(super) async fn know_enforced(&mut self, base: Option<CommitId>) {
        let Some(base) = base.filter(|base| self.memory.enforced.as_ref().is_none_or(|(known, _)| known != base)) else { return };
        self.memory.enforced = None;
        let Ok(snapshot) = self.source.snapshot(&base).await else { return };
        let task = tokio::task::spawn_blocking(move || read(&snapshot).set);
        if let Ok(set) = task.await {
            self.memory.enforced = Some((base, Arc::new(set)));
        }
    }

    /// The set in force, if it is known.
    pub(super) fn enforced_set(&self) -> Option<Arc<PolicySet>> {
        self.memory.enforced.as_ref().map(|(_, set)| Arc::clone(set))
    }

    /// Once a day, before anything is asked of the head, so that rules end also while the head is rejected or out of reach.
    pub(super) async fn on_a_new_day(&mut self, started: Timestamp) -> Result<(), Trouble> {
        let today = self.today()?;
        // What is on trial is settled first: the calendar speaks of what is in force.
        if self.memory.looked_on == Some(today) || self.memory.trial.is_some() {
            return Ok(());
        }
        let base = self.store.last_in_force().await?.map(|last| last.commit);
        // What a target should enforce may depend on more than the day; then the pass of the head aims anew.
        if let Some(base) = base.filter(|_| self.memory.restored)
            && self.is_known().await?
            && !self.end_rules(base, today, started).await?
        {
            return Ok(());
        }
        self.memory.looked_on = Some(today);
        Ok(())
    }

    /// Compiles what is in force as of today, and applies it if rules have ended. Says whether that could be done.
    async fn end_rules(&mut self, base: CommitId, today: Date, started: Timestamp) -> Result<bool, Trouble> {
        let snapshot = match self.source.snapshot(&base).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(commit = %base, "cannot see whether rules end today: {}", chain(&error));
                return Ok(false);
            }
        };
        let reading = tokio::task::spawn_blocking(move || read(&snapshot)).await;
        let Some(admitted) = reading.ok().and_then(|reading| Admitted::in_force(reading, today)) else {
            tracing::warn!(commit = %base, "cannot see whether rules end today: this version does not read what is in force");
            return Ok(false);
        };
        let Ok(left_out) = self.aim(&compile(&admitted)).await else {
            tracing::warn!(commit = %base, "cannot see whether rules end today: what is in force cannot be aimed at");
            return Ok(false);
        };
        let Plans { plans, left_out } = self.plan(left_out).await?;
        if left_out.is_empty() && self.means_the_same(&plans).await? {
            self.discard();
            return Ok(true);
        }
        if plans.iter().any(|plan| plan.audited) {
            // Applying would end an audit that somebody began by hand, and nothing is dropped meanwhile whatever has ended.
            tracing::warn!(commit = %base, "rules have ended today, and stay until audit ends: {AUDITED}");
            self.discard();
            return Ok(false);
        }
        tracing::info!(commit = %base, "rules have ended today");
        // No limit holds this back: that these rules end today was decided when they were approved.
        // Nor is it on trial: the way back would be rules that have ended.
        let deed = Deed { head: base, base: Some(base), decisions: Decisions::Kept, started, reached: None, left_out };
        let outcome = self.carry_out(deed, &plans).await?;
        Ok(matches!(outcome, Outcome::InForce { .. }))
    }

    /// Whether every target should enforce what is on record for it. What it really enforces is a question of drift.
    async fn means_the_same(&self, plans: &[TargetPlan]) -> Result<bool, Trouble> {
        for plan in plans.iter().filter(|plan| !plan.dry_run) {
            let row = self.store.enforced(plan.backend, &plan.target).await?;
            if row.is_none_or(|row| row.desired_hash != plan.desired_hash.to_string()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
pub(crate) mod tests;
