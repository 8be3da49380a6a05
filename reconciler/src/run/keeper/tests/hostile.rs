//! Somebody who can write the database, the note beside it and an anchor, but does not have the key.

use std::fs;

use super::*;
use crate::store::Forked;

const ANCHORED: &str = "anchors: [{file: HERE/anchors}]";
const FREE: &str = "DROP TRIGGER audit_log_is_never_updated; DROP TRIGGER audit_log_is_never_deleted;";

/// A log with a checkpoint that the anchor has.
async fn anchored() -> (Bed, Keeper, Deliverer<Moody>) {
    let bed = Bed::new(ANCHORED).await;
    let mut keeper = bed.keeper().await;
    let (sink, _) = moody(&bed, &keeper).await;
    bed.write(5).await;
    keeper.cut(bed.now).await.unwrap();
    assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Given));
    (bed, keeper, sink)
}

impl Bed {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    async fn refused(&self) -> String {
        format!("{:#}", start::allowed(&self.config).await.unwrap_err())
    }
}

#[tokio::test]
async fn d08_another_origin_in_the_database_hides_no_note() {
    let (bed, ..) = anchored().await;
    start::allowed(&bed.config).await.unwrap();
    bed.tamper("UPDATE meta SET value = value || 'x' WHERE name = 'audit_origin'");
    assert!(bed.refused().await.contains("changed by other hands"));
    assert!(Identity::of(&bed.config, &bed.store).await.is_err());
    // Another domain, which the rows do not name: what was signed does.
    bed.tamper("UPDATE meta SET value = 'x' || substr(value, 1, length(value) - 1) WHERE name = 'audit_origin'");
    assert!(bed.refused().await.contains("and the database calls its log xexample.com"));
    fs::remove_file(bed.path("audit.head")).unwrap();
    assert!(bed.refused().await.contains("and the database calls its log xexample.com"));
}

#[tokio::test]
async fn d08_a_row_that_tells_of_a_fork_gives_nothing_up_that_no_signed_note_covers() {
    let (bed, keeper, _) = anchored().await;
    let (install_id, origin) = ("fresh".to_owned(), "example.com/pci-segment/fresh".to_owned());
    let key = crate::store::NewKey { origin, keys: vec![keeper.signer.verifier().to_string()], instead_of: None };
    let payload = serde_json::json!({ "why": "w", "old_origin": keeper.signer.verifier().name(), "agreed": 0 });
    bed.store.fork(Forked { install_id, key, actor: "a".to_owned(), payload }, AUDIT_HOLD, bed.now).await.unwrap();
    assert!(bed.refused().await.contains("and the database calls its log example.com/pci-segment/fresh"));
    let ours = identity::ours(&bed.store, Some(keeper.signer.verifier())).await.unwrap();
    assert!(ours.given_up.is_empty(), "{ours:?}");
    let forger = NoteSigner::new("example.com/pci-segment/fresh", ed25519_dalek::SigningKey::from_bytes(&[3; 32])).unwrap();
    let grown = bed.store.grow(Trunk::default()).await.unwrap().unwrap();
    let forged = forger.sign(grown.frontier().size(), grown.frontier().root());
    bed.store.keep_checkpoint(&forged, grown.frontier(), Vec::new(), bed.now).await.unwrap();
    // Even where the database calls the forger's key one of its own.
    let keys = serde_json::json!([keeper.signer.verifier().to_string(), forger.verifier().to_string()]);
    bed.store.meta_set("audit_keys".to_owned(), keys.to_string(), bed.now).await.unwrap();
    assert!(bed.refused().await.contains("and the database calls its log example.com/pci-segment/fresh"));
}

#[tokio::test]
async fn d08_a_database_that_is_gone_is_missed_by_the_key_and_by_the_anchor() {
    let (bed, ..) = anchored().await;
    bed.store.clone().close().await;
    for name in ["state.db", "state.db-wal", "state.db-shm", "audit.head"] {
        let _ = fs::remove_file(bed.path(name));
    }
    let said = bed.refused().await;
    assert!(said.contains("database has 0 rows, file:"), "{said}");
    fs::remove_file(bed.path("anchors")).unwrap();
    let said = bed.refused().await;
    assert!(said.contains("audit.key signed a log, and its database is gone"), "{said}");
    assert!(!bed.path("state.db").exists());
    fs::remove_file(bed.path("audit.key")).unwrap();
    start::allowed(&bed.config).await.unwrap();
}

#[tokio::test]
async fn d16_no_key_is_made_for_a_log_whose_keys_are_no_longer_on_record() {
    let (bed, ..) = anchored().await;
    bed.tamper("DELETE FROM meta WHERE name = 'audit_keys'; DELETE FROM audit_checkpoint; DELETE FROM audit_anchor;");
    fs::rename(bed.path("audit.key"), bed.path("kept")).unwrap();
    let said = Identity::of(&bed.config, &bed.store).await.err().unwrap().to_string();
    assert!(said.contains("is gone") && !bed.path("audit.key").exists(), "{said}");
    fs::remove_file(bed.path("audit.head")).unwrap();
    crate::signing::make(&bed.path("audit.key")).unwrap();
    let said = bed.refused().await;
    assert!(said.contains("in the name of this log that none of its keys has signed"), "{said}");
    Identity::of(&bed.config, &bed.store).await.unwrap();
    assert_eq!(bed.kinds(kind::KEY_ROTATED).await, 1);
}

#[tokio::test]
async fn d06_a_note_beside_the_database_that_our_keys_did_not_sign_refuses_the_start() {
    let (bed, keeper, _) = anchored().await;
    let head = Note::parse(&fs::read_to_string(bed.path("audit.head")).unwrap()).unwrap().checkpoint;
    let forger = NoteSigner::new(keeper.signer.verifier().name(), ed25519_dalek::SigningKey::from_bytes(&[3; 32])).unwrap();
    fs::write(bed.path("audit.head"), forger.sign(head.size, head.root).to_string()).unwrap();
    let said = bed.refused().await;
    assert!(said.contains("audit.head has a note of") && said.contains("none of its keys has signed"), "{said}");
}

#[tokio::test]
async fn d06_rows_missing_below_a_signed_tree_are_missed_and_called_so() {
    let (bed, keeper, _) = anchored().await;
    let size = keeper.trunk.frontier().size();
    bed.tamper(&format!("{FREE} DELETE FROM audit_log WHERE seq BETWEEN 2 AND 3;"));
    assert!(bed.store.root_at(size, false).await.unwrap().is_some(), "the signed tree does not know");
    assert_eq!(bed.store.root_at(size, true).await.unwrap(), None);
    let said = bed.refused().await;
    assert!(said.contains("row 2 of the log is missing"), "{said}");
}

#[tokio::test]
async fn d12_notes_that_are_gone_from_an_anchor_are_no_agreement_and_what_was_contested_must_come_back() {
    let (bed, mut keeper, sink) = anchored().await;
    let (anchors, small) = (bed.path("anchors"), fs::read(bed.path("anchors")).unwrap());
    bed.write(4).await;
    keeper.cut(bed.now).await.unwrap();
    assert_eq!(sink.round(bed.now, &mut true).await, Ok(Round::Given));
    let whole = fs::read(&anchors).unwrap();
    for less in [small, Vec::new()] {
        fs::write(&anchors, less).unwrap();
        assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Disagrees));
        assert_eq!(bed.held().await.as_deref(), Some(DISAGREES));
        let said = bed.refused().await;
        assert!(said.contains("rows of this log signed, and has"), "{said}");
    }
    assert_eq!(bed.kinds(kind::ANCHOR_DISAGREES).await, 2);
    fs::write(&anchors, whole).unwrap();
    assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Settled));
    assert_eq!(bed.held().await, None);
    start::allowed(&bed.config).await.unwrap();
}

#[tokio::test]
async fn d12_another_root_is_not_forgotten_when_the_note_that_had_it_is_taken_away() {
    let (bed, keeper, sink) = anchored().await;
    let (anchors, whole) = (bed.path("anchors"), fs::read(bed.path("anchors")).unwrap());
    let size = keeper.trunk.frontier().size();
    sink.anchor.inner.put(&Parcel { note: keeper.signer.sign(size, [9; 32]), commit: None, rows: Vec::new() }).await.unwrap();
    assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Disagrees));
    bed.tamper("DELETE FROM audit_anchor");
    fs::write(&anchors, "").unwrap();
    assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Disagrees));
    assert_eq!(bed.held().await.as_deref(), Some(DISAGREES));
    fs::write(&anchors, whole).unwrap();
    assert_eq!(sink.round(bed.now, &mut false).await, Ok(Round::Settled));
    assert_eq!(bed.held().await, None);
}

#[tokio::test]
async fn d12_changes_go_on_only_when_no_anchor_and_nothing_else_holds_them() {
    let bed = Bed::new("").await;
    let (store, now) = (&bed.store, bed.now);
    hold(store, BEHIND, "", "all are behind", now).await.unwrap();
    hold(store, DISAGREES, "file:/a", "a", now).await.unwrap();
    hold(store, DISAGREES, "file:/b", "b", now).await.unwrap();
    assert!(!release(store, DISAGREES, "file:/a", "a again", now).await.unwrap());
    let shown = store.switch_get(AUDIT_HOLD, now).await.unwrap().unwrap();
    assert_eq!((shown.value.as_str(), shown.why.as_str()), (DISAGREES, "b"));
    hold(store, UNSOUND, "", "unsound", now).await.unwrap();
    assert_eq!(bed.held().await.as_deref(), Some(UNSOUND));
    assert!(!release(store, DISAGREES, "file:/c", "c was never held", now).await.unwrap());
    assert!(!release(store, UNSOUND, "", "sound", now).await.unwrap());
    assert_eq!(bed.held().await.as_deref(), Some(DISAGREES));
    assert!(!release(store, DISAGREES, "file:/b", "b again", now).await.unwrap());
    assert_eq!(bed.held().await.as_deref(), Some(BEHIND));
    assert!(release(store, BEHIND, "", "not behind", now).await.unwrap());
    assert_eq!(bed.held().await, None);
}

#[tokio::test]
async fn d12_a_hold_of_an_anchor_that_is_no_longer_configured_ends_at_a_start_with_a_row() {
    let bed = Bed::new("").await;
    let (store, now) = (&bed.store, bed.now);
    hold(store, DISAGREES, "file:/a", "a has another", now).await.unwrap();
    hold(store, BEHIND, "", "all are behind", now).await.unwrap();
    settle(store, &["file:/a".to_owned()], true, now).await.unwrap();
    assert_eq!(bed.held().await.as_deref(), Some(DISAGREES), "it is configured");
    settle(store, &["file:/b".to_owned()], false, now).await.unwrap();
    assert_eq!(bed.held().await, None);
    assert_eq!(bed.kinds(kind::SWITCH_CLEARED).await, 1);
}

#[tokio::test]
async fn d08_a_fork_over_a_damaged_note_puts_its_sum_on_record() {
    let (bed, ..) = anchored().await;
    fs::write(bed.path("audit.head"), b"garbage \xff").unwrap();
    bed.store.close().await;
    fork(&bed.config, "the disk died", "uid:0").await.unwrap();
    start::allowed(&bed.config).await.unwrap();
    let store = Store::open_read_only(bed.config.database.as_path()).await.unwrap();
    let rows = store.rows_as_json(0, u64::MAX).await.unwrap();
    let row = rows.iter().find(|row| row.contains(kind::LOG_FORKED)).unwrap();
    let sum = "0c019e6595ce8e0c668fe198558ea96ed8b1c0a23136fc4178aaa8aeae362dab";
    assert!(row.contains("damaged") && row.contains(sum), "{row}");
}
