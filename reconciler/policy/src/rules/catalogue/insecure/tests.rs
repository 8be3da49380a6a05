//! Insecure services at their borders.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::example::zones;
use crate::admit::admit;
use crate::finding::{Finding, Severity};
use crate::read::read;
use crate::rules::tests::{assert_witness, circumstances, snapshot};

fn found(id: &str, text: &str) -> Vec<Finding> {
    let reading = read(&snapshot(text));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let set = reading.set.clone();
    let judged = admit(reading, &circumstances());
    judged.findings.iter().for_each(|finding| assert_witness(&set, finding));
    judged.findings.into_iter().filter(|f| f.rule_id == id || f.also.contains(&id)).collect()
}

fn policy(block: &str, ports: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{matchLabels: {{pci-env: cde}}}}, ingress: [{{from: [{{ipBlock: {{cidr: \"{block}\"}}}}], ports: [{ports}]}}]}}\n"
    )
}

fn standard(ports: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: baseline, version: \"1\", ports: {{{ports}}}}}}}\n---\n"
    )
}

#[test]
fn an_insecure_port_is_found_inside_a_range_and_beside_others() {
    for (ports, hit) in [
        ("{port: 20, endPort: 22}", true),
        ("{port: 22}, {port: 23}", true),
        ("{protocol: UDP, port: 69}", true),
        ("{protocol: TCP, port: 69}", false),
        ("{port: 24}", false),
        ("{protocol: SCTP, port: 21}", false),
        ("{protocol: TCP}", true),
    ] {
        assert_eq!(found("PCI-1.2.6-001", &policy("10.0.1.0/24", ports)).len(), usize::from(hit), "{ports}");
    }
    let at = &found("PCI-1.2.6-001", &policy("10.0.1.0/24", "{port: 22}, {port: 23}"))[0];
    assert_eq!(at.path.as_deref(), Some("/spec/ingress/0/ports/1"));
}

#[test]
fn without_records_an_insecure_port_is_a_warning() {
    let found = found("PCI-1.2.6-001", &policy("10.0.1.0/24", "{port: 21}"));
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
}

#[test]
fn the_standard_adds_to_the_list_and_removes_from_it() {
    let of = |change: &str, port: u16| {
        found("PCI-1.2.6-001", &(standard(change) + &policy("10.0.1.0/24", &format!("{{port: {port}}}")))).len()
    };
    assert_eq!(of("insecure: {remove: [{protocol: TCP, port: 80}]}", 80), 0);
    assert_eq!(of("insecure: {add: [{protocol: TCP, port: 8081}]}", 8081), 1);
}

#[test]
fn an_insecure_port_from_untrusted_networks_is_never_waivable() {
    for block in ["45.60.7.0/28", "2a00:1450::/64", "0.0.0.0/0"] {
        let found = found("PCI-1.2.6-002", &policy(block, "{port: 21}"));
        assert_eq!((found.len(), found[0].waivable), (1, false), "{block}");
        assert_eq!(found[0].rule_id, "PCI-1.2.6-002");
    }
    for block in ["10.0.1.0/24", "fd00::/64"] {
        assert!(found("PCI-1.2.6-002", &policy(block, "{port: 21}")).is_empty(), "{block}");
    }
    assert!(found("PCI-1.2.6-002", &policy("45.60.7.0/28", "{port: 443}")).is_empty());
}

#[test]
fn with_zones_untrusted_is_what_they_say() {
    let text = |block: &str| format!("{}{}", zones!(), policy(block, "{port: 21}"));
    // Offices out of scope, a gap between zones, and both in part.
    for block in ["10.20.3.0/24", "10.0.2.0/24", "10.0.8.0/23"] {
        assert_eq!(found("PCI-1.2.6-002", &text(block)).len(), 1, "{block}");
    }
    assert!(found("PCI-1.2.6-002", &text("10.0.9.0/24")).is_empty());
}

#[test]
fn administration_in_clear_is_what_the_list_and_the_services_say() {
    for (port, hit) in [(23, true), (513, true), (5909, true), (5910, false), (5986, false), (515, false)] {
        assert_eq!(found("PCI-2.2.7-001", &policy("10.0.1.0/24", &format!("{{port: {port}}}"))).len(), usize::from(hit), "{port}");
    }
    let services = "{apiVersion: pci-segment/v1, kind: Services, metadata: {name: s}, spec: {services: [\n  {name: console, classes: [admin, insecure], mitigation: \"A tunnel.\", ports: [{protocol: TCP, port: 8765}], zones: [{from: cde-app, to: cde-db}], approvedBy: a, approvedAt: 2026-01-12}]}}\n---\n";
    let text = |port: u16| format!("{}{services}{}", zones!(), policy("10.0.1.0/24", &format!("{{port: {port}}}")));
    assert_eq!((found("PCI-2.2.7-001", &text(8765)).len(), found("PCI-2.2.7-001", &text(8766)).len()), (1, 0));
}

#[test]
fn each_service_that_a_named_port_stands_for_is_looked_at() {
    let host = |name: &str, address: &str, port: u16| {
        format!(
            "{{name: {name}, labels: {{role: old}}, addresses: [{address}], ports: [{{name: legacy, protocol: TCP, port: {port}}}]}}"
        )
    };
    let text = |trusted: u16, untrusted: u16| {
        format!(
            "{}{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{hosts: [{}, {}]}}}}\n---\n{}",
            zones!(),
            host("near", "10.0.9.5", trusted),
            host("far", "10.20.0.5", untrusted),
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{podSelector: {matchLabels: {role: old}}}], ports: [{protocol: TCP, port: legacy}]}]}\n"
        )
    };
    let hit = found("PCI-1.2.6-002", &text(21, 25));
    assert_eq!(hit.len(), 1);
    assert_eq!(hit[0].message, "TCP 25, an insecure service, is open to 10.20.0.5, which is untrusted");
    assert!(found("PCI-1.2.6-002", &text(21, 443)).is_empty());
}

#[test]
fn a_filler_protects_nothing() {
    let record = |text: &str| {
        format!(
            "{}---\n{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: ftp, owner: o, justification: \"Settlement.\", insecureMitigation: \"{text}\"}}]}}}}\n",
            policy("10.0.1.0/24", "{port: 21}").replace("[{from", "[{name: ftp, from")
        )
    };
    assert_eq!(found("PCI-1.2.6-001", &record("TBD")).len(), 1);
    assert!(found("PCI-1.2.6-001", &record("Inside an IPsec tunnel.")).is_empty());
}

#[test]
fn taking_a_core_service_off_a_list_leaves_a_trace() {
    let of = |change: &str| found("PCI-1.2.6-001", &(standard(change) + &policy("10.0.1.0/24", "{port: 443}")));
    let all = "{remove: [{protocol: TCP, port: 1, endPort: 65535}]}";
    let traces = of(&format!("insecure: {all}, admin: {all}"));
    let told: Vec<_> = traces.iter().map(|f| (f.code, f.severity, f.path.as_deref())).collect();
    let trace = |code| (Some(code), Severity::Warning, Some("/spec/ports"));
    assert_eq!(told, [trace("admin"), trace("insecure")]);
    assert!(traces[0].message.contains("TCP 22") && traces[1].message.contains("TCP 20"), "{traces:?}");
    assert_eq!(of("admin: {remove: [{protocol: TCP, port: 3389}]}").len(), 1);
    // House numbers only, or a service that was never on this list.
    assert!(of("insecure: {remove: [{protocol: TCP, port: 80}, {protocol: TCP, port: 22}]}").is_empty());
}
