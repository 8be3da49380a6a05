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

    /// Controls that failed, and whether they still do, the oldest first.
    async fn failed(&self) -> Vec<(String, bool)> {
        let all = self.store.failures(false).await.unwrap();
        all.into_iter().rev().map(|one| (one.control, one.ended.is_none())).collect()
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
    assert_eq!(bed.failed().await, [("audit log".to_owned(), true)]);
    let newest = bed.store.newest_checkpoint(keeper.signer.verifier().name()).await.unwrap().unwrap();
    assert_eq!(newest.size, signed);
    bed.tamper("UPDATE audit_log SET leaf = (SELECT leaf FROM was WHERE was.seq = audit_log.seq) WHERE seq = 7;");
    assert!(size(&keeper.cut(bed.now).await.unwrap()) > signed);
    assert_eq!(bed.held().await, None);
    assert_eq!(bed.failed().await, [("audit log".to_owned(), false)]);
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
    let control = format!("audit anchor {}", keeper.sinks[0]);
    assert_eq!(bed.failed().await, [(control.clone(), true)]);
    let state = bed.store.anchor_states().await.unwrap().remove(0);
    assert_eq!((state.last_error.as_deref(), state.lag_seconds(later(3600))), (Some("away"), 3600));
    bed.write(9).await;
    let newest = size(&keeper.cut(later(3600)).await.unwrap());
    assert_eq!(bed.store.anchor_queued(&keeper.sinks[0]).await.unwrap().unwrap().size, newest, "only the newest waits");

    away.store(0, Ordering::Relaxed);
    assert_eq!(sink.round(later(3601), &mut compared).await, Ok(Round::Given));
    assert_eq!((bed.kinds(kind::ANCHOR_PUT).await, bed.held().await), (2, None));
    assert_eq!(bed.failed().await, [(control, false)]);
    assert_eq!(bed.store.anchor_states().await.unwrap()[0].size, Some(newest));
    assert_eq!(bed.store.verify_log(Options::default()).await.exit, 0);
}

#[tokio::test]
async fn d12_a_sink_with_another_root_for_a_size_we_signed_stops_changes_at_once_and_is_given_nothing() {
    let bed = Bed::new("anchors: [{file: HERE/anchors}]").await;
    let mut keeper = bed.keeper().await;
    let (sink, _) = moody(&bed, &keeper).await;
    bed.write(5).await;
    let Cut::Signed(signed) = keeper.cut(bed.now).await.unwrap() else { panic!("nothing is signed") };
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
    let control = format!("audit log at {}", keeper.sinks[0]);
    assert_eq!(bed.failed().await, [(control.clone(), true)]);
    std::fs::write(bed.folder.path().join("anchors"), "").unwrap();
    assert_eq!(sink.round(bed.now, &mut compared).await, Ok(Round::Disagrees), "that it is gone is no agreement");
    sink.anchor.inner.put(&Parcel { note: *signed, commit: None, rows: Vec::new() }).await.unwrap();
    assert_eq!(sink.round(bed.now, &mut compared).await, Ok(Round::Given));
    assert_eq!((bed.failed().await, bed.held().await), (vec![(control, false)], None));
}

#[tokio::test]
async fn d12_an_anchor_that_is_taken_out_of_the_configuration_is_no_longer_behind() {
    let bed = Bed::new("anchors: [{file: HERE/anchors}]").await;
    let mut keeper = bed.keeper().await;
    let (sink, away) = moody(&bed, &keeper).await;
    away.store(1, Ordering::Relaxed);
    keeper.cut(bed.now).await.unwrap();
    let late = bed.now + SignedDuration::from_secs(i64::try_from(BEHIND_SECONDS).unwrap());
    sink.round(late, &mut true).await.unwrap();
    let control = format!("audit anchor {}", keeper.sinks[0]);
    assert_eq!(bed.failed().await, [(control.clone(), true)]);
    bed.store.name_sinks(keeper.sinks.clone(), late).await.unwrap();
    assert_eq!(bed.failed().await, [(control.clone(), true)], "a start does not mend it");
    bed.store.name_sinks(Vec::new(), late).await.unwrap();
    assert_eq!(bed.failed().await, [(control, false)]);
}

/// Forks, and the database as the next start finds it.
async fn forked(bed: &Bed) -> Store {
    let (old, new, _) = fork(&bed.config, "the disk died", "uid:0").await.unwrap();
    assert!(
        old.starts_with("example.com/pci-segment/") && new.starts_with("example.com/pci-segment/") && old != new,
        "{old} {new}"
    );
    start::allowed(&bed.config).await.unwrap();
    let store = Store::open(bed.config.database.as_path(), "host:db-01", bed.now).await.unwrap();
    let mut keeper =
        Keeper::new(store.clone(), &bed.config, Identity::of(&bed.config, &store).await.unwrap().signer, Arc::default())
            .await
            .unwrap();
    assert!(matches!(keeper.cut(bed.now).await.unwrap(), Cut::Signed(_)));
    store
}

#[tokio::test]
async fn d08_a_log_without_its_database_begins_anew_and_old_notes_are_known_and_given_up() {
    let bed = Bed::new("anchors: [{file: HERE/anchors}]").await;
    let mut keeper = bed.keeper().await;
    bed.write(50).await;
    keeper.cut(bed.now).await.unwrap();
    let (sink, _) = moody(&bed, &keeper).await;
    sink.round(bed.now, &mut false).await.unwrap();
    bed.store.clone().close().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(bed.folder.path().join(format!("state.db{ending}")));
    }
    assert!(start::allowed(&bed.config).await.unwrap_err().to_string().contains("database has 0 rows"));
    let store = forked(&bed).await;
    let keys = known_keys(&store).await.unwrap();
    assert_eq!(keys.len(), 2);
    let mut evidence = crate::audit::verify::Evidence::by(keys.clone());
    let anchors = witnesses::readable(&bed.config, bed.folder.path()).unwrap();
    witnesses::ask(&anchors, &keys, &mut evidence).await;
    let report = store.verify_log_with(evidence, Options::default(), bed.folder.path()).await;
    assert_eq!((report.exit, report.forks.len()), (0, 1), "{}", report.message);
}

#[tokio::test]
async fn d08_a_log_whose_old_bodies_are_only_in_segments_can_be_forked() {
    let mut bed = Bed::new("").await;
    let mut keeper = bed.keeper().await;
    bed.write(20).await;
    // From the first of this month, so that day 35 and day 40 are in the next one, whatever today is.
    let today = bed.now.to_zoned(jiff::tz::TimeZone::UTC);
    let first = today.first_of_month().unwrap().start_of_day().unwrap().timestamp();
    let days = |days: i64| first + SignedDuration::from_hours(24 * days);
    bed.now = days(35);
    bed.write(3).await;
    let folder = bed.folder.path().join("segments");
    assert_eq!(crate::sealing::seal(&bed.store, &folder, days(40)).await.unwrap(), 1);
    keeper.cut(days(40)).await.unwrap();
    let (pruned, kept) = crate::sealing::prune(&bed.store, &folder, days(300)).await.unwrap();
    assert_eq!((pruned, kept), (1, Vec::new()));
    assert!(bed.store.grow(Trunk::default()).await.unwrap().is_err(), "the bodies are gone");
    bed.write(2).await;
    bed.store.clone().close().await;
    let store = forked(&bed).await;
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.forks.len()), (0, 1), "{}", report.message);
}

#[tokio::test]
async fn d08_a_command_writes_to_no_log_that_is_shorter_than_the_note_beside_it() {
    let bed = Bed::new("").await;
    let mut keeper = bed.keeper().await;
    bed.write(5).await;
    writable(bed.config.database.as_path()).await.unwrap();
    keeper.cut(bed.now).await.unwrap();
    writable(bed.config.database.as_path()).await.unwrap();
    let longer = keeper.signer.sign(1000, [7; 32]);
    std::fs::write(bed.folder.path().join("audit.head"), longer.to_string()).unwrap();
    let said = writable(bed.config.database.as_path()).await.unwrap_err().to_string();
    assert!(said.contains("audit log is shorter than its anchor") && said.contains("audit.head has 1000"), "{said}");
}
