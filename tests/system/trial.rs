//! Every commit is on trial when it begins to judge packets: nobody is locked out for longer than the deadline, and who is told.

use std::time::Duration;

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, echoes, root_or_left_out};

const SHORT: &str = "learning: 0s, confirm_within: 4s,";
const LONG: &str = "learning: 0s, confirm_within: 5m,";
/// One more port for the application tier.
const OPEN_OTHER: &str = "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        - protocol: TCP\n          port: 8080\n";

fn by_hand(host: &str) -> Options {
    Options { host: Some(host.to_owned()), ..Options::default() }
}

/// Waits for a row of `history` that says this of a commit.
fn wait_for_reason(controller: &mut Controller<'_>, commit: &str, said: &str) -> String {
    controller.wait(&format!("{commit}: {said}"), |me| {
        let rows = me.rows("history");
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        rows.iter().find(|row| text(row, "commit") == commit && text(row, "reason").contains(said)).map(|row| text(row, "reason"))
    })
}

/// The template in force, confirmed by hand, and one more port on trial.
fn other_port_on_trial(scene: &Scene, controller: &mut Controller<'_>) -> (String, String) {
    let good = scene.push_template();
    controller.start();
    wait_for_reason(controller, &good, "is on trial until");
    let (code, said, _) = controller.ask(&["confirm"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("confirmed: ") && said.contains("in force"), "{said}");
    controller.wait_for(&good, "in_force");
    let tried = scene.push_policy("other", OPEN_OTHER);
    controller.wake();
    wait_for_reason(controller, &tried, "is on trial until");
    assert!(scene.answers(APP4, OTHER_PORT), "what is on trial judges packets");
    (good, tried)
}

#[test]
fn h08_what_nobody_confirms_is_taken_back_and_not_tried_again_until_a_person_says_so() {
    if !root_or_left_out("h08_what_nobody_confirms_is_taken_back_and_not_tried_again_until_a_person_says_so") {
        return;
    }
    let scene = Scene::build("try1");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..by_hand(SHORT) });
    let (good, tried) = other_port_on_trial(&scene, &mut controller);
    let (_, status, _) = controller.ask(&["status"]);
    assert!(status.contains("on trial") && status.contains(&tried[..12]), "{status}");
    assert!(status.lines().any(|line| line.starts_with("in force") && line.contains(&good[..12])), "{status}");

    let reason = wait_for_reason(&mut controller, &tried, "was taken back: it was not confirmed in time");
    assert!(reason.contains(&format!("{} is in force again", &good[..12])), "{reason}");
    assert!(!scene.answers(APP4, OTHER_PORT));
    scene.assert_template_holds();
    assert_eq!(scene.observe().trial, None);
    controller.wait("the forge to be told", |_| (forge.states(&tried).last()? == "error").then_some(()));
    let rows = controller.rows("history").len();
    controller.wake();
    controller.wait("another look", |me| (me.log().matches("held").count() > 1).then_some(()));
    assert_eq!(controller.rows("history").len(), rows, "it is not tried again");
    assert!(controller.rows("history").iter().all(|row| row["commit"] != tried.as_str() || row["outcome"] == "held"));
    let (code, _, refusal) = controller.ask(&["confirm"]);
    assert!(code != 0 && refusal.contains("nothing is on trial"), "{refusal}");

    assert_eq!(controller.ask(&["reconcile", "--accept-head", &tried, "--reason", "the application team was asleep"]).0, 0);
    controller.wait("a second trial", |_| scene.answers(APP4, OTHER_PORT).then_some(()));
    controller.wait("its confirmation", |me| (me.ask(&["confirm", "--reason", "seen"]).0 == 0).then_some(()));
    controller.wait_for(&tried, "in_force");
    std::thread::sleep(Duration::from_secs(5));
    assert!(scene.answers(APP4, OTHER_PORT), "what was confirmed stays");
    assert_eq!(scene.observe().trial, None);
    controller.assert_log_verifies();
}

#[test]
fn h08_the_way_back_is_taken_although_the_controller_was_killed_and_the_next_start_says_so() {
    if !root_or_left_out("h08_the_way_back_is_taken_although_the_controller_was_killed_and_the_next_start_says_so") {
        return;
    }
    let scene = Scene::build("try2");
    let mut controller = scene.controller(&by_hand(SHORT));
    let (good, tried) = other_port_on_trial(&scene, &mut controller);
    controller.kill();
    assert!(scene.answers(APP4, OTHER_PORT));
    std::thread::sleep(Duration::from_secs(5));
    assert!(!scene.answers(APP4, OTHER_PORT), "nobody was there to confirm");
    scene.assert_template_holds();
    let (_, status, _) = controller.ask(&["status"]);
    assert!(status.contains("was not confirmed in time"), "{status}");
    controller.start();
    wait_for_reason(&mut controller, &tried, "was taken back: it was not confirmed in time");
    assert_eq!(scene.observe().trial, None);
    assert_eq!(controller.rows("drift").len(), 0, "the way back is no drift");
    let newer = scene.push_policy("other", &OPEN_OTHER.replace("10.0.1.0/24", "10.0.1.10/32"));
    controller.wake();
    wait_for_reason(&mut controller, &newer, "is on trial until");
    assert_eq!(controller.ask(&["confirm"]).0, 0);
    controller.wait_for(&newer, "in_force");
    assert_ne!(good, newer);
    controller.assert_log_verifies();
}

#[test]
fn a_restart_keeps_a_trial_running_and_knows_what_it_is() {
    if !root_or_left_out("a_restart_keeps_a_trial_running_and_knows_what_it_is") {
        return;
    }
    let scene = Scene::build("try3");
    let drift = Some("{ schedule: \"* * * * * *\", mode: heal }".to_owned());
    let mut controller = scene.controller(&Options { drift, ..by_hand(LONG) });
    let (good, tried) = other_port_on_trial(&scene, &mut controller);
    let before = scene.observe();
    controller.kill();
    controller.start();
    controller.wait("the start to see it", |me| me.log().contains("an earlier start left this on trial").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let after = scene.observe();
    assert_eq!((after.epoch, after.digest), (before.epoch, before.digest), "nothing was installed");
    assert!(after.trial.is_some());
    // A hook may be seen while the second process that looks at the kernel opens it; rules may not.
    let rules = |row: &&Value| row["key"].as_str().is_some_and(|key| !key.starts_with("hook "));
    let drift = controller.rows("drift");
    assert_eq!(drift.iter().find(rules), None, "what is on trial is no drift, and is not healed away");
    let (_, status, _) = controller.ask(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["on_trial"]["commit"], tried.as_str());
    assert_eq!(status["enforced"][0]["commit"], good.as_str(), "in force is what was confirmed");

    // A head that changes nothing joins the trial, one that is rejected leaves it alone.
    let bad = scene.push_policy("open", "  ingress:\n    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n");
    controller.wake();
    controller.wait_for(&bad, "rejected");
    assert!(scene.observe().trial.is_some());
    let hash = status["on_trial"]["hash"].as_str().unwrap().to_owned();
    let (code, said, _) = controller.ask(&["confirm", &hash]);
    assert_eq!(code, 0, "{said}");
    controller.wait_for(&tried, "in_force");
    assert_eq!(scene.observe().trial, None);
    assert!(scene.answers(APP4, OTHER_PORT));
    controller.assert_log_verifies();
}

#[test]
fn a_branch_that_goes_back_to_what_is_in_force_ends_the_trial_and_everybody_is_told() {
    if !root_or_left_out("a_branch_that_goes_back_to_what_is_in_force_ends_the_trial_and_everybody_is_told") {
        return;
    }
    let scene = Scene::build("try5");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..by_hand(LONG) });
    let (good, tried) = other_port_on_trial(&scene, &mut controller);
    scene.repository.git(&["push", "--quiet", "--force", "origin", &format!("{good}:refs/heads/main")]).unwrap();
    controller.wake();
    let reason = wait_for_reason(&mut controller, &tried, "was taken back before it was kept");
    assert!(reason.contains("what is in force is wanted again"), "{reason}");
    assert!(!scene.answers(APP4, OTHER_PORT));
    assert_eq!(scene.observe().trial, None);
    scene.assert_template_holds();
    controller.wait("the forge to be told", |_| (forge.states(&tried).last()? == "error").then_some(()));
    let (code, _, refusal) = controller.ask(&["confirm"]);
    assert!(code != 0 && refusal.contains("nothing is on trial"), "{refusal}");
    controller.assert_log_verifies();
}

/// Two hosts in two zones, and a declared flow from the database host to the application.
const DECLARED: &str = "apiVersion: pci-segment/v1\nkind: Zones\nmetadata: {name: zones}\nspec:\n  zones:\n    \
    - {name: cde-db, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24]}\n    \
    - {name: cde-app, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.1.0/24]}\n---\n\
    apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {name: inventory}\nspec:\n  hosts:\n    \
    - {name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.10]}\n    \
    - {name: db-01, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.11]}\n---\n\
    apiVersion: pci-segment/v1\nkind: Services\nmetadata: {name: services}\nspec:\n  services:\n    \
    - {name: callback, classes: [secure], ports: [{protocol: TCP, port: 8443}], zones: [{from: cde-db, to: cde-app}], \
      approvedBy: network-security, approvedAt: 2026-01-12}\n---\n\
    apiVersion: pci-segment/v1\nkind: DataFlows\nmetadata: {name: flows}\nspec:\n  flows:\n    \
    - {id: DF-09, from: cde-db, to: cde-app, services: [callback], accountData: false, purpose: The database tells the application, \
      updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12}\n";

/// Both hosts are closed, but for some rules of the database host.
fn outbound(rules: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: floor}}\nspec: {{podSelector: {{}}}}\n---\n\
         apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: database}}\nspec:\n  \
         podSelector: {{matchLabels: {{pci-env: cde, tier: database}}}}\n  policyTypes: [Ingress, Egress]\n{rules}"
    )
}

const CALLBACK: &str = "  egress:\n    - {name: callback, to: [{podSelector: {matchLabels: {pci-env: cde, tier: app}}}], \
    ports: [{protocol: TCP, port: 8443}]}\n";

#[test]
fn h08_a_commit_that_cuts_a_declared_flow_is_taken_back_at_once() {
    if !root_or_left_out("h08_a_commit_that_cuts_a_declared_flow_is_taken_back_at_once") {
        return;
    }
    let scene = Scene::build("try4");
    scene.sandbox.serve_among_peers(8443).unwrap();
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..Options::default() });
    scene.repository.write("policies/declared.yaml", DECLARED).unwrap();
    scene.repository.write("policies/policies.yaml", &outbound(CALLBACK)).unwrap();
    let good = scene.repository.push("Declare the callback").unwrap();
    controller.start();
    controller.wait_for(&good, "in_force");
    assert!(scene.reaches(APP4, 8443) && !scene.answers(OFFICE4, OTHER_PORT));

    scene.repository.write("policies/policies.yaml", &outbound("")).unwrap();
    let cutting = scene.repository.push("Forget the callback").unwrap();
    controller.wake();
    let reason = wait_for_reason(&mut controller, &cutting, "connected before and does not any more");
    assert!(reason.contains("DF-09 to app-01 (10.0.1.10:8443)"), "{reason}");
    assert!(scene.reaches(APP4, 8443), "the flow is back");
    controller.wait("the forge to be told", |_| (forge.states(&cutting).last()? == "error").then_some(()));
    assert_eq!(scene.observe().trial, None);
    assert_eq!(controller.rows("drift").len(), 0);

    // Something that was down before says nothing of the rules.
    scene.repository.write("policies/policies.yaml", &outbound(CALLBACK)).unwrap();
    let text = DECLARED.replace("{protocol: TCP, port: 8443}", "{protocol: TCP, port: 8443}, {protocol: TCP, port: 9443}");
    scene.repository.write("policies/declared.yaml", &text).unwrap();
    let other = scene.repository.push("Declare a flow that nobody answers").unwrap();
    controller.wake();
    controller.wait_for(&other, "in_force");
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn the_first_enforcement_learns_open_connections_and_asks_before_it_cuts_one() {
    if !root_or_left_out("the_first_enforcement_learns_open_connections_and_asks_before_it_cuts_one") {
        return;
    }
    let scene = Scene::build("first");
    let allowed = scene.sandbox.connect_in(APP4, DATABASE_PORT).unwrap();
    let forbidden = scene.sandbox.connect_in(OFFICE4, OTHER_PORT).unwrap();
    assert!(echoes(&allowed) && echoes(&forbidden));
    let mut controller = scene.controller(&by_hand("learning: 2s,"));
    let commit = scene.push_template();
    controller.start();
    wait_for_reason(&mut controller, &commit, "learning open connections for 2 s");
    assert!(echoes(&allowed) && echoes(&forbidden), "nothing is dropped yet");
    assert!(scene.observe().audit);
    let reason = wait_for_reason(&mut controller, &commit, "would cut 1 open connection");
    assert!(reason.contains(&format!("from {OFFICE4} to TCP port {OTHER_PORT}")), "{reason}");
    assert!(echoes(&allowed) && echoes(&forbidden), "a person is asked first");
    assert!(scene.answers(OFFICE4, OTHER_PORT), "nothing is dropped");

    let hash = reason.split("confirm ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    assert_eq!(controller.ask(&["confirm", &hash, "--reason", "the office was told"]).0, 0);
    controller.wait_for(&commit, "in_force");
    assert!(echoes(&allowed), "what the policies allow survived");
    assert!(!echoes(&forbidden), "what they forbid was cut");
    let seen = scene.observe();
    assert!(!seen.audit && seen.trial.is_none() && seen.tampering.is_empty(), "{seen:?}");
    scene.assert_template_holds();
    controller.assert_log_verifies();
}
