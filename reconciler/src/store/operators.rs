//! What operators' orders ask of the records: which commit is meant, what was in force, which decisions hold.

use jiff::Timestamp;
use policy::snapshot::CommitId;
use serde_json::json;

use super::switches::{Note, write_notes};
use super::{Error, Store, Switch, from_ns};
use crate::audit::event::tidy;
use crate::audit::{AuditEvent, Draft, Ended, kind};

type Row = (String, String, String, String, i64, Option<i64>);

impl Store {
    /// Every decision on record, also those whose time is over and that nobody has cleared yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn switches(&self) -> Result<Vec<Switch>, Error> {
        let query = sqlx::query_as("SELECT name, value, who, why, set_at, until FROM switches ORDER BY name");
        let rows: Vec<Row> = self.read("cannot read the switches", query.fetch_all(&self.readers)).await?;
        let switch = |(name, value, who, why, set_at, until): Row| Switch {
            name,
            value,
            who,
            why,
            set_at: from_ns(set_at),
            until: until.map(from_ns),
        };
        Ok(rows.into_iter().map(switch).collect())
    }

    /// One of them, whether its time is over or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn switch_row(&self, name: &str) -> Result<Option<Switch>, Error> {
        Ok(self.switches().await?.into_iter().find(|switch| switch.name == name))
    }

    /// Commits whose id begins with these hexadecimal digits; two at most, as more than one is one too many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn commits_like(&self, digits: &str) -> Result<Vec<CommitId>, Error> {
        // Compared as bytes of text, so that nothing in `digits` is a pattern.
        let query = sqlx::query_scalar("SELECT oid FROM commits WHERE substr(lower(hex(oid)), 1, length(?1)) = lower(?1) LIMIT 2");
        let rows: Vec<Vec<u8>> =
            self.read("cannot look a commit up", query.bind(digits.to_owned()).fetch_all(&self.readers)).await?;
        rows.iter()
            .map(|oid| CommitId::from_bytes(oid).map_err(|_| Error::Damaged("a commit whose id is none".to_owned())))
            .collect()
    }

    /// Whether a commit was ever in force as a whole.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn was_in_force(&self, commit: &CommitId) -> Result<bool, Error> {
        let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM passes WHERE outcome = 'in_force' AND head = ?)")
            .bind(commit.as_bytes().to_vec());
        let found: i64 = self.read("cannot read what was in force", query.fetch_one(&self.readers)).await?;
        Ok(found == 1)
    }

    /// Lets a quarantined commit be tried again, in somebody's name, and sets a fact with it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn release_quarantine(
        &self,
        commit: CommitId,
        note: Note,
        (who, why): (String, String),
        now: Timestamp,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE commits SET quarantine = NULL WHERE oid = ?")
                    .bind(commit.as_bytes())
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot lift a quarantine", e))?;
                write_notes(tx, &[note], now).await?;
                let (origin, actor) = (tx.origin(), tidy(&who, 255));
                let payload = json!({ "why": tidy(&why, 2_000) });
                let draft =
                    Draft { kind: kind::SWITCH_CLEARED, actor: &actor, origin: &origin, object: "quarantine", ..Draft::at(now) };
                tx.log(Draft { outcome: Ended::Done, commit: Some(commit), payload, ..draft }).await.map(drop)
            })
        })
        .await
    }

    /// Puts an operator's order on record: what was asked, by whom, over which way, and what came of it. `asked` has the order's name
    /// under `do`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_order(
        &self,
        asked: serde_json::Value,
        who: &str,
        way: &'static str,
        done: bool,
        answer: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let name = tidy(asked.get("do").and_then(serde_json::Value::as_str).unwrap_or("unknown"), 64);
        let (who, answer) = (tidy(who, 255), tidy(answer, 2_000));
        self.write(move |tx| {
            Box::pin(async move {
                let origin = format!("{}/{way}", tx.origin());
                let outcome = if done { Ended::Done } else { Ended::Refused };
                let payload = json!({ "asked": asked, "answer": answer });
                let draft = Draft { kind: kind::ORDER_GIVEN, actor: &who, origin: &origin, object: &name, ..Draft::at(now) };
                tx.log(Draft { outcome, payload, ..draft }).await.map(drop)
            })
        })
        .await
    }

    /// Puts on record that enforcement was switched off or on again.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_enforcement(&self, on: bool, target: &str, who: &str, payload: serde_json::Value) -> Result<(), Error> {
        let (object, actor) = (tidy(target, 255), tidy(who, 255));
        let kind = if on { kind::ENFORCEMENT_RESTORED } else { kind::ENFORCEMENT_DISABLED };
        let draft = Draft { kind, actor: &actor, origin: "socket", object: &object, ..Draft::at(Timestamp::now()) };
        let event = AuditEvent::new(Draft { outcome: Ended::Done, payload, ..draft })?;
        self.append(event).await.map(drop)
    }

    /// Puts on record that what was switched off drops again, for whoever ended that and once only; false if that is on record.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_restored(&self, target: &str, now: Timestamp) -> Result<bool, Error> {
        let object = tidy(target, 255);
        self.write(move |tx| {
            Box::pin(async move {
                let owed: Option<String> = sqlx::query_scalar("DELETE FROM meta WHERE name = ? RETURNING value")
                    .bind(RESTORING)
                    .fetch_optional(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot read who ended what was off", e))?;
                let Some(owed) = owed else { return Ok(false) };
                let Restoring { who, why } = serde_json::from_str(&owed).unwrap_or_default();
                let (origin, payload) = (tx.origin(), json!({ "why": tidy(&why, 2_000) }));
                let kind = kind::ENFORCEMENT_RESTORED;
                let draft = Draft { kind, actor: &who, origin: &origin, object: &object, ..Draft::at(now) };
                tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// Under which name the store keeps who ended the time for which enforcement was off, until it is known to be on.
const RESTORING: &str = "restoring";

/// Who ended it, and why.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Restoring {
    who: String,
    why: String,
}

impl Default for Restoring {
    fn default() -> Self {
        Self { who: "system".to_owned(), why: "unknown".to_owned() }
    }
}

/// That enforcement is to be on again is written with the end of the decision that had it off; that it is on, once the kernel says so.
#[must_use]
pub fn restoring(who: &str, why: &str) -> Note {
    let owed = Restoring { who: tidy(who, 255), why: tidy(why, 2_000) };
    Note { name: RESTORING.to_owned(), value: serde_json::to_string(&owed).ok() }
}
