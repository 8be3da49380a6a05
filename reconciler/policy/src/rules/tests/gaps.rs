//! What could be left out, emptied or renamed so that nobody looks: none of it makes a set compliant.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::network::{FLOWS, INVENTORY, SERVICES, ZONES, ask, block, facts, from, others, policy};
use super::{ids, is_open, judge};

const FLOOR: &str = "---\n{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: floor}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}\n";

fn document(kind: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: pci-segment/v1, kind: {kind}, metadata: {{name: more}}, spec: {{{spec}}}}}\n")
}

fn hosts(hosts: &str) -> String {
    document("Inventory", &format!("hosts: [{hosts}]"))
}

#[test]
fn a_store_of_account_data_that_nobody_isolates_is_found_at_its_entry() {
    let vault = hosts("{name: vault, labels: {tier: vault}, addresses: [10.20.0.5], zone: corporate, storesChd: true}");
    let app = policy("p", "pci-env: cde", "ingress: []");
    let found = ask("PCI-1.4.4-001", &format!("{}{vault}{app}", facts()));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].endpoint.as_deref(), found[0].waivable), (Some("vault"), false));
    assert!(found[0].path.as_deref().unwrap().ends_with("/storesChd"), "{:?}", found[0].path);
    assert!(ask("PCI-1.4.4-001", &format!("{}{vault}{app}{FLOOR}", facts())).is_empty());
}

#[test]
fn what_stores_account_data_is_in_the_cde_whatever_its_labels_and_zone() {
    let vault = |stores: bool| {
        hosts(&format!("{{name: vault, labels: {{tier: vault}}, addresses: [10.20.0.5], zone: corporate, storesChd: {stores}}}"))
    };
    let rule = policy("p", "tier: vault", "ingress: [{from: [{ipBlock: {cidr: 10.8.0.0/15}}], ports: [{port: 8443}]}]");
    for stores in [true, false] {
        let found = ask("PCI-1.3.1-008", &format!("{}{}{rule}", facts(), vault(stores)));
        assert_eq!(found.len(), usize::from(stores), "{stores}");
    }
}

#[test]
fn zones_that_declare_nothing_leave_every_address_untrusted() {
    let rule = from("tier: database", &block("10.99.0.0/24"), "{port: 22}");
    let empty = document("Zones", "zones: []");
    let inventory = hosts("{name: db, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.11], storesChd: true}");
    for (zones, found) in [("", 0), (&*empty, 1)] {
        let text = format!("{inventory}{zones}{rule}");
        for id in ["PCI-1.4.2-001", "PCI-1.4.4-001"] {
            let findings = ask(id, &text);
            assert_eq!(findings.len(), found, "{id} {zones}");
            assert!(findings.iter().all(|finding| finding.message.contains("from internet, which is untrusted,")), "{findings:?}");
        }
    }
    let text = format!("{inventory}{empty}{}{}{rule}", document("DataFlows", "flows: []"), document("Services", "services: []"));
    for id in ["PCI-1.3.1-010", "PCI-1.4.2-002"] {
        assert_eq!(others(&ask(id, &text)), ["10.99.0.0"], "{id}");
    }
}

#[test]
fn an_inventory_without_endpoints_hides_nobody() {
    let rule = policy("p", "pci-env: cde", "ingress: [{}], egress: [{}]");
    let (none, empty) = (ids(&judge(&rule)), ids(&judge(&format!("{}{rule}", document("Inventory", "")))));
    for id in ["PCI-1.3.1-007", "PCI-1.3.1-003", "PCI-1.3.2-003"] {
        assert!(none.contains(&id) && empty.contains(&id), "{id} {none:?} {empty:?}");
    }
    // Whoever may be selected may be in the CDE.
    let wide = rule.replace("{matchLabels: {pci-env: cde}}", "{}");
    assert!(ids(&judge(&format!("{}{wide}", document("Inventory", "workloads: []")))).contains(&"PCI-1.3.1-007"));
}

#[test]
fn an_empty_document_is_no_better_than_a_missing_one() {
    let pci = document("Standard", "profile: pci-dss-4.0.1, version: \"1\"");
    let codes = |text: &str| ask("PCI-1.2.1-002", text).iter().filter_map(|finding| finding.code).collect::<Vec<_>>();
    let records = document("RuleRecords", "records: []");
    let kinds = [
        ("Zones", String::from(ZONES), document("Zones", "zones: []")),
        ("DataFlows", String::from(FLOWS), document("DataFlows", "flows: []")),
        ("Services", String::from(SERVICES), document("Services", "services: []")),
    ];
    let full: String = [ZONES, INVENTORY, SERVICES, FLOWS].join("---\n");
    assert_eq!(codes(&format!("{full}{records}{pci}{FLOOR}")), ["RuleRecords"]);
    let empty: String = kinds.iter().map(|(.., empty)| empty.as_str()).collect();
    let inventory = document("Inventory", "");
    let all = codes(&format!("{empty}{inventory}{records}{pci}{FLOOR}"));
    assert_eq!(all, ["Zones", "Inventory", "DataFlows", "Services", "RuleRecords"]);
    assert!(ask("PCI-1.2.1-002", &format!("{empty}{inventory}{records}{pci}")).iter().all(|finding| !finding.waivable));
    assert!(codes(&format!("{empty}{inventory}{records}{FLOOR}")).is_empty());
}

#[test]
fn a_set_of_the_profile_has_somebody_in_the_cde() {
    let pci = document("Standard", "profile: pci-dss-4.0.1, version: \"1\"");
    let desk = hosts("{name: desk, labels: {tier: desk}, addresses: [10.20.0.7]}");
    let found = |text: &str| ask("PCI-1.2.1-002", text).iter().any(|finding| finding.code == Some("cde") && !finding.waivable);
    assert!(found(&format!("{desk}{pci}{FLOOR}")));
    assert!(!found(&format!("{desk}{FLOOR}")));
    assert!(!found(&format!("{}{pci}{FLOOR}", hosts("{name: db, labels: {pci-env: cde}, addresses: [10.20.0.7]}"))));
}

#[test]
fn ipv4_behind_a_translator_is_public_and_open() {
    let rule = |cidr: &str, port: &str| from("pci-env: cde", &block(cidr), port);
    for (cidr, open) in [
        ("64:ff9b::/96", true),
        ("64:ff9b::800:0/104", true),
        ("64:ff9b::800:0/105", false),
        ("64:ff9a:ffff:ffff:ffff:ffff::/96", false),
        ("64:ff9b::/64", true),
    ] {
        assert_eq!(is_open(&rule(cidr, "{port: 443}")), open, "{cidr}");
    }
    assert_eq!(others(&ask("PCI-1.4.2-001", &rule("64:ff9b::800:0/120", "{port: 22}"))), ["64:ff9b::800:0"]);
}

#[test]
fn whoever_comes_first_in_the_inventory_speaks_for_nobody_of_another_kind() {
    let plain = "{name: plain, labels: {tier: db}, addresses: [10.50.0.10]}";
    let cde = "{name: b-cde, labels: {tier: db, pci-env: cde}, addresses: [10.50.0.11]}";
    let rule = from("tier: db", &block("10.0.8.0/25"), "{protocol: TCP, port: 5432}");
    let base = [ZONES, SERVICES, FLOWS].join("---\n");
    for order in [[plain, cde], [cde, plain]] {
        let text = format!("{base}{}{rule}", hosts(&order.join(", ")));
        assert_eq!(ask("PCI-1.4.4-002", &text).len(), 1, "{order:?}");
    }
    let offices =
        |labels: &str, n: u8| format!("{{name: o-{n}, labels: {{tier: db{labels}}}, addresses: [10.20.0.{n}], zone: corporate}}");
    let (out, inside) = (offices("", 1), offices(", pci-env: cde", 2));
    let rule = from("tier: db", &block("10.30.0.0/25"), "{protocol: TCP, port: 8443}");
    for order in [[&out, &inside], [&inside, &out]] {
        let text = format!("{base}{}{rule}", hosts(&format!("{}, {}", order[0], order[1])));
        assert_eq!(others(&ask("PCI-1.4.2-002", &text)), ["10.30.0.0"], "{order:?}");
    }
}

#[test]
fn whom_nothing_isolates_has_the_forbidden_flows_too() {
    let bans = |bans: &str| document("Standard", &format!("profile: baseline, version: \"1\", forbidden: [{bans}]"));
    let names = |ban: &str, floor: &str| {
        let found = ask("PCI-1.2.1-002", &format!("{}{}{floor}", facts(), bans(ban)));
        assert!(found.iter().all(|finding| finding.path.as_deref().is_some_and(|path| path.ends_with("/labels"))), "{found:?}");
        found.iter().filter_map(|finding| finding.endpoint.as_deref().map(String::from)).collect::<Vec<_>>()
    };
    let cde = policy("cde", "pci-env: cde", "policyTypes: [Ingress, Egress]");
    assert_eq!(names("{from: \"class:wireless\", to: corporate}", &cde), ["desk-01"]);
    assert_eq!(names("{from: corporate, to: \"class:cde\"}", &cde), ["desk-01"]);
    assert_eq!(names("{from: \"class:cde\", to: dmz, services: [https]}", &cde), ["web-01"]);
    // Nobody is in a DMZ of another class, and the shop is at neither end.
    assert_eq!(names("{from: \"class:security-services\", to: corporate}", &cde), Vec::<String>::new());
    let ingress = policy("desk", "tier: desk", "policyTypes: [Ingress]");
    assert_eq!(names("{from: \"class:wireless\", to: corporate}", &format!("{cde}{ingress}")), Vec::<String>::new());
    assert_eq!(names("{from: corporate, to: \"class:wireless\"}", &format!("{cde}{ingress}")), ["desk-01"]);
    assert_eq!(names("{from: corporate, to: \"class:wireless\"}", FLOOR), Vec::<String>::new());
}

#[test]
fn whom_nothing_isolates_is_reached_by_untrusted_networks() {
    let names = |floor: &str| {
        let found = ask("PCI-1.4.2-002", &format!("{}{floor}", facts()));
        found.iter().filter_map(|finding| finding.endpoint.as_deref().map(String::from)).collect::<Vec<_>>()
    };
    // Offices are out of scope.
    assert_eq!(names(""), ["db-01", "app-01", "web-01", "till-01"]);
    assert_eq!(names(&policy("cde", "pci-env: cde", "policyTypes: [Ingress]")), ["web-01", "till-01"]);
    assert_eq!(names(FLOOR), Vec::<String>::new());
}

#[test]
fn a_public_service_takes_private_sources_of_zones_with_an_approved_flow() {
    let flow = |from: &str, to: &str| {
        format!(
            "---\n{{apiVersion: pci-segment/v1, kind: DataFlows, metadata: {{name: more}}, spec: {{flows: [{{id: DF-9, from: {from}, to: {to}, services: [https], accountData: false, purpose: \"Offices shop\", updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12}}]}}}}\n"
        )
    };
    let base = [ZONES, INVENTORY, SERVICES].join("---\n");
    let rule = |cidr: &str| from("tier: web", &block(cidr), "{port: 443}");
    for (from, to, cidr, found) in [
        ("corporate", "dmz", "10.20.0.0/24", None),
        ("corporate", "dmz", "10.20.0.0/15", Some("10.21.0.0")),
        ("corporate", "cde-app", "10.20.0.0/24", Some("10.20.0.0")),
        ("guests", "dmz", "10.20.0.0/24", Some("10.20.0.0")),
        ("internet", "dmz", "10.21.0.0/24", Some("10.21.0.0")),
    ] {
        let findings = ask("PCI-1.4.3-002", &format!("{base}{}{}", flow(from, to), rule(cidr)));
        assert_eq!(others(&findings), found.into_iter().map(String::from).collect::<Vec<_>>(), "{from} {to} {cidr}");
    }
}

#[test]
fn a_selected_endpoint_is_judged_by_its_prefixes_as_a_block_is() {
    let peer = |id: &str, zones: &str, addresses: &str| {
        let inventory = hosts(&format!(
            "{{name: db, labels: {{pci-env: cde}}, addresses: [10.0.30.11, \"fd00:30::11\"]}}, {{name: them, labels: {{role: them}}, addresses: [{addresses}]}}"
        ));
        let rule = "ingress: [{from: [{podSelector: {matchLabels: {role: them}}}], ports: [{port: 8443}]}]";
        let found = ask(id, &format!("{zones}{inventory}{FLOOR}{}", policy("p", "pci-env: cde", rule)));
        assert!(found.iter().all(|finding| finding.path.as_deref() == Some("/spec/ingress/0/from/0")), "{found:?}");
        others(&found)
    };
    let none = Vec::<String>::new();
    assert_eq!(peer("PCI-1.3.1-008", "", "10.8.0.0/24, 11.0.0.0/9, 10.10.0.0/23"), ["11.0.0.0"]);
    assert_eq!(peer("PCI-1.3.1-008", "", "10.8.0.0/24, \"fd00:8::/64\""), none);
    assert_eq!(peer("PCI-1.4.3-001", "", "10.8.0.7, 127.0.0.0/24"), ["127.0.0.0"]);
    assert_eq!(peer("PCI-1.4.3-001", "", "10.8.0.7"), none);
    assert_eq!(peer("PCI-1.2.3-001", ZONES, "10.99.0.7"), ["10.99.0.7"]);
    assert_eq!(peer("PCI-1.2.3-001", ZONES, "10.0.8.7"), none);
}

#[test]
fn a_peer_that_everybody_matches_means_everybody_however_it_is_written() {
    let inventory = hosts(
        "{name: db, labels: {pci-env: cde}, addresses: [10.0.30.11]}, {name: o, labels: {role: x}, addresses: [10.9.1.10, \"fd00:9::1\"]}",
    );
    let found = |peer: &str, extra: &str| {
        let rule = policy("p", "pci-env: cde", &format!("ingress: [{{from: [{{{peer}}}], ports: [{{port: 8443}}]}}]"));
        ask("PCI-1.3.1-009", &format!("{inventory}{FLOOR}{extra}{rule}")).len()
    };
    let absent = "podSelector: {matchExpressions: [{key: zzz, operator: DoesNotExist}]}";
    let own = "podSelector: {}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}";
    for (peer, everybody) in [(absent, 1), (own, 1), ("podSelector: {}", 1), ("podSelector: {matchLabels: {role: x}}", 0)] {
        assert_eq!(found(peer, ""), everybody, "{peer}");
    }
    // Somebody whom the selector leaves out.
    let more =
        document("Inventory", "hosts: [{name: z, labels: {zzz: there}, addresses: [10.9.1.11]}]").replace("name: more", "name: z");
    assert_eq!((found(absent, &more), found(own, &more)), (0, 1));
}

#[test]
fn a_witness_is_a_packet_that_the_endpoint_lets_through_or_there_is_none() {
    let shown = |endpoints: &str, rule: &str| {
        let rule = policy("p", "pci-env: cde", &format!("ingress: [{{{rule}}}]"));
        let found = ask("PCI-1.3.1-008", &format!("{}{FLOOR}{rule}", hosts(endpoints)));
        let text = |w: &crate::finding::Witness| format!("{} {} {}", w.source.text(), w.destination.text(), w.service);
        found.iter().map(|finding| finding.witness.as_ref().map(text).unwrap_or_default()).collect::<Vec<_>>()
    };
    let plain = "{name: a, labels: {pci-env: cde}, addresses: [10.0.1.10]}";
    let naming = "{name: b, labels: {pci-env: cde}, addresses: [10.0.1.11], ports: [{name: web, protocol: TCP, port: 8443}]}";
    let both = format!("{plain}, {naming}");
    // The first endpoint declares no such port.
    let wide = "from: [{ipBlock: {cidr: 10.4.0.0/14}}]";
    assert_eq!(shown(&both, &format!("{wide}, ports: [{{port: web}}]")), ["10.4.0.0 10.0.1.11 TCP 8443"]);
    // No packet of IPv4 asks for the ICMP of IPv6.
    let icmp = "ports: [{protocol: ICMPv6}, {protocol: TCP, port: 8443}]";
    let families = wide.replace("}}]", "}}, {ipBlock: {cidr: \"fd00::/64\"}}]");
    assert_eq!(shown(plain, &format!("{families}, {icmp}")), ["10.4.0.0 10.0.1.10 TCP 8443"]);
    assert_eq!(shown(plain, &format!("{wide}, ports: [{{protocol: SCTP}}]")), ["10.4.0.0 10.0.1.10 SCTP 1"]);
}

#[test]
fn a_rule_whose_last_day_has_passed_lets_no_packet_through() {
    let rule = "---\napiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{name: a, from: [{ipBlock: {cidr: 10.4.0.0/14}}], ports: [{port: 8443}]}]}\n";
    for (day, witness) in [("2026-01-31", "-"), ("2026-02-01", "10.4.0.0")] {
        let record =
            format!("records: [{{policy: p, rule: a, owner: o, justification: \"Everything needs it.\", expiresAt: {day}}}]");
        assert_eq!(others(&ask("PCI-1.3.1-008", &format!("{}{rule}", document("RuleRecords", &record)))), [witness], "{day}");
    }
}
