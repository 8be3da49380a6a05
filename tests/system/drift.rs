//! Somebody with root changes the kernel by hand: it is noticed, told, and put back where that is wanted.

use serde_json::Value;
use tests::{Controller, Options, Scene, root_or_left_out};

/// Looks every second.
fn options(mode: &str) -> Options {
    Options { drift: Some(format!("{{ schedule: \"* * * * * *\", mode: {mode} }}")), ..Options::default() }
}

/// Unlinks the pin of the inbound hook, as `rm` would: the kernel detaches it.
fn detach_inbound(scene: &Scene) {
    let version = std::fs::read_dir(scene.sandbox.pins()).unwrap().next().unwrap().unwrap().path();
    let links = std::fs::read_dir(version.join("links")).unwrap().map(|entry| entry.unwrap().path());
    let inbound: Vec<_> = links.filter(|path| path.to_string_lossy().ends_with("-in")).collect();
    assert_eq!(inbound.len(), 1, "{inbound:?}");
    std::fs::remove_file(&inbound[0]).unwrap();
}

fn word(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// Enforces the template.
fn begin<'a>(scene: &'a Scene, mode: &str) -> (Controller<'a>, String) {
    let mut controller = scene.controller(&options(mode));
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    (controller, commit)
}

#[test]
fn h04_what_is_damaged_in_report_mode_is_told_and_left_alone() {
    if !root_or_left_out("h04_what_is_damaged_in_report_mode_is_told_and_left_alone") {
        return;
    }
    let scene = Scene::build("tell");
    let (mut controller, _) = begin(&scene, "report");
    assert_eq!(controller.ask(&["drift"]).0, 0, "nothing differs");
    let before = scene.observe();

    let gone = enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    let row = controller.wait("the forgotten prefix", |me| me.rows("drift").into_iter().find(|row| row["kind"] == "missing"));
    assert!(word(&row, "key").ends_with(&gone), "{row} should name {gone}");
    assert!(!word(&row, "expected").is_empty() && row["observed"].is_null(), "{row}");
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let rows = controller.rows("drift");
    assert_eq!(rows.len(), 1, "one row for one difference, however often it is seen: {rows:?}");
    assert!(rows.iter().all(|row| row["resolved_at"].is_null() && row["resolution"].is_null()), "{rows:?}");
    let after = scene.observe();
    assert_eq!(after.epoch, before.epoch, "nothing was installed");
    assert_ne!(after.table, before.table, "and the prefix is still missing");
    assert_eq!(controller.ask(&["drift"]).0, 1);
    assert_eq!(controller.ask(&["drift", "--open"]).0, 1);
    let (code, text, _) = controller.ask(&["status"]);
    assert_eq!(code, 0);
    assert!(text.contains("1 open"), "{text}");
    assert_eq!(controller.rows("history").len(), 1, "no pass was made");
    controller.assert_log_verifies();
}

#[test]
fn h04_what_is_damaged_in_heal_mode_is_put_back() {
    if !root_or_left_out("h04_what_is_damaged_in_heal_mode_is_put_back") {
        return;
    }
    let scene = Scene::build("heal");
    let (mut controller, commit) = begin(&scene, "heal");
    let before = scene.observe();

    enforcer::drill::forget_one_prefix(scene.sandbox.pins()).unwrap();
    wait_until_healed(&mut controller, "missing");
    detach_inbound(&scene);
    wait_until_healed(&mut controller, "detached");

    let after = scene.observe();
    assert_eq!(after.table, before.table, "every rule is back");
    assert_eq!(after.digest, before.digest);
    assert!(after.tampering.is_empty(), "{:?}", after.tampering);
    scene.assert_template_holds();
    assert_eq!(controller.ask(&["drift"]).0, 0, "nothing is open");
    let history = controller.rows("history");
    assert!(history.len() >= 2, "a pass for the push and one for the lost rule: {history:?}");
    assert!(history.iter().all(|row| row["commit"] == commit.as_str() && row["outcome"] == "in_force"), "{history:?}");
    controller.stop();
    controller.assert_log_verifies();
}

fn wait_until_healed(controller: &mut Controller<'_>, kind: &str) {
    controller.wait(&format!("{kind} to be healed"), |me| {
        let rows = me.rows("drift");
        rows.into_iter().find(|row| row["kind"] == kind && row["resolution"] == "healed" && row["resolved_at"].is_string())
    });
}
