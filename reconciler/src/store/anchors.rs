//! Which checkpoint each sink has, and which it still has to be given. Of what waits for a sink only the newest is worth sending: it
//! stands for all before it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use super::failures;
use super::tx::Tx;
use super::{AUDIT_ORIGIN, Error, Store, from_ns, to_ns};
use crate::audit::event::tidy;
use crate::audit::{Draft, Ended, Leaf, hex, kind};

/// The sinks that are configured, as a list in JSON.
const SINKS: &str = "audit_sinks";

/// A checkpoint that a sink has not been given yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Which log.
    pub origin: String,
    /// How many rows.
    pub size: u64,
    /// The signed text.
    pub note: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// How a sink stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AnchorState {
    /// `file:/path`, `git:refs/…`, `syslog:tls://…`.
    pub sink: String,
    /// Rows of the newest checkpoint it has; null before the first.
    pub size: Option<u64>,
    /// When it took that.
    pub put_at: Option<Timestamp>,
    /// Since when something has waited for it; null where nothing does.
    pub waits_since: Option<Timestamp>,
    /// Why it did not take it, when it was tried last.
    pub last_error: Option<String>,
}

impl AnchorState {
    /// For how many seconds something has waited.
    #[must_use]
    pub fn lag_seconds(&self, now: Timestamp) -> u64 {
        self.waits_since.map_or(0, |since| u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0))
    }
}

/// Queues a checkpoint in place of what waits.
pub(super) async fn queue(tx: &mut Tx, sink: &str, origin: &str, size: i64) -> Result<(), Error> {
    let failed = |e| Error::sqlite("cannot queue a checkpoint for its anchor", e);
    let gone: Option<i64> = sqlx::query_scalar("DELETE FROM audit_anchor WHERE sink = ? AND state = 'queued' RETURNING attempts")
        .bind(sink)
        .fetch_optional(tx.connection())
        .await
        .map_err(failed)?;
    sqlx::query("INSERT OR REPLACE INTO audit_anchor (sink, origin, size, state, attempts) VALUES (?, ?, ?, 'queued', ?)")
        .bind(sink)
        .bind(origin)
        .bind(size)
        .bind(gone.unwrap_or(0))
        .execute(tx.connection())
        .await
        .map_err(failed)
        .map(drop)
}

type StateRow = (Option<i64>, Option<i64>, Option<i64>, Option<String>);

impl Store {
    /// Names the configured sinks. What is on record is queued for those that do not have it; what others have, and what waits for them, is forgotten.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn name_sinks(&self, sinks: Vec<String>, now: Timestamp) -> Result<(), Error> {
        let names = json!(sinks).to_string();
        self.meta_set(SINKS.to_owned(), names.clone(), now).await?;
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("DELETE FROM audit_anchor WHERE sink NOT IN (SELECT value FROM json_each(?))")
                    .bind(&names)
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot forget an anchor", e))?;
                no_longer_behind(tx, &sinks, now).await?;
                let newest: Option<(String, i64)> = sqlx::query_as(
                    "SELECT origin, size FROM audit_checkpoint WHERE origin = (SELECT value FROM meta WHERE name = ?) \
                     ORDER BY size DESC LIMIT 1",
                )
                .bind(AUDIT_ORIGIN)
                .fetch_optional(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot read a checkpoint", e))?;
                let Some((origin, size)) = newest else { return Ok(()) };
                for sink in &sinks {
                    let has: i64 =
                        sqlx::query_scalar("SELECT count(*) FROM audit_anchor WHERE sink = ? AND origin = ? AND size >= ?")
                            .bind(sink)
                            .bind(&origin)
                            .bind(size)
                            .fetch_one(tx.connection())
                            .await
                            .map_err(|e| Error::sqlite("cannot look for an anchor", e))?;
                    if has == 0 {
                        queue(tx, sink, &origin, size).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// What a sink is to be given next.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn anchor_queued(&self, sink: &str) -> Result<Option<Queued>, Error> {
        let query = sqlx::query_as(
            "SELECT a.origin, a.size, c.note, a.attempts FROM audit_anchor a JOIN audit_checkpoint c USING (origin, size) \
             WHERE a.sink = ? AND a.state = 'queued' ORDER BY a.size DESC LIMIT 1",
        )
        .bind(sink);
        let row: Option<(String, i64, String, i64)> =
            self.read("cannot read what waits for an anchor", query.fetch_optional(&self.readers)).await?;
        Ok(row.map(|(origin, size, note, attempts)| Queued {
            origin,
            size: u64::try_from(size).unwrap_or(0),
            note,
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        }))
    }

    /// The sink has it. Only the first time, and after a time in which the sink was behind, this is a row of the log: a row for each
    /// would ask for the next checkpoint for ever.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn anchor_put(&self, sink: String, queued: Queued, receipt: String, now: Timestamp) -> Result<(), Error> {
        let failed = |e| Error::sqlite("cannot record what an anchor has", e);
        self.write(move |tx| {
            Box::pin(async move {
                let size = i64::try_from(queued.size).unwrap_or(i64::MAX);
                let first: i64 = sqlx::query_scalar(
                    "SELECT NOT EXISTS (SELECT 1 FROM audit_anchor WHERE sink = ? AND origin = ? AND state = 'put')",
                )
                .bind(&sink)
                .bind(&queued.origin)
                .fetch_one(tx.connection())
                .await
                .map_err(failed)?;
                sqlx::query("DELETE FROM audit_anchor WHERE sink = ? AND origin = ? AND size <= ?")
                    .bind(&sink)
                    .bind(&queued.origin)
                    .bind(size)
                    .execute(tx.connection())
                    .await
                    .map_err(failed)?;
                sqlx::query("INSERT INTO audit_anchor (sink, origin, size, state, receipt, put_at) VALUES (?, ?, ?, 'put', ?, ?)")
                    .bind(&sink)
                    .bind(&queued.origin)
                    .bind(size)
                    .bind(&receipt)
                    .bind(to_ns(now))
                    .execute(tx.connection())
                    .await
                    .map_err(failed)?;
                let was_behind = forget(tx, &behind(&sink)).await?;
                if first == 0 && !was_behind {
                    return Ok(());
                }
                failures::end(tx, &failures::anchor(&sink), "it takes checkpoints again", "system", now).await?;
                let payload = json!({ "size": queued.size, "checkpoint_origin": queued.origin, "receipt": tidy(&receipt, 1_000) });
                note(tx, kind::ANCHOR_PUT, &sink, Ended::Done, payload, now).await
            })
        })
        .await
    }

    /// The sink did not take it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn anchor_failed(&self, sink: String, why: String) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let query = "UPDATE audit_anchor SET attempts = attempts + 1, last_error = ? WHERE sink = ? AND state = 'queued'";
                let done = sqlx::query(query).bind(tidy(&why, 1_000)).bind(&sink).execute(tx.connection()).await;
                done.map(drop).map_err(|e| Error::sqlite("cannot record what an anchor said", e))
            })
        })
        .await
    }

    /// The sink is behind: a row, once for each time it is. True for a new one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn anchor_behind(&self, state: AnchorState, now: Timestamp) -> Result<bool, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let noted = sqlx::query("INSERT OR IGNORE INTO meta (name, value, set_at) VALUES (?, '', ?)")
                    .bind(behind(&state.sink))
                    .bind(to_ns(now))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot note that an anchor is behind", e))?;
                if noted.rows_affected() == 0 {
                    return Ok(false);
                }
                let payload = json!({ "lag_seconds": state.lag_seconds(now), "size": state.size,
                    "last_error": state.last_error.as_deref().map(|error| tidy(error, 1_000)) });
                let cause = state.last_error.as_deref().unwrap_or("it takes no checkpoint");
                failures::open(tx, &failures::anchor(&state.sink), cause, now).await?;
                note(tx, kind::ANCHOR_BEHIND, &state.sink, Ended::Failed, payload, now).await.map(|()| true)
            })
        })
        .await
    }

    /// A sink has another log than this one: a row, once for each thing it says. True for a new one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn anchor_disagrees(&self, sink: String, said: String, size: u64, now: Timestamp) -> Result<bool, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let query = "INSERT INTO meta (name, value, set_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE \
                             SET value = excluded.value, set_at = excluded.set_at WHERE value <> excluded.value";
                let noted = sqlx::query(query)
                    .bind(disagrees(&sink))
                    .bind(format!("{size} {said}"))
                    .bind(to_ns(now))
                    .execute(tx.connection())
                    .await;
                if noted.map_err(|e| Error::sqlite("cannot note that an anchor disagrees", e))?.rows_affected() == 0 {
                    return Ok(false);
                }
                failures::open(tx, &failures::log_at(&sink), &said, now).await?;
                let payload = json!({ "size": size, "said": tidy(&said, 2_000) });
                note(tx, kind::ANCHOR_DISAGREES, &sink, Ended::Failed, payload, now).await.map(|()| true)
            })
        })
        .await
    }

    /// Up to which size a sink that disagreed has to agree again before that is over.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn anchor_contested(&self, sink: &str) -> Result<Option<u64>, Error> {
        let said = self.meta_get(&disagrees(sink)).await?;
        Ok(said.and_then(|said| said.split(' ').next()?.parse().ok()))
    }

    /// It has this log, again or still.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn anchor_agrees(&self, sink: &str, now: Timestamp) -> Result<(), Error> {
        let name = disagrees(sink);
        if self.meta_get(&name).await?.is_none() {
            return Ok(());
        }
        let control = failures::log_at(sink);
        self.write(move |tx| {
            Box::pin(async move {
                forget(tx, &name).await?;
                failures::end(tx, &control, "it has this log again", "system", now).await.map(drop)
            })
        })
        .await
    }

    /// How many rows a sink has, whatever their origin.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn anchor_size(&self, sink: &str) -> Result<u64, Error> {
        let query =
            sqlx::query_scalar("SELECT coalesce(max(size), 0) FROM audit_anchor WHERE sink = ? AND state = 'put'").bind(sink);
        let size: i64 = self.read("cannot read how an anchor stands", query.fetch_one(&self.readers)).await?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Rows of the log, each as one line of JSON; a row whose body is in a segment only is left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn rows_as_json(&self, from: u64, to: u64) -> Result<Vec<String>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as("SELECT leaf, hash FROM audit_log WHERE seq >= ? AND seq < ? AND leaf <> x'' ORDER BY seq")
            .bind(i64::try_from(from).unwrap_or(i64::MAX))
            .bind(i64::try_from(to).unwrap_or(i64::MAX));
        let rows: Vec<(Vec<u8>, Vec<u8>)> = self.read("cannot read rows for an anchor", query.fetch_all(&self.readers)).await?;
        rows.iter().map(|(bytes, hash)| as_json(bytes, hash)).collect()
    }

    /// How each configured sink stands.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn anchor_states(&self) -> Result<Vec<AnchorState>, Error> {
        let Some(names) = self.meta_get(SINKS).await? else { return Ok(Vec::new()) };
        let names: Vec<String> = serde_json::from_str(&names).unwrap_or_default();
        let mut states = Vec::new();
        for sink in names {
            let query = sqlx::query_as(
                "WITH o(origin) AS (SELECT value FROM meta WHERE name = ?2), \
                 has(size, put_at) AS (SELECT size, put_at FROM audit_anchor JOIN o USING (origin) \
                   WHERE sink = ?1 AND state = 'put' ORDER BY size DESC LIMIT 1) \
                 SELECT (SELECT size FROM has), (SELECT put_at FROM has), \
                   (SELECT min(cut_at) FROM audit_checkpoint JOIN o USING (origin) WHERE size > coalesce((SELECT size FROM has), 0)), \
                   (SELECT last_error FROM audit_anchor WHERE sink = ?1 AND state = 'queued')",
            )
            .bind(&sink)
            .bind(AUDIT_ORIGIN);
            let row: StateRow = self.read("cannot read how an anchor stands", query.fetch_one(&self.readers)).await?;
            let (size, put_at, waits, last_error) = row;
            let size = size.and_then(|size| u64::try_from(size).ok());
            states.push(AnchorState { sink, size, put_at: put_at.map(from_ns), waits_since: waits.map(from_ns), last_error });
        }
        Ok(states)
    }
}

fn as_json(bytes: &[u8], hash: &[u8]) -> Result<String, Error> {
    let leaf = Leaf::decode(bytes).map_err(|cause| Error::Damaged(format!("a row of the log: {cause}")))?;
    let some = |bytes: &[u8]| (!bytes.is_empty()).then(|| hex(bytes));
    let row = json!({
        "seq": leaf.seq, "ts_ns": leaf.ts_ns, "epoch": leaf.epoch, "event_id": hex(&leaf.event_id), "prev": hex(&leaf.prev),
        "kind": leaf.kind, "actor": leaf.actor, "origin": leaf.origin, "object": leaf.object, "outcome": leaf.outcome as u8,
        "commit": some(leaf.commit), "plan": some(leaf.plan), "payload": leaf.payload, "leaf": STANDARD.encode(bytes), "hash": hex(hash),
    });
    Ok(row.to_string())
}

/// Nobody waits for a sink that is configured no more; that one had another log than this stands until somebody has looked.
async fn no_longer_behind(tx: &mut Tx, sinks: &[String], now: Timestamp) -> Result<(), Error> {
    let known: Vec<String> = sqlx::query_scalar("SELECT name FROM meta WHERE name LIKE 'anchor\\_behind %' ESCAPE '\\'")
        .fetch_all(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot read which anchors are behind", e))?;
    for name in known.iter().filter(|name| !sinks.iter().any(|sink| behind(sink) == **name)) {
        forget(tx, name).await?;
        let sink = name.strip_prefix(&behind("")).unwrap_or_default();
        failures::end(tx, &failures::anchor(sink), "it is configured no more", "system", now).await?;
    }
    Ok(())
}

/// Whether it was noted.
async fn forget(tx: &mut Tx, name: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM meta WHERE name = ?").bind(name).execute(tx.connection()).await;
    Ok(done.map_err(|e| Error::sqlite("cannot forget what an anchor said", e))?.rows_affected() > 0)
}

fn disagrees(sink: &str) -> String {
    format!("anchor_disagrees {sink}")
}

fn behind(sink: &str) -> String {
    format!("anchor_behind {sink}")
}

async fn note(
    tx: &mut Tx,
    kind: &str,
    sink: &str,
    outcome: Ended,
    payload: serde_json::Value,
    now: Timestamp,
) -> Result<(), Error> {
    let (origin, object) = (tx.origin(), tidy(sink, 255));
    tx.log(Draft { kind, origin: &origin, object: &object, outcome, payload, ..Draft::at(now) }).await.map(drop)
}
