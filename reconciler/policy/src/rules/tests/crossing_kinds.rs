//! The rules about kinds of zones: wireless networks, tests, and what tells others our addresses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::network::{ZONES, ask, block, facts, from, others, policy, to};
use crate::finding::Severity;

const APP: &str = "pci-env: cde, tier: app";

#[test]
fn a_wireless_network_needs_a_purpose_and_an_approval() {
    let id = "PCI-1.3.3-001";
    let rule = "ingress: [{name: scanners, from: [{ipBlock: {cidr: 10.30.0.0/24}}], ports: [{port: 443}]}]";
    for (fields, expected) in [
        ("", 1),
        (", wirelessPurpose: \"Scanners\"", 1),
        (", wirelessPurpose: \"Scanners\", approvedBy: sec", 1),
        (", approvedBy: sec, approvedAt: 2026-01-12", 1),
        (", wirelessPurpose: \"n/a\", approvedBy: sec, approvedAt: 2026-01-12", 1),
        (", wirelessPurpose: \"Scanners\", approvedBy: sec, approvedAt: 2026-01-12", 0),
    ] {
        let record = format!(
            "---\n{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: scanners, owner: me, justification: \"x\"{fields}}}]}}}}\n"
        );
        let text = format!("{}{}{record}", facts(), policy("p", APP, rule));
        assert_eq!(ask(id, &text).len(), expected, "{fields}");
    }
}

#[test]
fn a_wireless_network_is_found_by_its_addresses() {
    let id = "PCI-1.3.3-001";
    for (cidr, expected) in
        [("10.30.0.0/16", Some("10.30.0.0")), ("10.31.0.0/16", None), ("10.28.0.0/14", Some("10.30.0.0")), ("10.29.0.0/16", None)]
    {
        let expected: Vec<&str> = expected.into_iter().collect();
        // Zones are enough: without an Inventory the policy's selector stands for the CDE.
        assert_eq!(others(&ask(id, &format!("{ZONES}{}", from(APP, &block(cidr), "{port: 443}")))), expected, "{cidr}");
    }
    let v6 = from("tier: database", &block("fd00:ee::/48"), "{port: 443}");
    assert_eq!(others(&ask(id, &format!("{}{v6}", facts()))), ["fd00:ee::"]);
    assert!(ask(id, &format!("{}{}", facts(), from("pci-env: dmz", &block("10.30.0.0/16"), "{port: 443}"))).is_empty());
    assert!(ask(id, &format!("{}{}", facts(), to(APP, &block("10.30.0.0/16"), "{port: 443}"))).is_empty());
}

#[test]
fn test_and_production_are_apart_in_both_directions() {
    let id = "PCI-6.5.3-001";
    for (text, expected) in [
        (from(APP, &block("10.40.0.0/16"), "{port: 443}"), Some("10.40.0.0")),
        (from(APP, &block("10.40.255.255/32"), "{port: 443}"), Some("10.40.255.255")),
        (from(APP, &block("10.41.0.0/16"), "{port: 443}"), None),
        (to(APP, &block("10.0.0.0/8"), "{port: 443}"), Some("10.40.0.0")),
        (to("tier: database", &block("fd00:40::/64"), "{port: 443}"), Some("fd00:40::")),
        (to(APP, "{cidr: 10.40.0.0/15, except: [10.40.0.0/16]}", "{port: 443}"), None),
        (from("pci-env: dmz", &block("10.40.0.0/16"), "{port: 443}"), None),
    ] {
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(others(&ask(id, &format!("{}{text}", facts()))), expected, "{text}");
    }
}

#[test]
fn a_test_network_of_the_cde_may_talk_to_itself() {
    let zones = "{apiVersion: pci-segment/v1, kind: Zones, metadata: {name: z}, spec: {zones: [{name: cde-test, classes: [cde, preprod], pciScope: in, cidrs: [10.9.0.0/24]}, {name: other-test, classes: [preprod], pciScope: in, cidrs: [10.9.1.0/24]}]}}\n";
    let inventory = "---\n{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {hosts: [{name: t, labels: {pci-env: cde}, addresses: [10.9.0.1]}]}}\n";
    let found = |cidr: &str| {
        others(&ask("PCI-6.5.3-001", &format!("{zones}{inventory}{}", from("pci-env: cde", &block(cidr), "{port: 443}"))))
    };
    assert_eq!(found("10.9.0.0/24"), Vec::<String>::new());
    assert_eq!(found("10.9.0.0/23"), ["10.9.1.0"]);
}

fn told(text: &str) -> Vec<(Severity, String)> {
    let found = ask("PCI-1.4.5-001", text);
    found.iter().map(|finding| finding.severity).zip(others(&found)).collect()
}

#[test]
fn discovery_is_worse_towards_an_untrusted_zone_than_towards_another_trusted_one() {
    let ports = "{protocol: UDP, port: 5353}";
    for (cidr, expected) in [
        ("10.0.2.0/24", None),
        ("10.0.8.0/24", Some((Severity::Warning, "10.0.8.0"))),
        ("10.0.8.0/23", Some((Severity::Error, "10.0.9.0"))),
        ("10.20.0.0/24", Some((Severity::Error, "10.20.0.0"))),
    ] {
        let expected: Vec<(Severity, String)> = expected.into_iter().map(|(s, a)| (s, a.into())).collect();
        assert_eq!(told(&format!("{}{}", facts(), from(APP, &block(cidr), ports))), expected, "{cidr}");
        assert_eq!(told(&format!("{}{}", facts(), to(APP, &block(cidr), ports))), expected, "{cidr}");
    }
}

#[test]
fn discovery_points_at_the_port_and_the_worst_peer_decides() {
    let rule = "ingress: [{from: [{ipBlock: {cidr: 10.0.8.0/24}}, {ipBlock: {cidr: 10.20.0.0/24}}], ports: [{port: 443}, {protocol: UDP, port: 5350, endPort: 5360}]}]";
    let found = ask("PCI-1.4.5-001", &format!("{}{}", facts(), policy("p", APP, rule)));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].severity, found[0].path.as_deref()), (Severity::Error, Some("/spec/ingress/0/ports/1")));
    assert_eq!(found[0].witness.as_ref().unwrap().service.port(), 5353);
}

#[test]
fn without_zones_only_a_public_address_is_surely_elsewhere() {
    let ports = "{protocol: TCP, port: 179}";
    assert_eq!(told(&from("pci-env: cde", &block("10.0.8.0/24"), ports)), []);
    assert_eq!(told(&from("pci-env: cde", &block("9.9.9.9/32"), ports)), [(Severity::Error, "9.9.9.9".into())]);
    // With Zones alone, a zone of the CDE may be the endpoint's own.
    assert_eq!(told(&format!("{ZONES}{}", from("pci-env: cde", &block("10.0.30.0/24"), ports))), []);
    assert_eq!(
        told(&format!("{ZONES}{}", from("pci-env: cde", &block("10.0.8.0/24"), ports))),
        [(Severity::Warning, "10.0.8.0".into())]
    );
}

#[test]
fn the_standard_says_what_discovery_is() {
    let standard = |change: &str| {
        format!(
            "---\n{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: baseline, version: \"1\", ports: {{discovery: {change}}}}}}}\n"
        )
    };
    let peer = block("9.9.9.9/32");
    let text =
        |port: u16, change: &str| format!("{}{}", from("pci-env: cde", &peer, &format!("{{port: {port}}}")), standard(change));
    assert_eq!(told(&text(179, "{remove: [{protocol: TCP, port: 179}]}")), []);
    assert_eq!(told(&text(7777, "{add: [{protocol: TCP, port: 7777}]}")).len(), 1);
    assert_eq!(told(&text(7777, "{remove: [{protocol: TCP, port: 179}]}")), []);
}
