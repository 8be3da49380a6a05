//! Deliveries of the forges. A row says "look"; what is there to see, Git tells. The body is never kept.

use std::time::Duration;

use jiff::Timestamp;

use super::{Error, PassId, Store, from_ns, to_ns};
use crate::audit::Hash;
use crate::audit::event::fresh_id;

/// How long a delivery id is remembered; the window in which a replay is recognised.
pub const INBOX_DAYS: u64 = 7;

/// One verified delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `github`, `gitlab`, `gitea`.
    pub forge: String,
    /// The forge's id of it, the same when it is delivered again.
    pub delivery_id: String,
    /// The forge's name of the event.
    pub event: String,
    /// Full name of the ref; empty where the event has none.
    pub git_ref: String,
    /// The commit before, as the forge says.
    pub before: Option<String>,
    /// The commit after, as the forge says.
    pub after: Option<String>,
    /// Number of the pull or merge request.
    pub request: Option<i64>,
    /// SHA-256 of the body.
    pub body_sha256: Hash,
    /// Which line of the secret file matched, from 1.
    pub secret_line: u8,
    /// When it arrived.
    pub received: Timestamp,
    /// Why nothing has to be done about it; such a row is never waiting.
    pub ignored: Option<String>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Durable, seen for the first time.
    New,
    /// This id is known, whatever the body says now.
    Duplicate,
}

/// A delivery no pass has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its row.
    pub id: [u8; 16],
    /// Full name of the ref.
    pub git_ref: String,
    /// The commit after, as the forge says.
    pub after: Option<String>,
    /// Number of the pull or merge request.
    pub request: Option<i64>,
    /// When it arrived.
    pub received: Timestamp,
}

impl Store {
    /// Makes a delivery durable. Answer the forge only after this.
    ///
    /// # Errors
    /// The database cannot be written: answer 503, the forge will say it again or the poll will find it.
    pub async fn keep_delivery(&self, delivery: Delivery) -> Result<Kept, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let state = if delivery.ignored.is_some() { "ignored" } else { "new" };
                let done = sqlx::query(
                    "INSERT INTO inbox (id, forge, delivery_id, event, ref, before, after, request, body_sha256, secret_line, received, \
                     state, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (forge, delivery_id) DO NOTHING",
                )
                .bind(fresh_id(delivery.received).to_vec())
                .bind(delivery.forge)
                .bind(delivery.delivery_id)
                .bind(delivery.event)
                .bind(delivery.git_ref)
                .bind(delivery.before)
                .bind(delivery.after)
                .bind(delivery.request)
                .bind(delivery.body_sha256.to_vec())
                .bind(i64::from(delivery.secret_line))
                .bind(to_ns(delivery.received))
                .bind(state)
                .bind(delivery.ignored)
                .execute(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot keep a delivery", e))?;
                Ok(if done.rows_affected() == 1 { Kept::New } else { Kept::Duplicate })
            })
        })
        .await
    }

    /// Deliveries that no pass has looked at, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deliveries_waiting(&self) -> Result<Vec<Waiting>, Error> {
        type Row = (Vec<u8>, String, Option<String>, Option<i64>, i64);
        let query = sqlx::query_as(
            "SELECT id, ref, after, request, received FROM inbox WHERE state = 'new' ORDER BY received, rowid LIMIT 10000",
        );
        let rows: Vec<Row> = self.read("cannot read the inbox", query.fetch_all(&self.readers)).await?;
        let waiting = rows.into_iter().map(|(id, git_ref, after, request, received)| Waiting {
            id: id.try_into().unwrap_or_default(),
            git_ref,
            after,
            request,
            received: from_ns(received),
        });
        Ok(waiting.collect())
    }

    /// How many deliveries no pass has looked at.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deliveries_depth(&self) -> Result<u64, Error> {
        let query = sqlx::query_scalar("SELECT count(*) FROM inbox WHERE state = 'new'");
        let depth: i64 = self.read("cannot count the inbox", query.fetch_one(&self.readers)).await?;
        Ok(u64::try_from(depth).unwrap_or(0))
    }

    /// The commit that was announced last for the branch, and when, if that was after `since`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn announced_since(&self, since: Timestamp) -> Result<Option<(String, Timestamp)>, Error> {
        let query = sqlx::query_as(
            "SELECT after, received FROM inbox WHERE received > ? AND request IS NULL AND after IS NOT NULL AND state <> 'ignored' \
             ORDER BY received DESC, rowid DESC LIMIT 1",
        )
        .bind(to_ns(since));
        let row: Option<(String, i64)> = self.read("cannot read the inbox", query.fetch_optional(&self.readers)).await?;
        Ok(row.map(|(after, received)| (after, from_ns(received))))
    }

    /// Marks deliveries as looked at. `pass` names the pass that did, if it left a row.
    ///
    /// # Errors
    /// The database cannot be written; the deliveries are then seen again.
    pub async fn close_deliveries(&self, ids: Vec<[u8; 16]>, pass: Option<PassId>) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                for id in ids {
                    sqlx::query("UPDATE inbox SET state = 'done', pass = ? WHERE id = ? AND state = 'new'")
                        .bind(pass.map(|p| p.0.to_vec()))
                        .bind(id.to_vec())
                        .execute(tx.connection())
                        .await
                        .map_err(|e| Error::sqlite("cannot close a delivery", e))?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Forgets deliveries older than [`INBOX_DAYS`] that do not wait for anything. Returns how many.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        let oldest = now.checked_sub(Duration::from_secs(INBOX_DAYS * 86_400)).unwrap_or(Timestamp::MIN);
        self.write(move |tx| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM inbox WHERE received < ? AND state <> 'new'")
                    .bind(to_ns(oldest))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot forget old deliveries", e))?;
                Ok(done.rows_affected())
            })
        })
        .await
    }
}
