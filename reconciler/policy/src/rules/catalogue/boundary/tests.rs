//! What crosses the border of the CDE against the set in force, and duties by the calendar.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::example::{data_flows, floor, inventory, services, zones};
use crate::admit::{Circumstances, admit};
use crate::finding::{Finding, Severity};
use crate::read::read;
use crate::rules::tests::{assert_witness, circumstances, snapshot};

const TEST: &str = "PCI-11.4.5-001";
const SCOPE: &str = "PCI-12.5.2-001";

/// What a rule finds in a set, beside the one in force.
fn found(id: &str, then: &str, now: &str) -> Vec<Finding> {
    let enforced = read(&snapshot(then));
    let reading = read(&snapshot(now));
    assert!(enforced.problems.is_empty() && reading.problems.is_empty(), "{:?} {:?}", enforced.problems, reading.problems);
    let circumstances = Circumstances { enforced: Some(Arc::new(enforced.set)), ..circumstances() };
    let set = reading.set.clone();
    let judged = admit(reading, &circumstances);
    judged.findings.iter().for_each(|finding| assert_witness(&set, finding));
    judged.findings.into_iter().filter(|f| f.rule_id == id || f.also.contains(&id)).collect()
}

fn policy(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, annotations: {{pci-dss: \"Req 1.3.1\"}}}}\nspec: {{podSelector: {{matchLabels: {{{labels}}}}}, {spec}}}\n---\n"
    )
}

fn from(block: &str, port: u16) -> String {
    format!("ingress: [{{from: [{{ipBlock: {{cidr: \"{block}\"}}}}], ports: [{{protocol: TCP, port: {port}}}]}}]")
}

fn set(parts: &[&str]) -> String {
    parts.concat().trim_end_matches("---\n").to_string()
}

fn messages(found: &[Finding]) -> Vec<&str> {
    let mut messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
    messages.sort_unstable();
    messages
}

#[test]
fn other_words_and_places_for_the_same_rules_are_no_change() {
    let then =
        set(&[&policy("a", "pci-env: cde", &from("10.0.8.0/24", 443)), &policy("b", "pci-env: cde", &from("fd00::/64", 443))]);
    let halves = "ingress: [{from: [{ipBlock: {cidr: \"fd00::/64\"}}, {ipBlock: {cidr: 10.0.8.128/25}}, {ipBlock: {cidr: 10.0.8.0/25}}], ports: [{port: 443}]}]";
    let now = set(&["# Moved.\n", &policy("c", "pci-env: cde", halves)]);
    assert!(found(TEST, &then, &now).is_empty() && found(TEST, &now, &then).is_empty());
}

#[test]
fn a_new_source_and_a_lost_one_call_for_a_test() {
    let wide = set(&[&policy("a", "pci-env: cde", &from("10.0.8.0/24", 443))]);
    let narrow = set(&[&policy("a", "pci-env: cde", &from("10.0.8.0/25", 443))]);
    let new = found(TEST, &narrow, &wide);
    assert_eq!(
        messages(&new),
        ["pci-env=cde can now be reached from 10.0.8.128 on TCP 443, unlike in the set in force: a segmentation test is due"]
    );
    assert_eq!((new[0].severity, new[0].path.as_deref()), (Severity::Warning, Some("/spec/ingress/0/from/0/ipBlock/cidr")));
    assert_eq!(new[0].witness.as_ref().unwrap().source.text(), "10.0.8.128");
    let lost = found(TEST, &wide, &narrow);
    assert_eq!(messages(&lost), ["pci-env=cde can no longer be reached from 10.0.8.128 on TCP 443: a segmentation test is due"]);
    assert!(lost[0].witness.is_none());
}

#[test]
fn a_narrower_selector_is_compared_with_what_covered_it() {
    let zone = policy("zone", "pci-env: cde", &from("10.0.8.0/24", 443));
    let same = set(&[&zone, &policy("db", "pci-env: cde, tier: db", &from("10.0.8.7/32", 443))]);
    assert!(found(TEST, &set(&[&zone]), &same).is_empty());
    let more = set(&[&zone, &policy("db", "pci-env: cde, tier: db", &from("10.0.8.7/32", 444))]);
    assert_eq!(found(TEST, &set(&[&zone]), &more).len(), 1);
}

#[test]
fn an_audited_policy_changes_nothing_that_crosses() {
    let zone = policy("zone", "pci-env: cde", &from("10.0.8.0/24", 443));
    let audited = policy("try", "pci-env: cde", &from("10.0.9.0/24", 443))
        .replace("annotations: {", "annotations: {pci-segment/mode: audit, ");
    assert!(found(TEST, &set(&[&zone]), &set(&[&zone, &audited])).is_empty());
    assert_eq!(found(TEST, &set(&[&zone, &audited]), &set(&[&zone, &audited.replace("pci-segment/mode: audit, ", "")])).len(), 1);
}

#[test]
fn what_nothing_isolates_any_more_is_open_to_everybody() {
    let both = policy("zone", "pci-env: cde", "policyTypes: [Ingress, Egress]");
    let now = set(&[&both.replace("[Ingress, Egress]", "[Ingress]")]);
    let new = found(TEST, &set(&[&both]), &now);
    assert!(messages(&new)[0].starts_with("pci-env=cde can now reach 0.0.0.0 on "), "{:?}", messages(&new));
}

fn network(policies: &[&str]) -> String {
    set(&[zones!(), services!(), inventory!(), floor!(), &policies.concat()])
}

#[test]
fn flows_inside_the_cde_do_not_cross_its_border() {
    let app = |block| policy("db", "pci-env: cde, tier: database", &from(block, 5432));
    assert!(found(TEST, &network(&[]), &network(&[&app("10.0.1.0/24")])).is_empty());
    assert!(found(TEST, &network(&[]), &network(&[&app("fd00:1::7/128")])).is_empty());
    let new = found(TEST, &network(&[]), &network(&[&app("10.0.0.0/23")]));
    assert_eq!(messages(&new).len(), 1);
    assert_eq!(new[0].witness.as_ref().unwrap().source.text(), "10.0.0.0");
}

#[test]
fn an_endpoint_of_another_zone_changes_nothing_at_the_border() {
    let web = policy("web", "tier: web", &from("10.20.3.0/24", 443));
    assert!(found(TEST, &network(&[]), &network(&[&web])).is_empty());
}

#[test]
fn a_zone_that_shrinks_moves_the_border() {
    let db = policy("db", "pci-env: cde, tier: database", &from("10.0.1.0/24", 5432));
    let now = network(&[&db]).replace("[10.0.1.0/24, \"fd00:1::/64\"]", "[10.0.1.0/25, \"fd00:1::/64\"]");
    assert_eq!(found(TEST, &network(&[&db]), &now)[0].witness.as_ref().unwrap().source.text(), "10.0.1.128");
    let scope = found(SCOPE, &network(&[&db]), &now);
    assert_eq!(
        messages(&scope),
        ["10.0.1.0/25 comes into scope with zone cde-app", "no longer in scope: 10.0.1.0/24 of zone cde-app"]
    );
}

#[test]
fn endpoints_that_come_and_go_change_the_scope() {
    let other = network(&[]).replace("{name: app-01,", "{name: app-02,");
    let scope = found(SCOPE, &network(&[]), &other);
    assert_eq!(messages(&scope), ["app-02 comes into scope", "no longer in scope: endpoint app-01"]);
    assert!(scope.iter().all(|finding| finding.severity == Severity::Warning));
    assert!(found(SCOPE, &network(&[]), &network(&[])).is_empty());
    // Offices are out of scope.
    assert!(found(SCOPE, &network(&[]), &network(&[]).replace("10.20.0.0/16", "10.20.0.0/15")).is_empty());
}

#[test]
fn an_endpoint_that_leaves_the_cde_takes_its_flows_along() {
    let db = policy("db", "pci-env: cde, tier: database", &from("10.0.9.0/24", 5432));
    let without = network(&[]).replace("{name: db-01,", "{name: db-02,");
    let gone = found(TEST, &network(&[&db]), &without);
    assert_eq!(messages(&gone), ["db-01 and all its flows are gone from the CDE: a segmentation test is due"]);
}

/// A set of the profile with these fields of its Standard.
fn duties(fields: &str) -> String {
    let standard = format!(
        "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: pci-dss-4.0.1, version: \"1\", {fields}}}}}\n---\n"
    );
    set(&[zones!(), services!(), data_flows!(), inventory!(), floor!(), &standard])
}

/// What is overdue in such a set, by rule and message.
fn overdue(fields: &str) -> Vec<(&'static str, String)> {
    let text = duties(fields);
    let judged = admit(read(&snapshot(&text)), &circumstances());
    let overdue = judged.findings.into_iter().filter(|finding| finding.code == Some("overdue"));
    overdue
        .map(|finding| {
            assert_eq!(finding.severity, Severity::Error);
            (finding.rule_id, finding.message)
        })
        .collect()
}

#[test]
fn duties_are_overdue_after_a_year_and_a_day_or_half_of_it() {
    let done = |test: &str, scope: &str| {
        format!("segmentationTest: {{doneAt: {test}, id: T-1}}, scopeConfirmation: {{doneAt: {scope}, id: S-1}}")
    };
    // The day is 2026-02-01.
    assert!(overdue(&done("2025-01-31", "2025-01-31")).is_empty());
    assert_eq!(
        overdue(&done("2025-01-30", "2025-01-31")),
        [(TEST, "the last segmentation test, T-1, was 367 days ago; at most 366 are allowed".into())]
    );
    let provider = |test, scope| format!("serviceProvider: true, {}", done(test, scope));
    assert!(overdue(&provider("2025-08-01", "2025-08-01")).is_empty());
    assert_eq!(
        overdue(&provider("2025-08-01", "2025-07-31")),
        [(SCOPE, "the last confirmation of scope, S-1, was 185 days ago; at most 184 are allowed".into())]
    );
    assert_eq!(overdue(&done("2026-02-02", "2026-02-01")).len(), 1);
    let mut missing: Vec<&str> = overdue("fixtures: false").into_iter().map(|(id, _)| id).collect();
    missing.sort_unstable();
    assert_eq!(missing, [TEST, SCOPE]);
}

#[test]
fn in_baseline_nothing_is_overdue() {
    let judged = admit(read(&snapshot(&network(&[]))), &circumstances());
    assert!(judged.findings.iter().all(|finding| finding.code != Some("overdue")));
    assert!(judged.not_run.iter().any(|rule| rule.rule_id == TEST && rule.needs == ["enforced set"]));
}

#[test]
fn a_zone_that_is_another_part_of_the_scope_is_a_change_both_ways() {
    let before = network(&[]);
    let after = before.replacen("classes: [cde]", "classes: [connected]", 1);
    let other = after
        .replacen("pciScope: in", "pciScope: connected", 1)
        .replace("labels: {pci-env: cde, tier: database}", "labels: {tier: database}");
    let change = |then: &str, now: &str| messages(&found(SCOPE, then, now)).into_iter().map(String::from).collect::<Vec<_>>();
    assert_eq!(
        change(&before, &other),
        ["db-01 leaves the CDE", "zone cde-db is connected (scope: connected); in the set in force it is cde (scope: in)"]
    );
    assert_eq!(
        change(&other, &before),
        ["db-01 comes into the CDE", "zone cde-db is cde (scope: in); in the set in force it is connected (scope: connected)"]
    );
}

#[test]
fn account_data_and_addresses_of_an_endpoint_belong_to_the_scope() {
    let before = network(&[]);
    for (from, to, expected) in [
        ("zone: cde-app,", "zone: cde-app, storesChd: true,", "app-01 now stores account data"),
        (" storesChd: true,", "", "db-01 no longer stores account data"),
        ("[10.0.1.10]", "[10.0.1.77]", "app-01 has other addresses"),
        ("[10.0.30.11, \"fd00:30::11\"]", "[\"fd00:30::11\"]", "db-01 has other addresses"),
    ] {
        assert_eq!(messages(&found(SCOPE, &before, &before.replace(from, to))), [expected]);
    }
    // Another order is no change.
    let turned = before.replace("[10.0.30.11, \"fd00:30::11\"]", "[\"fd00:30::11\", 10.0.30.11]");
    assert!(turned != before && found(SCOPE, &before, &turned).is_empty());
}

#[test]
fn other_labels_of_the_cde_are_another_scope() {
    let set = |labels: &str| {
        let standard = format!(
            "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: baseline, version: \"1\"{labels}}}}}\n---\n"
        );
        set(&[&standard, &policy("a", "pci-env: cde", &from("10.0.8.0/24", 443))])
    };
    let [default, wider, none] = ["", ", cdeLabels: {pci-env: [cde, vault]}", ", cdeLabels: {pci-env: [prod]}"].map(set);
    let told = |then: &str, now: &str| -> Vec<(Option<&str>, Severity)> {
        found(SCOPE, then, now).iter().map(|finding| (finding.code, finding.severity)).collect()
    };
    let warning = |code| (Some(code), Severity::Warning);
    assert_eq!((told(&default, &default), told(&none, &none)), (Vec::new(), [warning("unmarked")].into()));
    assert_eq!((told(&default, &wider), told(&wider, &default)), ([warning("labels")].into(), [warning("labels")].into()));
    assert_eq!(told(&default, &none), [warning("labels"), warning("unmarked")]);
}

#[test]
fn the_calendar_alone_refuses_nothing_that_is_enforced() {
    let late = "segmentationTest: {doneAt: 2025-01-02, id: T-1}, scopeConfirmation: {doneAt: 2026-01-31, id: S-1}";
    let severity = |then: &str, now: &str| -> Vec<Severity> {
        let found = found(TEST, then, now).into_iter().filter(|finding| finding.code == Some("overdue"));
        found.map(|finding| finding.severity).collect()
    };
    let now = duties(late);
    assert_eq!(severity(&now, &now), [Severity::Warning]);
    // Another test that was late already, another kind of entity, another profile: somebody changed something.
    for then in [
        duties(&late.replace("T-1", "T-0")),
        duties(&format!("serviceProvider: true, {late}")),
        now.replace("profile: pci-dss-4.0.1", "profile: baseline"),
    ] {
        assert_eq!(severity(&then, &now), [Severity::Error], "{then}");
    }
    // What was never done is no matter of the calendar.
    let never = duties("scopeConfirmation: {doneAt: 2026-01-31, id: S-1}");
    assert_eq!(severity(&never, &never), [Severity::Error]);
}
