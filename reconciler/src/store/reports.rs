//! Drift reports: what they are made from, and how they are kept.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::drift_reads::{DIGITS_MIN, uuid_text};
use super::observed::Observation;
use super::switches::{Note, write_notes};
use super::tx::Tx;
use super::{AuditHead, DriftDecision, DriftEntry, EnforcedRow, Error, InForce, Store, from_ns, to_ns};
use crate::audit::event::{fresh_id, tidy};
use crate::audit::{Draft, Ended, Hash, hex, kind};

/// Under which name the store keeps until when reports of the schedule cover.
const COVERED: &str = "reports_until";
/// More reports are not listed.
const LISTED_MAX: i64 = 1_000;

/// What a report is made from.
#[derive(Debug, Clone)]
pub struct ReportFacts {
    /// What differed in the period, or still does: first what does, each newest first.
    pub rows: Vec<DriftEntry>,
    /// How many more ended in the period.
    pub rows_cut: u64,
    /// What is decided about differences now.
    pub decisions: Vec<DriftDecision>,
    /// What is in force, target by target.
    pub enforced: Vec<EnforcedRow>,
    /// When each target was looked at.
    pub observations: Vec<(String, Observation)>,
    /// The commit in force.
    pub in_force: Option<InForce>,
    /// Where the log stands.
    pub audit: AuditHead,
    /// The newest signed note about the log.
    pub checkpoint: Option<String>,
}

/// A report that is about to be kept.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// Its id.
    pub id: [u8; 16],
    /// Where the period begins.
    pub begins: Timestamp,
    /// Where it ends, which is when it was written.
    pub ends: Timestamp,
    /// What it comes to, as JSON.
    pub summary: Value,
    /// For people.
    pub html: Vec<u8>,
    /// For programs.
    pub json: Vec<u8>,
    /// Who asked for it; `system` for the schedule.
    pub actor: String,
    /// Whether the next period of the schedule begins where this one ends.
    pub is_scheduled: bool,
}

/// A report that is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReportEntry {
    /// A UUID; its last digits name it as well.
    pub id: String,
    /// Where the period begins.
    pub begins: Timestamp,
    /// Where it ends.
    pub ends: Timestamp,
    /// When it was written.
    pub written_at: Timestamp,
    /// What it comes to.
    pub summary: Value,
    /// SHA-256 of the page, in hexadecimal.
    pub html_sha256: String,
    /// SHA-256 of the JSON, in hexadecimal.
    pub json_sha256: String,
}

type Row = (Vec<u8>, i64, i64, i64, String, Vec<u8>, Vec<u8>);

impl Store {
    /// What a report over a period is made from.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn report_facts(&self, begins: Timestamp, now: Timestamp) -> Result<ReportFacts, Error> {
        let (rows, rows_cut) = self.drift_since(begins).await?;
        Ok(ReportFacts {
            rows,
            rows_cut,
            decisions: self.drift_decisions(now).await?,
            enforced: self.enforced_all().await?,
            observations: self.observations().await?,
            in_force: self.last_in_force().await?,
            audit: self.audit_head().await?,
            checkpoint: self.newest_note().await?,
        })
    }

    async fn newest_note(&self) -> Result<Option<String>, Error> {
        let query = sqlx::query_scalar("SELECT note FROM audit_checkpoint ORDER BY cut_at DESC, size DESC LIMIT 1");
        self.read("cannot read the newest checkpoint", query.fetch_optional(&self.readers)).await
    }

    /// Keeps a report with its bytes and its audit row `report.written`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn keep_report(&self, report: NewReport) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { keep(tx, &report).await })).await
    }

    /// The reports that are kept, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports(&self) -> Result<Vec<ReportEntry>, Error> {
        self.reports_where("", LISTED_MAX).await
    }

    /// The reports whose id ends or begins with these digits, however old; two at most, as more than one is one too many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports_like(&self, digits: &str) -> Result<Vec<ReportEntry>, Error> {
        let digits = digits.replace('-', "");
        if digits.len() < DIGITS_MIN || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        self.reports_where(&digits, 2).await
    }

    async fn reports_where(&self, digits: &str, most: i64) -> Result<Vec<ReportEntry>, Error> {
        if !self.knows_decisions().await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as(
            "SELECT id, begins, ends, written_at, summary, html, json FROM reports WHERE hex(id) LIKE ?1 || '%' OR hex(id) LIKE '%' || ?1 \
             ORDER BY written_at DESC, rowid DESC LIMIT ?2",
        )
        .bind(digits)
        .bind(most);
        let rows: Vec<Row> = self.read("cannot read the reports", query.fetch_all(&self.readers)).await?;
        let entry = |(id, begins, ends, written, summary, html, json): Row| ReportEntry {
            id: uuid_text(&id),
            begins: from_ns(begins),
            ends: from_ns(ends),
            written_at: from_ns(written),
            summary: serde_json::from_str(&summary).unwrap_or_default(),
            html_sha256: hex(&html),
            json_sha256: hex(&json),
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// When the newest report was written; what was written while the clock was ahead does not count.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_report(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        if !self.knows_decisions().await? {
            return Ok(None);
        }
        let query = sqlx::query_scalar("SELECT max(written_at) FROM reports WHERE written_at <= ?").bind(to_ns(now));
        let newest: Option<i64> = self.read("cannot read when a report was written", query.fetch_one(&self.readers)).await?;
        Ok(newest.map(from_ns))
    }

    /// Until when reports of the schedule cover: a run whose time has come since then was missed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports_cover(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.meta_get(COVERED).await?.and_then(|text| text.parse().ok()))
    }

    /// Where the period of a report begins that is written now: where the last one of the schedule ended, else where the log was opened.
    ///
    /// What the schedule wrote while the clock was ahead covers nothing; then the period begins where the first of those began.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn period_begins(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let opened = self.opened_at().await?.unwrap_or(now).min(now);
        if !self.knows_decisions().await? {
            return Ok(opened);
        }
        let query = sqlx::query_as("SELECT count(*), min(CASE WHEN ends > ?1 THEN begins END) FROM reports").bind(to_ns(now));
        let (count, ahead): (i64, Option<i64>) = self.read("cannot read the reports", query.fetch_one(&self.readers)).await?;
        let covered = self.reports_cover().await?.filter(|_| count > 0);
        Ok(match covered {
            None => opened,
            Some(covered) if covered <= now => covered,
            Some(_) => ahead.map(from_ns).filter(|begins| *begins <= now).unwrap_or(opened),
        })
    }

    /// From now on the schedule counts.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn begin_reports(&self, now: Timestamp) -> Result<(), Error> {
        self.meta_set(COVERED.to_owned(), now.to_string(), now).await
    }

    /// When the log was opened: nothing is known of what was before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn opened_at(&self) -> Result<Option<Timestamp>, Error> {
        let query = sqlx::query_scalar("SELECT ts FROM audit_log ORDER BY seq LIMIT 1");
        let first: Option<i64> = self.read("cannot read the first audit row", query.fetch_optional(&self.readers)).await?;
        Ok(first.map(from_ns))
    }
}

async fn keep(tx: &mut Tx, report: &NewReport) -> Result<(), Error> {
    let html = evidence(tx, &report.html, report.ends).await?;
    let json = evidence(tx, &report.json, report.ends).await?;
    sqlx::query(
        "INSERT INTO reports (id, kind, begins, ends, written_at, summary, html, json) VALUES (?, 'drift', ?, ?, ?, ?, ?, ?)",
    )
    .bind(report.id.to_vec())
    .bind(to_ns(report.begins))
    .bind(to_ns(report.ends))
    .bind(to_ns(report.ends))
    .bind(report.summary.to_string())
    .bind(html.to_vec())
    .bind(json.to_vec())
    .execute(tx.connection())
    .await
    .map_err(|e| Error::sqlite("cannot keep a report", e))?;
    if report.is_scheduled {
        let covered = Note { name: COVERED.to_owned(), value: Some(report.ends.to_string()) };
        write_notes(tx, &[covered], report.ends).await?;
    }
    let payload = json!({
        "id": uuid_text(&report.id),
        "begins": report.begins.to_string(),
        "ends": report.ends.to_string(),
        "html_sha256": hex(&html),
        "json_sha256": hex(&json),
        "summary": report.summary,
    });
    let (origin, actor) = (tx.origin(), tidy(&report.actor, 255));
    let draft = Draft { kind: kind::REPORT_WRITTEN, actor: &actor, origin: &origin, object: "drift", ..Draft::at(report.ends) };
    tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await.map(drop)
}

async fn evidence(tx: &mut Tx, bytes: &[u8], now: Timestamp) -> Result<Hash, Error> {
    let hash: Hash = Sha256::digest(bytes).into();
    sqlx::query("INSERT INTO evidence (sha256, bytes, kept_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(hash.to_vec())
        .bind(bytes)
        .bind(to_ns(now))
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot keep a report", e))?;
    Ok(hash)
}

/// An id for a report.
#[must_use]
pub fn report_id(now: Timestamp) -> ([u8; 16], String) {
    let id = fresh_id(now);
    (id, uuid_text(&id))
}
