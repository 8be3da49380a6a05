//! Sealed segments on record: what was written to which file, and whose bodies are in the file only.
//!
//! The row of the log that tells of a segment is written in the transaction that records it. Bodies go after the row that says so,
//! a few thousand rows at a time, and whoever finds bodies left after a crash goes on.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Error, Store, from_ns, to_ns};
use crate::audit::verify::{Manifest, State};
use crate::audit::{Draft, Ended, Hash, hex, kind};

/// PCI DSS v4.0.1 10.5.1: three months are immediately available.
const HOT_DAYS: i64 = 100;
/// How long a look at the file is good for.
const LOOKED_HOURS: i64 = 24;
/// One transaction of the writer.
const BODIES_AT_ONCE: u64 = 2000;
/// Rows that are needed to read the log by itself keep their bodies.
const KEPT: [&str; 5] = [kind::LOG_OPENED, kind::LOG_FORKED, kind::KEY_ROTATED, kind::SEGMENT_SEALED, kind::SEGMENT_PRUNED];

/// A segment, and when its file was last seen to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What was written down of it.
    pub manifest: Manifest,
    /// When its file was last read and found to match.
    pub verified_at: Option<Timestamp>,
}

/// Why bodies stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPruned {
    /// It is too young.
    #[error("segment {0} has rows of the last {HOT_DAYS} days")]
    Young(u64),
    /// Nobody looked at its file lately.
    #[error("the file of segment {0} was not found good within {LOOKED_HOURS} h")]
    Unverified(u64),
    /// They are gone.
    #[error("segment {0} is pruned already")]
    Already(u64),
}

type Row = (i64, i64, i64, Vec<u8>, Vec<u8>, Vec<u8>, String, Vec<u8>, i64, String, Option<i64>);

impl Segment {
    /// Whether bodies may go.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_pruned(&self, now: Timestamp) -> Result<(), NotPruned> {
        let id = self.manifest.id;
        if self.manifest.state == State::Pruned {
            return Err(NotPruned::Already(id));
        }
        if now.duration_since(from_ns(self.manifest.newest_ts)) < SignedDuration::from_hours(24 * HOT_DAYS) {
            return Err(NotPruned::Young(id));
        }
        let looked = |at: Timestamp| at <= now && now.duration_since(at) <= SignedDuration::from_hours(LOOKED_HOURS);
        if self.verified_at.is_some_and(looked) { Ok(()) } else { Err(NotPruned::Unverified(id)) }
    }
}

impl Store {
    /// Manifests, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn segments(&self) -> Result<Vec<Manifest>, Error> {
        Ok(self.segment_records().await?.into_iter().map(|segment| segment.manifest).collect())
    }

    /// Segments with what is known of their files, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn segment_records(&self) -> Result<Vec<Segment>, Error> {
        let query = sqlx::query_as(
            "SELECT id, first, last, head_in, head_out, root, file, file_sha256, newest_ts, state, verified_at \
             FROM audit_segment ORDER BY id",
        );
        let rows: Vec<Row> = self.read("cannot read the segments of the log", query.fetch_all(&self.readers)).await?;
        rows.into_iter().map(segment).collect()
    }

    /// Time of a row; `None` if it is not there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_time(&self, seq: u64) -> Result<Option<Timestamp>, Error> {
        let query = sqlx::query_scalar("SELECT ts FROM audit_log WHERE seq = ?").bind(row_number(seq));
        let ts: Option<i64> = self.read("cannot read the audit log", query.fetch_optional(&self.readers)).await?;
        Ok(ts.map(from_ns))
    }

    /// The first row from `first` on that is not older than a moment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_first_since(&self, first: u64, since: Timestamp) -> Result<Option<u64>, Error> {
        let query = sqlx::query_scalar("SELECT seq FROM audit_log WHERE seq >= ? AND ts >= ? ORDER BY seq LIMIT 1");
        let query = query.bind(row_number(first)).bind(to_ns(since));
        let seq: Option<i64> = self.read("cannot read the audit log", query.fetch_optional(&self.readers)).await?;
        Ok(seq.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// Records a segment whose file was written, read back and found good.
    ///
    /// # Errors
    /// The database cannot be written, or knows these rows as sealed already.
    pub async fn seal_segment(&self, manifest: Manifest, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO audit_segment (id, first, last, head_in, head_out, root, file, file_sha256, newest_ts, state, sealed_at, \
                     verified_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'sealed', ?10, ?10)",
                )
                .bind(row_number(manifest.id))
                .bind(row_number(manifest.first))
                .bind(row_number(manifest.last))
                .bind(manifest.head_in.as_slice())
                .bind(manifest.head_out.as_slice())
                .bind(manifest.root.as_slice())
                .bind(&manifest.file)
                .bind(manifest.sha256.as_slice())
                .bind(manifest.newest_ts)
                .bind(to_ns(now))
                .execute(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot record a sealed segment", e))?;
                log(tx, kind::SEGMENT_SEALED, &manifest, now).await
            })
        })
        .await
    }

    /// Notes that a segment's file was read and found good.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn segment_looked_at(&self, id: u64, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE audit_segment SET verified_at = ? WHERE id = ?")
                    .bind(to_ns(now))
                    .bind(row_number(id))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot note the look at a segment", e))?;
                Ok(())
            })
        })
        .await
    }

    /// Says that the bodies of a segment go, and lets them go.
    ///
    /// # Errors
    /// They may not, or the database cannot be written.
    pub async fn prune_segment(&self, segment: &Segment, now: Timestamp) -> Result<Result<(), NotPruned>, Error> {
        if let Err(refused) = segment.may_be_pruned(now) {
            return Ok(Err(refused));
        }
        let manifest = segment.manifest.clone();
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE audit_segment SET state = 'pruned', pruned_at = ? WHERE id = ?")
                    .bind(to_ns(now))
                    .bind(row_number(manifest.id))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot record a pruned segment", e))?;
                log(tx, kind::SEGMENT_PRUNED, &manifest, now).await
            })
        })
        .await?;
        self.drop_bodies(&segment.manifest).await?;
        Ok(Ok(()))
    }

    /// Lets the bodies of a pruned segment go; those that are gone already are passed over.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn drop_bodies(&self, manifest: &Manifest) -> Result<(), Error> {
        let (mut from, last) = (manifest.first, manifest.last);
        while from <= last {
            let to = last.min(from.saturating_add(BODIES_AT_ONCE - 1));
            self.write(move |tx| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE audit_log SET leaf = x'' WHERE seq BETWEEN ? AND ? AND leaf <> x'' \
                         AND kind NOT IN (SELECT value FROM json_each(?))",
                    )
                    .bind(row_number(from))
                    .bind(row_number(to))
                    .bind(json!(KEPT).to_string())
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot prune a segment", e))?;
                    Ok(())
                })
            })
            .await?;
            from = to + 1;
        }
        Ok(())
    }

    /// Whether bodies of a pruned segment are still there, as after a crash.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn has_bodies(&self, manifest: &Manifest) -> Result<bool, Error> {
        let query = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM audit_log WHERE seq BETWEEN ? AND ? AND leaf <> x'' \
             AND kind NOT IN (SELECT value FROM json_each(?)))",
        );
        let query = query.bind(row_number(manifest.first)).bind(row_number(manifest.last)).bind(json!(KEPT).to_string());
        self.read("cannot read the audit log", query.fetch_one(&self.readers)).await
    }
}

async fn log(tx: &mut super::tx::Tx, kind: &str, manifest: &Manifest, now: Timestamp) -> Result<(), Error> {
    let origin = tx.origin();
    let payload = json!({
        "id": manifest.id, "first": manifest.first, "last": manifest.last, "head_in": hex(&manifest.head_in),
        "head_out": hex(&manifest.head_out), "root": hex(&manifest.root), "file": manifest.file, "sha256": hex(&manifest.sha256),
    });
    let object = format!("segment {}", manifest.id);
    tx.log(Draft { kind, origin: &origin, object: &object, outcome: Ended::Done, payload, ..Draft::at(now) }).await?;
    Ok(())
}

fn segment(row: Row) -> Result<Segment, Error> {
    let (id, first, last, head_in, head_out, root, file, sha256, newest_ts, state, verified_at) = row;
    let damaged = || Error::Damaged(format!("segment {id} on record is none"));
    let hash = |bytes: Vec<u8>| Hash::try_from(bytes).map_err(|_| damaged());
    let number = |n: i64| u64::try_from(n).map_err(|_| damaged());
    let state = match state.as_str() {
        "sealed" => State::Sealed,
        "pruned" => State::Pruned,
        _ => return Err(damaged()),
    };
    let manifest = Manifest {
        id: number(id)?,
        first: number(first)?,
        last: number(last)?,
        head_in: hash(head_in)?,
        head_out: hash(head_out)?,
        root: hash(root)?,
        file,
        sha256: hash(sha256)?,
        newest_ts,
        state,
    };
    Ok(Segment { manifest, verified_at: verified_at.map(from_ns) })
}

fn row_number(row: u64) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}
