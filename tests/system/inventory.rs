//! With an Inventory in the repository a host is whom the Inventory says it is, peers are endpoints, and rules end on their day.

use std::process::Output;

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, root_or_left_out};

/// Two hosts; the second is the database host under a name of the test's choosing.
fn inventory(database: &str, application: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {{name: inventory}}\nspec:\n  hosts:\n    \
         - {{name: app-01, labels: {{pci-env: cde, tier: app}}, addresses: [{application}]}}\n    \
         - {{name: {database}, labels: {{pci-env: cde, tier: database}}, addresses: [10.0.30.11], \
         ports: [{{name: postgres, protocol: TCP, port: {DATABASE_PORT}}}]}}\n"
    )
}

/// Both hosts are closed, but for the application's way to the database and one more rule.
fn policies(more: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: floor}}\nspec: {{podSelector: {{}}}}\n---\n\
         apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: database}}\nspec:\n  \
         podSelector: {{matchLabels: {{pci-env: cde, tier: database}}}}\n  policyTypes: [Ingress, Egress]\n  ingress:\n    \
         - {{name: from-app, from: [{{podSelector: {{matchLabels: {{pci-env: cde, tier: app}}}}}}], ports: [{{protocol: TCP, port: postgres}}]}}\n{more}"
    )
}

fn push(scene: &Scene, files: &[(&str, String)]) -> String {
    for (name, text) in files {
        scene.repository.write(&format!("policies/{name}.yaml"), text).unwrap();
    }
    scene.repository.push("Change the policies").unwrap()
}

fn newest(controller: &Controller<'_>) -> Value {
    controller.rows("history").first().cloned().expect("a row")
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn h11_a_host_that_the_inventory_does_not_know_changes_nothing_and_says_so() {
    if !root_or_left_out("h11_a_host_that_the_inventory_does_not_know_changes_nothing_and_says_so") {
        return;
    }
    let scene = Scene::build("inv1");
    let controller = scene.controller(&Options::default());
    push(&scene, &[("inventory", inventory("db-02", "10.0.1.10")), ("policies", policies(""))]);
    let refused = controller.once();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let row = newest(&controller);
    let reason = row["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(row["outcome"], "failed", "{row}");
    assert!(reason.contains("no host in Inventory has identity.hostname db-01; did you mean db-02?"), "{row}");
    scene.assert_inbound(&[(OFFICE4, OTHER_PORT, true), (APP4, DATABASE_PORT, true)]);

    push(&scene, &[("inventory", inventory("db-01", "10.0.1.10"))]);
    assert_done(&controller.once());
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (APP4, OTHER_PORT, false), (OFFICE4, DATABASE_PORT, false)]);
    controller.assert_log_verifies();
}

#[test]
fn s22_a_selector_peer_is_the_addresses_of_the_inventory_of_the_same_commit() {
    if !root_or_left_out("s22_a_selector_peer_is_the_addresses_of_the_inventory_of_the_same_commit") {
        return;
    }
    let scene = Scene::build("inv2");
    let controller = scene.controller(&Options::default());
    push(&scene, &[("inventory", inventory("db-01", "10.0.1.10")), ("policies", policies(""))]);
    assert_done(&controller.once());
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (OFFICE4, DATABASE_PORT, false)]);
    // The application moves; nobody touches a policy.
    push(&scene, &[("inventory", inventory("db-01", &OFFICE4.to_string()))]);
    assert_done(&controller.once());
    scene.assert_inbound(&[(APP4, DATABASE_PORT, false), (OFFICE4, DATABASE_PORT, true)]);
}

/// `run --once` some days from now.
fn once_in(controller: &Controller<'_>, library: &str, days: &str) -> Output {
    controller.once_with(&[("LD_PRELOAD", library), ("FAKETIME", days)])
}

/// The library of the package `faketime`, where its architecture puts it.
fn faketime() -> Option<String> {
    let path = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    std::path::Path::new(&path).exists().then_some(path)
}

#[test]
fn a_rule_ends_on_its_last_day_without_a_commit() {
    if !root_or_left_out("a_rule_ends_on_its_last_day_without_a_commit") {
        return;
    }
    let Some(library) = faketime() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "install the package faketime; CI must not leave this out");
        return;
    };
    let scene = Scene::build("inv3");
    let controller = scene.controller(&Options::default());
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let last = today.saturating_add(jiff::Span::new().days(2));
    let vendor = "    - {name: vendor, from: [{ipBlock: {cidr: 10.20.0.0/28}}], ports: [{protocol: TCP, port: 8080}]}\n";
    let record = |rule: &str, more: &str| {
        format!(
            "    - {{policy: database, rule: {rule}, owner: payments-platform, requestedBy: payments-platform, changeTicket: CHG-1041,\n       \
             justification: \"Card payments stop without it.\", approvedBy: network-security, approvedAt: {today},\n       \
             reviewedAt: {today}, reviewedBy: network-security, reviewResult: keep{more}}}\n"
        )
    };
    let records = format!(
        "apiVersion: pci-segment/v1\nkind: RuleRecords\nmetadata: {{name: records}}\nspec:\n  records:\n{}{}",
        record("from-app", ""),
        record("vendor", &format!(", temporary: true, expiresAt: {last}")),
    );
    // The set itself says that the rule works; that does not keep it alive.
    let test = "apiVersion: pci-segment/v1\nkind: FlowTest\nmetadata: {name: vendor}\nspec:\n  flows:\n    \
                - {from: {address: 10.20.0.7}, to: {endpoint: db-01}, protocol: TCP, port: 8080, expect: allow}\n";
    let inventory = inventory("db-01", "10.0.1.10");
    let files = [("inventory", inventory), ("policies", policies(vendor)), ("records", records), ("tests", test.to_owned())];
    let commit = push(&scene, &files);
    assert_done(&controller.once());
    scene.assert_inbound(&[(OFFICE4, OTHER_PORT, true), (APP4, DATABASE_PORT, true)]);

    // The head is a commit that is rejected; what is in force goes by the calendar all the same.
    let open = "    - {name: open, from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}\n";
    push(&scene, &[("policies", policies(&format!("{vendor}{open}")))]);
    assert_eq!(once_in(&controller, &library, "+2d").status.code(), Some(1));
    scene.assert_inbound(&[(OFFICE4, OTHER_PORT, true)]);
    assert_eq!(once_in(&controller, &library, "+3d").status.code(), Some(1));
    scene.assert_inbound(&[(OFFICE4, OTHER_PORT, false), (APP4, DATABASE_PORT, true)]);
    let rows = controller.rows("history");
    let ended = rows.iter().find(|row| row["outcome"] == "in_force").unwrap();
    assert_eq!(ended["commit"].as_str(), Some(&*commit), "{ended}");
    assert!(ended["changes"].as_u64().unwrap() > 0, "{ended}");

    // Looking again on the same day ends nothing again.
    let ends = |rows: &[Value]| rows.iter().filter(|row| row["outcome"] == "in_force").count();
    assert_eq!(once_in(&controller, &library, "+3d").status.code(), Some(1));
    assert_eq!(ends(&controller.rows("history")), ends(&rows));
    controller.assert_log_verifies();
}
