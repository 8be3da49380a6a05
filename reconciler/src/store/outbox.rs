//! What still has to be said to the forge. At most one status per commit and context waits, and one comment per request; a newer
//! one takes its place. Comments wait behind statuses.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::requests::comment_taken;
use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, hex, kind};
use crate::converge::{Annotation, Comment, CommitStatus, Level, StatusState};

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Beside a commit.
    Status(CommitStatus),
    /// In a request, whose head was this when the text was written.
    Comment(Comment, CommitId),
}

impl News {
    /// The commit it is about.
    #[must_use]
    pub const fn commit(&self) -> CommitId {
        match self {
            Self::Status(status) => status.commit,
            Self::Comment(_, head) => *head,
        }
    }

    /// Whether it tells of a verdict that must not get lost.
    #[must_use]
    pub const fn is_red(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status.state, StatusState::Failure | StatusState::Error),
            Self::Comment(..) => false,
        }
    }
}

/// A row that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its row.
    pub id: [u8; 16],
    /// What to say.
    pub news: News,
    /// The findings behind a failure.
    pub findings: Vec<Annotation>,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it waits.
    pub queued_at: Timestamp,
}

struct Row {
    id: Vec<u8>,
    oid: Vec<u8>,
    context: String,
    status: String,
    description: String,
    link: Option<String>,
    attempts: i64,
    queued_at: i64,
    git_ref: Option<String>,
    kind: String,
    request: Option<i64>,
    body: Option<Vec<u8>>,
    comment_id: Option<String>,
    findings: Option<String>,
}

impl sqlx::FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            oid: row.try_get("oid")?,
            context: row.try_get("context")?,
            status: row.try_get("status")?,
            description: row.try_get("description")?,
            link: row.try_get("link")?,
            attempts: row.try_get("attempts")?,
            queued_at: row.try_get("queued_at")?,
            git_ref: row.try_get("ref")?,
            kind: row.try_get("kind")?,
            request: row.try_get("request")?,
            body: row.try_get("body")?,
            comment_id: row.try_get("comment_id")?,
            findings: row.try_get("findings")?,
        })
    }
}

fn item(row: Row) -> Result<OutboxItem, Error> {
    let damaged = || Error::Damaged("a row of the outbox that cannot be read".to_owned());
    let commit = CommitId::from_bytes(&row.oid).map_err(|_| damaged())?;
    let findings = row.findings.as_deref().map(annotations).unwrap_or_default();
    let news = if row.kind == "comment" {
        let request = row.request.and_then(|number| u64::try_from(number).ok()).ok_or_else(damaged)?;
        let body = row.body.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(damaged)?;
        News::Comment(Comment { request, body, known_id: row.comment_id }, commit)
    } else {
        let Row { context, description, link, git_ref, .. } = row;
        News::Status(CommitStatus { commit, state: state(&row.status).ok_or_else(damaged)?, description, link, context, git_ref })
    };
    Ok(OutboxItem {
        findings,
        id: row.id.try_into().map_err(|_| damaged())?,
        news,
        attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        queued_at: from_ns(row.queued_at),
    })
}

/// Findings as they are stored, in the form a forge shows; one that is about no file has no line to stand beside.
fn annotations(stored: &str) -> Vec<Annotation> {
    let findings: Vec<Value> = serde_json::from_str(stored).unwrap_or_default();
    let annotation = |finding: &Value| {
        let text = |key: &str| finding.get(key).and_then(Value::as_str).map(str::to_owned);
        let level = match text("severity")?.as_str() {
            "error" => Level::Failure,
            "warning" => Level::Warning,
            _ => Level::Notice,
        };
        let message = [text("message")?, text("remediation").unwrap_or_default()].join("; ");
        let line = finding.get("line").and_then(Value::as_u64).unwrap_or(1);
        Some(Annotation { file: text("file").filter(|file| file != ".")?, line, level, title: text("rule_id")?, message })
    };
    findings.iter().filter_map(annotation).collect()
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
    tx.has_news = true;
    sqlx::query("UPDATE outbox SET state = 'superseded', ended_at = ? WHERE oid = ? AND context = ? AND kind = 'status' AND state = 'queued'")
        .bind(to_ns(now))
        .bind(oid)
        .bind(&status.context)
        .execute(tx.connection())
        .await
        .map_err(queueing)?;
    sqlx::query(
        "INSERT INTO outbox (id, kind, oid, context, status, description, link, queued_at, next_try, state, ref) \
         VALUES (?1, 'status', ?2, ?3, ?4, ?5, ?6, ?7, ?7, 'queued', ?8)",
    )
    .bind(fresh_id(now).to_vec())
    .bind(oid)
    .bind(&status.context)
    .bind(word(status.state))
    .bind(&status.description)
    .bind(&status.link)
    .bind(to_ns(now))
    .bind(&status.git_ref)
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(queueing)
}

impl Store {
    /// Rows to be sent now: failure and error first, then success, then pending, then comments; older before newer. At most one
    /// per commit and context, and one per request.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn outbox_due(&self, now: Timestamp, limit: u32) -> Result<Vec<OutboxItem>, Error> {
        let query = sqlx::query_as(
            "SELECT o.id, o.oid, o.context, o.status, o.description, o.link, o.attempts, o.queued_at, o.ref, o.kind, o.request, \
             e.bytes AS body, r.comment_id, c.findings FROM outbox o LEFT JOIN evidence e ON e.sha256 = o.body \
             LEFT JOIN requests r ON r.number = o.request \
             LEFT JOIN commits c ON c.oid = o.oid AND o.status = 'failure' AND o.kind = 'status' WHERE o.state = 'queued' AND o.next_try <= ? \
             ORDER BY o.kind = 'comment', CASE o.status WHEN 'failure' THEN 0 WHEN 'error' THEN 0 WHEN 'success' THEN 1 ELSE 2 END, \
             CASE WHEN o.status IN ('failure', 'error') THEN o.queued_at ELSE -o.queued_at END, \
             CASE WHEN o.status IN ('failure', 'error') THEN o.rowid ELSE -o.rowid END LIMIT ?",
        )
        .bind(to_ns(now))
        .bind(i64::from(limit));
        let rows: Vec<Row> = self.read("cannot read the outbox", query.fetch_all(&self.readers)).await?;
        rows.into_iter().map(item).collect()
    }

    /// The forge took it: recorded with an audit row `status.sent` or `comment.sent`. Also true of a row that was superseded on its
    /// way. A comment is edited under this id from then on.
    ///
    /// # Errors
    /// The database cannot be written; the row is then sent once more, which is harmless.
    pub async fn outbox_sent(&self, id: [u8; 16], remote_id: Option<String>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "UPDATE outbox SET state = 'sent', attempts = attempts + 1, ended_at = ?, remote_id = ?, last_error = NULL \
                           WHERE id = ? AND state IN ('queued', 'superseded') RETURNING oid, context, status, description, request, body";
                let query = sqlx::query_as(sql).bind(to_ns(now)).bind(&remote_id).bind(id.to_vec());
                let row: Option<Said> =
                    query.fetch_optional(tx.connection()).await.map_err(|e| Error::sqlite("cannot mark a status as sent", e))?;
                if let Some((request, body)) = row.as_ref().and_then(|(.., request, body)| request.zip(body.as_ref())) {
                    comment_taken(tx, request, body, remote_id.as_deref()).await?;
                }
                log_end(tx, row, Ended::Done, "", now).await
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

    /// The forge will never take it: recorded with an audit row `status.dead` or `comment.dead`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn outbox_dead(&self, id: [u8; 16], error: String, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let error = tidy(&error, 2_000);
                let sql = "UPDATE outbox SET state = 'dead', attempts = attempts + 1, ended_at = ?, last_error = ? \
                           WHERE id = ? AND state = 'queued' RETURNING oid, context, status, description, request, body";
                let query = sqlx::query_as(sql).bind(to_ns(now)).bind(&error).bind(id.to_vec());
                let row = query.fetch_optional(tx.connection()).await.map_err(|e| Error::sqlite("cannot give a status up", e))?;
                log_end(tx, row, Ended::Failed, &error, now).await
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

/// Commit, context, status and description of a row that has ended; number and text of a comment.
type Said = (Vec<u8>, String, String, String, Option<i64>, Option<Vec<u8>>);

/// A row that was ended before is not logged twice.
async fn log_end(tx: &mut Tx, row: Option<Said>, outcome: Ended, error: &str, now: Timestamp) -> Result<(), Error> {
    let Some((oid, context, state, description, request, body)) = row else { return Ok(()) };
    let mut payload = match request {
        None => json!({ "state": state, "description": tidy(&description, 1_000) }),
        Some(request) => json!({ "request": request, "body_sha256": body.as_deref().map(hex) }),
    };
    let kind = match (request, outcome == Ended::Done) {
        (None, true) => kind::STATUS_SENT,
        (None, false) => kind::STATUS_DEAD,
        (Some(_), true) => kind::COMMENT_SENT,
        (Some(_), false) => kind::COMMENT_DEAD,
    };
    if let (false, Some(fields)) = (error.is_empty(), payload.as_object_mut()) {
        fields.insert("error".to_owned(), json!(error));
    }
    let origin = tx.origin();
    let object = tidy(&context, 255);
    let commit = CommitId::from_bytes(&oid).ok();
    tx.log(Draft { kind, origin: &origin, object: &object, outcome, commit, payload, ..Draft::at(now) }).await.map(drop)
}
