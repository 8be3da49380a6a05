//! What the Standard forbids and requires, and what the Zones declare.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::example::{data_flows, floor, inventory, services, zones};
use crate::admit::{Circumstances, Judgement, admit};
use crate::finding::{Finding, Severity};
use crate::model::Profile;
use crate::read::read;
use crate::rules::tests::{assert_witness, circumstances, snapshot};

fn judge(text: &str) -> Judgement {
    let reading = read(&snapshot(text));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let set = reading.set.clone();
    let judged = admit(reading, &circumstances());
    judged.findings.iter().for_each(|finding| assert_witness(&set, finding));
    judged
}

fn found(id: &str, text: &str) -> Vec<Finding> {
    judge(text).findings.into_iter().filter(|f| f.rule_id == id || f.also.contains(&id)).collect()
}

fn standard(fields: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: standard}}, spec: {{version: \"1\", {fields}}}}}\n---\n"
    )
}

fn policy(labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p, annotations: {{pci-dss: \"Req 1.3.1\"}}}}\nspec: {{podSelector: {{matchLabels: {{{labels}}}}}, {spec}}}\n"
    )
}

fn forbidden(ban: &str, text: &str) -> Vec<Finding> {
    let standard = standard(&format!("profile: baseline, forbidden: [{ban}]"));
    found("PCI-1.2.1-002", &format!("{}{standard}{text}", concat!(zones!(), services!(), inventory!(), floor!())))
}

const FROM_OFFICES: &str = "ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{protocol: TCP, port: 443}]}]";

#[test]
fn a_forbidden_flow_is_found_in_part_and_from_either_side() {
    let app = policy("pci-env: cde, tier: app", FROM_OFFICES);
    let flows = forbidden("{from: \"class:corporate\", to: cde-app}", &app);
    assert_eq!(flows.len(), 1);
    let witness = flows[0].witness.as_ref().unwrap();
    assert_eq!((witness.source.text().as_str(), witness.destination.text().as_str()), ("10.20.0.0", "10.0.1.10"));
    assert_eq!(forbidden("{from: corporate, to: \"class:cde\"}", &app).len(), 1);
    let part = policy("pci-env: cde, tier: app", &FROM_OFFICES.replace("10.20.0.0/16", "10.0.8.0/23"));
    assert_eq!(forbidden("{from: operations, to: cde-app}", &part).len(), 1);
    for other in ["{from: corporate, to: cde-db}", "{from: \"class:cde\", to: corporate}", "{from: operations, to: cde-app}"] {
        assert!(forbidden(other, &app).is_empty(), "{other}");
    }
}

#[test]
fn only_the_forbidden_services_are_forbidden() {
    let app = policy("pci-env: cde, tier: app", FROM_OFFICES);
    assert_eq!(forbidden("{from: corporate, to: cde-app, services: [https]}", &app).len(), 1);
    assert!(forbidden("{from: corporate, to: cde-app, services: [postgres, dns]}", &app).is_empty());
}

#[test]
fn what_no_zone_holds_is_the_internet() {
    let web = policy("pci-env: dmz", "ingress: [{from: [{ipBlock: {cidr: \"2a00::/48\"}}], ports: [{protocol: TCP, port: 443}]}]");
    // The endpoint has no IPv6 address, so there is no packet to show, and the rule still allows it.
    assert_eq!(forbidden("{from: internet, to: \"class:dmz\"}", &web).len(), 1);
    assert!(forbidden("{from: internet, to: \"class:cde\"}", &web).is_empty());
}

#[test]
fn a_policy_for_two_zones_is_judged_for_the_one_that_is_forbidden() {
    let both = policy("pci-env: cde", "egress: [{to: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{protocol: TCP, port: 443}]}]");
    let flows = forbidden("{from: cde-db, to: corporate}", &both);
    assert_eq!(flows[0].witness.as_ref().unwrap().source.text(), "10.0.30.11");
}

#[test]
fn each_missing_kind_is_one_error_that_no_waiver_covers() {
    let text = format!("{}{}", standard("profile: pci-dss-4.0.1"), policy("pci-env: cde", "egress: []"));
    let missing = found("PCI-1.2.1-002", &text);
    let kinds: Vec<_> = missing.iter().filter_map(|finding| finding.code).collect();
    assert_eq!(kinds, ["DataFlows", "Inventory", "RuleRecords", "Services", "Zones"]);
    assert!(missing.iter().all(|finding| finding.severity == Severity::Error && !finding.waivable));
    let prints: alloc::collections::BTreeSet<_> = missing.iter().map(Finding::fingerprint).collect();
    assert_eq!(prints.len(), 5);
    let all = concat!(zones!(), services!(), data_flows!(), inventory!());
    let missing = found("PCI-1.2.1-002", &format!("{all}{text}"));
    assert_eq!(missing.iter().filter_map(|finding| finding.code).collect::<Vec<_>>(), ["RuleRecords"]);
}

#[test]
fn a_weaker_profile_than_the_pinned_one_is_no_waivable_error() {
    let pinned = Circumstances { pinned_profile: Some(Profile::PciDss401), ..circumstances() };
    let text = format!("{}{}", standard("profile: baseline"), policy("pci-env: cde", "egress: []"));
    let judged = admit(read(&snapshot(&text)), &pinned);
    let weaker = judged.findings.iter().find(|finding| finding.rule_id == "PCI-1.2.1-002").unwrap();
    assert_eq!((weaker.severity, weaker.waivable, weaker.place.spot.line), (Severity::Error, false, 1));
}

fn undeclared(labels: &str, block: &str) -> Vec<Finding> {
    let rule = format!("ingress: [{{from: [{{ipBlock: {{cidr: \"{block}\"}}}}], ports: [{{protocol: TCP, port: 8443}}]}}]");
    found("PCI-1.2.3-001", &format!("{}{}", zones!(), policy(labels, &rule)))
}

#[test]
fn a_block_that_reaches_beyond_the_zones_is_undeclared() {
    for (block, outside) in [
        ("10.0.8.0/23", "10.0.8.0"),
        ("10.0.30.0/23", "10.0.31.0"),
        ("fd00:30::/63", "fd00:30:0:1::"),
        ("192.0.1.7/32", "192.0.1.7"),
    ] {
        let found = undeclared("pci-env: cde", block);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Error), "{block}");
        assert_eq!(found[0].witness.as_ref().unwrap().source.text(), outside);
    }
    for block in ["10.0.9.0/24", "10.20.255.255/32", "fd00:30::1/128"] {
        assert!(undeclared("pci-env: cde", block).is_empty(), "{block}");
    }
    // What is open is another rule's finding.
    assert!(undeclared("pci-env: cde", "0.0.0.0/1").is_empty());
    assert_eq!(undeclared("pci-env: dmz", "192.0.1.7/32")[0].severity, Severity::Warning);
}

#[test]
fn what_is_taken_out_of_a_block_need_not_be_declared() {
    let rule = "ingress: [{from: [{ipBlock: {cidr: 10.0.8.0/23, except: [10.0.8.0/24]}}], ports: [{protocol: TCP, port: 8443}]}]";
    assert!(found("PCI-1.2.3-001", &format!("{}{}", zones!(), policy("pci-env: cde", rule))).is_empty());
}
