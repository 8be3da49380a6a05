//! Once a day: verify the log as anybody could, seal what is due, prune what may go. What came of it is on record, good or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::keeper::{Desk, witnesses};
use crate::anchor::AnyAnchor;
use crate::archive;
use crate::audit::verify::{Evidence, Options, Report};
use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::config::Config;
use crate::metrics::Tally;
use crate::sealing;
use crate::store::{AUDIT_CHECK, Store};

/// A day after the last time.
const EACH: SignedDuration = SignedDuration::from_hours(24);
/// So that hosts that started together do not read their disks together.
const JITTER_SECONDS_MAX: u64 = 1800;
/// How often it is asked whether it is time; a host that slept is asked soon after.
const ASKED: Duration = Duration::from_secs(300);
/// Under which name the store keeps when it was done last.
const VERIFIED_AT: &str = "audit_verified_at";

/// The daily work on the log.
pub(super) struct Nightly {
    store: Store,
    origin: String,
    segments: PathBuf,
    keep_bodies: bool,
    /// Those that are asked what they have.
    anchors: Vec<AnyAnchor>,
    /// The way to whoever signs what was written.
    desk: Desk,
    tally: Arc<Tally>,
}

impl Nightly {
    pub(super) fn new(config: &Config, store: Store, desk: Desk, tally: Arc<Tally>) -> anyhow::Result<Self> {
        let segments = config.audit.segments_dir.clone().unwrap_or_else(|| archive::segments_beside(store.file()));
        let origin = format!("host:{}", config.host_name());
        let anchors = witnesses::readable(config, config.database.folder())?;
        Ok(Self { store, origin, segments, keep_bodies: config.audit.keep_bodies, anchors, desk, tally })
    }

    /// Works each day until told to stop.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let jitter = SignedDuration::from_secs(rand::rng().random_range(0..JITTER_SECONDS_MAX).cast_signed());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASKED) => {}
            }
            let now = Timestamp::now();
            let worked = tokio::select! {
                () = stop.cancelled() => return,
                worked = self.if_due(now, jitter) => worked,
            };
            if let Err(error) = worked {
                tracing::error!("the daily work on the audit log failed and is tried again: {error:#}");
            }
        }
    }

    async fn if_due(&self, now: Timestamp, jitter: SignedDuration) -> anyhow::Result<()> {
        let last = self.store.meta_get(VERIFIED_AT).await?.and_then(|text| text.parse::<Timestamp>().ok());
        // A last time that lies ahead was told by a clock that was wrong.
        if last.is_some_and(|last| last <= now && now.duration_since(last) < EACH + jitter) {
            return Ok(());
        }
        let worked = self.work(now).await;
        self.desk.sign();
        worked
    }

    /// Verifies, seals and prunes. Nothing is sealed or pruned of a log that does not verify.
    pub(super) async fn work(&self, now: Timestamp) -> anyhow::Result<()> {
        let report = self.verify(now).await;
        self.tally.verified(report.exit);
        self.note(&report, now).await?;
        self.store.meta_set(VERIFIED_AT.to_owned(), now.to_string(), now).await?;
        if report.exit == 0 {
            self.store.failure_end(AUDIT_CHECK, "the log verifies again", "system", now).await?;
        } else {
            self.store.failure_open(AUDIT_CHECK, &report.message, now).await?;
            tracing::error!(exit = report.exit, "the audit log does not verify: {}", report.message);
            return Ok(());
        }
        let sealed = sealing::seal(&self.store, &self.segments, now).await?;
        let (pruned, kept) =
            if self.keep_bodies { (0, Vec::new()) } else { sealing::prune(&self.store, &self.segments, now).await? };
        for why in kept {
            tracing::error!("the log was not pruned: {why}");
        }
        tracing::info!(rows = report.rows, sealed, pruned, "the audit log verifies");
        Ok(())
    }

    async fn verify(&self, now: Timestamp) -> Report {
        let options = Options { now, ..Options::default() };
        let keys = match self.store.log_keys().await {
            Ok(keys) => keys,
            Err(report) => return report,
        };
        let mut evidence = Evidence::by(keys.clone());
        witnesses::ask(&self.anchors, &keys, &mut evidence).await;
        self.store.verify_log_with(evidence, options, &self.segments).await
    }

    async fn note(&self, report: &Report, now: Timestamp) -> anyhow::Result<()> {
        let draft = Draft {
            kind: kind::LOG_VERIFIED,
            origin: &self.origin,
            object: "audit log",
            outcome: if report.exit == 0 { Ended::Done } else { Ended::Failed },
            payload: json!({
                "exit": report.exit, "message": report.message, "rows": report.rows, "head": report.head, "bad_row": report.bad_row,
                "signatures": report.signatures, "anchor": report.anchor,
            }),
            ..Draft::at(now)
        };
        self.store.append(AuditEvent::new(draft)?).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::ConnectOptions as _;

    async fn nightly(folder: &tempfile::TempDir) -> Nightly {
        let store = Store::open(&folder.path().join("state.db"), "host:test", Timestamp::now()).await.unwrap();
        let segments = folder.path().join("segments");
        Nightly {
            store,
            origin: "host:test".to_owned(),
            segments,
            keep_bodies: false,
            anchors: Vec::new(),
            desk: Desk::new().0,
            tally: Arc::default(),
        }
    }

    fn metric(nightly: &Nightly) -> String {
        crate::metrics::render(nightly.tally.families()).unwrap()
    }

    async fn rows(nightly: &Nightly) -> Vec<serde_json::Value> {
        let rows = nightly.store.log_page(0, u64::MAX).await.unwrap();
        let payload = |leaf: &[u8]| {
            let leaf = crate::audit::Leaf::decode(leaf).unwrap();
            (leaf.kind == kind::LOG_VERIFIED)
                .then(|| json!([leaf.outcome.word(), serde_json::from_str::<serde_json::Value>(leaf.payload).unwrap()["exit"]]))
        };
        rows.iter().filter_map(|row| payload(&row.leaf)).collect()
    }

    #[tokio::test]
    async fn a_good_log_leaves_one_row_a_day_and_the_metric_is_nought() {
        let folder = tempfile::tempdir().unwrap();
        let nightly = nightly(&folder).await;
        assert!(!metric(&nightly).contains("pci_segment_audit_verify_exit"), "nobody has verified yet");
        let now = Timestamp::now();
        for hours in [0, 1, 23, 24, 25, 47] {
            nightly.if_due(now + SignedDuration::from_hours(hours), SignedDuration::ZERO).await.unwrap();
        }
        assert_eq!(rows(&nightly).await, [json!(["done", 0]), json!(["done", 0])]);
        assert!(metric(&nightly).contains("pci_segment_audit_verify_exit 0\n"), "{}", metric(&nightly));
    }

    #[tokio::test]
    async fn whoever_signs_is_told_after_the_daily_work_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let (desk, orders) = Desk::new();
        let nightly = Nightly { desk, ..nightly(&folder).await };
        let told = async || tokio::time::timeout(Duration::ZERO, orders.0.notified()).await.is_ok();
        let now = Timestamp::now();
        for (hours, signed) in [(0, true), (1, false), (24, true)] {
            nightly.if_due(now + SignedDuration::from_hours(hours), SignedDuration::ZERO).await.unwrap();
            assert_eq!(told().await, signed, "{hours} h");
        }
    }

    #[tokio::test]
    async fn d05_a_damaged_log_leaves_a_failed_row_and_its_exit_code_as_metric() {
        let folder = tempfile::tempdir().unwrap();
        let nightly = nightly(&folder).await;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(nightly.store.file());
        let mut intruder = options.connect().await.unwrap();
        for statement in ["DROP TRIGGER audit_log_is_never_updated", "UPDATE audit_log SET ts = ts + 1 WHERE seq = 0"] {
            sqlx::query(statement).execute(&mut intruder).await.unwrap();
        }
        nightly.work(Timestamp::now()).await.unwrap();
        assert_eq!(rows(&nightly).await, [json!(["failed", 10])]);
        assert!(metric(&nightly).contains("pci_segment_audit_verify_exit 10\n"), "{}", metric(&nightly));
        assert!(!nightly.segments.exists());
    }

    #[tokio::test]
    async fn d07_what_an_anchor_has_counts_and_one_that_cannot_be_read_is_a_remark() {
        use crate::anchor::file::FileAnchor;
        use crate::anchor::{Anchor as _, Parcel};
        use crate::audit::NoteSigner;
        let folder = tempfile::tempdir().unwrap();
        let mut nightly = nightly(&folder).await;
        let signer = NoteSigner::new("us/pci-segment/1", ed25519_dalek::SigningKey::from_bytes(&[1; 32])).unwrap();
        let keys = json!([signer.verifier().to_string()]).to_string();
        nightly.store.meta_set(crate::store::AUDIT_KEYS.to_owned(), keys, Timestamp::now()).await.unwrap();
        let unreadable = FileAnchor::new("file:away".to_owned(), folder.path().to_owned());
        let anchor = FileAnchor::new("file:here".to_owned(), folder.path().join("anchors"));
        let tree = nightly.store.log_tree().await.unwrap();
        let parcel = |size, root| Parcel { note: signer.sign(size, root), commit: None, rows: Vec::new() };
        anchor.put(&parcel(tree.size(), tree.root())).await.unwrap();
        nightly.anchors = vec![AnyAnchor::File(unreadable), AnyAnchor::File(anchor)];
        let report = nightly.verify(Timestamp::now()).await;
        assert_eq!((report.exit, report.anchor.as_deref()), (0, Some("file:here")), "{}", report.message);
        assert!(report.message.contains("; file:away was not asked: cannot read"), "{}", report.message);
        let longer = FileAnchor::new("file:here".to_owned(), folder.path().join("anchors"));
        longer.put(&parcel(tree.size() + 100, [7; 32])).await.unwrap();
        nightly.work(Timestamp::now()).await.unwrap();
        assert_eq!(rows(&nightly).await, [json!(["failed", 13])]);
        let open = |failures: Vec<crate::store::Failure>| failures.iter().map(|one| one.control.clone()).collect::<Vec<_>>();
        assert_eq!(open(nightly.store.failures(true).await.unwrap()), [AUDIT_CHECK]);
        nightly.anchors.clear();
        nightly.work(Timestamp::now()).await.unwrap();
        assert!(open(nightly.store.failures(true).await.unwrap()).is_empty());
    }
}
