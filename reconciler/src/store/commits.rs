//! Commits and their verdicts. A verdict, its findings, its audit row, the status and the comment that report it are one transaction, and
//! [`Store::record_verdict`] is the only function that stores one: a red verdict without a queued red status cannot exist.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::outbox::queue_status;
use super::requests::{Comment, queue_comment};
use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns, words};
use crate::audit::event::tidy;
use crate::audit::{Draft, Ended, hex, kind};
use crate::converge::{ACCEPTED_HEAD, CommitInfo, CommitStatus};

/// Rule ids named in an audit row; the rest is in `commits`.
const RULE_IDS_LOGGED_MAX: usize = 100;
/// Waivers of one verdict that get a row; more are in its findings.
const WAIVERS_LOGGED_MAX: usize = 1_000;

words! {
    /// What the core said of a commit.
    Verdict {
        /// Not judged yet, or judging never ended.
        Pending = "pending",
        /// It may be applied.
        Compliant = "compliant",
        /// It breaks a rule or cannot be read.
        Rejected = "rejected",
        /// A backend cannot say it exactly.
        Inexpressible = "inexpressible",
        /// Judging itself went wrong.
        Error = "error",
    }
}

words! {
    /// How we heard of a commit.
    Came {
        /// A webhook told of a push.
        Push = "push",
        /// We looked.
        Poll = "poll",
        /// It is the head of a pull or merge request.
        Request = "request",
    }
}

/// A commit about to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// What it says of itself.
    pub info: CommitInfo,
    /// Full name of the ref it was found on.
    pub git_ref: String,
    /// How we heard of it.
    pub came: Came,
}

/// The end of judging one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The commit.
    pub commit: CommitId,
    /// Anything but pending.
    pub verdict: Verdict,
    /// A JSON array, one object per finding.
    pub findings: Value,
    /// Ids of the rules broken, each once.
    pub rule_ids: Vec<String>,
    /// Who signed it, or why nobody did; nothing where that was not looked at.
    pub signature: Option<Value>,
    /// Program and rules version.
    pub judged_by: String,
    /// What the forge is to show.
    pub status: Option<CommitStatus>,
    /// What the comment of its request is to say.
    pub comment: Option<Comment>,
    /// When.
    pub at: Timestamp,
}

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitRecord {
    /// The commit.
    pub commit: CommitId,
    /// `Name <address>` of the author, as written by people.
    pub author: String,
    /// First line of the message, as written by people.
    pub subject: String,
    /// Full name of the ref it was found on.
    pub git_ref: String,
    /// How we heard of it.
    pub came: Came,
    /// How often judging began.
    pub attempts: u32,
    /// What came of it.
    pub verdict: Verdict,
    /// A JSON array, one object per finding.
    pub findings: Value,
    /// Ids of the rules broken.
    pub rule_ids: Vec<String>,
    /// Program and rules version of the last verdict.
    pub judged_by: Option<String>,
    /// Why it is not tried again.
    pub quarantine: Option<String>,
}

type Row = (Vec<u8>, String, String, String, String, i64, String, String, String, Option<String>, Option<String>);
const COLUMNS: &str =
    "SELECT oid, author, subject, ref, came, attempts, verdict, findings, rule_ids, judged_by, quarantine FROM commits";

impl Store {
    /// Before judging: each commit is `pending` with one more attempt, and the given statuses are queued, in one transaction.
    /// Returns the attempts of each commit, in the given order.
    ///
    /// # Errors
    /// The database cannot be written: nothing may be judged.
    pub async fn begin_judging(
        &self,
        commits: Vec<NewCommit>,
        pending: Vec<CommitStatus>,
        now: Timestamp,
    ) -> Result<Vec<u32>, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let mut attempts = Vec::with_capacity(commits.len());
                for commit in &commits {
                    attempts.push(begin_one(tx, commit, now).await?);
                }
                for status in &pending {
                    queue_status(tx, status, now).await?;
                }
                Ok(attempts)
            })
        })
        .await
    }

    /// Stores a verdict with its audit row `commit.judged` and queues its status, in one transaction.
    ///
    /// # Errors
    /// The commit was never begun; the database cannot be written.
    pub async fn record_verdict(&self, judged: Judged) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let came = store_verdict(tx, &judged).await?;
                log_verdict(tx, &judged, &came).await?;
                log_waivers(tx, &judged, &came).await?;
                if let Some(status) = &judged.status {
                    queue_status(tx, status, judged.at).await?;
                }
                if let Some(comment) = &judged.comment {
                    queue_comment(tx, comment, judged.commit, judged.at).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Queues a status that goes with no new verdict (`compliant, applying`; a plan that waits; a target that cannot be reached).
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn queue_status(&self, status: CommitStatus, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { queue_status(tx, &status, now).await })).await
    }

    /// Commits whose judging began and never ended, oldest first: what a crash leaves behind.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn commits_pending(&self) -> Result<Vec<CommitRecord>, Error> {
        let query = const_format(" WHERE verdict = 'pending' ORDER BY first_seen, rowid LIMIT 10000");
        let rows: Vec<Row> = self.read("cannot read pending commits", sqlx::query_as(query).fetch_all(&self.readers)).await?;
        rows.into_iter().map(record).collect()
    }

    /// When a commit was first seen, if it was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn first_seen(&self, commit: &CommitId) -> Result<Option<Timestamp>, Error> {
        let query = sqlx::query_scalar("SELECT first_seen FROM commits WHERE oid = ?").bind(commit.as_bytes().to_vec());
        let seen: Option<i64> = self.read("cannot read when a commit was first seen", query.fetch_optional(&self.readers)).await?;
        Ok(seen.map(from_ns))
    }

    /// What is known of a commit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn commit(&self, commit: &CommitId) -> Result<Option<CommitRecord>, Error> {
        let query = sqlx::query_as(const_format(" WHERE oid = ?")).bind(commit.as_bytes().to_vec());
        let row: Option<Row> = self.read("cannot read a commit", query.fetch_optional(&self.readers)).await?;
        row.map(record).transpose()
    }
}

/// The columns with an ending; both are text of this file.
fn const_format(ending: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("{COLUMNS}{ending}"))
}

/// Marks a commit as not to be tried again, with an audit row. Its acceptance as a head, if it had one, is used up: whoever accepted it
/// did so before it failed.
pub(super) async fn set_quarantine(tx: &mut Tx, commit: CommitId, reason: &str, now: Timestamp) -> Result<(), Error> {
    let done = sqlx::query("UPDATE commits SET quarantine = ? WHERE oid = ?")
        .bind(reason)
        .bind(commit.as_bytes())
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot quarantine a commit", e))?;
    if done.rows_affected() == 0 {
        return Err(Error::NoSuch(format!("commit {commit}")));
    }
    let origin = tx.origin();
    let payload = json!({ "reason": tidy(reason, 2_000) });
    let draft =
        Draft { kind: kind::COMMIT_QUARANTINED, origin: &origin, object: "policy", outcome: Ended::Refused, ..Draft::at(now) };
    tx.log(Draft { commit: Some(commit), payload, ..draft }).await?;
    use_up_acceptance(tx, commit, now).await
}

/// An accepted head is named by its first digits at least.
async fn use_up_acceptance(tx: &mut Tx, commit: CommitId, now: Timestamp) -> Result<(), Error> {
    let gone: Option<String> = sqlx::query_scalar(
        "DELETE FROM switches WHERE name = ?1 AND value <> '' AND substr(?2, 1, length(value)) = value RETURNING value",
    )
    .bind(ACCEPTED_HEAD)
    .bind(commit.to_string())
    .fetch_optional(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot use up an accepted head", e))?;
    let Some(value) = gone else { return Ok(()) };
    let origin = tx.origin();
    let payload = json!({ "value": tidy(&value, 1_000), "why": "the commit is quarantined" });
    let draft = Draft { kind: kind::SWITCH_CLEARED, actor: "system", origin: &origin, object: ACCEPTED_HEAD, ..Draft::at(now) };
    tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await.map(drop)
}

async fn begin_one(tx: &mut Tx, commit: &NewCommit, now: Timestamp) -> Result<u32, Error> {
    let info = &commit.info;
    let parents: Vec<String> = info.parents.iter().map(ToString::to_string).collect();
    let attempts: i64 = sqlx::query_scalar(
        "INSERT INTO commits (oid, parents, author, committer, subject, committed_at, ref, first_seen, came, attempts, verdict, findings, \
         finding_count, rule_ids) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 'pending', '[]', 0, '[]') \
         ON CONFLICT (oid) DO UPDATE SET attempts = attempts + 1, verdict = 'pending', ref = excluded.ref, came = excluded.came \
         RETURNING attempts",
    )
    .bind(info.id.as_bytes())
    .bind(json!(parents).to_string())
    .bind(&info.author)
    .bind(&info.committer)
    .bind(&info.subject)
    .bind(info.committed_at)
    .bind(&commit.git_ref)
    .bind(to_ns(now))
    .bind(commit.came.word())
    .fetch_one(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot note that a commit is being judged", e))?;
    Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
}

/// Returns how the commit came: the origin of the audit row.
async fn store_verdict(tx: &mut Tx, judged: &Judged) -> Result<String, Error> {
    let count = i64::try_from(count(&judged.findings)).unwrap_or(i64::MAX);
    let came: Option<String> = sqlx::query_scalar(
        "UPDATE commits SET verdict = ?, findings = ?, finding_count = ?, rule_ids = ?, judged_by = ?, judged_at = ?, signed_by = ?, \
         attempts = 0 WHERE oid = ? RETURNING came",
    )
    .bind(judged.verdict.word())
    .bind(judged.findings.to_string())
    .bind(count)
    .bind(json!(judged.rule_ids).to_string())
    .bind(&judged.judged_by)
    .bind(to_ns(judged.at))
    .bind(judged.signature.as_ref().and_then(|signature| signature.get("principal")).and_then(Value::as_str))
    .bind(judged.commit.as_bytes())
    .fetch_optional(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot store a verdict", e))?;
    came.ok_or_else(|| Error::NoSuch(format!("commit {} whose judging was begun", judged.commit)))
}

async fn log_verdict(tx: &mut Tx, judged: &Judged, came: &str) -> Result<(), Error> {
    let outcome = match judged.verdict {
        Verdict::Compliant => Ended::Done,
        Verdict::Rejected | Verdict::Inexpressible => Ended::Refused,
        Verdict::Error => Ended::Failed,
        Verdict::Pending => return Err(Error::NoSuch("verdict in `pending`".to_owned())),
    };
    let rule_ids: Vec<String> = judged.rule_ids.iter().take(RULE_IDS_LOGGED_MAX).map(|id| tidy(id, 64)).collect();
    let mut payload = json!({
        "verdict": judged.verdict.word(),
        "findings": count(&judged.findings),
        "findings_sha256": hex(&Sha256::digest(judged.findings.to_string().as_bytes())),
        "rule_ids": rule_ids,
        "judged_by": tidy(&judged.judged_by, 200),
    });
    if let (Some(fields), Some(signature)) = (payload.as_object_mut(), &judged.signature) {
        fields.insert("signature".to_owned(), signature.clone());
    }
    let draft = Draft { kind: kind::COMMIT_JUDGED, origin: came, object: "policy", outcome, ..Draft::at(judged.at) };
    tx.log(Draft { commit: Some(judged.commit), payload, ..draft }).await.map(drop)
}

/// A row for each Waiver without which the verdict would be another one, or would say more (PCI DSS v4.0.1 10.2.2).
async fn log_waivers(tx: &mut Tx, judged: &Judged, came: &str) -> Result<(), Error> {
    let mut used: BTreeMap<String, (Value, Vec<String>)> = BTreeMap::new();
    for finding in judged.findings.as_array().into_iter().flatten() {
        let Some(waiver) = finding.get("waiver").filter(|waiver| !waiver.is_null()) else { continue };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (_, rules) = used.entry(text(waiver, "name")).or_insert_with(|| (waiver.clone(), Vec::new()));
        let rule = tidy(&text(finding, "rule_id"), 64);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    for (name, (waiver, rules)) in used.into_iter().take(WAIVERS_LOGGED_MAX) {
        let text = |key: &str| waiver.get(key).and_then(Value::as_str).map(|text| tidy(text, 2_000));
        let payload = json!({
            "waiver": tidy(&name, 255),
            "approved_by": text("approved_by"),
            "until": text("expires_at"),
            "why": text("reason"),
            "rule_ids": rules,
        });
        let object = tidy(&name, 255);
        let draft = Draft { kind: kind::WAIVER_USED, origin: came, object: &object, outcome: Ended::Done, ..Draft::at(judged.at) };
        tx.log(Draft { commit: Some(judged.commit), payload, ..draft }).await?;
    }
    Ok(())
}

/// How many findings there are.
fn count(findings: &Value) -> usize {
    findings.as_array().map_or(0, Vec::len)
}

fn record(row: Row) -> Result<CommitRecord, Error> {
    let (oid, author, subject, git_ref, came, attempts, verdict, findings, rule_ids, judged_by, quarantine) = row;
    let damaged = |what: &str| Error::Damaged(format!("a commit with {what} that is none"));
    Ok(CommitRecord {
        commit: CommitId::from_bytes(&oid).map_err(|_| damaged("an id"))?,
        author,
        subject,
        git_ref,
        came: Came::from_word(&came).ok_or_else(|| damaged("a way it came"))?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        verdict: Verdict::from_word(&verdict).ok_or_else(|| damaged("a verdict"))?,
        findings: serde_json::from_str(&findings).map_err(|_| damaged("findings"))?,
        rule_ids: serde_json::from_str(&rule_ids).map_err(|_| damaged("rule ids"))?,
        judged_by,
        quarantine,
    })
}
