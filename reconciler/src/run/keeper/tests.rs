//! Checkpoints and anchors on a real database, with the time given.

mod hostile;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::SignedDuration;
use tempfile::TempDir;

use super::deliver::{BEHIND_SECONDS, Round};
use super::*;
use crate::anchor::file::FileAnchor;
use crate::anchor::{Anchor, AnchorError, Found, Ours, Parcel, Receipt};
use crate::audit::VerifierKey;
use crate::audit::verify::Options;

struct Bed {
    folder: TempDir,
    config: Config,
    store: Store,
    now: Timestamp,
}

impl Bed {
    async fn new(audit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "source: {{url: file:///p}}\nhost: {{name: db-01}}\ndatabase: sqlite://{0}/state.db\naudit: {{domain: example.com, {1}}}\n",
            folder.path().display(),
            audit.replace("HERE", &folder.path().display().to_string()),
        );
        let config = Config::parse(&text, std::path::Path::new("c.yaml")).unwrap();
        let now = Timestamp::now();
        let store = Store::open(config.database.as_path(), "host:db-01", now).await.unwrap();
        Self { folder, config, store, now }
    }

    async fn keeper(&self) -> Keeper {
        let signer = Identity::of(&self.config, &self.store).await.unwrap().signer;
        Keeper::new(self.store.clone(), &self.config, signer, Arc::default()).await.unwrap()
    }

    async fn write(&self, rows: u32) {
        for _ in 0..rows {
            let draft = Draft { kind: kind::HEARTBEAT, origin: "host:db-01", ..Draft::at(self.now) };
            self.store.append(AuditEvent::new(draft).unwrap()).await.unwrap();
        }
    }

    async fn kinds(&self, kind: &str) -> usize {
        let rows = self.store.rows_as_json(0, u64::MAX).await.unwrap();
        rows.iter().filter(|row| row.contains(&format!("\"kind\":\"{kind}\""))).count()
    }

    async fn held(&self) -> Option<String> {
        let held = self.store.switch_get(AUDIT_HOLD, self.now).await.unwrap();
        held.map(|switch| switch.value)
    }

    /// Changes the file with another library's hands.
    fn tamper(&self, script: &str) {
        let done = std::process::Command::new("python3")
            .args(["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()"])
            .arg(self.config.database.as_path())
            .arg(script)
            .status();
        assert!(done.unwrap().success());
    }
}

fn size(cut: &Cut) -> u64 {
    match cut {
        Cut::Signed(note) => note.checkpoint.size,
        Cut::Refused(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn a_checkpoint_is_signed_over_every_row_kept_once_and_left_beside_the_database() {
    let bed = Bed::new("").await;
    let mut keeper = bed.keeper().await;
    bed.write(5).await;
    let cut = keeper.cut(bed.now).await.unwrap();
    let head = bed.store.audit_head().await.unwrap();
    assert_eq!(size(&cut), head.size);
    assert_eq!(keeper.cut(bed.now).await.unwrap(), cut, "nothing new, nothing signed anew");
    assert_eq!(bed.store.audit_head().await.unwrap().size, head.size, "a checkpoint is no row");
    let Cut::Signed(note) = cut else { unreachable!() };
    let keys = known_keys(&bed.store).await.unwrap();
    assert_eq!(keys.len(), 1);
    keys[0].verify(&note).unwrap();
    assert!(note.checkpoint.origin.starts_with("example.com/pci-segment/"));
    assert_eq!(crate::audit::hex(&note.checkpoint.root), head.root);
    let beside = std::fs::read_to_string(bed.folder.path().join("audit.head")).unwrap();
    assert_eq!(beside, note.to_string());
    bed.write(3).await;
    assert_eq!(size(&bed.keeper().await.cut(bed.now).await.unwrap()), head.size + 3, "another start goes on from there");
    start::allowed(&bed.config).await.unwrap();
}

#[tokio::test]
async fn d05_a_row_that_changed_before_it_was_signed_is_never_signed_and_changes_stop_until_it_is_mended() {
    let bed = Bed::new("").await;
    let mut keeper = bed.keeper().await;
    bed.write(4).await;
    let signed = size(&keeper.cut(bed.now).await.unwrap());
    bed.write(4).await;
    let flip = "DROP TRIGGER audit_log_is_never_updated; CREATE TABLE was AS SELECT * FROM audit_log; \
                UPDATE audit_log SET leaf = CAST(substr(leaf, 1, 60) || x'ff' || substr(leaf, 62) AS BLOB) WHERE seq = 7;";
    bed.tamper(flip);
    let Cut::Refused(why) = keeper.cut(bed.now).await.unwrap() else { panic!("it was signed") };
    assert!(why.contains("row 7"), "{why}");
    assert!(matches!(keeper.cut(bed.now).await.unwrap(), Cut::Refused(_)));
    assert_eq!(bed.held().await.as_deref(), Some(UNSOUND));
    assert_eq!(bed.kinds(kind::LOG_VERIFIED).await, 1, "told once");
    let newest = bed.store.newest_checkpoint(keeper.signer.verifier().name()).await.unwrap().unwrap();
    assert_eq!(newest.size, signed);
    bed.tamper("UPDATE audit_log SET leaf = (SELECT leaf FROM was WHERE was.seq = audit_log.seq) WHERE seq = 7;");
    assert!(size(&keeper.cut(bed.now).await.unwrap()) > signed);
    assert_eq!(bed.held().await, None);
}

#[tokio::test]
async fn another_root_for_a_size_that_was_signed_is_never_signed() {
    let bed = Bed::new("").await;
    let mut keeper = bed.keeper().await;
    bed.write(4).await;
    let signed = size(&keeper.cut(bed.now).await.unwrap());
    // All of the log anew, with right hashes, beside the checkpoints of the old one.
    let other = Bed::new("").await;
    other.write(u32::try_from(signed).unwrap()).await;
    let file = other.config.database.as_path().display().to_string();
    let mut fresh = bed.keeper().await;
    fresh.trunk = Trunk::default();
    bed.tamper(&format!(
        "DROP TRIGGER audit_log_is_never_updated; DROP TRIGGER audit_log_is_never_deleted; ATTACH '{file}' AS o; \
         DELETE FROM audit_log; INSERT INTO audit_log SELECT * FROM o.audit_log WHERE seq < {signed};"
    ));
    assert!(matches!(fresh.cut(bed.now).await.unwrap(), Cut::Refused(_)));
    assert_eq!(bed.held().await.as_deref(), Some(UNSOUND));
    assert!(start::allowed(&bed.config).await.unwrap_err().to_string().contains("changed by other hands"));
}

#[tokio::test]
async fn d16_a_key_is_made_once_and_missing_later_is_refused_and_another_one_is_a_row() {
    let bed = Bed::new("").await;
    let first = Identity::of(&bed.config, &bed.store).await.unwrap().signer;
    let file = bed.folder.path().join("audit.key");
    assert!(file.exists());
    bed.keeper().await.cut(bed.now).await.unwrap();
    let kept = bed.folder.path().join("kept");
    std::fs::rename(&file, &kept).unwrap();
    let said = Identity::of(&bed.config, &bed.store).await.err().unwrap().to_string();
    assert!(said.contains("audit.key that signs the audit log is gone"), "{said}");
    assert!(!file.exists(), "no other key is made in its place");
    crate::signing::make(&file).unwrap();
    let second = Identity::of(&bed.config, &bed.store).await.unwrap().signer;
    assert_ne!(first.verifier().id(), second.verifier().id());
    assert_eq!(bed.kinds(kind::KEY_ROTATED).await, 1);
    let keys: Vec<VerifierKey> = known_keys(&bed.store).await.unwrap();
    assert_eq!(keys, [first.verifier().clone(), second.verifier().clone()]);
    Identity::of(&bed.config, &bed.store).await.unwrap();
    assert_eq!(bed.kinds(kind::KEY_ROTATED).await, 1, "once");
}

/// A sink that can be away.
struct Moody {
    inner: FileAnchor,
    away: Arc<AtomicU32>,
}

impl Anchor for Moody {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn put(&self, parcel: &Parcel) -> Result<Receipt, AnchorError> {
        self.inner.put(parcel).await
    }

    async fn latest(&self, ours: &Ours) -> Result<Option<Found>, AnchorError> {
        match self.away.load(Ordering::Relaxed) {
            0 => self.inner.latest(ours).await,
            _ => Err(AnchorError("away".to_owned())),
        }
    }
}

async fn moody(bed: &Bed, keeper: &Keeper) -> (Deliverer<Moody>, Arc<AtomicU32>) {
    let (away, path) = (Arc::new(AtomicU32::new(0)), bed.folder.path().join("anchors"));
    let inner = FileAnchor::new(keeper.sinks[0].clone(), path);
    let ours = identity::ours(&bed.store, Some(keeper.signer.verifier())).await.unwrap();
    let anchor = Moody { inner, away: Arc::clone(&away) };
    let required = bed.config.audit.require_anchor.then(|| keeper.sinks.clone().into());
    (Deliverer { store: bed.store.clone(), anchor, ours, required, wake: Arc::default() }, away)
}

#[tokio::test]
async fn d12_a_sink_that_is_away_is_told_of_at_15_minutes_holds_changes_if_it_must_and_catches_up_with_the_newest() {
    let bed = Bed::new("anchors: [{file: HERE/anchors}], require_anchor: true").await;
    let mut keeper = bed.keeper().await;
    let (sink, away) = moody(&bed, &keeper).await;
    let mut compared = false;
    bed.write(1).await;
    keeper.cut(bed.now).await.unwrap();
    assert_eq!(sink.round(bed.now, &mut compared).await, Ok(Round::Given));
    assert_eq!(bed.kinds(kind::ANCHOR_PUT).await, 1, "the first is a row");
    for _ in 0..3 {
        keeper.cut(bed.now).await.unwrap();
        while sink.round(bed.now, &mut compared).await.unwrap() == Round::Given {}
    }
    assert_eq!(bed.kinds(kind::ANCHOR_PUT).await, 1, "a quiet controller goes in no circle");

    away.store(1, Ordering::Relaxed);
    bed.write(1).await;
    keeper.cut(bed.now).await.unwrap();
    let later = |seconds: u64| bed.now + SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    assert_eq!(sink.round(later(BEHIND_SECONDS - 1), &mut compared).await, Ok(Round::Failed(0)));
    assert_eq!((bed.kinds(kind::ANCHOR_BEHIND).await, bed.held().await), (0, None));
    for seconds in [BEHIND_SECONDS, 3600] {
        assert!(matches!(sink.round(later(seconds), &mut compared).await, Ok(Round::Failed(_))));
    }
    assert_eq!(bed.kinds(kind::ANCHOR_BEHIND).await, 1, "once for each time");
    assert_eq!(bed.held().await.as_deref(), Some(BEHIND));
    let state = bed.store.anchor_states().await.unwrap().remove(0);
    assert_eq!((state.last_error.as_deref(), state.lag_seconds(later(3600))), (Some("away"), 3600));
    bed.write(9).await;
    let newest = size(&keeper.cut(later(3600)).await.unwrap());
    assert_eq!(bed.store.anchor_queued(&keeper.sinks[0]).await.unwrap().unwrap().size, newest, "only the newest waits");

    away.store(0, Ordering::Relaxed);
    assert_eq!(sink.round(later(3601), &mut compared).await, Ok(Round::Given));
    assert_eq!((bed.kinds(kind::ANCHOR_PUT).await, bed.held().await), (2, None));
    assert_eq!(bed.store.anchor_states().await.unwrap()[0].size, Some(newest));
    assert_eq!(bed.store.verify_log(Options::default()).await.exit, 0);
}

#[tokio::test]
async fn d12_a_sink_with_another_root_for_a_size_we_signed_stops_changes_at_once_and_is_given_nothing() {
    let bed = Bed::new("anchors: [{file: HERE/anchors}]").await;
    let mut keeper = bed.keeper().await;
    let (sink, _) = moody(&bed, &keeper).await;
    bed.write(5).await;
    keeper.cut(bed.now).await.unwrap();
    let other = Parcel { note: keeper.signer.sign(3, [9; 32]), commit: None, rows: Vec::new() };
    sink.anchor.inner.put(&other).await.unwrap();
    let mut compared = false;
    for _ in 0..2 {
        assert_eq!(sink.round(bed.now, &mut compared).await, Ok(Round::Disagrees));
    }
    assert_eq!((bed.kinds(kind::ANCHOR_DISAGREES).await, bed.held().await.as_deref()), (1, Some(DISAGREES)));
    let said = start::allowed(&bed.config).await.unwrap_err().to_string();
    assert!(said.contains("not the one its anchor has: at 3 rows") && said.contains("audit fork --reason"), "{said}");
    assert_eq!(std::fs::read_to_string(bed.folder.path().join("anchors")).unwrap().lines().count(), 1);
}
