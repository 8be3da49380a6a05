//! The database as one file and back, on the real binary; and what else a start refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use pci_segment::sandbox::Repository;
use serde_json::Value;
use tests::{Controller, Options, write_template};

use crate::ledger::Ledger;

struct Place {
    repository: Repository,
    controller: Controller<'static>,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        let controller = Controller::configure(folder.path(), None, &repository, &Options::default());
        write_template(&repository);
        Self { repository, controller, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask_json(&self, arguments: &[&str]) -> Value {
        let (code, text, error) = self.controller.ask(&[arguments, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{text}{error}");
        serde_json::from_str(&text).unwrap()
    }
}

#[test]
fn a_backup_made_beside_a_running_controller_can_be_restored_and_followed_from() {
    let mut place = Place::new();
    let first = place.repository.push("Segment").unwrap();
    place.controller.start();
    place.controller.wait_for(&first, "in_force");
    let made = place.ask_json(&["backup", "copy.db"]);
    let copy = place.file("copy.db");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(made["bytes"], std::fs::metadata(&copy).unwrap().len());
    let row = format!(
        "SELECT count(*) FROM audit_log WHERE kind = 'backup.done' AND instr(leaf, CAST('{}' AS BLOB)) > 0",
        made["sha256"].as_str().unwrap()
    );
    assert_eq!(Ledger::of(&place.file("state/state.db")).number(&row), Some(1), "on record, with its hash");
    assert_eq!(Ledger::of(&copy).verify().0, 0);
    let (code, _, error) = place.controller.ask(&["backup", "copy.db"]);
    assert!(code == 2 && error.contains("overwrites nothing"), "{error}");
    let (code, _, error) = place.controller.ask(&["restore", "copy.db"]);
    assert!(code == 2 && error.contains(&format!("in use by process {}", place.controller.pid())), "{error}");

    place.repository.write("policies/README.md", "Later\n").unwrap();
    let second = place.repository.push("Go on").unwrap();
    place.controller.wake();
    place.controller.wait_for(&second, "in_force");
    place.controller.stop();
    let before = std::fs::read(place.file("state/state.db")).unwrap();

    let done = place.ask_json(&["restore", "copy.db"]);
    assert_eq!(done["sha256"], made["sha256"]);
    assert_eq!(std::fs::read(place.file("state/state.db")).unwrap(), std::fs::read(&copy).unwrap());
    assert_eq!(std::fs::read(done["aside"].as_str().unwrap()).unwrap(), before, "nothing is deleted");
    assert!(place.controller.rows("history").iter().all(|row| row["commit"] != second.as_str()));
    // The note beside the database knows of a later end: that is for a person to decide.
    let refused = place.controller.once();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("pci-segment audit fork"), "{refused:?}");
    let (code, _, error) = place.controller.ask(&["backup", "other.db"]);
    assert!(code == 2 && error.contains("no backup was made") && !place.file("other.db").exists(), "{error}");
    let (code, _, error) = place.controller.ask(&["audit", "fork", "--reason", "went back to the backup"]);
    assert_eq!(code, 0, "{error}");
    place.controller.start();
    place.controller.wait_for(&second, "in_force");
    place.controller.stop();
    place.controller.assert_log_verifies();
    let said = "SELECT count(*) FROM audit_log WHERE kind = 'backup.restored'";
    assert_eq!(Ledger::of(&place.file("state/state.db")).number(said), Some(1), "who restored what is on record");
}

#[test]
fn a_backup_without_a_controller_is_on_record_too() {
    let mut place = Place::new();
    let first = place.repository.push("Segment").unwrap();
    place.controller.start();
    place.controller.wait_for(&first, "in_force");
    place.controller.stop();
    let (code, text, error) = place.controller.ask(&["backup", "copy.db"]);
    assert!(code == 0 && text.contains("rows of the log"), "{text}{error}");
    let said = "SELECT count(*) FROM audit_log WHERE kind = 'backup.done'";
    assert_eq!(Ledger::of(&place.file("state/state.db")).number(said), Some(1));
}

#[test]
fn what_is_no_good_backup_is_refused_and_the_database_is_left_as_it_is() {
    let mut place = Place::new();
    let first = place.repository.push("Segment").unwrap();
    place.controller.start();
    place.controller.wait_for(&first, "in_force");
    place.controller.stop();
    let (code, ..) = place.controller.ask(&["backup", "copy.db"]);
    assert_eq!(code, 0);
    let before = std::fs::read(place.file("state/state.db")).unwrap();
    let good = std::fs::read(place.file("copy.db")).unwrap();
    // Where a leaf of the log lies.
    let leaf = good.windows(20).position(|bytes| bytes == b"pci-segment.audit.v1").unwrap();
    let mut flipped = good.clone();
    flipped[leaf + 40] ^= 1;
    let mut newer = good.clone();
    // `user_version` in the header of the file.
    newer[60..64].copy_from_slice(&999_u32.to_be_bytes());
    for (name, bytes, words) in [
        ("cut.db", &good[..good.len() / 2], "damaged"),
        ("flipped.db", &flipped, "does not verify"),
        ("newer.db", &newer, "schema version 999"),
        ("text.db", &b"dear diary, ".repeat(2_000), "not a database of pci-segment"),
    ] {
        std::fs::write(place.file(name), bytes).unwrap();
        let (code, _, error) = place.controller.ask(&["restore", name]);
        assert!(code == 2 && error.contains(words) && error.contains(name), "{name}: {error}");
        assert_eq!(std::fs::read(place.file("state/state.db")).unwrap(), before, "{name}");
    }
    let left = std::fs::read_dir(place.file("state")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("restoring")));
}

#[test]
fn d10_a_second_controller_exits_2_and_names_the_first_and_since_when_it_runs() {
    let mut place = Place::new();
    let first = place.repository.push("Segment").unwrap();
    place.controller.start();
    place.controller.wait_for(&first, "in_force");
    let second = place.controller.once();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("in use by process {} since 20", place.controller.pid())), "{error}");
    place.controller.stop();
    place.controller.assert_log_verifies();
}
