//! Sealed and pruned segments: what they keep, what refuses them, and what both verifiers say of damaged ones.

use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use pci_segment::sealing::{prune, seal};

use super::both::Both;
use super::lab::{Lab, event_at, key, run};

/// Rows of last month as far as the seal is concerned.
fn later(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

fn folder(lab: &Lab) -> PathBuf {
    lab.folder().join("segments")
}

fn file(lab: &Lab) -> PathBuf {
    folder(lab).join("segment-000001.jsonl.gz")
}

fn sealed() -> Lab {
    let lab = Lab::new(300, 100);
    let sealed = run(async {
        let store = lab.open().await;
        assert_eq!(seal(&store, &folder(&lab), Timestamp::now()).await.unwrap(), 0, "this month goes on");
        store.append(event_at(later(40))).await.unwrap();
        let sealed = seal(&store, &folder(&lab), later(40)).await.unwrap();
        store.close().await;
        sealed
    });
    assert_eq!(sealed, 1);
    lab
}

fn pruned() -> Lab {
    let lab = sealed();
    run(async {
        let store = lab.open().await;
        assert_eq!(prune(&store, &folder(&lab), later(40)).await.unwrap(), (0, Vec::new()), "three months stay");
        assert_eq!(prune(&store, &folder(&lab), later(140)).await.unwrap(), (1, Vec::new()));
        store.close().await;
    });
    lab
}

fn ask(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_pci-segment")).args(args).output().unwrap()
}

#[test]
fn a_sealed_segment_is_an_export_that_verifies_alone_and_with_the_log() {
    let (lab, mut both) = (sealed(), Both::new());
    both.expect("the log", &["--database", &lab.db(), "--anchor", &lab.anchor()], 0, "verified 302 rows");
    both.expect("the file", &["--export", file(&lab).to_str().unwrap()], 0, "verified 300 rows");
    std::fs::remove_file(file(&lab)).unwrap();
    both.expect("without the file", &["--database", &lab.db()], 0, "segment 1: its file segment-000001.jsonl.gz is missing");
    both.expect("strictly", &["--database", &lab.db(), "--anchor", &lab.anchor(), "--strict"], 1, "verified, but");
}

#[test]
fn a_pruned_log_verifies_exports_and_proves_as_before() {
    let (lab, mut both) = (pruned(), Both::new());
    let db = lab.db();
    both.expect("the log", &["--database", &db, "--anchor", &lab.anchor()], 0, "verified 303 rows");
    let export = lab.export("whole.jsonl", &[]);
    both.expect("an export of it", &["--export", &export, "--anchor", &lab.anchor()], 0, "verified 303 rows");
    let proof = ask(&["audit", "prove", "120", "--database", &db]);
    assert!(proof.status.success(), "{proof:?}");
    let kept = lab.folder().join("proof.json");
    std::fs::write(&kept, &proof.stdout).unwrap();
    let checked = ask(&["audit", "prove", "--check", kept.to_str().unwrap(), "--key", &key()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.starts_with("row 120 (heartbeat by system from host:lab) is in the log "), "{said}");
    let late = ask(&["audit", "prove", "301", "--database", &db]);
    assert!(
        !late.status.success() && String::from_utf8(late.stderr).unwrap().contains("has 300 rows; row 301 is not among them yet")
    );
    let both_ends = ask(&["audit", "prove", "--consistency", "100", "300", "--database", &db]);
    assert!(both_ends.status.success(), "{both_ends:?}");
}

#[test]
fn d07_a_deleted_or_changed_segment_is_named() {
    let mut both = Both::new();
    let lab = pruned();
    let name = file(&lab);
    let bytes = std::fs::read(&name).unwrap();
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&name, &flipped).unwrap();
    both.expect("a bit", &["--database", &lab.db()], 15, "segment 1: file does not match its manifest");
    std::fs::remove_file(&name).unwrap();
    both.expect("no file", &["--database", &lab.db()], 15, "is missing, and rows 0 to 299 are nowhere else");
    std::fs::write(&name, &bytes).unwrap();
    both.expect("put back", &["--database", &lab.db()], 0, "verified 303 rows");
    lab.damage(&["UPDATE audit_segment SET head_out = zeroblob(32)"]);
    both.expect("the manifest", &["--database", &lab.db()], 15, "segment 1: its manifest does not match the rows");
    lab.damage(&["DELETE FROM audit_segment"]);
    both.expect("no manifest", &["--database", &lab.db()], 10, "row 1: stored hash");
}

#[test]
fn bodies_stay_while_their_copy_is_missing_or_another() {
    let lab = sealed();
    run(async {
        let store = lab.open().await;
        let bytes = std::fs::read(file(&lab)).unwrap();
        std::fs::remove_file(file(&lab)).unwrap();
        let (pruned, kept) = prune(&store, &folder(&lab), later(140)).await.unwrap();
        assert!(pruned == 0 && kept[0].contains("segment-000001.jsonl.gz is missing"), "{kept:?}");
        std::fs::write(file(&lab), &bytes[..bytes.len() - 1]).unwrap();
        let (pruned, kept) = prune(&store, &folder(&lab), later(140)).await.unwrap();
        assert!(pruned == 0 && kept[0].contains("does not match its manifest"), "{kept:?}");
        std::fs::write(file(&lab), &bytes).unwrap();
        store.close().await;
    });
    Both::new().expect("nothing went", &["--database", &lab.db(), "--to", "299"], 0, "verified 300 rows");
}
