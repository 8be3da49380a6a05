//! The controller with nftables from a push to a restart, and a host that changes its firewall while it is under fire.

use std::time::Duration;

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, Knocking, OTHER_PORT, Options, Scene, echoes, root_or_left_out};

const TABLE: &str = "inet pci_segment";
/// A port that no rule of any test here allows.
const FORBIDDEN: u16 = 9999;

fn with(backend: &str, mode: &str) -> Options {
    Options {
        host: Some(format!("learning: 1s, backend: {backend},")),
        drift: Some(format!("{{ schedule: \"* * * * * *\", mode: {mode} }}")),
        ..Options::default()
    }
}

/// Rules that let the application tier in on one more port.
const OPEN_OTHER: &str = "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        - protocol: TCP\n          port: 8080\n";

/// The number of the generation whose chains are there.
fn generation(scene: &Scene) -> u64 {
    let (there, listing) = scene.nft(&format!("list table {TABLE}"));
    assert!(there, "our table is there");
    let found = listing.split("goto g").nth(1).and_then(|rest| rest.split('_').next()).and_then(|number| number.parse().ok());
    found.unwrap_or_else(|| panic!("no generation judges in {listing}"))
}

fn healed(controller: &mut Controller<'_>, what: &str, found: impl Fn(&Value) -> bool) {
    controller.wait(&format!("{what} to be healed"), |me| {
        me.rows("drift").into_iter().find(|row| found(row) && row["resolution"] == "healed" && row["resolved_at"].is_string())
    });
}

#[test]
fn h04_with_nftables_a_push_is_enforced_what_somebody_edits_is_healed_and_a_restart_keeps_it() {
    if !root_or_left_out("h04_with_nftables_a_push_is_enforced_what_somebody_edits_is_healed_and_a_restart_keeps_it") {
        return;
    }
    let scene = Scene::build("nft1");
    let mut controller = scene.controller(&with("nftables", "heal"));
    let first = scene.push_template();
    controller.start();
    controller.wait_for(&first, "in_force");
    scene.assert_template_holds();
    assert!(!scene.sandbox.pins().exists(), "eBPF has no part in it");
    let second = scene.push_policy("other", OPEN_OTHER);
    controller.wake();
    controller.wait_for(&second, "in_force");
    assert!(scene.answers(APP4, OTHER_PORT));
    assert_eq!(controller.ask(&["drift"]).0, 0, "nothing differs");

    let key = |row: &Value| row["key"].as_str().unwrap_or_default().to_owned();
    // Somebody lets everybody in, where the generation begins.
    let epoch = generation(&scene);
    assert!(scene.nft(&format!("insert rule {TABLE} g{epoch}_in accept")).0);
    healed(&mut controller, "the opened chain", |row| key(row) == "chains" && row["kind"] == "changed");
    assert!(!scene.answers(OFFICE4, DATABASE_PORT));
    // One rule is forgotten.
    let epoch = generation(&scene);
    assert!(scene.nft(&format!("delete element {TABLE} g{epoch}_in_nets4 {{ 10.0.1.0/24 }}")).0);
    healed(&mut controller, "the forgotten rule", |row| key(row).contains("10.0.1.0/24") && row["kind"] == "missing");
    assert!(scene.answers(APP4, DATABASE_PORT));
    // Somebody empties everything, as reloading another firewall's rules does.
    let lost = controller.rows("drift").len();
    assert!(scene.nft("flush ruleset").0);
    controller.wait("the whole table to be back", |me| {
        (me.rows("drift").len() > lost && scene.nft(&format!("list table {TABLE}")).0 && !scene.answers(OFFICE4, DATABASE_PORT))
            .then_some(())
    });
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (APP4, OTHER_PORT, true), (OFFICE4, OTHER_PORT, false)]);
    controller.wait("nothing to be open", |me| (me.ask(&["drift", "--open"]).0 == 0).then_some(()));

    let epoch = generation(&scene);
    controller.kill();
    scene.assert_inbound(&[(APP4, OTHER_PORT, true), (OFFICE4, DATABASE_PORT, false)]);
    let starts = controller.log().matches("in force commit=").count();
    controller.start();
    controller.wait("the first trip", |me| (me.log().matches("in force commit=").count() > starts).then_some(()));
    assert_eq!(generation(&scene), epoch, "nothing was installed again");
    controller.stop();
    scene.assert_inbound(&[(APP4, OTHER_PORT, true), (OFFICE4, DATABASE_PORT, false)]);
    controller.assert_log_verifies();
}

#[test]
fn h04_with_nftables_what_somebody_edits_is_told_in_report_mode_and_left_alone() {
    if !root_or_left_out("h04_with_nftables_what_somebody_edits_is_told_in_report_mode_and_left_alone") {
        return;
    }
    let scene = Scene::build("nft2");
    let mut controller = scene.controller(&with("nftables", "report"));
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let (epoch, passes) = (generation(&scene), controller.rows("history").len());
    assert!(scene.nft(&format!("delete element {TABLE} g{epoch}_in_nets4 {{ 10.0.1.0/24 }}")).0);
    let row = controller.wait("the forgotten rule", |me| me.rows("drift").into_iter().find(|row| row["kind"] == "missing"));
    assert!(row["key"].as_str().unwrap().contains("10.0.1.0/24"), "{row}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(!scene.answers(APP4, DATABASE_PORT) && generation(&scene) == epoch, "it is left alone");
    assert_eq!(controller.rows("history").len(), passes, "no pass was made");

    // A firewall that is gone is no question of rules: it is put back in any mode.
    assert!(scene.nft("flush ruleset").0);
    controller.wait("the whole table to be back", |_| {
        scene.answers(APP4, DATABASE_PORT).then_some(()).filter(|()| !scene.answers(OFFICE4, DATABASE_PORT))
    });
    scene.assert_template_holds();
    controller.wait("all rows to be closed", |me| me.rows("drift").iter().all(|row| row["resolution"] == "healed").then_some(()));
}

/// What is left of a firewall: nothing, once another one has taken its place.
fn leftovers(scene: &Scene, backend: &str) -> bool {
    if backend == "ebpf" { scene.sandbox.pins().exists() } else { scene.nft(&format!("list table {TABLE}")).0 }
}

#[test]
fn a_host_that_changes_its_firewall_and_changes_back_is_never_open_and_nothing_is_left_of_the_old_one() {
    if !root_or_left_out("a_host_that_changes_its_firewall_and_changes_back_is_never_open_and_nothing_is_left_of_the_old_one") {
        return;
    }
    let scene = Scene::build("swit");
    let knocking = Knocking::begin(&scene.sandbox, OFFICE4, FORBIDDEN);
    std::thread::sleep(Duration::from_millis(200));
    assert_ne!(knocking.end().1, 0, "without a firewall it arrives");

    let mut controller = scene.controller(&with("ebpf", "report"));
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    controller.stop();
    let knocking = Knocking::begin(&scene.sandbox, OFFICE4, FORBIDDEN);
    for (old, new) in [("ebpf", "nftables"), ("nftables", "ebpf"), ("ebpf", "nftables")] {
        assert!(leftovers(&scene, old) && !leftovers(&scene, new));
        let allowed = scene.sandbox.connect_in(APP4, DATABASE_PORT).unwrap();
        assert!(echoes(&allowed));
        let mut controller = scene.controller(&with(new, "report"));
        controller.start();
        controller.wait(&format!("{new} to be alone"), |_| (leftovers(&scene, new) && !leftovers(&scene, old)).then_some(()));
        scene.assert_template_holds();
        assert!(echoes(&allowed), "what the rules allow lives on: {old} to {new}");
        controller.wait("what is there to be what should be", |me| (me.ask(&["drift", "--open"]).0 == 0).then_some(()));
        controller.stop();
        controller.assert_log_verifies();
    }
    let (sent, arrived) = knocking.end();
    assert!(sent > 1000, "it knocked {sent} times");
    assert_eq!(arrived, 0, "of {sent}, with the host guarded all the time");
}
