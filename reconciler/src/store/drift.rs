//! Drift: one open row per target, key and kind; seeing it again updates the row, not seeing it any more closes it.

use jiff::Timestamp;
use serde_json::json;

use super::decisions::{DriftDecision, DriftVerdict, end_if_other};
use super::passes::PassId;
use super::tx::Tx;
use super::{Error, Store, to_ns, words};
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

words! {
    /// What a difference means for packets.
    DriftClass {
        /// Verdicts differ.
        Flow = "flow",
        /// Only words do.
        Cosmetic = "cosmetic",
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
    /// What it means for packets.
    pub class: DriftClass,
    /// Whether it carries our mark; nothing where nobody can tell.
    pub ours: Option<bool>,
}

/// What is known of rows that are open no longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closing {
    /// How they ended, where the caller knows it for all of them.
    pub resolution: Option<Resolution>,
    /// The pass that ended them.
    pub pass: Option<PassId>,
    /// Keys under which what was found is what a newer commit wants.
    pub wanted: Vec<String>,
}

impl Closing {
    /// Put back by us, by a pass where it took one.
    #[must_use]
    pub fn healed(pass: Option<PassId>) -> Self {
        Self { resolution: Some(Resolution::Healed), pass, wanted: Vec::new() }
    }
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
    /// A UUID; its last digits name it as well.
    pub id: String,
    /// What it means for packets.
    pub class: DriftClass,
    /// Whether it carries our mark; null where nobody can tell.
    pub ours: Option<bool>,
    /// How often it was written down.
    pub times_seen: u64,
    /// What was in force when it was first seen, in hexadecimal.
    pub commit: Option<String>,
    /// The pass that ended it, as a UUID; null where none did.
    pub pass: Option<String>,
    /// Who did it, where the backend names exactly one event; else null.
    pub actor: Option<String>,
    /// SHA-256 of that event as the backend gave it; else null.
    pub evidence: Option<String>,
    /// What was decided about this object and holds now; only in its newest row.
    pub decision: Option<DriftDecision>,
}

/// An open row: id, key, kind, when it was last seen.
type Open = (Vec<u8>, String, String, i64);

/// Under which name drift says that nothing is dropped on a whole target.
pub const AUDIT: &str = "audit";

impl DriftEntry {
    /// Whether it lasts and nobody has accepted it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.resolved_at.is_none() && !self.is(DriftVerdict::Accepted)
    }

    /// Whether this was decided about it.
    #[must_use]
    pub fn is(&self, verdict: DriftVerdict) -> bool {
        self.decision.as_ref().is_some_and(|held| held.decision == verdict)
    }

    /// The digits that name it shortly.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(self.id.len().saturating_sub(8)..).unwrap_or(&self.id)
    }

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
    /// Notes everything that differs on a target now. Open rows of the target that are not in the list are closed: as `closing` says,
    /// as `healed` where a pass has done a step about them since, else as `reverted`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_drift(
        &self,
        target: String,
        seen: Vec<DriftSeen>,
        closing: Closing,
        now: Timestamp,
    ) -> Result<DriftNoted, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let mut noted = DriftNoted::default();
                let mut open: Vec<Open> =
                    sqlx::query_as("SELECT id, key, kind, last_seen FROM drift WHERE target = ? AND resolved_at IS NULL")
                        .bind(&target)
                        .fetch_all(tx.connection())
                        .await
                        .map_err(|e| Error::sqlite("cannot read open drift", e))?;
                for one in &seen {
                    open.retain(|(_, key, kind, _)| !(*key == one.key && kind == one.kind.word()));
                    if see(tx, &target, one, now).await? {
                        noted.opened += 1;
                    } else {
                        noted.still_open += 1;
                    }
                }
                for gone in open {
                    let (resolution, pass) = how_it_ended(tx, &target, &gone, &closing).await?;
                    close(tx, &target, gone, (resolution, pass), now).await?;
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
                        let open = (id, one.key.clone(), one.kind.word().to_owned(), 0);
                        close(tx, &target, open, (Resolution::Healed, None), now).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }
}

/// Why a row is open no longer, and by which pass.
async fn how_it_ended(tx: &mut Tx, target: &str, gone: &Open, closing: &Closing) -> Result<(Resolution, Option<PassId>), Error> {
    if let Some(resolution) = closing.resolution {
        return Ok((resolution, closing.pass));
    }
    let (_, key, _, last_seen) = gone;
    let failed = |e| Error::sqlite("cannot read what ended a difference", e);
    let id = |id: Option<Vec<u8>>| id.and_then(|id| id.try_into().ok().map(PassId));
    if closing.wanted.contains(key) {
        let newest = sqlx::query_scalar("SELECT id FROM passes WHERE outcome = 'in_force' ORDER BY closed DESC LIMIT 1");
        let pass = newest.fetch_optional(tx.connection()).await.map_err(failed)?;
        return Ok((Resolution::Accepted, id(pass)));
    }
    let step =
        "SELECT pass FROM steps WHERE target = ? AND key = ? AND finished >= ? AND state = 'done' ORDER BY finished DESC LIMIT 1";
    let step = sqlx::query_scalar(step).bind(target).bind(key).bind(last_seen);
    let pass = id(step.fetch_optional(tx.connection()).await.map_err(failed)?);
    Ok((pass.map_or(Resolution::Reverted, |_| Resolution::Healed), pass))
}

/// True if it is new. What is found otherwise than before leaves a row too, and ends what was accepted.
async fn see(tx: &mut Tx, target: &str, one: &DriftSeen, now: Timestamp) -> Result<bool, Error> {
    let before = found_before(tx, target, one).await?;
    let times: i64 = sqlx::query_scalar(
        "INSERT INTO drift (id, target, key, kind, expected, observed, first_seen, last_seen, class, ours, oid) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, (SELECT head FROM passes WHERE outcome = 'in_force' ORDER BY closed DESC LIMIT 1)) \
         ON CONFLICT (target, key, kind) WHERE resolved_at IS NULL DO UPDATE SET expected = excluded.expected, observed = excluded.observed, \
         class = excluded.class, ours = excluded.ours, last_seen = excluded.last_seen, times_seen = times_seen + 1 RETURNING times_seen",
    )
    .bind(fresh_id(now).to_vec())
    .bind(target)
    .bind(&one.key)
    .bind(one.kind.word())
    .bind(&one.expected)
    .bind(&one.observed)
    .bind(to_ns(now))
    .bind(one.class.word())
    .bind(one.ours)
    .fetch_one(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot note drift", e))?;
    end_if_other(tx, target, one, now).await?;
    let is_new = times == 1;
    if is_new || before.as_ref().is_some_and(|before| *before != one.observed) {
        log_found(tx, target, one, before, now).await?;
    }
    Ok(is_new)
}

/// What was found before in an open row; nothing where there is none.
async fn found_before(tx: &mut Tx, target: &str, one: &DriftSeen) -> Result<Option<Option<String>>, Error> {
    sqlx::query_scalar("SELECT observed FROM drift WHERE target = ? AND key = ? AND kind = ? AND resolved_at IS NULL")
        .bind(target)
        .bind(&one.key)
        .bind(one.kind.word())
        .fetch_optional(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot read open drift", e))
}

async fn log_found(
    tx: &mut Tx,
    target: &str,
    one: &DriftSeen,
    before: Option<Option<String>>,
    now: Timestamp,
) -> Result<(), Error> {
    let side = |side: &Option<String>| side.as_ref().map(|text| tidy(text, SIDE_LOGGED_BYTES_MAX));
    let mut payload = json!({
        "kind": one.kind.word(),
        "class": one.class.word(),
        "key": tidy(&one.key, 1_000),
        "expected": side(&one.expected),
        "observed": side(&one.observed),
    });
    if let (Some(before), Some(fields)) = (before, payload.as_object_mut()) {
        fields.insert("observed_before".to_owned(), json!(side(&before)));
    }
    let (origin, object) = (tx.origin(), tidy(target, 255));
    tx.log(Draft { kind: kind::DRIFT_FOUND, origin: &origin, object: &object, payload, ..Draft::at(now) }).await.map(drop)
}

async fn close(
    tx: &mut Tx,
    target: &str,
    gone: Open,
    (resolution, pass): (Resolution, Option<PassId>),
    now: Timestamp,
) -> Result<(), Error> {
    let (id, key, kind, _) = gone;
    sqlx::query("UPDATE drift SET resolution = ?, resolved_at = ?, pass = ? WHERE id = ?")
        .bind(resolution.word())
        .bind(to_ns(now))
        .bind(pass.map(|pass| pass.0.to_vec()))
        .bind(id)
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot close drift", e))?;
    let payload = json!({ "kind": kind, "key": tidy(&key, 1_000), "resolution": resolution.word() });
    let (origin, object) = (tx.origin(), tidy(target, 255));
    let draft = Draft { kind: kind::DRIFT_CLOSED, origin: &origin, object: &object, outcome: Ended::Done, ..Draft::at(now) };
    tx.log(Draft { payload, ..draft }).await.map(drop)
}
