//! Everything that is on record about one commit.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;

use super::history_rows::{head, pass, status, step};
use super::{Error, Store, from_ns};
use crate::audit::kind;
use crate::audit::leaf::Leaf;

/// Rows about one commit that are told of each sort, the newest ones.
const ROWS_MAX: usize = 1_000;
/// Rows of the log that are taken out at once.
const CHUNK: i64 = 1_000;
/// Commits that are offered for one nobody knows.
const OFFERED_MAX: usize = 3;
/// Commits that are looked through for that, the newest ones.
const LOOKED_THROUGH_MAX: i64 = 10_000;

/// A commit with all that became of it.
#[derive(Debug, Clone, Serialize)]
pub struct CommitStory {
    /// In hexadecimal.
    pub commit: String,
    /// Its parents.
    pub parents: Value,
    /// `Name <address>`, as written by people.
    pub author: String,
    /// The same of the committer.
    pub committer: String,
    /// First line of the message, as written by people.
    pub subject: String,
    /// The committer's claimed time.
    pub committed_at: Option<Timestamp>,
    /// Full name of the ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// How we heard of it: `push`, `poll` or `request`.
    pub came: String,
    /// When.
    pub first_seen: Timestamp,
    /// What the rules said.
    pub verdict: String,
    /// One object for each finding.
    pub findings: Value,
    /// Program and catalogue.
    pub judged_by: Option<String>,
    /// When.
    pub judged_at: Option<Timestamp>,
    /// Why it is not tried again.
    pub quarantine: Option<String>,
    /// Who signed it.
    pub signed_by: Option<String>,
    /// The requests it came by with their approvals, as the forge tells; null as long as nobody was asked.
    pub approvals: Option<Value>,
    /// Accounts whose approvals count.
    pub approved_by: Option<Vec<String>>,
    /// Each pass on it, oldest first.
    pub passes: Vec<PassStory>,
    /// What was said to the forge, oldest first.
    pub statuses: Vec<StatusStory>,
    /// Rows of the audit log about it; null where there are too many rows to look through.
    pub audit_rows: Option<Vec<AuditRow>>,
    /// Of what there is more than is told, all of it older: `passes`, `statuses`, `audit_rows`.
    pub older_left_out: Vec<&'static str>,
}

/// A pass.
#[derive(Debug, Clone, Serialize)]
pub struct PassStory {
    /// A UUID.
    pub id: String,
    /// When it began.
    pub opened: Timestamp,
    /// When it ended.
    pub closed: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Why so.
    pub reason: String,
    /// How many changes were made.
    pub changes: i64,
    /// How often it was found to be the same again.
    pub times_seen: i64,
    /// Who released it: a person, or `system` where the controller vouched for what was on trial.
    pub confirmed_by: Option<String>,
    /// SHA-256 of the plan.
    pub plan_hash: Option<String>,
    /// The plan: what each target has before and after.
    pub plan: Option<Value>,
    /// What each target answered.
    pub targets: Vec<TargetAnswer>,
}

/// What a target answered.
#[derive(Debug, Clone, Serialize)]
pub struct TargetAnswer {
    /// Its name.
    pub target: String,
    /// What enforces there.
    pub backend: String,
    /// Step by step.
    pub steps: Vec<StepStory>,
}

/// A step.
#[derive(Debug, Clone, Serialize)]
pub struct StepStory {
    /// Its number in the pass.
    pub n: i64,
    /// Which rule.
    pub key: String,
    /// Towards what: `present` or `absent`.
    pub ensure: String,
    /// Why: `commit`, `drift` or `rollback`.
    pub why: String,
    /// Where it is.
    pub state: String,
    /// The provider's code.
    pub code: Option<String>,
    /// When it was written down.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

/// Something said to the forge.
#[derive(Debug, Clone, Serialize)]
pub struct StatusStory {
    /// `status`, `comment` or `notice`.
    pub kind: String,
    /// Under which name.
    pub context: String,
    /// `pending`, `success`, `failure`, `error`.
    pub status: String,
    /// What was said.
    pub description: String,
    /// `queued`, `sent`, `superseded`, `dead`.
    pub state: String,
    /// Since when it waited.
    pub queued_at: Timestamp,
    /// When that ended.
    pub ended_at: Option<Timestamp>,
    /// What the forge said against it last.
    pub last_error: Option<String>,
}

/// A row of the audit log.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRow {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// From where.
    pub origin: String,
    /// How it ended.
    pub outcome: &'static str,
}

/// An operator's order.
#[derive(Debug, Clone, Serialize)]
pub struct OrderRow {
    /// Which: `suspend`, `confirm`, …
    pub order: String,
    /// Its row of the audit log.
    #[serde(flatten)]
    pub row: AuditRow,
    /// What was asked.
    pub asked: Value,
    /// What came of it, in words.
    pub answer: Option<String>,
}

impl Store {
    /// Everything on record about a commit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn story(&self, commit: &CommitId) -> Result<Option<CommitStory>, Error> {
        let query = sqlx::query("SELECT * FROM commits WHERE oid = ?").bind(commit.as_bytes().to_vec());
        let row = self.read("cannot read a commit", query.fetch_optional(&self.readers)).await?;
        let Some(row) = row else { return Ok(None) };
        let mut story = head(commit, &row).map_err(|e| Error::sqlite("cannot read a commit", e))?;
        story.passes = self.pass_stories(commit).await?;
        story.statuses = self.status_stories(commit).await?;
        story.audit_rows = match self.audit_rows(commit).await {
            Err(Error::Slow { .. }) => None,
            rows => Some(rows?),
        };
        let left_out = [
            ("passes", newest(&mut story.passes)),
            ("statuses", newest(&mut story.statuses)),
            ("audit_rows", story.audit_rows.as_mut().is_some_and(newest)),
        ];
        story.older_left_out = left_out.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect();
        Ok(Some(story))
    }

    async fn pass_stories(&self, commit: &CommitId) -> Result<Vec<PassStory>, Error> {
        let query = sqlx::query("SELECT * FROM passes WHERE head = ? ORDER BY opened DESC, rowid DESC LIMIT ?")
            .bind(commit.as_bytes().to_vec())
            .bind(one_more());
        let rows = self.read("cannot read the passes of a commit", query.fetch_all(&self.readers)).await?;
        let mut passes = Vec::with_capacity(rows.len());
        for row in rows {
            let failed = |e| Error::sqlite("cannot read a pass", e);
            let id: Vec<u8> = row.try_get("id").map_err(failed)?;
            let mut pass = pass(&row, &id).map_err(failed)?;
            let hash: Option<Vec<u8>> = row.try_get("plan_hash").map_err(failed)?;
            if let Some(hash) = hash.and_then(|hash| hash.try_into().ok()) {
                pass.plan = self.evidence(&hash).await?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            }
            pass.targets = self.answers(id).await?;
            passes.push(pass);
        }
        Ok(passes)
    }

    async fn answers(&self, pass: Vec<u8>) -> Result<Vec<TargetAnswer>, Error> {
        let query = sqlx::query("SELECT * FROM steps WHERE pass = ? ORDER BY target, n").bind(pass);
        let rows = self.read("cannot read the steps of a pass", query.fetch_all(&self.readers)).await?;
        let mut answers: Vec<TargetAnswer> = Vec::new();
        for row in rows {
            let failed = |e| Error::sqlite("cannot read a step", e);
            let (target, backend): (String, String) =
                (row.try_get("target").map_err(failed)?, row.try_get("backend").map_err(failed)?);
            let step = step(&row).map_err(failed)?;
            match answers.last_mut().filter(|last| last.target == target && last.backend == backend) {
                Some(last) => last.steps.push(step),
                None => answers.push(TargetAnswer { target, backend, steps: vec![step] }),
            }
        }
        Ok(answers)
    }

    async fn status_stories(&self, commit: &CommitId) -> Result<Vec<StatusStory>, Error> {
        let query = sqlx::query("SELECT * FROM outbox WHERE oid = ? ORDER BY queued_at DESC, rowid DESC LIMIT ?")
            .bind(commit.as_bytes().to_vec())
            .bind(one_more());
        let rows = self.read("cannot read what was said of a commit", query.fetch_all(&self.readers)).await?;
        rows.iter().map(|row| status(row).map_err(|e| Error::sqlite("cannot read what was said of a commit", e))).collect()
    }

    /// Found by the bytes of the commit's id, then made sure of: the log has no column for it.
    async fn audit_rows(&self, commit: &CommitId) -> Result<Vec<AuditRow>, Error> {
        let (mut found, mut before) = (Vec::new(), i64::MAX);
        while found.len() <= ROWS_MAX {
            let query =
                sqlx::query_as("SELECT seq, leaf FROM audit_log WHERE seq < ? AND instr(leaf, ?) > 0 ORDER BY seq DESC LIMIT ?")
                    .bind(before)
                    .bind(commit.as_bytes().to_vec())
                    .bind(CHUNK);
            let rows: Vec<(i64, Vec<u8>)> = self.read("cannot look through the audit log", query.fetch_all(&self.readers)).await?;
            let leaves = rows.iter().filter_map(|(_, leaf)| Leaf::decode(leaf).ok());
            found.extend(leaves.filter(|leaf| leaf.commit == commit.as_bytes()).map(|leaf| audit_row(&leaf)));
            let Some((seq, _)) = rows.last() else { break };
            before = *seq;
        }
        Ok(found)
    }

    /// What operators have ordered, newest first: also what was refused.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn orders(&self, limit: u32) -> Result<Vec<OrderRow>, Error> {
        let query = sqlx::query_scalar("SELECT leaf FROM audit_log WHERE kind = ? ORDER BY seq DESC LIMIT ?")
            .bind(kind::ORDER_GIVEN)
            .bind(i64::from(limit));
        let leaves: Vec<Vec<u8>> = self.read("cannot look through the audit log", query.fetch_all(&self.readers)).await?;
        let order = |leaf: Leaf<'_>| {
            let mut payload: Value = serde_json::from_str(leaf.payload).unwrap_or_default();
            let asked = payload.get_mut("asked").map(Value::take).unwrap_or_default();
            let answer = payload.get("answer").and_then(Value::as_str).map(str::to_owned);
            OrderRow { order: leaf.object.to_owned(), row: audit_row(&leaf), asked, answer }
        };
        Ok(leaves.iter().filter_map(|leaf| Leaf::decode(leaf).ok()).map(order).collect())
    }

    /// Commits whose ids are most like these digits, each with its subject.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn commits_nearest(&self, digits: &str) -> Result<Vec<(String, String)>, Error> {
        let query = sqlx::query_as("SELECT lower(hex(oid)), subject FROM commits ORDER BY first_seen DESC LIMIT ?");
        let rows: Vec<(String, String)> =
            self.read("cannot look commits through", query.bind(LOOKED_THROUGH_MAX).fetch_all(&self.readers)).await?;
        let digits = digits.to_ascii_lowercase();
        let far = |id: &str| strsim::levenshtein(id.get(..digits.len()).unwrap_or(id), &digits);
        let mut near: Vec<_> = rows.into_iter().map(|(id, subject)| (far(&id), id, subject)).collect();
        near.sort_by_key(|(far, ..)| *far);
        Ok(near.into_iter().take(OFFERED_MAX).map(|(_, id, subject)| (id, subject)).collect())
    }
}

/// So many rows tell whether there are too many.
fn one_more() -> i64 {
    i64::try_from(ROWS_MAX).unwrap_or(i64::MAX).saturating_add(1)
}

/// Keeps of rows that come newest first the newest, oldest first. Whether there are more.
fn newest<T>(rows: &mut Vec<T>) -> bool {
    let has_more = rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
    rows.reverse();
    has_more
}

/// Accounts whose approvals count, of what is kept about a commit.
pub(super) fn approved_by(approvals: &Value) -> Option<Vec<String>> {
    let requests = approvals.get("requests")?.as_array()?;
    let given = requests.iter().filter_map(|request| request.get("approvals")?.as_array()).flatten();
    let counts = |one: &&Value| matches!(one.get("standing").and_then(Value::as_str), Some("given" | "head_not_known"));
    let mut who: Vec<String> = given.filter(counts).filter_map(|one| Some(one.get("who")?.as_str()?.to_owned())).collect();
    who.sort();
    who.dedup();
    Some(who)
}

fn audit_row(leaf: &Leaf<'_>) -> AuditRow {
    AuditRow {
        seq: leaf.seq,
        at: from_ns(leaf.ts_ns),
        kind: leaf.kind.to_owned(),
        actor: leaf.actor.to_owned(),
        origin: leaf.origin.to_owned(),
        outcome: leaf.outcome.word(),
    }
}
