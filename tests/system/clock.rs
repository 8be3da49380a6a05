//! A clock that is set while the controller runs.

use pci_segment::sandbox::Repository;
use tests::{Controller, Options, write_template};

use crate::ledger::Ledger;

/// Where distributions put it.
const FAKETIME: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

#[test]
fn d15_a_clock_that_is_set_back_and_far_ahead_leaves_rows_and_the_log_in_order() {
    let Some(library) = FAKETIME.into_iter().find(|path| std::path::Path::new(path).exists()) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have faketime");
        println!("left out: faketime is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let mut controller = Controller::configure(folder.path(), None, &repository, &Options::default());
    write_template(&repository);
    let first = repository.push("Segment").unwrap();
    let set = |text: &str| {
        std::fs::write(folder.path().join("time.new"), text).unwrap();
        std::fs::rename(folder.path().join("time.new"), folder.path().join("time")).unwrap();
    };
    set("+0\n");
    let file = folder.path().join("time").display().to_string();
    controller.start_with(&[
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    controller.wait_for(&first, "in_force");
    let ledger = Ledger::of(&folder.path().join("state/state.db"));
    let jumps = |by: &str| {
        let sql = format!(
            "SELECT count(*) FROM audit_log WHERE kind = 'clock.jumped' AND instr(leaf, CAST('\"by_ms\":{by}' AS BLOB)) > 0"
        );
        ledger.number(&sql)
    };
    let mut head = first;
    // To the second, and who knows in which part of one it was noticed.
    for (n, (time, by)) in [("-1h\n", "-3"), ("+5y\n", "157")].into_iter().enumerate() {
        set(time);
        controller.wait(&format!("the row about {time}"), |_| (jumps(by) == Some(1)).then_some(()));
        repository.write("policies/README.md", &format!("{n}\n")).unwrap();
        head = repository.push("Go on").unwrap();
        controller.wake();
        controller.wait_for(&head, "in_force");
    }
    controller.kill();
    controller.assert_log_verifies();
    controller.start();
    controller.wait_for(&head, "in_force");
    controller.stop();
    controller.assert_log_verifies();
}
