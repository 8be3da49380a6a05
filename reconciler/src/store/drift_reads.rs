//! Drift as users read it.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::drift::{DriftClass, DriftEntry, DriftKind, Resolution};
use super::{DriftVerdict, Error, Store, from_ns, to_ns};
use crate::audit::hex;

/// Digits of an id that name a row, at least.
pub(super) const DIGITS_MIN: usize = 6;
/// Which rows are open.
const OPEN: &str = "resolved_at IS NULL";
/// More rows that are closed are not read at once. Those that are open all are, however old.
const CLOSED_MAX: i64 = 10_000;

impl Store {
    /// Drift as `drift --format json` shows it: every row that is open, then the newest that are closed; newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift(&self, open_only: bool) -> Result<Vec<DriftEntry>, Error> {
        let which = if open_only { OPEN.to_owned() } else { open_and("resolved_at IS NOT NULL") };
        let mut rows = self.drift_rows(&which).await?;
        self.decide(&mut rows).await?;
        Ok(rows)
    }

    /// What is open, and what ended at that time or later; with how many of the latter are left out because there are too many.
    pub(super) async fn drift_since(&self, begins: Timestamp) -> Result<(Vec<DriftEntry>, u64), Error> {
        let ended = format!("resolved_at >= {}", to_ns(begins));
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM drift WHERE {ended}")));
        let all: i64 = self.read("cannot count drift", count.fetch_one(&self.readers)).await?;
        let mut rows = self.drift_rows(&open_and(&ended)).await?;
        self.decide(&mut rows).await?;
        Ok((rows, u64::try_from(all - CLOSED_MAX).unwrap_or(0)))
    }

    /// `which` is text of this file, with nothing in it that others wrote.
    async fn drift_rows(&self, which: &str) -> Result<Vec<DriftEntry>, Error> {
        let more = if self.knows_decisions().await? {
            "class, ours, pass, actor, evidence"
        } else {
            "'flow' AS class, NULL AS ours, NULL AS pass, NULL AS actor, NULL AS evidence"
        };
        let query = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT id, target, kind, key, expected, observed, first_seen, last_seen, times_seen, oid, resolved_at, resolution, {more} \
             FROM drift WHERE {which} ORDER BY resolved_at IS NOT NULL, first_seen DESC, rowid DESC"
        )));
        self.read("cannot read drift", query.fetch_all(&self.readers)).await
    }

    /// The rows whose id ends or begins with these digits; two at most, as more than one is one too many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift_like(&self, digits: &str) -> Result<Vec<DriftEntry>, Error> {
        let digits = digits.replace('-', "");
        if digits.len() < DIGITS_MIN || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        // Nothing but digits is left in it by now.
        let like = format!("SELECT id FROM drift WHERE hex(id) LIKE '{digits}%' OR hex(id) LIKE '%{digits}' LIMIT 2");
        let mut rows = self.drift_rows(&format!("id IN ({like})")).await?;
        self.decide(&mut rows).await?;
        for row in rows.iter_mut().filter(|row| row.decision.is_some() && row.resolved_at.is_some()) {
            if !self.is_newest(row).await? {
                row.decision = None;
            }
        }
        Ok(rows)
    }

    /// What was decided is told with the newest row of an object alone: the first one, as rows are sorted.
    async fn decide(&self, rows: &mut [DriftEntry]) -> Result<(), Error> {
        for held in self.drift_decisions(Timestamp::now()).await? {
            // Accepted comes first, and says more than that it was quarantined before.
            let newest = rows.iter_mut().find(|row| held.is_about(&row.target, &row.key, row.kind));
            if let Some(row) = newest.filter(|row| row.decision.is_none() && held.decision != DriftVerdict::Released) {
                row.decision = Some(held);
            }
        }
        Ok(())
    }

    async fn is_newest(&self, row: &DriftEntry) -> Result<bool, Error> {
        let query = sqlx::query_scalar(
            "SELECT id FROM drift WHERE target = ? AND key = ? AND kind = ? \
             ORDER BY resolved_at IS NOT NULL, first_seen DESC, rowid DESC LIMIT 1",
        )
        .bind(&row.target)
        .bind(&row.key)
        .bind(row.kind.word());
        let newest: Option<Vec<u8>> = self.read("cannot read drift", query.fetch_optional(&self.readers)).await?;
        Ok(newest.is_none_or(|id| uuid_text(&id) == row.id))
    }
}

fn open_and(ended: &str) -> String {
    let newest = format!("SELECT id FROM drift WHERE {ended} ORDER BY first_seen DESC, rowid DESC LIMIT {CLOSED_MAX}");
    format!("{OPEN} OR id IN ({newest})")
}

impl FromRow<'_, SqliteRow> for DriftEntry {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let (kind, class): (String, String) = (row.try_get("kind")?, row.try_get("class")?);
        let unknown = |what: &str| sqlx::Error::Decode(format!("drift of {what}").into());
        let bytes = |name: &str| row.try_get::<Option<Vec<u8>>, _>(name);
        Ok(Self {
            target: row.try_get("target")?,
            kind: DriftKind::from_word(&kind).ok_or_else(|| unknown(&kind))?,
            key: row.try_get("key")?,
            expected: row.try_get("expected")?,
            observed: row.try_get("observed")?,
            first_seen: from_ns(row.try_get("first_seen")?),
            last_seen: from_ns(row.try_get("last_seen")?),
            resolved_at: row.try_get::<Option<i64>, _>("resolved_at")?.map(from_ns),
            resolution: row.try_get::<Option<String>, _>("resolution")?.as_deref().and_then(Resolution::from_word),
            id: uuid_text(&row.try_get::<Vec<u8>, _>("id")?),
            class: DriftClass::from_word(&class).ok_or_else(|| unknown(&class))?,
            ours: row.try_get("ours")?,
            times_seen: u64::try_from(row.try_get::<i64, _>("times_seen")?).unwrap_or(0),
            commit: bytes("oid")?.map(|oid| hex(&oid)),
            pass: bytes("pass")?.map(|id| uuid_text(&id)),
            actor: row.try_get("actor")?,
            evidence: bytes("evidence")?.map(|hash| hex(&hash)),
            decision: None,
        })
    }
}

/// An id as people see it.
pub(super) fn uuid_text(id: &[u8]) -> String {
    uuid::Uuid::from_slice(id).map_or_else(|_| hex(id), |id| id.to_string())
}
