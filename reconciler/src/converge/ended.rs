//! How a trip ends that changes nothing: held, rejected, inexpressible, or found to be in force.

use jiff::Timestamp;
use policy::lower::Unsupported;
use policy::snapshot::CommitId;

use super::judge::{Rejection, Said};
use super::pass::evidence;
use super::{Outcome, Source, StatusState, TargetPlan, Trouble, World};
use crate::chain::chain;
use crate::store::{EndedPass, Outcome as Recorded, PassEnd, Plan, Verdict};

impl<S: Source> World<'_, S> {
    /// The head was taken back before.
    pub(super) async fn hold_quarantined(&mut self, head: CommitId, reason: &str, started: Timestamp) -> Result<Outcome, Trouble> {
        let status = Some(self.settings.status(head, StatusState::Error, reason));
        let end = PassEnd { status, ..PassEnd::of(Recorded::Held, reason, (self.clock)()) };
        self.end(Some(head), None, end, started).await?;
        Ok(Outcome::Held { reason: reason.to_owned() })
    }

    /// The head waits for a person before anything was planned.
    pub(super) async fn hold(&mut self, head: Option<CommitId>, reason: &str, started: Timestamp) -> Result<Outcome, Trouble> {
        let status = head.map(|head| self.settings.status(head, StatusState::Failure, reason));
        self.end(head, None, PassEnd { status, ..PassEnd::of(Recorded::Held, reason, (self.clock)()) }, started).await?;
        self.memory.settled = None;
        Ok(Outcome::Held { reason: reason.to_owned() })
    }

    /// The head's plan waits for a person.
    pub(super) async fn hold_plan(
        &mut self,
        head: CommitId,
        reason: &str,
        plans: &[TargetPlan],
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        self.discard();
        let status = Some(self.settings.status(head, StatusState::Pending, reason));
        self.end(
            Some(head),
            Some(evidence(plans)),
            PassEnd { status, ..PassEnd::of(Recorded::Held, reason, (self.clock)()) },
            started,
        )
        .await?;
        Ok(Outcome::Held { reason: reason.to_owned() })
    }

    /// The head is what is in force. The records say so too, also after a look that failed or was held.
    pub(super) async fn still_in_force(&mut self, head: CommitId, started: Timestamp) -> Result<Outcome, Trouble> {
        let newest = self.store.history(1).await?.pop();
        let said =
            newest.is_some_and(|row| row.outcome == Some(Recorded::InForce) && row.commit.as_deref() == Some(&head.to_string()));
        if !said {
            let status = Some(self.settings.status(head, StatusState::Success, &self.settings.posture.sentence(0)));
            self.end(Some(head), None, PassEnd { status, ..PassEnd::of(Recorded::InForce, "", (self.clock)()) }, started).await?;
        }
        Ok(self.settle(head, Outcome::InForce { commit: head, changes: 0 }))
    }

    pub(super) async fn rejected(&mut self, head: CommitId, rejection: Rejection, started: Timestamp) -> Result<Outcome, Trouble> {
        let Rejection { reason, findings, rule_ids, .. } = rejection;
        self.end(
            Some(head),
            None,
            PassEnd { findings, rule_ids, ..PassEnd::of(Recorded::Rejected, &reason, (self.clock)()) },
            started,
        )
        .await?;
        Ok(self.settle(head, Outcome::Rejected { commit: head, reason }))
    }

    /// The head cannot be aimed at; tried again later.
    pub(super) async fn failed_to_aim(&mut self, head: CommitId, trouble: Trouble, started: Timestamp) -> Trouble {
        let reason = chain(&trouble);
        let status = Some(self.settings.status(head, StatusState::Error, &format!("compliant, but not in force: {reason}")));
        let end = PassEnd { status, ..PassEnd::of(Recorded::Failed, &reason, (self.clock)()) };
        match self.end(Some(head), None, end, started).await {
            Ok(()) => trouble,
            Err(unrecorded) => unrecorded,
        }
    }

    pub(super) async fn inexpressible(
        &mut self,
        head: CommitId,
        problems: &[Unsupported],
        started: Timestamp,
    ) -> Result<Outcome, Trouble> {
        let reason = problems.first().map_or_else(String::new, |p| format!("{}: {}", p.backend, p.message));
        let findings: Vec<_> = problems.iter().map(policy::rules::from_unsupported).collect();
        let rule = findings.first().map_or_else(String::new, |finding| finding.rule_id.to_owned());
        let findings = serde_json::to_value(findings).unwrap_or_default();
        let status = self.settings.status(head, StatusState::Failure, &reason);
        let said = Said { findings, rule_ids: vec![rule.clone()], signature: None };
        self.record(head, Verdict::Inexpressible, said, Some(status), None).await?;
        let end = PassEnd {
            findings: problems.len() as u64,
            rule_ids: vec![rule],
            ..PassEnd::of(Recorded::Inexpressible, &reason, (self.clock)())
        };
        self.end(Some(head), None, end, started).await?;
        Ok(self.settle(head, Outcome::Inexpressible { commit: head, reason }))
    }

    pub(super) async fn end(
        &self,
        head: Option<CommitId>,
        plan: Option<Plan>,
        end: PassEnd,
        started: Timestamp,
    ) -> Result<(), Trouble> {
        let enforced_before = self.store.last_in_force().await?.map(|last| last.commit);
        let git_ref = self.settings.git_ref.clone();
        self.store.record_pass(EndedPass { head, git_ref, enforced_before, plan, started, end }).await?;
        Ok(())
    }
}
