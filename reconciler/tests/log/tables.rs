//! Damage to the database, by cases of its own and of `D07`.

use super::both::Both;
use super::lab::{Lab, ORIGIN, key, run, signer};
use pci_segment::audit::{AuditEvent, Draft, kind};
use serde_json::json;

/// What it is called, which code it has, what is said, and how it is done.
type Case = (&'static str, u8, &'static str, fn(&Lab));

#[test]
fn a_sound_log_is_good_and_a_strict_reader_wants_an_anchor_of_today_over_all_of_it() {
    let (lab, mut both) = (Lab::new(200, 100), Both::new());
    let (db, anchor, key) = (lab.db(), lab.anchor(), key());
    both.expect("alone", &["--database", &db], 0, "verified 200 rows, head ");
    both.expect("with all", &["--database", &db, "--key", &key, "--anchor", &anchor], 0, "5 signatures, newest anchor file:");
    both.expect("strict", &["--database", &db, "--anchor", &anchor, "--strict"], 0, "at 200");
    both.expect("no anchor", &["--database", &db, "--strict"], 1, "verified, but no anchor was given");
    both.expect("a part", &["--database", &db, "--from", "50", "--to", "99"], 0, "verified 50 rows");
    both.expect("up to a row", &["--database", &db, "--anchor", &anchor, "--to", "149"], 0, "verified 150 rows");
    both.expect("too far", &["--database", &db, "--to", "18446744073709551615"], 15, "are missing");
    both.expect("nothing", &["--database", &db, "--from", "900"], 2, "");
    both.expect("no key", &["--database", &db, "--key", "nonsense"], 2, "");
    both.expect("no anchor there", &["--database", &db, "--anchor", "file:/nonexistent/anchor"], 2, "cannot read the anchor");
    both.expect("no sink", &["--database", &db, "--anchor", "pigeon"], 2, "cannot read the anchor");
    both.expect("no database", &["--database", "/nonexistent/state.db"], 2, "");
    std::fs::write(lab.folder().join("text"), "not a database").unwrap();
    both.expect("another file", &["--database", lab.folder().join("text").to_str().unwrap()], 2, "");
    lab.damage(&["DELETE FROM audit_checkpoint WHERE size > 100"]);
    std::fs::remove_file(lab.folder().join("audit.head")).unwrap();
    let first = std::fs::read_to_string(lab.folder().join("anchor.jsonl")).unwrap().lines().next().unwrap().to_owned();
    std::fs::write(lab.folder().join("anchor.jsonl"), format!("{first}\n")).unwrap();
    both.expect("unsigned tail", &["--database", &db, "--anchor", &anchor, "--strict"], 1, "rows 100 to 199 are not signed");
    let old = first.replacen("\"put_at\":\"20", "\"put_at\":\"19", 1);
    std::fs::write(lab.folder().join("anchor.jsonl"), format!("{old}\n")).unwrap();
    both.expect("old anchor", &["--database", &db, "--anchor", &anchor, "--strict"], 1, "older than 24 h");
    both.expect("old anchor, not strict", &["--database", &db, "--anchor", &anchor], 0, "days old");
}

#[test]
fn d07_each_way_to_change_history_has_its_own_exit_code_and_names_the_row() {
    let (sound, mut both) = (Lab::new(1000, 100), Both::new());
    let key = key();
    let cases: [Case; 7] = [
        ("the last 100 rows deleted", 13, "log has 900 rows, file:", |lab| lab.cut_at(900)),
        ("the last 100 rows deleted and the frontier left", 13, "log has 900 rows, ", |lab| {
            lab.damage(&["DELETE FROM audit_log WHERE seq >= 900"]);
        }),
        ("one row in the middle changed", 10, "row 471: stored hash ", |lab| {
            lab.damage(&["UPDATE audit_log SET leaf = CAST(substr(leaf, 1, length(leaf) - 1) || x'5d' AS BLOB) WHERE seq = 471"]);
        }),
        ("two rows swapped", 11, "row 300: prev is ", |lab| {
            lab.damage(&[
                "UPDATE audit_log SET seq = 9000 WHERE seq = 300",
                "UPDATE audit_log SET seq = 300 WHERE seq = 301",
                "UPDATE audit_log SET seq = 301 WHERE seq = 9000",
            ]);
        }),
        ("rows in the middle deleted", 15, "rows 40 to 49 are missing", |lab| {
            lab.damage(&["DELETE FROM audit_log WHERE seq BETWEEN 40 AND 49"]);
        }),
        ("everything from row 500 rewritten", 14, "is one of rows 500 to 599", |lab| lab.rewrite_from(500)),
        ("everything rewritten and signed with another key", 14, "two histories: ", |lab| {
            lab.rewrite_from(500);
            lab.sign(&signer(ORIGIN, 2), &[600, 700, 800, 900, 1000], false);
        }),
    ];
    for (what, code, text, change) in cases {
        let lab = sound.copy();
        change(&lab);
        both.expect(what, &["--database", &lab.db(), "--anchor", &lab.anchor(), "--key", &key], code, text);
    }
}

#[test]
fn d07_what_a_forger_signs_again_is_refused_by_the_known_key_without_any_anchor() {
    let (lab, mut both) = (Lab::new(1000, 100), Both::new());
    std::fs::remove_file(lab.folder().join("audit.head")).unwrap();
    lab.rewrite_from(500);
    both.expect("old notes left", &["--database", &lab.db()], 12, "checkpoint 600: root differs from the rows");
    lab.sign(&signer(ORIGIN, 2), &[600, 700, 800, 900, 1000], false);
    both.expect("signed again", &["--database", &lab.db()], 12, "checkpoint 600: no signature by a known key");
    let keys = json!([key(), signer(ORIGIN, 2).verifier().to_string()]).to_string();
    lab.damage(&[&format!("UPDATE meta SET value = '{keys}' WHERE name = 'audit_keys'")]);
    both.expect("key named by hand", &["--database", &lab.db(), "--key", &key()], 12, "no signature by a known key");
    // Nothing outside of the file speaks any more: this is what anchors and keys kept elsewhere are for.
    both.expect("the forger's own word", &["--database", &lab.db()], 0, "no anchor");
}

#[test]
fn d07_an_old_copy_and_a_cut_tail_are_seen_by_the_note_beside_the_database_or_the_anchor() {
    let (lab, mut both) = (Lab::new(300, 100), Both::new());
    lab.cut_at(150);
    both.expect("audit.head", &["--database", &lab.db()], 13, "log has 150 rows, audit.head signed 300: 150 rows are missing");
    std::fs::remove_file(lab.folder().join("audit.head")).unwrap();
    both.expect("anchor", &["--database", &lab.db(), "--anchor", &lab.anchor()], 13, "log has 150 rows, file:");
    both.expect("nobody", &["--database", &lab.db()], 0, "no anchor");
}

#[test]
fn a_fork_is_named_and_notes_of_the_old_origin_count_up_to_it() {
    let (lab, mut both) = (Lab::new(300, 100), Both::new());
    lab.cut_at(150);
    let payload =
        json!({ "old_origin": ORIGIN, "new_origin": "example.com/pci-segment/second", "agreed": 0, "reason": "restored" });
    let draft = Draft { kind: kind::LOG_FORKED, origin: "host:lab", payload, ..Draft::at(jiff::Timestamp::now()) };
    run(async {
        let store = lab.open().await;
        store.append(AuditEvent::new(draft).unwrap()).await.unwrap();
        store.close().await;
    });
    // Anybody who can write the file can write such a row.
    both.expect("forged", &["--database", &lab.db(), "--anchor", &lab.anchor()], 13, "log has 151 rows, file:");
    let second = signer("example.com/pci-segment/second", 1);
    let keys = json!([key(), second.verifier().to_string()]).to_string();
    lab.damage(&[&format!("UPDATE meta SET value = '{keys}' WHERE name = 'audit_keys'")]);
    lab.sign(&second, &[151], true);
    let (db, anchor) = (lab.db(), lab.anchor());
    both.expect("forked", &["--database", &db, "--anchor", &anchor], 0, "forked at row 150 from example.com/pci-segment/lab");
    both.expect("strict", &["--database", &db, "--anchor", &anchor, "--strict"], 1, "forked at row 150");
    // A fork excuses nothing that lies before it.
    lab.rewrite_from(0);
    both.expect("rewritten", &["--database", &db, "--anchor", &anchor], 14, "two histories");
}

#[test]
fn a_fork_from_another_history_gives_up_the_notes_it_names_and_no_later_ones() {
    let (lab, mut both) = (Lab::new(300, 100), Both::new());
    lab.rewrite_from(150);
    lab.damage(&["DELETE FROM audit_checkpoint"]);
    let anchor = lab.anchor();
    both.expect("another history", &["--database", &lab.db(), "--anchor", &anchor], 14, "is one of rows 100 to 199");
    let head = std::fs::read_to_string(lab.folder().join("audit.head")).unwrap();
    let root = pci_segment::audit::Note::parse(&head).unwrap().checkpoint.root;
    let has = json!({ "origin": ORIGIN, "size": 300, "root": pci_segment::audit::hex(&root), "at": null });
    let payload = json!({ "why": "known", "old_origin": ORIGIN, "audit_head": null, "anchors": [{ "sink": anchor, "has": has }] });
    let draft = Draft { kind: kind::LOG_FORKED, origin: "host:lab", payload, ..Draft::at(jiff::Timestamp::now()) };
    run(async {
        let store = lab.open().await;
        store.append(AuditEvent::new(draft).unwrap()).await.unwrap();
        store.close().await;
    });
    let second = signer("example.com/pci-segment/second", 1);
    let keys = json!([key(), second.verifier().to_string()]).to_string();
    lab.damage(&[&format!("UPDATE meta SET value = '{keys}' WHERE name = 'audit_keys'")]);
    lab.sign(&second, &[301], true);
    both.expect("forked", &["--database", &lab.db(), "--anchor", &anchor], 0, "forked at row 300");
    lab.rewrite_from(120);
    // Then nobody vouches for the fork any more, and the notes it gave up speak again.
    both.expect("rewritten after the fork", &["--database", &lab.db(), "--anchor", &anchor], 14, "two histories");
}

#[test]
fn d05_a_changed_note_or_column_or_frontier_is_never_passed_over() {
    let (sound, mut both) = (Lab::new(200, 100), Both::new());
    let cases: [(&str, u8, &str); 12] = [
        (
            "UPDATE audit_checkpoint SET note = replace(note, char(10) || '100' || char(10), char(10) || '101' || char(10))",
            12,
            "signature does not verify",
        ),
        ("UPDATE audit_checkpoint SET note = 'nothing' WHERE size = 100", 12, "checkpoint 100: not a signed checkpoint"),
        ("UPDATE audit_checkpoint SET root = zeroblob(32) WHERE size = 100", 12, "its columns differ from its note"),
        ("UPDATE audit_checkpoint SET size = 99 WHERE size = 100", 12, "checkpoint 99: "),
        ("DELETE FROM meta WHERE name = 'audit_keys'", 12, "no signature by a known key"),
        ("UPDATE meta SET value = '[\"x\"]' WHERE name = 'audit_keys'", 2, "cannot read"),
        ("UPDATE audit_frontier SET hashes = zeroblob(length(hashes))", 10, "row 199: the stored frontier"),
        ("UPDATE audit_frontier SET size = 201", 2, ""),
        ("UPDATE audit_log SET ts = ts + 1 WHERE seq = 5", 10, "row 5: column ts differs"),
        ("UPDATE audit_log SET kind = 'boot' WHERE seq = 5", 10, "row 5: column kind differs"),
        ("UPDATE audit_log SET event_id = zeroblob(16) WHERE seq = 5", 10, "row 5: column event_id differs"),
        ("UPDATE audit_log SET leaf = x'' WHERE seq = 5", 10, "row 5: stored hash"),
    ];
    for (damage, code, text) in cases {
        let lab = sound.copy();
        lab.damage(&[damage]);
        both.expect(damage, &["--database", &lab.db()], code, text);
    }
    let lab = sound.copy();
    std::fs::write(lab.folder().join("audit.head"), "nothing").unwrap();
    both.expect("audit.head", &["--database", &lab.db()], 12, "audit.head: not a signed checkpoint");
    let anchor = lab.folder().join("anchor.jsonl");
    let text = std::fs::read_to_string(&anchor).unwrap();
    std::fs::remove_file(lab.folder().join("audit.head")).unwrap();
    std::fs::write(&anchor, text.replacen("put_at", "put_it", 1)).unwrap();
    both.expect("anchor", &["--database", &lab.db(), "--anchor", &lab.anchor()], 12, "line 1: not a line of an anchor");
    std::fs::write(&anchor, &text[..text.len() - 9]).unwrap();
    both.expect("torn anchor", &["--database", &lab.db(), "--anchor", &lab.anchor()], 0, "is cut off");
    both.expect("torn anchor, strict", &["--database", &lab.db(), "--anchor", &lab.anchor(), "--strict"], 1, "is cut off");
}
