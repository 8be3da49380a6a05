//! Pull and merge requests whose head is judged, and the one comment each of them has.
//!
//! The text of a comment is kept in `evidence`; what waits in the outbox names it. A request that is closed keeps its row, because
//! the comment is edited again when it is opened again.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use sha2::{Digest, Sha256};

use super::tx::Tx;
use super::{Error, Store, to_ns};
use crate::audit::event::fresh_id;

/// What the comment of a request is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Number of the request.
    pub request: u64,
    /// Markdown, as long as it likes; each forge cuts it to its own limit.
    pub body: String,
}

/// A request that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its number.
    pub number: u64,
    /// Its head when it was last seen.
    pub head: CommitId,
}

/// Queues a comment unless the request has it already; an unsent older one is superseded.
pub(super) async fn queue_comment(tx: &mut Tx, comment: &Comment, commit: CommitId, now: Timestamp) -> Result<(), Error> {
    let queueing = |source| Error::sqlite("cannot queue a comment", source);
    let number = number_of(comment.request)?;
    let sha256 = Sha256::digest(comment.body.as_bytes()).to_vec();
    sqlx::query("INSERT INTO requests (number, head, state, first_seen, seen) VALUES (?1, ?2, 'open', ?3, ?3) ON CONFLICT (number) DO NOTHING")
        .bind(number)
        .bind(commit.as_bytes())
        .bind(to_ns(now))
        .execute(tx.connection())
        .await
        .map_err(queueing)?;
    let superseded = sqlx::query(
        "UPDATE outbox SET state = 'superseded', ended_at = ? WHERE kind = 'comment' AND request = ? AND state = 'queued' AND body <> ?",
    )
    .bind(to_ns(now))
    .bind(number)
    .bind(&sha256)
    .execute(tx.connection())
    .await
    .map_err(queueing)?
    .rows_affected();
    let (waits, sent): (bool, Option<Vec<u8>>) = sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = 'comment' AND request = ?1 AND state = 'queued'), comment_sha256 \
         FROM requests WHERE number = ?1",
    )
    .bind(number)
    .fetch_one(tx.connection())
    .await
    .map_err(queueing)?;
    // What was superseded just now may be on its way: then the forge no longer has what it had.
    let known = waits || (superseded == 0 && sent.as_ref() == Some(&sha256));
    if known {
        return Ok(());
    }
    tx.has_news = true;
    keep_text(tx, comment, &sha256, now).await?;
    sqlx::query(
        "INSERT INTO outbox (id, kind, oid, context, status, description, queued_at, next_try, state, request, body) \
         VALUES (?1, 'comment', ?2, ?3, 'pending', '', ?4, ?4, 'queued', ?5, ?6)",
    )
    .bind(fresh_id(now).to_vec())
    .bind(commit.as_bytes())
    .bind(format!("request {number}"))
    .bind(to_ns(now))
    .bind(number)
    .bind(&sha256)
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(queueing)
}

async fn keep_text(tx: &mut Tx, comment: &Comment, sha256: &[u8], now: Timestamp) -> Result<(), Error> {
    sqlx::query("INSERT INTO evidence (sha256, bytes, kept_at) VALUES (?, ?, ?) ON CONFLICT (sha256) DO NOTHING")
        .bind(sha256)
        .bind(comment.body.as_bytes())
        .bind(to_ns(now))
        .execute(tx.connection())
        .await
        .map(drop)
        .map_err(|e| Error::sqlite("cannot keep the text of a comment", e))
}

/// What the forge has from now on, and under which id.
pub(super) async fn comment_taken(tx: &mut Tx, request: i64, body: &[u8], remote_id: Option<&str>) -> Result<(), Error> {
    sqlx::query("UPDATE requests SET comment_id = COALESCE(?, comment_id), comment_sha256 = ? WHERE number = ?")
        .bind(remote_id)
        .bind(body)
        .bind(request)
        .execute(tx.connection())
        .await
        .map(drop)
        .map_err(|e| Error::sqlite("cannot remember a comment", e))
}

async fn see(tx: &mut Tx, number: i64, head: Option<CommitId>, now: Timestamp) -> Result<(), Error> {
    let head = head.map(|head| head.as_bytes().to_vec());
    let state = if head.is_some() { "open" } else { "closed" };
    // A request that closed before anybody looked at it is of no interest.
    let sql = match head {
        Some(_) => {
            "INSERT INTO requests (number, head, state, first_seen, seen) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT (number) DO UPDATE SET head = excluded.head, state = excluded.state, seen = excluded.seen"
        }
        None => "UPDATE requests SET head = ?2, state = ?3, seen = ?4 WHERE number = ?1",
    };
    sqlx::query(sql)
        .bind(number)
        .bind(head)
        .bind(state)
        .bind(to_ns(now))
        .execute(tx.connection())
        .await
        .map(drop)
        .map_err(|e| Error::sqlite("cannot note a request", e))
}

fn number_of(request: u64) -> Result<i64, Error> {
    i64::try_from(request).ok().filter(|number| *number > 0).ok_or_else(|| Error::NoSuch(format!("request number {request}")))
}

impl Store {
    /// Notes the head of a request, or with none that it is closed.
    ///
    /// # Errors
    /// The number is none; the database cannot be written.
    pub async fn request_seen(&self, number: u64, head: Option<CommitId>, now: Timestamp) -> Result<(), Error> {
        let number = number_of(number)?;
        self.write(move |tx| Box::pin(async move { see(tx, number, head, now).await })).await
    }

    /// Requests that are open, by number.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn requests_open(&self) -> Result<Vec<OpenRequest>, Error> {
        let query = sqlx::query_as("SELECT number, head FROM requests WHERE state = 'open' ORDER BY number LIMIT 10000");
        let rows: Vec<(i64, Vec<u8>)> = self.read("cannot read the requests", query.fetch_all(&self.readers)).await?;
        let open = |(number, head): (i64, Vec<u8>)| {
            let damaged = || Error::Damaged("a request that cannot be read".to_owned());
            Ok(OpenRequest {
                number: u64::try_from(number).map_err(|_| damaged())?,
                head: CommitId::from_bytes(&head).map_err(|_| damaged())?,
            })
        };
        rows.into_iter().map(open).collect()
    }

    /// Queues what the comment of a request is to say, for a head that has its verdict already.
    ///
    /// # Errors
    /// The number is none; the database cannot be written.
    pub async fn queue_comment(&self, request: u64, commit: CommitId, body: String, now: Timestamp) -> Result<(), Error> {
        let comment = Comment { request, body };
        self.write(move |tx| Box::pin(async move { queue_comment(tx, &comment, commit, now).await })).await
    }
}
