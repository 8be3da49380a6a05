//! What is enforced does not depend on the controller being alive, and what is on record does not depend on how it died.

use std::time::Duration;

use pci_segment::sandbox::APP4;
use serde_json::Value;
use tests::{Controller, OTHER_PORT, Options, Scene, root_or_left_out};

/// How often a burst of pushes is cut short.
const ROUNDS: u16 = 5;
/// How many pushes make a burst.
const BURST: u16 = 4;

/// Waits until the first trip of a restarted controller has ended well.
fn wait_for_the_first_trip(controller: &mut Controller<'_>, starts: usize) {
    controller.wait("the first trip after a start", |me| {
        let ended = me.log().lines().filter(|line| line.contains("in force commit=") && line.contains("INFO")).count();
        (ended >= starts).then_some(())
    });
}

#[test]
fn d01_a_kill_changes_nothing_and_a_restart_finds_everything_as_it_was() {
    if !root_or_left_out("d01_a_kill_changes_nothing_and_a_restart_finds_everything_as_it_was") {
        return;
    }
    let scene = Scene::build("kill");
    let mut controller = scene.controller(&Options::default());
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    wait_for_the_first_trip(&mut controller, 1);
    let before = scene.observe();
    let history = controller.rows("history");

    controller.kill();
    scene.assert_template_holds();
    assert_eq!(scene.observe(), before, "the kernel goes on without the controller");
    controller.assert_log_verifies();

    for starts in 2..4 {
        controller.start();
        wait_for_the_first_trip(&mut controller, starts);
        assert_eq!(scene.observe(), before, "same table, same epoch: nothing was installed again");
        assert_eq!(controller.rows("history"), history, "no row twice");
        scene.assert_template_holds();
        controller.assert_log_verifies();
        controller.kill();
    }
}

#[test]
fn a_controller_that_is_told_to_stop_leaves_enforcement_in_place() {
    if !root_or_left_out("a_controller_that_is_told_to_stop_leaves_enforcement_in_place") {
        return;
    }
    let scene = Scene::build("term");
    let mut controller = scene.controller(&Options::default());
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let before = scene.observe();
    controller.stop();
    assert_eq!(scene.observe(), before);
    scene.assert_template_holds();
    controller.assert_log_verifies();
}

/// Rules that open one port to the application tier; an odd block of the world makes them unacceptable.
pub(crate) fn burst_rules(port: u16, good: bool) -> String {
    let block = if good { "10.0.1.0/24" } else { "0.0.0.0/0" };
    format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: {block}\n      ports:\n        - protocol: TCP\n          port: {port}\n"
    )
}

#[test]
fn d01_a_kill_in_the_middle_of_a_burst_of_pushes_loses_no_verdict_and_no_status() {
    if !root_or_left_out("d01_a_kill_in_the_middle_of_a_burst_of_pushes_loses_no_verdict_and_no_status") {
        return;
    }
    let scene = Scene::build("burst");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..Options::default() });
    let mut good = scene.push_template();
    controller.start();
    controller.wait_for(&good, "in_force");
    let mut verdicts = vec![(good.clone(), "success")];
    for round in 0..ROUNDS {
        let mut head = (String::new(), "in_force");
        let mut port = 0;
        for push in 0..BURST {
            // The last push of every other round is one that must be rejected.
            let ok = push + 1 < BURST || round % 2 == 0;
            let number = 6000 + round * BURST + push;
            let commit = scene.push_policy("burst", &burst_rules(number, ok));
            controller.wake();
            if !ok || push + 1 == BURST {
                verdicts.push((commit.clone(), if ok { "success" } else { "failure" }));
            }
            head = (commit.clone(), if ok { "in_force" } else { "rejected" });
            if ok {
                (good, port) = (commit, number);
            }
        }
        std::thread::sleep(Duration::from_millis(u64::from(round) * 40));
        controller.kill();
        controller.assert_log_verifies();
        controller.start();
        controller.wait_for(&head.0, head.1);
        // A good commit below a rejected head is judged, but only heads are applied.
        let enforced = in_force(&controller);
        if head.1 == "in_force" {
            assert_eq!(enforced, good);
            scene.sandbox.serve(port).unwrap();
            assert!(scene.answers(APP4, port), "round {round}: what the last good commit opened");
        }
        scene.assert_template_holds();
        assert!(!scene.answers(APP4, OTHER_PORT));
        assert!(scene.observe().tampering.is_empty());
        controller.assert_log_verifies();
    }
    // What the forge was told last of every commit that was rejected, and of every commit that became the head.
    for (commit, expected) in &verdicts {
        controller.wait(&format!("{commit} to be {expected} at the forge"), |_| {
            (forge.states(commit).last().map(String::as_str) == Some(*expected)).then_some(())
        });
    }
    let status = controller.ask(&["status", "--format", "json"]).1;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["outbox"]["queued"], 0, "{status}");
    assert_eq!(status["outbox"]["dead"], 0, "{status}");
}

/// The commit that is enforced, from `status`.
fn in_force(controller: &Controller<'_>) -> String {
    let (_, text, _) = controller.ask(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    status["enforced"][0]["commit"].as_str().unwrap().to_owned()
}
