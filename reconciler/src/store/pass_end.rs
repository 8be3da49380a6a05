//! How passes end, and passes that ended before they had anything to apply.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::json;

use super::commits::set_quarantine;
use super::outbox::queue_status;
use super::passes::{PassId, PassRow, Plan, insert_pass};
use super::switches::{Note, write_notes};
use super::tx::Tx;
use super::{Error, Store, to_ns, words};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, Hash, kind};
use crate::converge::CommitStatus;

words! {
    /// How a trip of the loop ended.
    Outcome {
        /// What the head says is enforced.
        InForce = "in_force",
        /// The head breaks a rule.
        Rejected = "rejected",
        /// A backend cannot say it exactly.
        Inexpressible = "inexpressible",
        /// A person has to decide.
        Held = "held",
        /// It did not work; it will be tried again.
        Failed = "failed",
    }
}

/// What is in force on a target from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnforcedNow {
    /// `ebpf`, `aws`, `azure`.
    pub backend: String,
    /// Which interface, group, …
    pub target: String,
    /// Hash of the desired state that was verified.
    pub desired_hash: Hash,
    /// The backend's generation.
    pub generation: u64,
}

/// The end of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassEnd {
    /// How.
    pub outcome: Outcome,
    /// Why, for people; also what tells one held or failed situation from another, so keep times and request ids out of it.
    pub reason: String,
    /// Targets that were verified to be as the head says.
    pub enforced: Vec<EnforcedNow>,
    /// How many changes were made.
    pub changes: u64,
    /// How many findings the head has.
    pub findings: u64,
    /// Ids of the rules it breaks.
    pub rule_ids: Vec<String>,
    /// What the forge is to show.
    pub status: Option<CommitStatus>,
    /// Why the head is not to be tried again, if it is not.
    pub quarantine: Option<String>,
    /// Facts that hold from now on, in the same transaction.
    pub notes: Vec<Note>,
    /// Who released it: a person, or `system` where the controller vouched for what was on trial.
    pub confirmed_by: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl PassEnd {
    /// An end with nothing enforced, changed, found or to be said.
    #[must_use]
    pub fn of(outcome: Outcome, reason: &str, at: Timestamp) -> Self {
        Self {
            outcome,
            reason: reason.to_owned(),
            enforced: Vec::new(),
            changes: 0,
            findings: 0,
            rule_ids: Vec::new(),
            status: None,
            quarantine: None,
            notes: Vec::new(),
            confirmed_by: None,
            at,
        }
    }
}

/// A pass that ended before anything was applied: rejected, inexpressible, held, failed, or in force without a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedPass {
    /// The head, if there is one.
    pub head: Option<CommitId>,
    /// Full name of the ref.
    pub git_ref: String,
    /// What is in force.
    pub enforced_before: Option<CommitId>,
    /// The plan, if it got that far: what a person confirms.
    pub plan: Option<Plan>,
    /// When it began.
    pub started: Timestamp,
    /// How it ended.
    pub end: PassEnd,
}

impl Store {
    /// Records a pass that made no change. Seen again only moves the time of the newest pass: no new row, no audit row. Seen again means
    /// the same head, ref and outcome, the same reason (for a head in force any reason), and the same plan if there is one. Returns the pass and whether its row is new. A status is queued either way, where it is news.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_pass(&self, pass: EndedPass) -> Result<(PassId, bool), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                if let Some(same) = same_as_newest(tx, &pass).await? {
                    touch(tx, same, &pass.end).await?;
                    return Ok((same, false));
                }
                let id = PassId(fresh_id(pass.started));
                let row =
                    PassRow { head: pass.head, git_ref: &pass.git_ref, before: pass.enforced_before, plan: pass.plan.as_ref() };
                insert_pass(tx, id, &row, pass.started).await?;
                end_pass(tx, id, &pass.end).await?;
                Ok((id, true))
            })
        })
        .await
    }
}

async fn same_as_newest(tx: &mut Tx, pass: &EndedPass) -> Result<Option<PassId>, Error> {
    let newest: Option<(Vec<u8>, bool)> = sqlx::query_as(
        "SELECT id, head IS ?1 AND ref = ?2 AND outcome IS ?3 AND (reason = ?4 OR ?3 = 'in_force') AND (?5 IS NULL OR plan_hash IS ?5) \
         FROM passes ORDER BY opened DESC, rowid DESC LIMIT 1",
    )
    .bind(pass.head.map(|c| c.as_bytes().to_vec()))
    .bind(&pass.git_ref)
    .bind(pass.end.outcome.word())
    .bind(&pass.end.reason)
    .bind(pass.plan.as_ref().map(|p| p.hash().to_vec()))
    .fetch_optional(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot compare a pass with the one before", e))?;
    Ok(newest.filter(|(_, same)| *same).and_then(|(id, _)| id.try_into().ok().map(PassId)))
}

async fn touch(tx: &mut Tx, pass: PassId, end: &PassEnd) -> Result<(), Error> {
    let head: Option<Vec<u8>> =
        sqlx::query_scalar("UPDATE passes SET seen = ?, times_seen = times_seen + 1 WHERE id = ? RETURNING head")
            .bind(to_ns(end.at))
            .bind(pass.0.to_vec())
            .fetch_one(tx.connection())
            .await
            .map_err(|e| Error::sqlite("cannot note that a pass was seen again", e))?;
    if let Some(head) = head {
        for target in &end.enforced {
            set_enforced(tx, pass, &head, target, end.at).await?;
        }
        quarantine_head(tx, &head, end).await?;
    }
    write_notes(tx, &end.notes, end.at).await?;
    match &end.status {
        Some(status) => queue_status(tx, status, end.at).await,
        None => Ok(()),
    }
}

/// Head, ref, plan hash.
type EndedRow = (Option<Vec<u8>>, String, Option<Vec<u8>>);

/// Closes an open pass with everything that follows from it.
pub(super) async fn end_pass(tx: &mut Tx, id: PassId, end: &PassEnd) -> Result<(), Error> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let sql = "UPDATE passes SET closed = ?1, seen = ?1, outcome = ?2, reason = ?3, changes = ?4, finding_count = ?5, rule_ids = ?6, confirmed_by = ?8 \
               WHERE id = ?7 AND closed IS NULL RETURNING head, ref, plan_hash";
    let row: Option<EndedRow> = sqlx::query_as(sql)
        .bind(to_ns(end.at))
        .bind(end.outcome.word())
        .bind(&end.reason)
        .bind(number(end.changes))
        .bind(number(end.findings))
        .bind(json!(end.rule_ids).to_string())
        .bind(id.0.to_vec())
        .bind(&end.confirmed_by)
        .fetch_optional(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot close a pass", e))?;
    let (head, git_ref, plan) = row.ok_or_else(|| Error::NoSuch("open pass with that id".to_owned()))?;
    if let Some(head) = &head {
        for target in &end.enforced {
            set_enforced(tx, id, head, target, end.at).await?;
        }
        quarantine_head(tx, head, end).await?;
    }
    write_notes(tx, &end.notes, end.at).await?;
    log_end(tx, end, head.as_deref(), plan, &git_ref).await?;
    match &end.status {
        Some(status) => queue_status(tx, status, end.at).await,
        None => Ok(()),
    }
}

async fn quarantine_head(tx: &mut Tx, head: &[u8], end: &PassEnd) -> Result<(), Error> {
    let Some(reason) = &end.quarantine else { return Ok(()) };
    let commit = CommitId::from_bytes(head).map_err(|_| Error::Damaged("a pass with a head that is none".to_owned()))?;
    set_quarantine(tx, commit, reason, end.at).await
}

async fn set_enforced(tx: &mut Tx, pass: PassId, head: &[u8], target: &EnforcedNow, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO enforced (backend, target, oid, pass, desired_hash, generation, verified_at) VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (backend, target) DO UPDATE SET last_good = iif(oid IS excluded.oid, last_good, oid), oid = excluded.oid, \
         pass = excluded.pass, desired_hash = excluded.desired_hash, generation = excluded.generation, verified_at = excluded.verified_at",
    )
    .bind(&target.backend)
    .bind(&target.target)
    .bind(head)
    .bind(pass.0.to_vec())
    .bind(target.desired_hash.to_vec())
    .bind(i64::try_from(target.generation).unwrap_or(i64::MAX))
    .bind(to_ns(now))
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(|e| Error::sqlite("cannot write down what is in force", e))
}

async fn log_end(tx: &mut Tx, end: &PassEnd, head: Option<&[u8]>, plan: Option<Vec<u8>>, git_ref: &str) -> Result<(), Error> {
    let (kind, outcome) = match end.outcome {
        Outcome::InForce => (kind::PASS_CLOSED, Ended::Done),
        Outcome::Rejected | Outcome::Inexpressible => (kind::PASS_CLOSED, Ended::Refused),
        Outcome::Failed => (kind::PASS_CLOSED, Ended::Failed),
        Outcome::Held if plan.is_some() => (kind::PLAN_HELD, Ended::Held),
        Outcome::Held => (kind::SOURCE_HELD, Ended::Held),
    };
    let targets: Vec<String> = end.enforced.iter().take(100).map(|t| tidy(&format!("{}:{}", t.backend, t.target), 255)).collect();
    let payload = json!({
        "outcome": end.outcome.word(),
        "reason": tidy(&end.reason, 2_000),
        "changes": end.changes.min(1 << 53),
        "findings": end.findings.min(1 << 53),
        "targets": targets,
        "confirmed_by": end.confirmed_by.as_ref().map(|who| tidy(who, 255)),
    });
    let (origin, object) = (tx.origin(), tidy(git_ref, 255));
    let commit = head.and_then(|raw| CommitId::from_bytes(raw).ok());
    let plan = plan.and_then(|raw| Hash::try_from(raw).ok());
    tx.log(Draft { kind, origin: &origin, object: &object, outcome, commit, plan, payload, ..Draft::at(end.at) }).await.map(drop)
}
