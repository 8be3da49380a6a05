//! What the day changes: rules end, reviews come due, although no commit says anything new.
//!
//! Once a day what is in force is judged again and compiled again. A rule past its last day falls out, so that its flow ends on time.
//! The calendar never takes anything else back: what was admitted stays in force, and what would not be admitted today is said.

use std::sync::Arc;

use jiff::Timestamp;
use policy::compile::compile;
use policy::date::Date;
use policy::model::PolicySet;
use policy::snapshot::CommitId;

use super::pass::NotAimed;
use super::words::first_finding;
use super::{Outcome, Source, TargetPlan, Trouble, World};
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

    /// Looks at what is in force with today's date.
    pub(super) async fn on_a_new_day(&mut self, head: CommitId, started: Timestamp) -> Result<Outcome, Trouble> {
        self.know_enforced(Some(head)).await;
        let snapshot = self.source.snapshot(&head).await?;
        let judged = self.examine(head, snapshot).await;
        self.memory.looked_on = Some(self.today()?);
        let admitted = match judged {
            Ok(judgement) => judgement.admitted.ok_or_else(|| {
                let findings = serde_json::to_value(&judgement.findings).unwrap_or_default();
                format!("it would not be admitted today: {}", first_finding(&findings))
            }),
            Err(reason) => Err(reason),
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => {
                tracing::warn!(commit = %head, "stays in force, although {reason}");
                return self.still_in_force(head, started).await;
            }
        };
        match self.aim(&compile(&admitted)) {
            Ok(()) => {}
            Err(NotAimed::Unsupported(problems)) => return self.inexpressible(head, &problems, started).await,
            Err(NotAimed::Failed(trouble)) => return Err(self.failed_to_aim(head, trouble, started).await),
        }
        let plans = self.plan().await?;
        if self.means_the_same(&plans).await? {
            self.discard();
            return self.still_in_force(head, started).await;
        }
        tracing::info!(commit = %head, "rules have ended today");
        // No limit holds this back: that these rules end today was decided when they were approved.
        self.carry_out(head, Some(head), &plans, started).await
    }

    /// Whether every target should enforce what is on record for it. What it really enforces is a question of drift.
    async fn means_the_same(&self, plans: &[TargetPlan]) -> Result<bool, Trouble> {
        for plan in plans {
            let row = self.store.enforced(plan.backend, &plan.target).await?;
            if row.is_none_or(|row| row.desired_hash != plan.desired_hash.to_string()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
