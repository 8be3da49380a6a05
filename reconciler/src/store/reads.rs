//! What users ask of the database: history, status, and the head of the log.

use jiff::Timestamp;
use policy::snapshot::CommitId;

use super::history::approved_by;
use super::passes::EnforcedRow;
use super::{
    AUDIT_ORIGIN, AnchorState, DriftVerdict, Error, Failure, KeptNote, Lately, OutboxDepth, Outcome, Store, Switch, from_ns,
};
use crate::audit::{Frontier, hex};

/// One line of `history`, as `--format json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct HistoryEntry {
    /// The head, in hexadecimal; null where the branch had none.
    pub commit: Option<String>,
    /// Full name of the ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// `Name <address>`, as written by people.
    pub author: Option<String>,
    /// First line of the message, as written by people.
    pub subject: Option<String>,
    /// How it ended; null while it runs.
    pub outcome: Option<Outcome>,
    /// How many findings the commit has.
    pub findings: u64,
    /// Ids of the rules it breaks.
    pub rule_ids: Vec<String>,
    /// When the pass began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many changes were made.
    pub changes: u64,
    /// Why it ended so, for people.
    pub reason: String,
    /// Who approved the request the commit came by, `{"requests": […]}` or `{"unknown": "…"}`; null as long as nobody was asked.
    pub approvals: Option<serde_json::Value>,
    /// Accounts whose approvals count; null where nobody was asked or nobody can tell.
    pub approved_by: Option<Vec<String>>,
    /// Who signed the commit, where that was asked for.
    pub signed_by: Option<String>,
    /// Who released the pass: a person, or `system` where the controller vouched for what was on trial.
    pub confirmed_by: Option<String>,
    /// SHA-256 of the plan, in hexadecimal; `history show` has the plan.
    pub plan: Option<String>,
    /// What each target answered; none where nothing had to change.
    pub targets: Vec<TargetState>,
}

/// What a target answered in a pass.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TargetState {
    /// Its name.
    pub target: String,
    /// The worst of its steps: `failed`, `unknown`, `intent` or `done`.
    pub state: String,
}

/// The newest commit that was in force as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// The commit.
    pub commit: CommitId,
    /// Since when.
    pub since: Timestamp,
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditHead {
    /// How many rows.
    pub size: u64,
    /// Hash of the last row, in hexadecimal; empty for no rows.
    pub head: String,
    /// Root of the Merkle tree over all rows, in hexadecimal.
    pub root: String,
}

/// What is on trial, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrialSummary {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// What a person confirms.
    pub hash: String,
    /// Whether a person has to.
    pub by_hand: bool,
    /// When the way back is taken; null until the rules judge packets.
    pub until: Option<Timestamp>,
}

/// What `status` shows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StatusSummary {
    /// What is in force, target by target.
    pub enforced: Vec<EnforcedRow>,
    /// The newest pass.
    pub last_pass: Option<HistoryEntry>,
    /// When the newest delivery arrived.
    pub last_delivery: Option<Timestamp>,
    /// What happened last at the doors, and what waits there.
    #[serde(flatten)]
    pub lately: Lately,
    /// What people decided and that holds now.
    pub switches: Vec<Switch>,
    /// What waits to be said to the forge.
    pub outbox: OutboxDepth,
    /// How many differences are open, without those that are accepted.
    pub open_drift: u64,
    /// How many objects a person accepts as they are, for a time.
    pub drift_accepted: u64,
    /// How many objects are healed no longer because somebody changes them back each time.
    pub drift_quarantined: u64,
    /// When the newest drift report was written.
    pub last_report: Option<Timestamp>,
    /// What is on trial; null for nothing.
    pub on_trial: Option<TrialSummary>,
    /// Controls that do not work now.
    pub failures: Vec<Failure>,
    /// Where the log stands.
    pub audit: AuditHead,
    /// What is signed of it.
    pub signed: Signed,
}

/// What is signed of the log, and who has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// The newest checkpoint; null before the first.
    pub checkpoint: Option<KeptNote>,
    /// How each anchor stands.
    pub anchors: Vec<AnchorState>,
}

type Row = (
    Option<Vec<u8>>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
    String,
    i64,
    Option<i64>,
    i64,
    String,
    Option<String>,
    Vec<u8>,
    Option<String>,
    Option<String>,
    Option<Vec<u8>>,
);

/// Which targets the newest passes had steps on, and the worst of each.
const ANSWERS: &str = "SELECT s.pass, s.target, CASE max(CASE s.state WHEN 'failed' THEN 3 WHEN 'unknown' THEN 2 WHEN 'intent' THEN 1 ELSE 0 END) \
     WHEN 3 THEN 'failed' WHEN 2 THEN 'unknown' WHEN 1 THEN 'intent' ELSE 'done' END FROM steps s \
     WHERE s.pass IN (SELECT id FROM passes ORDER BY opened DESC, rowid DESC LIMIT ?) GROUP BY s.pass, s.target ORDER BY s.target";

impl Store {
    /// Passes, newest first, as `history --format json` shows them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, Error> {
        // Not so in a database that an older controller still has.
        let (approvals, signed) = if self.keeps_approvals().await? { ("c.approvals", "c.signed_by") } else { ("NULL", "NULL") };
        let confirmed = if self.knows_decisions().await? { "p.confirmed_by" } else { "NULL" };
        let query = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT p.head, p.ref, c.author, c.subject, p.outcome, p.finding_count, p.rule_ids, p.opened, p.closed, p.changes, p.reason, \
             {approvals}, p.id, {signed}, {confirmed}, p.plan_hash FROM passes p LEFT JOIN commits c ON c.oid = p.head ORDER BY p.opened DESC, p.rowid DESC LIMIT ?"
        )))
        .bind(i64::from(limit));
        let rows: Vec<Row> = self.read("cannot read the history", query.fetch_all(&self.readers)).await?;
        let answers = sqlx::query_as(ANSWERS).bind(i64::from(limit));
        let answers: Vec<(Vec<u8>, String, String)> =
            self.read("cannot read what targets answered", answers.fetch_all(&self.readers)).await?;
        rows.into_iter().map(|row| entry(row, &answers)).collect()
    }

    /// The newest commit that was in force as a whole: the base of "never backwards".
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_in_force(&self) -> Result<Option<InForce>, Error> {
        let query = sqlx::query_as(
            "SELECT head, closed FROM passes WHERE outcome = 'in_force' AND head IS NOT NULL ORDER BY opened DESC, rowid DESC LIMIT 1",
        );
        let row: Option<(Vec<u8>, i64)> =
            self.read("cannot read what was last in force", query.fetch_optional(&self.readers)).await?;
        let in_force = |(head, closed): (Vec<u8>, i64)| {
            let commit = CommitId::from_bytes(&head).map_err(|_| Error::Damaged("a pass whose head is no commit".to_owned()))?;
            Ok(InForce { commit, since: from_ns(closed) })
        };
        row.map(in_force).transpose()
    }

    /// Where the log stands, by its frontier.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn audit_head(&self) -> Result<AuditHead, Error> {
        let query = sqlx::query_as(
            "SELECT size, hashes, (SELECT hash FROM audit_log WHERE seq = audit_frontier.size - 1) FROM audit_frontier WHERE id = 0",
        );
        let row = self.read("cannot read the head of the audit log", query.fetch_one(&self.readers)).await?;
        let (size, hashes, head): (i64, Vec<u8>, Option<Vec<u8>>) = row;
        let size = u64::try_from(size).unwrap_or(0);
        let frontier = Frontier::from_parts(size, &hashes).map_err(|cause| Error::Damaged(cause.to_string()))?;
        Ok(AuditHead { size, head: head.map(|hash| hex(&hash)).unwrap_or_default(), root: hex(&frontier.root()) })
    }

    /// What is signed of the log, and who has it; nothing in a database of a release that did not sign.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn signed(&self) -> Result<Signed, Error> {
        if !self.keeps_checkpoints().await? {
            return Ok(Signed::default());
        }
        let checkpoint = match self.meta_get(AUDIT_ORIGIN).await? {
            Some(origin) => self.newest_checkpoint(&origin).await?,
            None => None,
        };
        Ok(Signed { checkpoint, anchors: self.anchor_states().await? })
    }

    /// What `status` shows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn status_summary(&self) -> Result<StatusSummary, Error> {
        let query = sqlx::query_scalar("SELECT max(received) FROM inbox");
        let delivery: Option<i64> = self.read("cannot read the status", query.fetch_one(&self.readers)).await?;
        let now = Timestamp::now();
        let open = self.drift(true).await?.iter().filter(|row| row.is_open()).count();
        let decisions = self.drift_decisions(now).await?;
        let decided = |verdict| decisions.iter().filter(|held| held.decision == verdict).count() as u64;
        Ok(StatusSummary {
            enforced: self.enforced_all().await?,
            last_pass: self.history(1).await?.pop(),
            last_delivery: delivery.map(from_ns),
            lately: self.lately(now).await?,
            switches: self.switches().await?.into_iter().filter(|one| one.until.is_none_or(|until| until > now)).collect(),
            outbox: self.outbox_depth().await?,
            open_drift: open as u64,
            drift_accepted: decided(DriftVerdict::Accepted),
            drift_quarantined: decided(DriftVerdict::Quarantined),
            last_report: self.last_report(now).await?,
            on_trial: self.meta_get(crate::converge::ON_TRIAL).await?.and_then(|text| serde_json::from_str(&text).ok()),
            failures: self.failures(true).await?,
            audit: self.audit_head().await?,
            signed: self.signed().await?,
        })
    }
}

fn entry(row: Row, answers: &[(Vec<u8>, String, String)]) -> Result<HistoryEntry, Error> {
    let (head, git_ref, author, subject, outcome, findings, rule_ids, opened, closed, changes, reason, approvals, ..) = row;
    let (.., id, signed_by, confirmed_by, plan) = row;
    let approvals: Option<serde_json::Value> = approvals.and_then(|text| serde_json::from_str(&text).ok());
    let answered = answers.iter().filter(|(pass, ..)| *pass == id);
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(HistoryEntry {
        commit: head.map(|oid| hex(&oid)),
        git_ref,
        author,
        subject,
        outcome: outcome.as_deref().and_then(Outcome::from_word),
        findings: number(findings),
        rule_ids: serde_json::from_str(&rule_ids).map_err(|_| Error::Damaged("a pass with unreadable rule ids".to_owned()))?,
        started_at: from_ns(opened),
        finished_at: closed.map(from_ns),
        changes: number(changes),
        reason,
        approved_by: approvals.as_ref().and_then(approved_by),
        approvals,
        signed_by,
        confirmed_by,
        plan: plan.map(|hash| hex(&hash)),
        targets: answered.map(|(_, target, state)| TargetState { target: target.clone(), state: state.clone() }).collect(),
    })
}
