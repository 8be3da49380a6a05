//! The rules about trusted and untrusted networks, at their edges.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::network::{ZONES, ask, ask_with, block, facts, from, others, policy, to};
use super::{circumstances, judge};
use crate::admit::Circumstances;
use crate::model::inventory::Enforcer;

const APP: &str = "pci-env: cde, tier: app";
const DATABASE: &str = "pci-env: cde, tier: database";

fn expected(address: Option<&str>) -> Vec<String> {
    address.into_iter().map(String::from).collect()
}

#[test]
fn an_endpoint_of_a_trusted_zone_is_isolated_in_both_directions() {
    let names = |types: &str| {
        let floor = format!(
            "---\n{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: floor}}, spec: {{podSelector: {{}}, {types}}}}}\n"
        );
        let found = ask("PCI-1.4.1-001", &format!("{}{floor}", facts()));
        found.iter().map(|finding| format!("{} {}", finding.endpoint.as_ref().unwrap(), finding.message)).collect::<Vec<_>>()
    };
    assert_eq!(names("policyTypes: [Ingress, Egress]"), Vec::<String>::new());
    for (types, open) in [("policyTypes: [Ingress]", "egress"), ("policyTypes: [Egress]", "ingress")] {
        let found = names(types);
        // Neither the shop's zone nor the offices' is trusted.
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found.iter().all(|text| text.ends_with(open) && !text.contains("till-01") && !text.contains("desk-01")),
            "{found:?}"
        );
    }
}

#[test]
fn an_endpoint_that_nobody_enforces_is_found_at_its_entry_and_an_audited_policy_isolates_nobody() {
    let floor = "---\n{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: floor}, spec: {podSelector: {}}}\n";
    let workload = |zone: &str, address: &str| {
        format!(
            "---\n{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: w}}, spec: {{workloads: [{{name: w-01, labels: {{a: b}}, addresses: [{address}], zone: {zone}, enforcedBy: []}}]}}}}\n"
        )
    };
    let found = |zone: &str, address: &str| ask("PCI-1.4.1-001", &format!("{ZONES}{}{floor}", workload(zone, address)));
    let in_operations = found("operations", "10.0.8.7");
    assert_eq!(in_operations.len(), 1);
    assert!(in_operations[0].path.as_deref().unwrap().ends_with("/enforcedBy"), "{:?}", in_operations[0].path);
    assert!(found("corporate", "10.20.0.7").is_empty());
    let audited = floor.replace("name: floor}", "name: floor, annotations: {pci-segment/mode: audit}}");
    assert_eq!(ask("PCI-1.4.1-001", &format!("{}{audited}", facts())).len(), 3);
}

/// Where IPv6 is wider than IPv4, by the peers of one rule for the database, which has both.
fn wider(blocks: &[&str], extra: &str) -> Vec<String> {
    let blocks: Vec<String> = blocks.iter().map(|cidr| format!("{{ipBlock: {{cidr: \"{cidr}\"}}}}")).collect();
    let rule = format!("ingress: [{{from: [{}], ports: [{{protocol: TCP, port: 5432}}]}}]", blocks.join(", "));
    others(&ask("PCI-1.4.1-002", &format!("{}{}{extra}", facts(), policy("p", DATABASE, &rule))))
}

#[test]
fn ipv6_is_wider_by_steps_not_by_numbers() {
    for (blocks, found) in [
        (&["10.0.2.0/24", "fd00:2::/64"][..], None),
        (&["fd00:2::/64"], None),
        (&["10.0.2.0/24", "fd00:2::/63"], Some("fd00:2::")),
        (&["fd00:2::/63"], Some("fd00:2::")),
        (&["10.0.2.0/23", "fd00:2::/63"], None),
        (&["10.0.2.0/23", "fd00:2::/48"], None),
        (&["10.0.2.0/23", "fd00:2::/47"], Some("fd00:2::")),
        (&["10.0.0.0/15", "fd00:2::/47"], None),
        (&["10.0.0.0/15", "2000::/3"], Some("2000::")),
        (&["0.0.0.0/0", "2000::/3"], None),
        (&["0.0.0.0/0", "::/0"], None),
        (&["9.9.9.0/28", "fd00:2::/63"], Some("fd00:2::")),
        (&["9.9.9.0/27", "fd00:2::/63"], None),
        // Two networks are no wider than one, in either family.
        (&["10.0.2.0/24", "fd00:2::/64", "fd00:4::/64"], None),
        (&["9.9.9.0/28", "9.9.8.0/28", "fd00:2::/64", "fd00:4::/64"], None),
        (&["9.9.9.0/28", "fd00:2::/64", "fd00:4::/63"], Some("fd00:4::")),
        (&["10.0.2.0/24", "64:ff9b::800:0/104"], Some("64:ff9b::800:0")),
        (&["10.0.2.0/24", "10.0.4.0/24", "fd00:2::/64", "fd00:4::/64"], None),
    ] {
        assert_eq!(wider(blocks, ""), expected(found), "{blocks:?}");
    }
}

#[test]
fn the_steps_are_those_of_the_standard() {
    let standard = "---\n{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: s}, spec: {profile: baseline, version: \"1\", thresholds: {v6PrefixWarn: 60}}}\n";
    assert_eq!(wider(&["10.0.2.0/24", "fd00::/60"], standard), Vec::<String>::new());
    assert_eq!(wider(&["10.0.2.0/24", "fd00::/59"], standard), ["fd00::"]);
}

#[test]
fn ipv6_is_compared_per_port_over_all_policies_of_an_endpoint_with_both_families() {
    let v4 =
        policy("v4", "pci-env: cde", "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/15}}], ports: [{port: 440, endPort: 450}]}]");
    let v6 = |port: u16, label: &str| {
        policy("v6", label, &format!("ingress: [{{from: [{{ipBlock: {{cidr: \"fd00::/32\"}}}}], ports: [{{port: {port}}}]}}]"))
    };
    let found = |port, label| others(&ask("PCI-1.4.1-002", &format!("{}{v4}{}", facts(), v6(port, label))));
    for (port, open) in [(439, true), (440, false), (450, false), (451, true)] {
        assert_eq!(found(port, DATABASE).len(), usize::from(open), "{port}");
    }
    // The application has no IPv6 address.
    assert_eq!(found(451, APP), Vec::<String>::new());
}

#[test]
fn icmp_is_each_familys_own_and_egress_counts_too() {
    let ask = |rule: &str| ask("PCI-1.4.1-002", &format!("{}{}", facts(), policy("p", DATABASE, rule)));
    assert!(ask("ingress: [{from: [{ipBlock: {cidr: \"fd00::/16\"}}], ports: [{protocol: ICMPv6}]}]").is_empty());
    let all = ask("ingress: [{from: [{ipBlock: {cidr: \"fd00::/16\"}}]}]");
    assert_eq!(all.len(), 1);
    let out = ask(
        "egress: [{to: [{ipBlock: {cidr: 10.0.8.3/32}}], ports: [{port: 443}]}, {to: [{ipBlock: {cidr: \"2000::/3\"}}], ports: [{port: 443}]}]",
    );
    assert_eq!(others(&out), ["2000::"]);
}

#[test]
fn administration_from_an_untrusted_network_is_found_port_by_port() {
    let id = "PCI-1.4.2-001";
    for (ports, found) in [
        ("{port: 21}", None),
        ("{port: 22}", Some("9.9.9.0")),
        ("{protocol: UDP, port: 22}", None),
        ("{port: 24}", None),
        ("{port: 5909}", Some("9.9.9.0")),
        ("{port: 5910}", None),
        ("{port: 24, endPort: 600}", Some("9.9.9.0")),
        ("{protocol: TCP}", Some("9.9.9.0")),
    ] {
        assert_eq!(others(&ask(id, &from("pci-env: cde", &block("9.9.9.0/28"), ports))), expected(found), "{ports}");
    }
    assert_eq!(ask(id, &policy("p", "pci-env: cde", "ingress: [{ports: [{port: 22}]}]")).len(), 1);
    assert!(ask(id, &from("pci-env: dmz", &block("9.9.9.0/28"), "{port: 22}")).is_empty());
    assert!(ask(id, &to("pci-env: cde", &block("9.9.9.0/28"), "{port: 22}")).is_empty());
    let judged = judge(&from("pci-env: cde", &block("0.0.0.0/0"), "{port: 22}"));
    assert!(judged.findings.iter().any(|f| f.rule_id == id && f.also.contains(&"PCI-1.3.1-004") && !f.waivable));
}

#[test]
fn with_zones_untrusted_is_what_no_trusted_zone_holds() {
    for (cidr, bare, zoned) in [
        ("10.0.8.0/24", None, None),
        ("10.0.8.0/23", None, Some("10.0.9.0")),
        ("10.20.0.0/24", None, Some("10.20.0.0")),
        ("172.16.0.0/24", None, Some("172.16.0.0")),
        ("fd00:8::/64", None, None),
        ("2a00::/64", Some("2a00::"), Some("2a00::")),
    ] {
        let rule = from(DATABASE, &block(cidr), "{port: 22}");
        assert_eq!(others(&ask("PCI-1.4.2-001", &rule)), expected(bare), "{cidr}");
        assert_eq!(others(&ask("PCI-1.4.2-001", &format!("{}{rule}", facts()))), expected(zoned), "{cidr}");
    }
}

#[test]
fn the_standard_says_what_administration_is() {
    let standard = "---\n{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: s}, spec: {profile: baseline, version: \"1\", ports: {admin: {add: [{protocol: TCP, port: 2222}], remove: [{protocol: TCP, port: 22}]}}}}\n";
    for (port, found) in [(22, 0), (2222, 1)] {
        let rule = from("pci-env: cde", &block("9.9.9.0/28"), &format!("{{port: {port}}}"));
        assert_eq!(ask("PCI-1.4.2-001", &format!("{rule}{standard}")).len(), found, "{port}");
    }
}

#[test]
fn only_registered_services_are_reached_from_untrusted_networks() {
    let id = "PCI-1.4.2-002";
    for (label, cidr, ports, found) in [
        ("tier: web", "9.9.9.0/24", "{port: 443}", None),
        ("tier: web", "9.9.9.0/24", "{port: 443, endPort: 444}", Some(444)),
        ("tier: web", "9.9.9.0/24", "{port: 442, endPort: 443}", Some(442)),
        ("tier: web", "9.9.9.0/24", "{protocol: UDP, port: 443}", Some(443)),
        ("tier: web", "10.0.8.0/24", "{port: 8080}", None),
        ("tier: web", "10.0.8.0/23", "{port: 8080}", Some(8080)),
        ("tier: app", "10.0.50.0/24", "{port: 443}", None),
        ("tier: app", "10.20.0.0/24", "{port: 443}", Some(443)),
        ("tier: database", "2a00::/64", "{port: 443}", Some(443)),
        // One's own zone is no other network, trusted or not; offices are out of scope.
        ("tier: till", "10.0.60.0/24", "{port: 443}", None),
        ("tier: till", "10.0.60.0/23", "{port: 443}", Some(443)),
        ("tier: desk", "9.9.9.0/24", "{port: 443}", None),
    ] {
        let floor = "---\n{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: floor}, spec: {podSelector: {}}}\n";
        let findings = ask(id, &format!("{}{floor}{}", facts(), from(label, &block(cidr), ports)));
        let services: Vec<u16> = findings.iter().map(|f| f.witness.as_ref().unwrap().service.port()).collect();
        assert_eq!(services, found.into_iter().collect::<Vec<u16>>(), "{label} {cidr} {ports}");
    }
}

#[test]
fn todays_backends_keep_state_and_the_rule_waits_to_know_them() {
    let id = "PCI-1.4.2-003";
    let text = format!("{ZONES}{}", from("pci-env: cde", &block("10.0.8.0/24"), "{port: 443}"));
    assert!(judge(&text).not_run.iter().any(|rule| rule.rule_id == id && rule.needs == ["backends"]));
    let known = Circumstances { backends: Some(Enforcer::WORDS.map(|(_, backend)| backend).into()), ..circumstances() };
    assert!(ask_with(id, &text, &known).is_empty());
}
