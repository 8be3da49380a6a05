//! What a person decided, and small facts about the installation.

use jiff::Timestamp;
use serde_json::json;

use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns};
use crate::audit::event::tidy;
use crate::audit::{Draft, Ended, kind};

/// A decision that holds until it is cleared or expires.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Switch {
    /// Which: `accepted_head`, `suspend`, `pinned`, …
    pub name: String,
    /// What was decided.
    pub value: String,
    /// Who decided it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When.
    pub set_at: Timestamp,
    /// Until when it holds; for ever without.
    pub until: Option<Timestamp>,
}

/// A fact about the installation, written with something else: its name and what it is from then on, `None` for no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which.
    pub name: String,
    /// What it is.
    pub value: Option<String>,
}

/// Facts within a transaction.
pub(super) async fn write_notes(tx: &mut Tx, notes: &[Note], now: Timestamp) -> Result<(), Error> {
    let failed = |e| Error::sqlite("cannot store a fact of the installation", e);
    for Note { name, value } in notes {
        let query = match value {
            Some(value) => sqlx::query("INSERT OR REPLACE INTO meta (name, value, set_at) VALUES (?, ?, ?)")
                .bind(name)
                .bind(value)
                .bind(to_ns(now)),
            None => sqlx::query("DELETE FROM meta WHERE name = ?").bind(name),
        };
        query.execute(tx.connection()).await.map_err(failed)?;
    }
    Ok(())
}

impl Store {
    /// A decision that holds at `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn switch_get(&self, name: &str, now: Timestamp) -> Result<Option<Switch>, Error> {
        type Row = (String, String, String, String, i64, Option<i64>);
        let query = sqlx::query_as(
            "SELECT name, value, who, why, set_at, until FROM switches WHERE name = ? AND (until IS NULL OR until > ?)",
        )
        .bind(name)
        .bind(to_ns(now));
        let row: Option<Row> = self.read("cannot read a switch", query.fetch_optional(&self.readers)).await?;
        Ok(row.map(|(name, value, who, why, set_at, until)| Switch {
            name,
            value,
            who,
            why,
            set_at: from_ns(set_at),
            until: until.map(from_ns),
        }))
    }

    /// Sets a decision, in place of the one before, with an audit row in the name of who made it.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn switch_set(&self, switch: Switch) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("INSERT OR REPLACE INTO switches (name, value, who, why, set_at, until) VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(&switch.name)
                    .bind(&switch.value)
                    .bind(&switch.who)
                    .bind(&switch.why)
                    .bind(to_ns(switch.set_at))
                    .bind(switch.until.map(to_ns))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot set a switch", e))?;
                let until = switch.until.map(|time| time.to_string());
                let payload = json!({ "value": tidy(&switch.value, 1_000), "why": tidy(&switch.why, 2_000), "until": until });
                let (origin, object, actor) = (tx.origin(), tidy(&switch.name, 255), tidy(&switch.who, 255));
                let draft =
                    Draft { kind: kind::SWITCH_SET, actor: &actor, origin: &origin, object: &object, ..Draft::at(switch.set_at) };
                tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await.map(drop)
            })
        })
        .await
    }

    /// Clears a decision; true if there was one. The audit row names who did and why.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn switch_clear(&self, name: String, who: String, why: String, now: Timestamp) -> Result<bool, Error> {
        self.clear(name, None, (who, why), Vec::new(), now).await
    }

    /// Clears this very decision, and none that somebody has put in its place meanwhile; true if it was there. Facts are written
    /// with it.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn switch_end(&self, switch: &Switch, by: (String, String), notes: Vec<Note>, now: Timestamp) -> Result<bool, Error> {
        self.clear(switch.name.clone(), Some(switch.set_at), by, notes, now).await
    }

    async fn clear(
        &self,
        name: String,
        set_at: Option<Timestamp>,
        (who, why): (String, String),
        notes: Vec<Note>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let this = "DELETE FROM switches WHERE name = ?1 AND (?2 IS NULL OR set_at = ?2) RETURNING value";
                let gone: Option<String> = sqlx::query_scalar(this)
                    .bind(&name)
                    .bind(set_at.map(to_ns))
                    .fetch_optional(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot clear a switch", e))?;
                let Some(value) = gone else { return Ok(false) };
                write_notes(tx, &notes, now).await?;
                let payload = json!({ "value": tidy(&value, 1_000), "why": tidy(&why, 2_000) });
                let (origin, object, actor) = (tx.origin(), tidy(&name, 255), tidy(&who, 255));
                let draft = Draft { kind: kind::SWITCH_CLEARED, actor: &actor, origin: &origin, object: &object, ..Draft::at(now) };
                tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await?;
                Ok(true)
            })
        })
        .await
    }

    /// A fact about the installation: `install_id`, `source_sha256`, `rule_ids`, …
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn meta_get(&self, name: &str) -> Result<Option<String>, Error> {
        let query = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name);
        self.read("cannot read a fact of the installation", query.fetch_optional(&self.readers)).await
    }

    /// Stores a fact about the installation, in place of the one before. What it means for an auditor is logged by who sets it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn meta_set(&self, name: String, value: String, now: Timestamp) -> Result<(), Error> {
        self.note(Note { name, value: Some(value) }, now).await
    }

    /// The same for a fact that may be no more.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note(&self, note: Note, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { write_notes(tx, &[note], now).await })).await
    }
}
