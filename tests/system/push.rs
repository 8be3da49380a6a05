//! A push becomes what the kernel does, or nothing changes.

use std::time::{Duration, Instant};

use pci_segment::sandbox::{APP4, APP6, DATABASE4, INTERFACE, OFFICE4, OFFICE6};
use tests::{
    BASTION, DATABASE_PORT, MONITOR, NEIGHBOUR, OTHER_PORT, Options, Scene, WEBHOOK_SECRET, deliver, echoes, pings, push_body,
    root_or_left_out, signature,
};

/// The seed's example of what must never be admitted, with its place: line 6 is the rule.
const OPEN_TO_THE_WORLD: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-open}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]
"#;

#[test]
fn only_what_a_push_allows_is_answered_afterwards() {
    if !root_or_left_out("only_what_a_push_allows_is_answered_afterwards") {
        return;
    }
    let scene = Scene::build("allow");
    for port in [8443, 9443] {
        scene.sandbox.serve_among_peers(port).unwrap();
    }
    for from in [APP4, APP6, OFFICE4, OFFICE6] {
        scene.assert_inbound(&[(from, DATABASE_PORT, true), (from, OTHER_PORT, true)]);
        scene.assert_outbound(&[(from, 8443, true), (from, 9443, true)]);
    }

    let mut controller = scene.controller(&Options::default());
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    scene.assert_template_holds();
    for to in [APP4, APP6, OFFICE4, OFFICE6] {
        scene.assert_outbound(&[(to, 8443, false)]);
    }

    let blocks = "        - ipBlock:\n            cidr: 10.0.1.10/32\n        - ipBlock:\n            cidr: fd00:1::10/128\n";
    let rules = format!(
        "  policyTypes: [Egress]\n  egress:\n    - to:\n{blocks}      ports:\n        - protocol: TCP\n          port: 8443\n"
    );
    let commit = scene.push_policy("database-out", &rules);
    controller.wake();
    controller.wait_for(&commit, "in_force");
    for app in [APP4, APP6] {
        scene.assert_outbound(&[(app, 8443, true), (app, 9443, false)]);
    }
    for office in [OFFICE4, OFFICE6] {
        scene.assert_outbound(&[(office, 8443, false)]);
    }
    scene.assert_template_holds();
    controller.stop();
    controller.assert_log_verifies();
}

/// Rules that let the application tier in on some ports.
fn open_ports(ports: &[u16]) -> String {
    let ports: String = ports.iter().map(|port| format!("        - protocol: TCP\n          port: {port}\n")).collect();
    let blocks = "        - ipBlock:\n            cidr: 10.0.1.0/24\n        - ipBlock:\n            cidr: fd00:1::/64\n";
    format!("  policyTypes: [Ingress]\n  ingress:\n    - from:\n{blocks}      ports:\n{ports}")
}

#[test]
fn a_connection_lives_as_long_as_the_policies_allow_it() {
    if !root_or_left_out("a_connection_lives_as_long_as_the_policies_allow_it") {
        return;
    }
    let scene = Scene::build("live");
    let mut controller = scene.controller(&Options::default());
    let _ = scene.push_template();
    let commit = scene.push_policy("more", &open_ports(&[OTHER_PORT]));
    let earlier: Vec<_> = [APP4, APP6].map(|from| scene.sandbox.connect_in(from, DATABASE_PORT).unwrap()).into();
    controller.start();
    controller.wait_for(&commit, "in_force");

    let kept: Vec<_> = [APP4, APP6].map(|from| scene.sandbox.connect_in(from, DATABASE_PORT).unwrap()).into();
    let dropped: Vec<_> = [APP4, APP6].map(|from| scene.sandbox.connect_in(from, OTHER_PORT).unwrap()).into();
    assert!(kept.iter().chain(&dropped).all(echoes), "all are open at first");

    let commit = scene.push_policy("more", &open_ports(&[9000]));
    controller.wake();
    controller.wait_for(&commit, "in_force");
    assert!(kept.iter().all(echoes), "what is still allowed goes on");
    assert!(!dropped.iter().any(echoes), "what is no longer allowed is cut");
    assert!(earlier.iter().all(echoes), "what was open before the first policy and is allowed by it goes on");
    scene.assert_template_holds();
}

#[test]
fn y08_a_commit_that_opens_the_cde_changes_nothing_in_the_kernel_and_says_why() {
    if !root_or_left_out("y08_a_commit_that_opens_the_cde_changes_nothing_in_the_kernel_and_says_why") {
        return;
    }
    let scene = Scene::build("open");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..Options::default() });
    let good = scene.push_template();
    controller.start();
    controller.wait_for(&good, "in_force");
    controller.wait("the good commit to be green", |_| forge.states(&good).contains(&"success".to_owned()).then_some(()));
    let before = scene.observe();

    scene.repository.write("policies/cde-open.yaml", OPEN_TO_THE_WORLD).unwrap();
    let bad = scene.repository.push("Open 443 for a test").unwrap();
    controller.wake();
    let row = controller.wait_for(&bad, "rejected");
    assert!(row["rule_ids"].as_array().unwrap().iter().any(|id| id == "PCI-1.3.1-004"), "{row}");
    controller.wait("the bad commit to be red", |_| forge.states(&bad).contains(&"failure".to_owned()).then_some(()));
    let said = forge.posted(&bad).pop().unwrap();
    assert_eq!(said.state, "failure");
    assert!(said.description.contains("PCI-1.3.1-004 cde-open.yaml:6"), "{}", said.description);

    let after = scene.observe();
    assert_eq!(after, before, "byte for byte what it was");
    scene.assert_template_holds();
    scene.assert_inbound(&[(OFFICE4, 443, false)]);
    // Pending comes first, and only where the verdict was not there when the sender looked.
    for (commit, last) in [(&good, "success"), (&bad, "failure")] {
        let states = forge.states(commit);
        assert!(states == [last] || states == ["pending", last], "{states:?}");
    }
    controller.stop();
    controller.assert_log_verifies();
}

#[test]
fn a_signed_delivery_wakes_the_controller_within_a_second_and_w01_a_wrong_signature_does_not() {
    if !root_or_left_out("a_signed_delivery_wakes_the_controller_within_a_second_and_w01_a_wrong_signature_does_not") {
        return;
    }
    let scene = Scene::build("hook");
    let secret = scene.sandbox.folder().join("webhook-secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let mut controller = scene.controller(&Options { extra, port: 8088, ..Options::default() });
    let first = scene.push_template();
    controller.start();
    controller.wait_for(&first, "in_force");
    let before = scene.observe();

    let second = scene.push_policy("more", &open_ports(&[OTHER_PORT]));
    let body = push_body(&second);
    for wrong in
        [signature("another-secret-0123456789abcdef", &body), signature(WEBHOOK_SECRET, "{}"), String::new(), "sha256=".to_owned()]
    {
        assert_eq!(deliver(&scene.sandbox, 8088, "d-0", &wrong, &body), 401, "{wrong}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(scene.observe(), before, "nobody looked");

    let good = signature(WEBHOOK_SECRET, &body);
    let start = Instant::now();
    assert_eq!(deliver(&scene.sandbox, 8088, "d-1", &good, &body), 202);
    while scene.observe().epoch == before.epoch {
        assert!(start.elapsed() < Duration::from_secs(1), "not in force after a second: {}", controller.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    controller.wait_for(&second, "in_force");
    assert_eq!(deliver(&scene.sandbox, 8088, "d-1", &good, &body), 202, "the same delivery again is taken and starts nothing");
    assert!(scene.answers(APP4, OTHER_PORT));
    controller.stop();
    assert!(!controller.log().contains(WEBHOOK_SECRET), "the secret is in no log");
}

#[test]
fn h09_neighbours_pings_and_the_failsafe_work_as_written_from_a_cold_cache() {
    if !root_or_left_out("h09_neighbours_pings_and_the_failsafe_work_as_written_from_a_cold_cache") {
        return;
    }
    let scene = Scene::build("cold");
    let mut controller = scene.controller(&Options::default());
    tests::write_template(&scene.repository);
    // Without the policy for administrators, only the failsafe list lets them in.
    std::fs::remove_file(scene.repository.clone_folder().join("policies/cde-administration.yaml")).unwrap();
    let commit = scene.repository.push("Segment, and forget the administrators").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");

    for space in [&scene.sandbox.host, &scene.sandbox.peers] {
        space.ip(&["neigh", "flush", "dev", INTERFACE]).unwrap();
    }
    scene.assert_template_holds();
    scene.assert_inbound(&[(BASTION, 22, true), (NEIGHBOUR, 22, false), (APP4, 22, false), (BASTION, DATABASE_PORT, false)]);
    assert!(pings(&scene.sandbox.peers, MONITOR, DATABASE4), "the monitoring host may ping");
    assert!(!pings(&scene.sandbox.peers, NEIGHBOUR, DATABASE4), "its neighbour may not");
    assert!(!pings(&scene.sandbox.host, DATABASE4, MONITOR), "and the database pings nobody");
}
