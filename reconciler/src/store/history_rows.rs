//! Rows about a commit as they come out of the database.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::drift_reads::uuid_text;
use super::from_ns;
use super::history::{CommitStory, PassStory, StatusStory, StepStory, approved_by};
use crate::audit::hex;

fn time(row: &SqliteRow, name: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(from_ns))
}

pub(super) fn head(commit: &CommitId, row: &SqliteRow) -> Result<CommitStory, sqlx::Error> {
    let json = |name: &str| row.try_get::<String, _>(name).map(|text| serde_json::from_str(&text).unwrap_or_default());
    // A database that an older controller still has does not know these.
    let approvals: Option<Value> =
        row.try_get::<Option<String>, _>("approvals").unwrap_or_default().and_then(|text| serde_json::from_str(&text).ok());
    Ok(CommitStory {
        commit: commit.to_string(),
        parents: json("parents")?,
        author: row.try_get("author")?,
        committer: row.try_get("committer")?,
        subject: row.try_get("subject")?,
        committed_at: Timestamp::from_second(row.try_get("committed_at")?).ok(),
        git_ref: row.try_get("ref")?,
        came: row.try_get("came")?,
        first_seen: from_ns(row.try_get("first_seen")?),
        verdict: row.try_get("verdict")?,
        findings: json("findings")?,
        judged_by: row.try_get("judged_by")?,
        judged_at: time(row, "judged_at")?,
        quarantine: row.try_get("quarantine")?,
        signed_by: row.try_get("signed_by").unwrap_or_default(),
        approved_by: approvals.as_ref().and_then(approved_by),
        approvals,
        passes: Vec::new(),
        statuses: Vec::new(),
        audit_rows: None,
        older_left_out: Vec::new(),
    })
}

pub(super) fn pass(row: &SqliteRow, id: &[u8]) -> Result<PassStory, sqlx::Error> {
    Ok(PassStory {
        id: uuid_text(id),
        opened: from_ns(row.try_get("opened")?),
        closed: time(row, "closed")?,
        outcome: row.try_get("outcome")?,
        reason: row.try_get("reason")?,
        changes: row.try_get("changes")?,
        times_seen: row.try_get("times_seen")?,
        confirmed_by: row.try_get("confirmed_by").unwrap_or_default(),
        plan_hash: row.try_get::<Option<Vec<u8>>, _>("plan_hash")?.map(|hash| hex(&hash)),
        plan: None,
        targets: Vec::new(),
    })
}

pub(super) fn step(row: &SqliteRow) -> Result<StepStory, sqlx::Error> {
    Ok(StepStory {
        n: row.try_get("n")?,
        key: row.try_get("key")?,
        ensure: row.try_get("ensure")?,
        why: row.try_get("why")?,
        state: row.try_get("state")?,
        code: row.try_get("code")?,
        started: from_ns(row.try_get("started")?),
        finished: time(row, "finished")?,
    })
}

pub(super) fn status(row: &SqliteRow) -> Result<StatusStory, sqlx::Error> {
    Ok(StatusStory {
        kind: row.try_get("kind")?,
        context: row.try_get("context")?,
        status: row.try_get("status")?,
        description: row.try_get("description")?,
        state: row.try_get("state")?,
        queued_at: from_ns(row.try_get("queued_at")?),
        ended_at: time(row, "ended_at")?,
        last_error: row.try_get("last_error")?,
    })
}
