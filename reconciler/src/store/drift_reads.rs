//! Drift as users read it.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::drift::{DriftClass, DriftEntry, DriftKind, Resolution};
use super::{DriftVerdict, Error, Store, from_ns};
use crate::audit::hex;

/// Digits of an id that name a row, at least.
const DIGITS_MIN: usize = 6;

impl Store {
    /// Drift as `drift --format json` shows it, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift(&self, open_only: bool) -> Result<Vec<DriftEntry>, Error> {
        let more = if self.knows_decisions().await? {
            "class, ours, pass, actor, evidence"
        } else {
            "'flow' AS class, NULL AS ours, NULL AS pass, NULL AS actor, NULL AS evidence"
        };
        let query = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT id, target, kind, key, expected, observed, first_seen, last_seen, times_seen, oid, resolved_at, resolution, {more} \
             FROM drift WHERE resolved_at IS NULL OR NOT ? ORDER BY first_seen DESC, rowid DESC LIMIT 10000"
        )))
        .bind(open_only);
        let mut rows: Vec<DriftEntry> = self.read("cannot read drift", query.fetch_all(&self.readers)).await?;
        for held in self.drift_decisions(Timestamp::now()).await? {
            // Accepted comes first, and says more than that it was quarantined before.
            let newest = rows.iter_mut().find(|row| held.is_about(&row.target, &row.key, row.kind));
            if let Some(row) = newest.filter(|row| row.decision.is_none() && held.decision != DriftVerdict::Released) {
                row.decision = Some(held);
            }
        }
        Ok(rows)
    }

    /// The rows whose id ends or begins with these digits; two at most, as more than one is one too many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn drift_like(&self, digits: &str) -> Result<Vec<DriftEntry>, Error> {
        let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
        let digits = plain(digits);
        if digits.len() < DIGITS_MIN || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let rows = self.drift(false).await?.into_iter();
        Ok(rows.filter(|row| plain(&row.id).ends_with(&digits) || plain(&row.id).starts_with(&digits)).take(2).collect())
    }
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
