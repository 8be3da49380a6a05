//! Controls that failed: which, from when to when, why, and what was done about it (PCI DSS v4.0.1 10.7.3).
//!
//! At most one failure of a control is open. Opening and ending one are rows of the log, in the same transaction.

use jiff::Timestamp;
use serde_json::json;

use super::incidents::{self, What};
use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{AuditEvent, Draft, Ended, kind};

/// The control whose failure is a full disk.
pub const DISK_SPACE: &str = "disk space";
/// The control whose failure is a disk that returns errors.
pub const DATABASE: &str = "database";
/// The control whose failure is a file that contradicts itself.
pub const INTEGRITY: &str = "database integrity";
/// The control whose failure is a write-ahead log that is not emptied.
pub const WAL: &str = "write-ahead log";

/// The control whose failure is an audit log that is not what was signed.
pub const AUDIT_LOG: &str = "audit log";
/// The control whose failure is a daily check of the audit log that found something.
pub const AUDIT_CHECK: &str = "audit log check";

/// The control whose failure is an anchor that takes nothing.
pub(super) fn anchor(sink: &str) -> String {
    tidy(&format!("audit anchor {sink}"), 255)
}

/// The control whose failure is an anchor with another log than this one.
pub(super) fn log_at(sink: &str) -> String {
    tidy(&format!("audit log at {sink}"), 255)
}

/// A control that failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// Which.
    pub control: String,
    /// Why.
    pub cause: String,
    /// Since when.
    pub started: Timestamp,
    /// Until when; null while it lasts.
    pub ended: Option<Timestamp>,
    /// What was done.
    pub remediation: Option<String>,
    /// By whom.
    pub who: Option<String>,
}

impl Store {
    /// Notes that a control does not work, unless that is on record already. Answers whether it is news.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn failure_open(&self, control: &str, cause: &str, now: Timestamp) -> Result<bool, Error> {
        let (control, cause) = (control.to_owned(), cause.to_owned());
        self.write(move |tx| Box::pin(async move { open(tx, &control, &cause, now).await })).await
    }

    /// Notes that it works again, by whom and how. Answers whether it was on record as failed.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn failure_end(&self, control: &str, remediation: &str, who: &str, now: Timestamp) -> Result<bool, Error> {
        let (control, remediation, who) = (control.to_owned(), remediation.to_owned(), who.to_owned());
        self.write(move |tx| Box::pin(async move { end(tx, &control, &remediation, &who, now).await })).await
    }

    /// Controls that failed, the newest first; only those that still do, or all.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn failures(&self, open: bool) -> Result<Vec<Failure>, Error> {
        type Row = (String, String, i64, Option<i64>, Option<String>, Option<String>);
        const DOING: &str = "cannot read which controls failed";
        // A database that no newer controller has opened yet has no such table.
        let there = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'failures')");
        if !self.read(DOING, there.fetch_one(&self.readers)).await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as(
            "SELECT control, cause, started, ended, remediation, who FROM failures WHERE ended IS NULL OR NOT ? \
             ORDER BY started DESC, rowid DESC LIMIT 1000",
        )
        .bind(open);
        let rows: Vec<Row> = self.read(DOING, query.fetch_all(&self.readers)).await?;
        let failure = |(control, cause, started, ended, remediation, who): Row| Failure {
            control,
            cause,
            started: from_ns(started),
            ended: ended.map(from_ns),
            remediation,
            who,
        };
        Ok(rows.into_iter().map(failure).collect())
    }

    /// Puts on record what happened while the database could not be written. To be called once after a start.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn settle_incidents(&self, now: Timestamp) -> Result<(), Error> {
        let known = incidents::all(&self.file);
        let held = self.held();
        let settled = known.clone();
        self.write(move |tx| {
            Box::pin(async move {
                for incident in &settled {
                    let origin = tx.origin();
                    let (kind, outcome) = match incident.what {
                        What::Error | What::Held => (kind::STORE_ERROR, Ended::Failed),
                        What::Restored => (kind::BACKUP_RESTORED, Ended::Done),
                    };
                    let draft = Draft {
                        kind,
                        actor: incident.who.as_deref().unwrap_or("system"),
                        origin: &origin,
                        object: "database",
                        outcome,
                        payload: json!({ "reason": incident.why, "at": incident.at.to_string() }),
                        ..Draft::at(now)
                    };
                    tx.append_once(&AuditEvent::with_id(incident.id, draft)?).await?;
                }
                if let Some(why) = held {
                    open(tx, DATABASE, &why, now).await?;
                }
                Ok(())
            })
        })
        .await?;
        incidents::forget(&self.file, &known, now);
        Ok(())
    }

    /// Lets changes go on that are held after errors of the disk. Answers whether they were.
    ///
    /// # Errors
    /// It cannot be recorded, or the file beside the database cannot be changed.
    pub async fn release_hold(&self, why: &str, who: &str, now: Timestamp) -> Result<bool, Error> {
        if self.held().is_none() {
            return Ok(false);
        }
        self.failure_end(DATABASE, why, who, now).await?;
        incidents::release(&self.file).map_err(|source| Error::NotWritable { folder: self.file.to_path_buf(), source })?;
        self.health.hold(None);
        Ok(true)
    }
}

pub(super) async fn open(tx: &mut Tx, control: &str, cause: &str, now: Timestamp) -> Result<bool, Error> {
    let cause = tidy(cause, 1_000);
    let done = sqlx::query(
        "INSERT INTO failures (id, control, cause, started) VALUES (?, ?, ?, ?) ON CONFLICT (control) WHERE ended IS NULL DO NOTHING",
    )
    .bind(fresh_id(now).to_vec())
    .bind(control)
    .bind(&cause)
    .bind(to_ns(now))
    .execute(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot record that a control failed", e))?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let origin = tx.origin();
    let payload = json!({ "cause": cause });
    let draft = Draft { kind: kind::CONTROL_FAILED, origin: &origin, object: control, outcome: Ended::Failed, ..Draft::at(now) };
    tx.log(Draft { payload, ..draft }).await?;
    Ok(true)
}

pub(super) async fn end(tx: &mut Tx, control: &str, remediation: &str, who: &str, now: Timestamp) -> Result<bool, Error> {
    let remediation = tidy(remediation, 1_000);
    let started: Option<i64> = sqlx::query_scalar(
        "UPDATE failures SET ended = ?, remediation = ?, who = ? WHERE control = ? AND ended IS NULL RETURNING started",
    )
    .bind(to_ns(now))
    .bind(&remediation)
    .bind(who)
    .bind(control)
    .fetch_optional(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot record that a control works again", e))?;
    let Some(started) = started else { return Ok(false) };
    let (origin, actor) = (tx.origin(), tidy(who, 255));
    let payload = json!({ "started": from_ns(started).to_string(), "remediation": remediation });
    let draft = Draft { kind: kind::CONTROL_FAILED, actor: &actor, origin: &origin, object: control, ..Draft::at(now) };
    tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await?;
    Ok(true)
}
