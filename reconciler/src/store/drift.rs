//! Drift: one open row per target, key and kind; seeing it again updates the row, not seeing it any more closes it.

use jiff::Timestamp;
use serde_json::json;

use super::tx::Tx;
use super::{Error, Store, from_ns, to_ns, words};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, kind};

/// More of a side than this is not kept in an audit row; the drift row has all of it.
const SIDE_LOGGED_BYTES_MAX: usize = 2_000;

words! {
    /// What is not as it should be.
    DriftKind {
        /// Desired, not there.
        Missing = "missing",
        /// There, not desired.
        Extra = "extra",
        /// There, but other than desired.
        Changed = "changed",
        /// A program, interface or group association is gone.
        Detached = "detached",
    }
}

words! {
    /// How drift ended.
    Resolution {
        /// By us.
        Healed = "healed",
        /// Without us.
        Reverted = "reverted",
        /// A person, or a newer commit, wants it so.
        Accepted = "accepted",
    }
}

/// One difference as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftSeen {
    /// Which rule; empty for the target as a whole.
    pub key: String,
    /// What is wrong.
    pub kind: DriftKind,
    /// What should be there, in the backend's words.
    pub expected: Option<String>,
    /// What is there, in the backend's words.
    pub observed: Option<String>,
}

/// What a look at a target changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriftNoted {
    /// Seen for the first time.
    pub opened: u64,
    /// Seen before.
    pub still_open: u64,
    /// Gone.
    pub closed: u64,
}

/// Drift as users see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DriftEntry {
    /// Which target.
    pub target: String,
    /// What is wrong.
    pub kind: DriftKind,
    /// Which rule; empty for the target as a whole.
    pub key: String,
    /// What should be there.
    pub expected: Option<String>,
    /// What is there.
    pub observed: Option<String>,
    /// First time it was seen.
    pub first_seen: Timestamp,
    /// Last time it was seen.
    pub last_seen: Timestamp,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// How it ended; null while it lasts.
    pub resolution: Option<Resolution>,
}

type Open = (Vec<u8>, String, String);

/// Under which name drift says that nothing is dropped on a whole target.
pub const AUDIT: &str = "audit";

impl DriftEntry {
    /// Nothing is dropped on the whole target, whatever its rules say.
    #[must_use]
    pub fn is_audit(&self) -> bool {
        self.key == AUDIT
    }

    /// With this, packets pass that no rule allows: nothing is dropped, or a hook is gone.
    #[must_use]
    pub fn opens_the_host(&self) -> bool {
        self.is_audit() || self.kind == DriftKind::Detached
    }
}

impl Store {
    /// Notes everything that differs on a target now. Open rows of the target that are not in the list are closed as `reverted`, or as
    /// `resolution` where the caller knows why they are gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_drift(
        &self,
        target: String,
        seen: Vec<DriftSeen>,
        resolution: Option<Resolution>,
        now: Timestamp,
    ) -> Result<DriftNoted, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let mut noted = DriftNoted::default();
                let mut open: Vec<Open> =
                    sqlx::query_as("SELECT id, key, kind FROM drift WHERE target = ? AND resolved_at IS NULL")
                        .bind(&target)
                        .fetch_all(tx.connection())
                        .await
                        .map_err(|e| Error::sqlite("cannot read open drift", e))?;
                for one in &seen {
                    open.retain(|(_, key, kind)| !(*key == one.key && kind == one.kind.word()));
                    if see(tx, &target, one, now).await? {
                        noted.opened += 1;
                    } else {
                        noted.still_open += 1;
                    }
                }
                for gone in open {
                    close(tx, &target, gone, resolution.unwrap_or(Resolution::Reverted), now).await?;
                    noted.closed += 1;
                }
                Ok(noted)
            })
        })
        .await
    }

    /// Notes some of what differs on a target, before it is mended; other rows stay as they are.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn drift_seen(&self, target: String, seen: Vec<DriftSeen>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                for one in &seen {
                    see(tx, &target, one, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Closes the open rows of differences that were mended as healed; other rows stay as they are.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn drift_mended(&self, target: String, mended: Vec<DriftSeen>, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                for one in &mended {
                    let row: Option<Vec<u8>> = sqlx::query_scalar(
                        "SELECT id FROM drift WHERE target = ? AND key = ? AND kind = ? AND resolved_at IS NULL",
                    )
                    .bind(&target)
                    .bind(&one.key)
                    .bind(one.kind.word())
                    .fetch_optional(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot read open drift", e))?;
                    if let Some(id) = row {
                        close(tx, &target, (id, one.key.clone(), one.kind.word().to_owned()), Resolution::Healed, now).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// Drift as `drift --format json` shows it, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift(&self, open_only: bool) -> Result<Vec<DriftEntry>, Error> {
        type Row = (String, String, String, Option<String>, Option<String>, i64, i64, Option<i64>, Option<String>);
        let query = sqlx::query_as(
            "SELECT target, kind, key, expected, observed, first_seen, last_seen, resolved_at, resolution FROM drift \
             WHERE resolved_at IS NULL OR NOT ? ORDER BY first_seen DESC, rowid DESC LIMIT 10000",
        )
        .bind(open_only);
        let rows: Vec<Row> = self.read("cannot read drift", query.fetch_all(&self.readers)).await?;
        let entry = |(target, kind, key, expected, observed, first, last, resolved, resolution): Row| {
            Ok(DriftEntry {
                target,
                kind: DriftKind::from_word(&kind).ok_or_else(|| Error::Damaged(format!("drift of kind {kind}")))?,
                key,
                expected,
                observed,
                first_seen: from_ns(first),
                last_seen: from_ns(last),
                resolved_at: resolved.map(from_ns),
                resolution: resolution.as_deref().and_then(Resolution::from_word),
            })
        };
        rows.into_iter().map(entry).collect()
    }
}

/// True if it is new.
async fn see(tx: &mut Tx, target: &str, one: &DriftSeen, now: Timestamp) -> Result<bool, Error> {
    let times: i64 = sqlx::query_scalar(
        "INSERT INTO drift (id, target, key, kind, expected, observed, first_seen, last_seen, oid) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, (SELECT head FROM passes WHERE outcome = 'in_force' ORDER BY closed DESC LIMIT 1)) \
         ON CONFLICT (target, key, kind) WHERE resolved_at IS NULL DO UPDATE SET expected = excluded.expected, observed = excluded.observed, \
         last_seen = excluded.last_seen, times_seen = times_seen + 1 RETURNING times_seen",
    )
    .bind(fresh_id(now).to_vec())
    .bind(target)
    .bind(&one.key)
    .bind(one.kind.word())
    .bind(&one.expected)
    .bind(&one.observed)
    .bind(to_ns(now))
    .fetch_one(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot note drift", e))?;
    if times != 1 {
        return Ok(false);
    }
    let side = |side: &Option<String>| side.as_ref().map(|text| tidy(text, SIDE_LOGGED_BYTES_MAX));
    let payload = json!({
        "kind": one.kind.word(),
        "key": tidy(&one.key, 1_000),
        "expected": side(&one.expected),
        "observed": side(&one.observed),
    });
    let (origin, object) = (tx.origin(), tidy(target, 255));
    tx.log(Draft { kind: kind::DRIFT_FOUND, origin: &origin, object: &object, payload, ..Draft::at(now) }).await?;
    Ok(true)
}

async fn close(tx: &mut Tx, target: &str, gone: Open, resolution: Resolution, now: Timestamp) -> Result<(), Error> {
    let (id, key, kind) = gone;
    sqlx::query("UPDATE drift SET resolution = ?, resolved_at = ? WHERE id = ?")
        .bind(resolution.word())
        .bind(to_ns(now))
        .bind(id)
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot close drift", e))?;
    let payload = json!({ "kind": kind, "key": tidy(&key, 1_000), "resolution": resolution.word() });
    let (origin, object) = (tx.origin(), tidy(target, 255));
    let draft = Draft { kind: kind::DRIFT_CLOSED, origin: &origin, object: &object, outcome: Ended::Done, ..Draft::at(now) };
    tx.log(Draft { payload, ..draft }).await.map(drop)
}
