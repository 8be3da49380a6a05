//! What still has to be said to the forge. At most one row per commit and context waits; a newer one takes its place.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::json;

use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, kind};
use crate::converge::{CommitStatus, StatusState};

/// A row that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its row.
    pub id: [u8; 16],
    /// What to say.
    pub status: CommitStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it waits.
    pub queued_at: Timestamp,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OutboxDepth {
    /// Rows waiting.
    pub queued: u64,
    /// Rows the forge will never take.
    pub dead: u64,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
}

const fn word(state: StatusState) -> &'static str {
    match state {
        StatusState::Pending => "pending",
        StatusState::Success => "success",
        StatusState::Failure => "failure",
        StatusState::Error => "error",
    }
}

fn state(word: &str) -> Option<StatusState> {
    [StatusState::Pending, StatusState::Success, StatusState::Failure, StatusState::Error]
        .into_iter()
        .find(|s| self::word(*s) == word)
}

/// Queues a status unless it says what the last one for this commit and context said; an unsent older one is superseded.
pub(super) async fn queue_status(tx: &mut Tx, status: &CommitStatus, now: Timestamp) -> Result<(), Error> {
    let queueing = |source| Error::sqlite("cannot queue a status", source);
    let oid = status.commit.as_bytes();
    let last: Option<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT status, description, link FROM outbox WHERE oid = ? AND context = ? AND kind = 'status' ORDER BY rowid DESC LIMIT 1",
    )
    .bind(oid)
    .bind(&status.context)
    .fetch_optional(tx.connection())
    .await
    .map_err(queueing)?;
    let equal = |(state, description, link): &(String, String, Option<String>)| {
        state == word(status.state) && *description == status.description && *link == status.link
    };
    if last.as_ref().is_some_and(equal) {
        return Ok(());
    }
    sqlx::query("UPDATE outbox SET state = 'superseded', ended_at = ? WHERE oid = ? AND context = ? AND kind = 'status' AND state = 'queued'")
        .bind(to_ns(now))
        .bind(oid)
        .bind(&status.context)
        .execute(tx.connection())
        .await
        .map_err(queueing)?;
    sqlx::query(
        "INSERT INTO outbox (id, kind, oid, context, status, description, link, queued_at, next_try, state) \
         VALUES (?1, 'status', ?2, ?3, ?4, ?5, ?6, ?7, ?7, 'queued')",
    )
    .bind(fresh_id(now).to_vec())
    .bind(oid)
    .bind(&status.context)
    .bind(word(status.state))
    .bind(&status.description)
    .bind(&status.link)
    .bind(to_ns(now))
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(queueing)
}

impl Store {
    /// Rows to be sent now: failure and error first, then success, then pending; older before newer. At most one per commit and
    /// context, so finish a list before asking for the next.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxItem>, Error> {
        type Row = (Vec<u8>, Vec<u8>, String, String, String, Option<String>, i64, i64);
        let query = sqlx::query_as(
            "SELECT id, oid, context, status, description, link, attempts, queued_at FROM outbox WHERE state = 'queued' AND next_try <= ? \
             ORDER BY CASE status WHEN 'failure' THEN 0 WHEN 'error' THEN 0 WHEN 'success' THEN 1 ELSE 2 END, queued_at, rowid LIMIT ?",
        )
        .bind(to_ns(now))
        .bind(i64::from(limit));
        let rows: Vec<Row> = self.read("cannot read the outbox", query.fetch_all(&self.readers)).await?;
        let item = |(id, oid, context, word, description, link, attempts, queued_at): Row| {
            let damaged = || Error::Damaged("a row of the outbox that cannot be read".to_owned());
            let commit = CommitId::from_bytes(&oid).map_err(|_| damaged())?;
            let state = state(&word).ok_or_else(damaged)?;
            Ok(OutboxItem {
                id: id.try_into().map_err(|_| damaged())?,
                status: CommitStatus { commit, state, description, link, context },
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                queued_at: from_ns(queued_at),
            })
        };
        rows.into_iter().map(item).collect()
    }

    /// The forge took it: recorded with an audit row `status.sent`. Also true of a row that was superseded on its way.
    ///
    /// # Errors
    /// The database cannot be written; the row is then sent once more, which is harmless.
    pub async fn outbox_sent(&self, id: [u8; 16], remote_id: Option<String>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "UPDATE outbox SET state = 'sent', attempts = attempts + 1, ended_at = ?, remote_id = ?, last_error = NULL \
                           WHERE id = ? AND state IN ('queued', 'superseded') RETURNING oid, context, status, description";
                let query = sqlx::query_as(sql).bind(to_ns(now)).bind(remote_id).bind(id.to_vec());
                let row = query.fetch_optional(tx.connection()).await.map_err(|e| Error::sqlite("cannot mark a status as sent", e))?;
                log_end(tx, row, (kind::STATUS_SENT, Ended::Done, ""), now).await
            })
        })
        .await
    }

    /// It did not go through; try again at `next_try`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn outbox_retry(&self, id: [u8; 16], next_try: Timestamp, error: String) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE outbox SET attempts = attempts + 1, next_try = ?, last_error = ? WHERE id = ? AND state = 'queued'",
                )
                .bind(to_ns(next_try))
                .bind(tidy(&error, 2_000))
                .bind(id.to_vec())
                .execute(tx.connection())
                .await
                .map(drop)
                .map_err(|e| Error::sqlite("cannot put a status back", e))
            })
        })
        .await
    }

    /// The forge will never take it: recorded with an audit row `status.dead`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn outbox_dead(&self, id: [u8; 16], error: String, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let error = tidy(&error, 2_000);
                let sql = "UPDATE outbox SET state = 'dead', attempts = attempts + 1, ended_at = ?, last_error = ? \
                           WHERE id = ? AND state = 'queued' RETURNING oid, context, status, description";
                let query = sqlx::query_as(sql).bind(to_ns(now)).bind(&error).bind(id.to_vec());
                let row = query.fetch_optional(tx.connection()).await.map_err(|e| Error::sqlite("cannot give a status up", e))?;
                log_end(tx, row, (kind::STATUS_DEAD, Ended::Failed, &error), now).await
            })
        })
        .await
    }

    /// How much waits to be sent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn outbox_depth(&self) -> Result<OutboxDepth, Error> {
        let query = sqlx::query_as(
            "SELECT (SELECT count(*) FROM outbox WHERE state = 'queued'), (SELECT count(*) FROM outbox WHERE state = 'dead'), \
             (SELECT min(queued_at) FROM outbox WHERE state = 'queued')",
        );
        let (queued, dead, oldest): (i64, i64, Option<i64>) =
            self.read("cannot count the outbox", query.fetch_one(&self.readers)).await?;
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(OutboxDepth { queued: number(queued), dead: number(dead), oldest: oldest.map(from_ns) })
    }

    /// When statuses were taken after `since`, in no order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn outbox_sent_since(&self, since: Timestamp) -> Result<Vec<Timestamp>, Error> {
        let query = sqlx::query_scalar("SELECT ended_at FROM outbox WHERE state = 'sent' AND ended_at > ?").bind(to_ns(since));
        let ended: Vec<i64> = self.read("cannot read what was sent", query.fetch_all(&self.readers)).await?;
        Ok(ended.into_iter().map(from_ns).collect())
    }

    /// How many statuses the forge has taken for the commit and context of this one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn statuses_sent(&self, status: &CommitStatus) -> Result<u64, Error> {
        let query =
            sqlx::query_scalar("SELECT count(*) FROM outbox WHERE oid = ? AND context = ? AND kind = 'status' AND state = 'sent'")
                .bind(status.commit.as_bytes())
                .bind(&status.context);
        let sent: i64 = self.read("cannot count what was sent", query.fetch_one(&self.readers)).await?;
        Ok(u64::try_from(sent).unwrap_or(0))
    }
}

type Said = (Vec<u8>, String, String, String);

/// A row that was ended before is not logged twice.
async fn log_end(tx: &mut Tx, row: Option<Said>, end: (&str, Ended, &str), now: Timestamp) -> Result<(), Error> {
    let Some((oid, context, state, description)) = row else { return Ok(()) };
    let (kind, outcome, error) = end;
    let origin = tx.origin();
    let object = tidy(&context, 255);
    let mut payload = json!({ "state": state, "description": tidy(&description, 1_000) });
    if let (false, Some(fields)) = (error.is_empty(), payload.as_object_mut()) {
        fields.insert("error".to_owned(), json!(error));
    }
    let commit = CommitId::from_bytes(&oid).ok();
    tx.log(Draft { kind, origin: &origin, object: &object, outcome, commit, payload, ..Draft::at(now) }).await.map(drop)
}
