//! The rules about forged sources and forged labels, and about stores of account data, at their edges.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::network::{INVENTORY, SERVICES, ZONES, ask, ask_with, block, facts, from, others, policy, to};
use super::{circumstances, snapshot};
use crate::admit::{Change, Circumstances};
use crate::finding::Severity;
use crate::read::read;

const SPECIAL: &str = "PCI-1.4.3-001";
const LABELS: &str = "PCI-1.4.3-003";

fn standard(fields: &str) -> String {
    format!(
        "---\n{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: s}}, spec: {{profile: baseline, version: \"1\", {fields}}}}}\n"
    )
}

#[test]
fn a_special_block_is_found_inside_and_around_and_its_neighbours_are_not() {
    for (cidr, found) in [
        ("127.0.0.0/8", Some("127.0.0.0")),
        ("127.255.255.255/32", Some("127.255.255.255")),
        ("126.255.255.255/32", None),
        ("128.0.0.0/32", None),
        ("192.0.0.0/16", Some("192.0.0.0")),
        ("192.0.3.0/24", None),
        ("203.0.113.7/32", Some("203.0.113.7")),
        ("239.255.255.255/32", Some("239.255.255.255")),
        ("::1/128", Some("::1")),
        ("::2/128", None),
        ("fe80::/64", Some("fe80::")),
        ("fe00::/9", None),
        ("2001:db8:1::/48", Some("2001:db8:1::")),
        ("2001:db9::/48", None),
        // These are open, which another rule says.
        ("126.0.0.0/7", None),
        ("0.0.0.0/0", None),
        ("128.0.0.0/1", None),
        ("2000::/3", None),
        ("::/0", None),
        ("10.0.0.0/8", None),
    ] {
        let findings = ask(SPECIAL, &from("pci-env: cde", &block(cidr), "{port: 443}"));
        assert_eq!(others(&findings), found.into_iter().collect::<Vec<_>>(), "{cidr}");
        assert!(findings.iter().all(|finding| finding.severity == Severity::Error), "{cidr}");
        assert_eq!(ask(SPECIAL, &to("pci-env: cde", &block(cidr), "{port: 443}")).len(), findings.len(), "{cidr} in egress");
    }
}

#[test]
fn exceptions_platform_addresses_fixtures_and_shared_addresses_are_told_apart() {
    assert!(ask(SPECIAL, &from("tier: x", "{cidr: 192.0.0.0/16, except: [192.0.0.0/23, 192.0.2.0/24]}", "{port: 443}")).is_empty());
    assert_eq!(
        ask(SPECIAL, &from("pci-env: cde", "{cidr: 192.0.0.0/16, except: [192.0.0.0/23, 192.0.2.0/25]}", "{port: 443}")).len(),
        1
    );
    let metadata = block("169.254.169.254/32");
    assert_eq!(ask(SPECIAL, &from("pci-env: cde", &metadata, "{port: 80}")).len(), 1);
    assert!(ask(SPECIAL, &to("pci-env: cde", &metadata, "{port: 80}")).is_empty());
    for cidr in ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/48", "3fff::/48"] {
        let text = from("pci-env: cde", &block(cidr), "{port: 443}");
        assert_eq!(ask(SPECIAL, &text).len(), 1, "{cidr}");
        assert!(ask(SPECIAL, &format!("{text}{}", standard("fixtures: true"))).is_empty(), "{cidr}");
    }
    let text = format!("{}{}", from("pci-env: cde", &block("127.0.0.1/32"), "{port: 443}"), standard("fixtures: true"));
    assert_eq!(ask(SPECIAL, &text).len(), 1);
    for (cidr, found) in [("100.64.0.0/10", 1), ("100.127.255.255/32", 1), ("100.128.0.0/32", 0), ("100.0.0.0/8", 0)] {
        let findings = ask(SPECIAL, &from("pci-env: cde", &block(cidr), "{port: 443}"));
        assert_eq!(findings.iter().filter(|f| f.severity == Severity::Warning).count(), found, "{cidr}");
        assert_eq!(findings.len(), found, "{cidr}");
    }
}

#[test]
fn what_is_public_admits_internal_sources_of_trusted_zones_only() {
    let id = "PCI-1.4.3-002";
    for (label, cidr, found) in [
        ("tier: web", "{cidr: 0.0.0.0/0}", Some("10.0.0.0")),
        ("tier: web", "{cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12]}", Some("192.168.0.0")),
        ("tier: web", "{cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16]}", None),
        ("tier: web", "{cidr: 10.0.8.0/24}", None),
        ("tier: web", "{cidr: 10.0.8.0/23}", Some("10.0.9.0")),
        ("tier: web", "{cidr: 10.20.0.0/24}", Some("10.20.0.0")),
        ("tier: web", "{cidr: \"2000::/3\"}", None),
        ("tier: web", "{cidr: \"fd00:50::/63\"}", Some("fd00:50:0:1::")),
        ("tier: web", "{cidr: \"::/0\"}", Some("fc00::")),
        ("tier: app", "{cidr: 10.20.0.0/24}", None),
    ] {
        let text = format!("{}{}", facts(), from(label, cidr, "{port: 443}"));
        assert_eq!(others(&ask(id, &text)), found.into_iter().collect::<Vec<_>>(), "{label} {cidr}");
        assert!(ask(id, &format!("{}{}", facts(), to(label, cidr, "{port: 443}"))).is_empty(), "{label} {cidr}");
    }
    // Its own public address can only come back to it forged.
    let inventory = "---\n{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: j}, spec: {hosts: [{name: edge-01, labels: {tier: edge}, addresses: [9.9.9.9], publicServices: [https]}]}}\n";
    let own = |cidr: &str| others(&ask(id, &format!("{}{inventory}{}", facts(), from("tier: edge", &block(cidr), "{port: 443}"))));
    assert_eq!(own("9.9.9.0/24"), ["9.9.9.9"]);
    assert_eq!(own("9.9.8.0/24"), Vec::<String>::new());
}

#[test]
fn reserved_labels_have_values_of_the_inventory() {
    let spec = "ingress: [{from: [{podSelector: {matchLabels: {tier: web}}}], ports: [{port: 443}]}]";
    for (label, expressions, found) in [
        ("pci-env: cde", "", 0),
        ("pci-env: cde-admin", "", 1),
        ("owner: nobody", "", 0),
        ("pci-env: cde", ", matchExpressions: [{key: tier, operator: In, values: [app, database]}]", 0),
        ("pci-env: cde", ", matchExpressions: [{key: tier, operator: In, values: [app, databases]}]", 1),
        ("pci-env: cde", ", matchExpressions: [{key: tier, operator: NotIn, values: [bastion]}]", 0),
    ] {
        let text = policy("p", label, spec).replace(&format!("{{{label}}}"), &format!("{{{label}}}{expressions}"));
        assert_eq!(ask(LABELS, &format!("{}{text}", facts())).len(), found, "{label} {expressions}");
    }
    let peer = spec.replace("tier: web", "tier: webb");
    let found = ask(LABELS, &format!("{}{}", facts(), policy("p", "pci-env: cde", &peer)));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path.as_deref(), Some("/spec/ingress/0/from/0"));
    let others = standard("reservedLabels: [owner]");
    assert!(ask(LABELS, &format!("{}{}{others}", facts(), policy("p", "pci-env: cde-admin", spec))).is_empty());
    assert_eq!(ask(LABELS, &format!("{}{}{others}", facts(), policy("p", "owner: nobody", spec))).len(), 1);
}

#[test]
fn labels_and_zones_agree_on_who_is_in_the_cde() {
    for (labels, address, found) in [
        ("{pci-env: cde}", "10.0.30.9", 0),
        ("{pci-env: dmz}", "10.0.30.9", 1),
        ("{a: b}", "10.0.30.9", 1),
        ("{pci-env: cde}", "10.0.50.9", 1),
        ("{pci-env: cde}", "9.9.9.9", 1),
        ("{a: b}", "9.9.9.9", 0),
    ] {
        let inventory = format!(
            "---\n{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{hosts: [{{name: e, labels: {labels}, addresses: [{address}]}}]}}}}\n"
        );
        let findings = ask(LABELS, &format!("{ZONES}{inventory}"));
        assert_eq!(findings.len(), found, "{labels} {address}");
        assert!(findings.iter().all(|f| f.endpoint.as_deref() == Some("e") && f.path.as_deref().unwrap().ends_with("/labels")));
        // Without Zones there is nothing to disagree with.
        assert!(ask(LABELS, inventory.trim_start_matches("---\n")).is_empty());
    }
}

/// What is found when somebody turns one set into another.
fn changed(before: &str, after: &str, author: &str) -> Vec<String> {
    let circumstances = Circumstances {
        enforced: Some(Arc::new(read(&snapshot(before)).set)),
        change: Some(Change { author: author.to_string(), ..Change::default() }),
        ..circumstances()
    };
    ask_with(LABELS, after, &circumstances).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn only_approvers_change_the_inventory() {
    let with = |approvers: &str, inventory: &str| format!("{ZONES}---\n{inventory}---\n{SERVICES}{}", standard(approvers));
    let ours = "approvers: [ann, ben]";
    let before = with(ours, INVENTORY);
    let relabelled = with(ours, &INVENTORY.replace("{pci-env: shop, tier: till}", "{pci-env: shop, tier: app}"));
    let gone = with(
        ours,
        &INVENTORY
            .replace("labels: {pci-env: none, tier: desk}", "labels: {pci-env: none, tier: desk2}")
            .replace("desk-01", "desk-02"),
    );
    assert_eq!(changed(&before, &before, "mallory"), Vec::<String>::new());
    assert_eq!(changed(&before, &relabelled, "ann"), Vec::<String>::new());
    assert_eq!(changed(&before, &relabelled, "mallory"), ["mallory, who is none of the approvers, changed the Inventory: till-01"]);
    assert_eq!(
        changed(&before, &gone, "mallory"),
        ["mallory, who is none of the approvers, changed the Inventory: desk-02, desk-01"]
    );
    // Moving the file, or a line, changes nothing.
    let moved = format!("# moved\n\n{before}");
    assert_eq!(changed(&before, &moved, "mallory"), Vec::<String>::new());
    // A commit does not make its own author an approver; without any approver everybody is one.
    let self_made = relabelled.replace("[ann, ben]", "[ann, mallory]");
    assert_eq!(changed(&before, &self_made, "mallory").len(), 1);
    let nobody = |text: &str| text.replace("[ann, ben]", "[]");
    assert_eq!(changed(&nobody(&before), &nobody(&relabelled), "mallory"), Vec::<String>::new());
}

#[test]
fn a_store_of_account_data_is_reached_from_trusted_networks_only() {
    let id = "PCI-1.4.4-001";
    for (label, cidr, bare, zoned) in [
        ("tier: database", "10.0.2.0/24", None, None),
        ("tier: database", "10.0.2.0/23", None, Some("10.0.3.0")),
        ("tier: database", "10.20.0.0/32", None, Some("10.20.0.0")),
        ("tier: database", "9.9.9.9/32", Some("9.9.9.9"), Some("9.9.9.9")),
        ("tier: database", "2a00::/64", Some("2a00::"), Some("2a00::")),
        ("pci-env: cde", "10.20.0.0/32", None, Some("10.20.0.0")),
        ("tier: app", "9.9.9.9/32", None, None),
    ] {
        let floor = policy("floor", "pci-env: cde", "policyTypes: [Ingress]");
        let rule = format!("{}{floor}", from(label, &block(cidr), "{protocol: UDP, port: 9}"));
        let expected = |found: Option<&str>| found.into_iter().map(String::from).collect::<Vec<_>>();
        assert_eq!(others(&ask(id, &format!("{}{rule}", facts()))), expected(zoned), "{label} {cidr}");
        // Without Zones, public addresses are the untrusted ones.
        let zoneless = INVENTORY.lines().map(|line| line.split(", zone: ").enumerate().map(strip).collect::<String>() + "\n");
        let zoneless: String = zoneless.collect::<String>().replace(", publicServices: [https]", "");
        assert_eq!(others(&ask(id, &format!("{zoneless}{rule}"))), expected(bare), "{label} {cidr}");
    }
}

/// What follows a zone's name.
fn strip((number, part): (usize, &str)) -> &str {
    if number == 0 { part } else { part.find([',', '}']).map_or("", |at| &part[at..]) }
}

#[test]
fn a_store_of_data_is_open_to_flows_that_name_it_only() {
    let id = "PCI-1.4.4-002";
    for (label, cidr, ports, found) in [
        ("tier: database", "10.0.2.0/24", "{port: 5432}", None),
        ("tier: database", "10.0.30.0/24", "{port: 5432}", None),
        ("tier: database", "10.0.2.0/23", "{port: 5432}", Some("10.0.3.0 5432")),
        // The flow from operations names no store; the flow from the application names another port.
        ("tier: database", "10.0.8.0/24", "{port: 5432}", Some("10.0.8.0 5432")),
        ("tier: database", "10.0.8.0/24", "{port: 5433}", None),
        ("tier: database", "10.0.8.0/24", "{port: 443}", None),
        ("tier: database", "10.0.2.0/24", "{port: 6379}", Some("10.0.2.0 6379")),
        ("tier: database", "10.0.2.0/24", "{port: 5430, endPort: 5984}", Some("10.0.2.0 5984")),
        ("tier: web", "10.0.8.0/24", "{port: 5432}", None),
    ] {
        let text = format!("{}{}", facts(), from(label, &block(cidr), ports));
        let findings = ask(id, &text);
        let shown: Vec<String> = findings
            .iter()
            .zip(others(&findings))
            .map(|(finding, other)| format!("{other} {}", finding.witness.as_ref().unwrap().service.port()))
            .collect();
        assert_eq!(shown, found.into_iter().collect::<Vec<_>>(), "{label} {cidr} {ports}");
    }
}
