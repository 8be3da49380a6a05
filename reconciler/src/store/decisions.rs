//! What was decided about differences: accepted by a person for a time, or quarantined because somebody changes an object back each
//! time. A decision is about an object (target, key and kind), not about one row: the same difference tomorrow is the same question.
//! Another difference of the same object is not: what was accepted is what was seen, and ends where something else is found.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tx::Tx;
use super::{DriftClass, DriftEntry, DriftKind, DriftSeen, Error, Store, from_ns, to_ns, words};
use crate::audit::event::tidy;
use crate::audit::{Draft, Ended, Hash, kind};

words! {
    /// What was decided about an object.
    DriftVerdict {
        /// A person accepts the difference for a time.
        Accepted = "accepted",
        /// It is healed no longer.
        Quarantined = "quarantined",
        /// It was let go: what happened before does not count against it.
        Released = "released",
    }
}

/// What holds for an object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DriftDecision {
    /// Which target.
    #[serde(skip)]
    pub target: String,
    /// Which rule.
    #[serde(skip)]
    pub key: String,
    /// What is wrong with it.
    #[serde(skip)]
    pub kind: DriftKind,
    /// What was decided.
    pub decision: DriftVerdict,
    /// Who decided it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When.
    pub set_at: Timestamp,
    /// Until when; for ever without.
    pub until: Option<Timestamp>,
}

impl DriftDecision {
    /// Whether it is about what was seen.
    #[must_use]
    pub fn is_about(&self, target: &str, key: &str, kind: DriftKind) -> bool {
        self.target == target && self.key == key && self.kind == kind
    }
}

/// How often an object was put back lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutBack {
    /// How often.
    pub times: u32,
    /// When last.
    pub last: Timestamp,
}

type Row = (String, String, String, String, String, String, i64, Option<i64>);

impl Store {
    /// Every decision that holds at `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift_decisions(&self, now: Timestamp) -> Result<Vec<DriftDecision>, Error> {
        if !self.knows_decisions().await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as(
            "SELECT target, key, kind, decision, who, why, set_at, until FROM drift_decisions WHERE until IS NULL OR until > ? \
             ORDER BY decision, target, key",
        )
        .bind(to_ns(now));
        let rows: Vec<Row> = self.read("cannot read what was decided about drift", query.fetch_all(&self.readers)).await?;
        rows.into_iter().map(decision).collect()
    }

    /// Not so a database that an older controller still has.
    pub(super) async fn knows_decisions(&self) -> Result<bool, Error> {
        let query = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'drift_decisions'");
        let tables: i64 = self.read("cannot read what is kept of drift", query.fetch_one(&self.readers)).await?;
        Ok(tables > 0)
    }

    /// A person accepts a difference until a time, with an audit row `drift.accepted`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn accept_drift(
        &self,
        row: DriftEntry,
        (who, why): (String, String),
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let decision = DriftDecision {
            target: row.target.clone(),
            key: row.key.clone(),
            kind: row.kind,
            decision: DriftVerdict::Accepted,
            who,
            why,
            set_at: now,
            until: Some(until),
        };
        let about = about(row.expected.as_deref(), row.observed.as_deref(), row.class);
        self.write(move |tx| {
            Box::pin(async move {
                put(tx, &decision, Some(about)).await?;
                let payload = payload(&decision, row.expected.as_deref(), row.observed.as_deref(), Some(&row.id));
                log(tx, kind::DRIFT_ACCEPTED, &decision, payload, Ended::Done).await
            })
        })
        .await
    }

    /// Ends what was decided about an object, with an audit row `drift.released`; false if nothing was.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn release_drift(&self, row: DriftEntry, (who, why): (String, String), now: Timestamp) -> Result<bool, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let gone: Vec<String> = sqlx::query_scalar(
                    "DELETE FROM drift_decisions WHERE target = ? AND key = ? AND kind = ? AND decision <> 'released' \
                     RETURNING decision",
                )
                .bind(&row.target)
                .bind(&row.key)
                .bind(row.kind.word())
                .fetch_all(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot release what drifted", e))?;
                if gone.is_empty() {
                    return Ok(false);
                }
                let (target, key, decision) = (row.target.clone(), row.key.clone(), DriftVerdict::Released);
                let released = DriftDecision { target, key, kind: row.kind, decision, who, why, set_at: now, until: None };
                put(tx, &released, None).await?;
                let mut payload = payload(&released, None, None, Some(&row.id));
                if let Some(fields) = payload.as_object_mut() {
                    fields.insert("ended".to_owned(), json!(gone));
                }
                log(tx, kind::DRIFT_RELEASED, &released, payload, Ended::Done).await?;
                Ok(true)
            })
        })
        .await
    }

    /// An object is healed no longer, with an audit row `object.quarantined` that has both sides.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn quarantine_drift(&self, target: String, seen: DriftSeen, why: String, now: Timestamp) -> Result<(), Error> {
        let (who, decision) = ("system".to_owned(), DriftVerdict::Quarantined);
        let held = DriftDecision { target, key: seen.key, kind: seen.kind, decision, who, why, set_at: now, until: None };
        self.write(move |tx| {
            Box::pin(async move {
                put(tx, &held, None).await?;
                let actor: Option<Option<String>> =
                    sqlx::query_scalar("SELECT actor FROM drift WHERE target = ? AND key = ? AND kind = ? AND resolved_at IS NULL")
                        .bind(&held.target)
                        .bind(&held.key)
                        .bind(held.kind.word())
                        .fetch_optional(tx.connection())
                        .await
                        .map_err(|e| Error::sqlite("cannot read who changed an object", e))?;
                let mut payload = payload(&held, seen.expected.as_deref(), seen.observed.as_deref(), None);
                if let Some(fields) = payload.as_object_mut() {
                    fields.insert("actor".to_owned(), json!(actor.flatten().map(|who| tidy(&who, 255))));
                }
                log(tx, kind::OBJECT_QUARANTINED, &held, payload, Ended::Held).await
            })
        })
        .await
    }

    /// Ends acceptances whose time is over, each with an audit row; which. A release that is too old to matter is forgotten.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_drift_decisions(&self, now: Timestamp, released_since: Timestamp) -> Result<Vec<DriftDecision>, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let rows: Vec<Row> = sqlx::query_as(
                    "DELETE FROM drift_decisions WHERE until <= ?1 OR (decision = 'released' AND set_at < ?2) \
                     RETURNING target, key, kind, decision, who, why, set_at, until",
                )
                .bind(to_ns(now))
                .bind(to_ns(released_since))
                .fetch_all(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot end what was decided about drift", e))?;
                let mut ended = Vec::new();
                for row in rows {
                    let over = decision(row)?;
                    if over.decision != DriftVerdict::Accepted {
                        continue;
                    }
                    let by =
                        DriftDecision { who: "system".to_owned(), why: "its time is over".to_owned(), set_at: now, ..over.clone() };
                    let payload = payload(&by, None, None, None);
                    log(tx, kind::DRIFT_RELEASED, &by, payload, Ended::Done).await?;
                    ended.push(over);
                }
                Ok(ended)
            })
        })
        .await
    }

    /// How often each object of a target was put back by itself since a time, by key. What came before a release does not count, nor
    /// what came back with a whole table: that says nothing about the object.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn put_back_lately(&self, target: &str, since: Timestamp) -> Result<BTreeMap<String, PutBack>, Error> {
        let query = sqlx::query_as(
            "SELECT d.key, count(*), max(d.resolved_at) FROM drift d WHERE d.target = ?1 AND d.resolution = 'healed' \
             AND d.pass IS NOT NULL AND d.resolved_at >= max(?2, coalesce((SELECT max(r.set_at) FROM drift_decisions r WHERE r.target = d.target \
                 AND r.key = d.key AND r.decision = 'released'), 0)) GROUP BY d.key",
        )
        .bind(target)
        .bind(to_ns(since));
        let rows: Vec<(String, i64, i64)> =
            self.read("cannot read what was put back lately", query.fetch_all(&self.readers)).await?;
        let put_back = |(key, times, last): (String, i64, i64)| {
            (key, PutBack { times: u32::try_from(times).unwrap_or(u32::MAX), last: from_ns(last) })
        };
        Ok(rows.into_iter().map(put_back).collect())
    }
}

/// How long a release is remembered at least.
pub(crate) const RELEASED_KEPT: SignedDuration = SignedDuration::from_hours(1);

fn decision(row: Row) -> Result<DriftDecision, Error> {
    let (target, key, kind, decision, who, why, set_at, until) = row;
    let damaged = || Error::Damaged("a decision about drift that cannot be read".to_owned());
    Ok(DriftDecision {
        target,
        key,
        kind: DriftKind::from_word(&kind).ok_or_else(damaged)?,
        decision: DriftVerdict::from_word(&decision).ok_or_else(damaged)?,
        who,
        why,
        set_at: from_ns(set_at),
        until: until.map(from_ns),
    })
}

/// What exactly a person accepts: both sides, and what that means for packets.
fn about(expected: Option<&str>, observed: Option<&str>, class: DriftClass) -> Hash {
    Sha256::digest(json!([expected, observed, class.word()]).to_string()).into()
}

/// Ends an acceptance under which something else is found than what was accepted.
pub(super) async fn end_if_other(tx: &mut Tx, target: &str, seen: &DriftSeen, now: Timestamp) -> Result<(), Error> {
    let row: Option<Row> = sqlx::query_as(
        "DELETE FROM drift_decisions WHERE target = ? AND key = ? AND kind = ? AND decision = 'accepted' AND about IS NOT ? \
         RETURNING target, key, kind, decision, who, why, set_at, until",
    )
    .bind(target)
    .bind(&seen.key)
    .bind(seen.kind.word())
    .bind(about(seen.expected.as_deref(), seen.observed.as_deref(), seen.class).to_vec())
    .fetch_optional(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot end what was decided about drift", e))?;
    let Some(over) = row.map(decision).transpose()? else { return Ok(()) };
    let why = "what is found is no longer what was accepted".to_owned();
    let by = DriftDecision { who: "system".to_owned(), why, set_at: now, ..over };
    let payload = payload(&by, seen.expected.as_deref(), seen.observed.as_deref(), None);
    log(tx, kind::DRIFT_RELEASED, &by, payload, Ended::Done).await
}

async fn put(tx: &mut Tx, one: &DriftDecision, about: Option<Hash>) -> Result<(), Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO drift_decisions (target, key, kind, decision, who, why, set_at, until, about) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&one.target)
    .bind(&one.key)
    .bind(one.kind.word())
    .bind(one.decision.word())
    .bind(&one.who)
    .bind(&one.why)
    .bind(to_ns(one.set_at))
    .bind(one.until.map(to_ns))
    .bind(about.map(|about| about.to_vec()))
    .execute(tx.connection())
    .await
    .map(drop)
    .map_err(|e| Error::sqlite("cannot keep what was decided about drift", e))
}

fn payload(one: &DriftDecision, expected: Option<&str>, observed: Option<&str>, id: Option<&str>) -> Value {
    let side = |side: Option<&str>| side.map(|text| tidy(text, 2_000));
    json!({
        "id": id,
        "key": tidy(&one.key, 1_000),
        "kind": one.kind.word(),
        "decision": one.decision.word(),
        "why": tidy(&one.why, 2_000),
        "until": one.until.map(|until| until.to_string()),
        "expected": side(expected),
        "observed": side(observed),
    })
}

async fn log(tx: &mut Tx, kind: &str, one: &DriftDecision, payload: Value, outcome: Ended) -> Result<(), Error> {
    let (origin, object, actor) = (tx.origin(), tidy(&one.target, 255), tidy(&one.who, 255));
    let draft = Draft { kind, actor: &actor, origin: &origin, object: &object, outcome, ..Draft::at(one.set_at) };
    tx.log(Draft { payload, ..draft }).await.map(drop)
}
