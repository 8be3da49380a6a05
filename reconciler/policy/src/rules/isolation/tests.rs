//! The floor: what stays closed whatever happens to the policies that allow something.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::admit::admit;
use crate::finding::Severity;
use crate::read::read;
use crate::rules::tests::{circumstances, snapshot};

/// The missing floors of a set of the profile.
fn floors(profile: &str, policies: &[&str]) -> Vec<(&'static str, Severity)> {
    let standard = format!(
        "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: {profile}, version: \"1\"}}}}\n"
    );
    let text = [standard.as_str()].iter().chain(policies).copied().collect::<Vec<_>>().join("---\n");
    let judged = admit(read(&snapshot(&text)), &circumstances());
    let ids = ["PCI-1.3.1-001", "PCI-1.3.2-001"];
    judged.findings.into_iter().filter(|f| ids.contains(&f.rule_id)).map(|f| (f.rule_id, f.severity)).collect()
}

fn policy(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{podSelector: {{matchLabels: {{{labels}}}}}, {spec}}}\n"
    )
}

const ALLOW: &str = "ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]";

#[test]
fn without_a_policy_without_rules_there_is_no_floor() {
    let app = policy("app", "pci-env: cde, tier: app", ALLOW);
    // Egress has no rules, so this policy is its floor.
    assert_eq!(floors("pci-dss-4.0.1", &[&app]), [("PCI-1.3.1-001", Severity::Warning)]);
    assert!(floors("baseline", &[&app]).is_empty());
}

#[test]
fn a_covering_policy_without_rules_is_a_floor_and_an_audited_or_narrower_one_is_not() {
    let app = policy("app", "pci-env: cde, tier: app", ALLOW);
    let floor = policy("floor", "pci-env: cde", "policyTypes: [Ingress, Egress]");
    assert!(floors("pci-dss-4.0.1", &[&app, &floor]).is_empty());
    let audited = floor.replace("{name: floor}", "{name: floor, annotations: {pci-segment/mode: audit}}");
    assert!(floors("pci-dss-4.0.1", &[&app, &audited]).contains(&("PCI-1.3.1-001", Severity::Warning)));
    let narrow = floor.replace("pci-env: cde", "pci-env: cde, tier: app, zone: a");
    assert!(floors("pci-dss-4.0.1", &[&app, &narrow]).contains(&("PCI-1.3.1-001", Severity::Warning)));
}

#[test]
fn what_nothing_isolates_is_an_error_and_no_warning_beside_it() {
    let open = policy("app", "pci-env: cde", "policyTypes: [Egress]");
    assert_eq!(floors("pci-dss-4.0.1", &[&open]), [("PCI-1.3.1-001", Severity::Error)]);
}
