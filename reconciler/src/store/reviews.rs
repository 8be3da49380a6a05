//! Who approved what came in force: evidence for PCI DSS v4.0.1 6.5.1, as the forge tells it afterwards.
//!
//! A commit is in force when it was the head of a pass that ended so, or came on the branch before such a head. Nothing is decided
//! by what is kept here.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::{Value, json};

use super::tx::Tx;
use super::{Error, Store, to_ns};
use crate::audit::event::tidy;
use crate::audit::{Draft, Ended, kind};
use crate::converge::{Approval, Reviewed};

/// Requests and approvals of one commit that are kept; a commit with more came from somewhere odd.
const LISTED_MAX: usize = 50;

/// What was found out about a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reviews {
    /// The requests it came by; none for a commit that was pushed straight to the branch.
    Known(Vec<Reviewed>),
    /// Nobody can tell, and why.
    Unknown(String),
}

impl Reviews {
    /// As it is kept, logged and shown: `{"requests": […]}` or `{"unknown": "…"}`.
    fn to_json(&self) -> Value {
        match self {
            Self::Known(requests) => {
                json!({ "requests": requests.iter().take(LISTED_MAX).map(request).collect::<Vec<_>>() })
            }
            Self::Unknown(reason) => json!({ "unknown": tidy(reason, 500) }),
        }
    }
}

fn request(given: &Reviewed) -> Value {
    let approvals: Vec<Value> = given.approvals.iter().take(LISTED_MAX).map(approval).collect();
    json!({
        "request": given.request,
        "url": given.url.as_deref().map(|url| tidy(url, 300)),
        "author": tidy(&given.author, 100),
        "head": given.head.as_deref().map(|head| tidy(head, 64)),
        "approvals": approvals,
    })
}

fn approval(given: &Approval) -> Value {
    json!({
        "who": tidy(&given.who, 100),
        "at": given.at,
        "standing": given.standing,
        "head": given.head.as_deref().map(|head| tidy(head, 64)),
    })
}

impl Store {
    /// Commits that are in force, or were, of which nobody has asked yet who approved them; newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn commits_unreviewed(&self, since: Timestamp, limit: u32) -> Result<Vec<(CommitId, Timestamp)>, Error> {
        let query = sqlx::query_as(
            "SELECT c.oid, c.first_seen FROM commits c WHERE c.approvals IS NULL AND c.came <> 'request' AND c.first_seen >= ? \
             AND EXISTS (SELECT 1 FROM passes p JOIN commits h ON h.oid = p.head \
                         WHERE p.outcome = 'in_force' AND h.ref = c.ref AND h.first_seen >= c.first_seen) \
             ORDER BY c.first_seen DESC, c.rowid DESC LIMIT ?",
        )
        .bind(to_ns(since))
        .bind(i64::from(limit));
        let rows: Vec<(Vec<u8>, i64)> = self.read("cannot read which commits are in force", query.fetch_all(&self.readers)).await?;
        let commit = |(oid, seen): (Vec<u8>, i64)| {
            let commit = CommitId::from_bytes(&oid).map_err(|_| Error::Damaged("a commit with an id that is none".to_owned()))?;
            Ok((commit, super::from_ns(seen)))
        };
        rows.into_iter().map(commit).collect()
    }

    /// Who approved the request a commit came by, `{"requests": […]}` or `{"unknown": "…"}`; nothing as long as nobody was asked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn approvals(&self, commit: &CommitId) -> Result<Option<Value>, Error> {
        if !self.keeps_approvals().await? {
            return Ok(None);
        }
        let query = sqlx::query_scalar("SELECT approvals FROM commits WHERE oid = ?").bind(commit.as_bytes().to_vec());
        let text: Option<Option<String>> =
            self.read("cannot read who approved a commit", query.fetch_optional(&self.readers)).await?;
        let unreadable = |_| Error::Damaged("a commit with approvals that cannot be read".to_owned());
        text.flatten().map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
    }

    /// Not so a database that an older controller still has.
    pub(super) async fn keeps_approvals(&self) -> Result<bool, Error> {
        let query = sqlx::query_scalar("SELECT count(*) FROM pragma_table_info('commits') WHERE name = 'approvals'");
        let columns: i64 = self.read("cannot read what is kept of commits", query.fetch_one(&self.readers)).await?;
        Ok(columns > 0)
    }

    /// Keeps who approved the request a commit came by, with an audit row `commit.reviewed`. The first answer stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_approvals(&self, commit: CommitId, reviews: Reviews, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { note(tx, commit, &reviews, now).await })).await
    }
}

async fn note(tx: &mut Tx, commit: CommitId, reviews: &Reviews, now: Timestamp) -> Result<(), Error> {
    let payload = reviews.to_json();
    let done = sqlx::query("UPDATE commits SET approvals = ? WHERE oid = ? AND approvals IS NULL")
        .bind(payload.to_string())
        .bind(commit.as_bytes())
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot keep who approved a commit", e))?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    let outcome = match reviews {
        Reviews::Known(_) => Ended::Done,
        Reviews::Unknown(_) => Ended::Failed,
    };
    let origin = tx.origin();
    let draft = Draft { kind: kind::COMMIT_REVIEWED, origin: &origin, object: "policy", outcome, ..Draft::at(now) };
    tx.log(Draft { commit: Some(commit), payload, ..draft }).await.map(drop)
}
