//! The rules about flows between zones, at their edges.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::network::{FLOWS, INVENTORY, SERVICES, ZONES, ask, block, facts, from, others, policy, to};
use super::{circumstances, judge, snapshot};
use crate::finding::Severity;
use crate::net::Direction;
use crate::read::read;
use crate::rules::audience::Whose;
use crate::rules::facts::Facts;

const INTO: &str = "PCI-1.3.1-010";
const OUT_OF: &str = "PCI-1.3.2-005";
const APP: &str = "pci-env: cde, tier: app";
const DATABASE: &str = "pci-env: cde, tier: database";

fn into(label: &str, block: &str) -> Vec<String> {
    others(&ask(INTO, &format!("{}{}", facts(), from(label, block, "{protocol: TCP, port: 443}"))))
}

#[test]
fn a_block_counts_in_part_too_and_the_witness_lies_in_the_unapproved_part() {
    for (cidr, expected) in [
        ("10.0.50.0/24", None),
        ("10.0.50.0/23", Some("10.0.51.0")),
        ("10.0.51.0/24", Some("10.0.51.0")),
        ("10.0.50.255/32", None),
        ("10.0.49.255/32", Some("10.0.49.255")),
        ("10.0.48.0/22", Some("10.0.48.0")),
        ("10.20.0.0/15", Some("10.21.0.0")),
        ("fd00:50::/64", None),
        ("fd00:50::/63", Some("-")),
    ] {
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(into(APP, &block(cidr)), expected, "{cidr}");
    }
    // The database has IPv6, so there is a packet that shows it.
    assert_eq!(into(DATABASE, &block("fd00:2::/63")), ["fd00:2:0:1::"]);
}

#[test]
fn what_is_excepted_touches_nothing() {
    assert_eq!(into(APP, "{cidr: 10.0.50.0/23, except: [10.0.51.0/24]}"), Vec::<String>::new());
    assert_eq!(into(APP, "{cidr: 10.0.50.0/23, except: [10.0.51.0/25]}"), ["10.0.51.128"]);
}

#[test]
fn traffic_within_one_zone_is_no_crossing() {
    assert_eq!(into(APP, &block("10.0.2.0/24")), Vec::<String>::new());
    assert_eq!(into(APP, &block("10.0.2.0/23")), ["10.0.3.0"]);
}

#[test]
fn an_approved_flow_has_a_direction() {
    let to_dmz = to(APP, &block("10.0.50.0/24"), "{protocol: TCP, port: 443}");
    assert_eq!(others(&ask(OUT_OF, &format!("{}{to_dmz}", facts()))), ["10.0.50.0"]);
    let to_database = to(APP, &block("10.0.30.0/24"), "{protocol: TCP, port: 5432}");
    assert!(ask(OUT_OF, &format!("{}{to_database}", facts())).is_empty());
}

#[test]
fn a_policy_for_two_zones_needs_a_flow_into_each() {
    let found = ask(INTO, &format!("{}{}", facts(), from("pci-env: cde", &block("10.0.50.0/24"), "{protocol: TCP, port: 443}")));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].message.contains("db-01 in cde-db") && found[0].message.contains("from dmz to cde-db"),
        "{}",
        found[0].message
    );
}

#[test]
fn each_peer_of_each_policy_is_found_once() {
    let one = policy(
        "one",
        APP,
        "ingress: [{from: [{ipBlock: {cidr: 10.20.1.0/24}}, {ipBlock: {cidr: 10.20.2.0/24}}], ports: [{port: 443}]}]",
    );
    let other = policy("other", "pci-env: cde", "ingress: [{from: [{ipBlock: {cidr: 10.20.1.0/24}}], ports: [{port: 443}]}]");
    let found = ask(INTO, &format!("{}{one}{other}", facts()));
    assert_eq!(others(&found), ["10.20.1.0", "10.20.2.0", "10.20.1.0"]);
}

#[test]
fn peers_by_selector_and_ports_by_name_count_like_any_other() {
    let spec =
        |tier: &str| format!("ingress: [{{from: [{{podSelector: {{matchLabels: {{tier: {tier}}}}}}}], ports: [{{port: api}}]}}]");
    assert!(ask(INTO, &format!("{}{}", facts(), policy("p", APP, &spec("web")))).is_empty());
    let found = ask(INTO, &format!("{}{}", facts(), policy("p", APP, &spec("till"))));
    assert_eq!(others(&found), ["10.0.60.10"]);
    assert_eq!(found[0].witness.as_ref().unwrap().service.port(), 8443);
    let named = policy("p", APP, "egress: [{to: [{podSelector: {matchLabels: {tier: database}}}], ports: [{port: store}]}]");
    assert!(ask(OUT_OF, &format!("{}{named}", facts())).is_empty());
}

#[test]
fn a_rule_for_everybody_is_found_at_the_rule() {
    let found = ask(INTO, &format!("{}{}", facts(), policy("p", APP, "ingress: [{ports: [{port: 443}]}]")));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path.as_deref(), Some("/spec/ingress/0"));
    assert!(found[0].message.contains("internet, cde-db, operations and "), "{}", found[0].message);
}

#[test]
fn an_audited_policy_and_an_expired_rule_are_judged_and_show_no_packet() {
    let audited = "---\napiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p, annotations: {pci-segment/mode: audit}}\nspec: {podSelector: {matchLabels: {tier: app}}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{port: 443}]}]}\n";
    assert_eq!(others(&ask(INTO, &format!("{}{audited}", facts()))), ["-"]);
    let rule = "ingress: [{name: gone, from: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{port: 443}]}]";
    let record = |day: &str| {
        format!(
            "---\n{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: gone, owner: me, justification: \"x\", expiresAt: {day}}}]}}}}\n"
        )
    };
    let text = |day: &str| format!("{}{}{}", facts(), policy("p", APP, rule), record(day));
    assert_eq!(others(&ask(INTO, &text("2026-01-31"))), ["-"]);
    assert_eq!(others(&ask(INTO, &text("2026-02-01"))), ["10.20.0.0"]);
}

#[test]
fn services_that_no_packet_of_a_family_can_ask_for_are_left_out() {
    let mixed = |ports: &str| {
        policy(
            "p",
            APP,
            &format!(
                "ingress: [{{from: [{{ipBlock: {{cidr: 10.0.50.0/24}}}}, {{ipBlock: {{cidr: \"fd00:77::/64\"}}}}], ports: [{ports}]}}]"
            ),
        )
    };
    assert!(ask(INTO, &format!("{}{}", facts(), mixed("{protocol: ICMP}"))).is_empty());
    assert_eq!(ask(INTO, &format!("{}{}", facts(), mixed("{protocol: ICMPv6}"))).len(), 1);
}

#[test]
fn without_the_facts_the_rules_are_listed_as_not_run() {
    let rule = from(APP, &block("10.20.0.0/24"), "{port: 443}");
    for documents in [&[INVENTORY, SERVICES][..], &[ZONES, SERVICES, FLOWS], &[ZONES, INVENTORY, SERVICES]] {
        let judged = judge(&format!("{}{rule}", documents.join("---\n")));
        assert!(judged.not_run.iter().any(|rule| rule.rule_id == INTO && !rule.needs.is_empty()), "{:?}", judged.not_run);
        assert!(judged.findings.iter().all(|f| f.rule_id != INTO && !f.also.contains(&INTO)));
    }
}

#[test]
fn platform_addresses_need_a_reason_and_their_neighbours_do_not() {
    let id = "PCI-1.3.2-006";
    for (cidr, expected) in [
        ("169.253.255.255/32", false),
        ("169.254.0.0/32", true),
        ("169.254.255.255/32", true),
        ("169.255.0.0/32", false),
        ("168.63.129.15/32", false),
        ("168.63.129.16/32", true),
        ("168.63.129.0/24", true),
        ("fd00:ec2::253/128", false),
        ("fd00:ec2::254/128", true),
    ] {
        let found = ask(id, &to("pci-env: cde", &block(cidr), "{port: 80}"));
        assert_eq!(found.len(), usize::from(expected), "{cidr}");
        assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
        assert!(ask(id, &from("pci-env: cde", &block(cidr), "{port: 80}")).is_empty(), "{cidr} in ingress");
        assert!(ask(id, &to("pci-env: dmz", &block(cidr), "{port: 80}")).is_empty(), "{cidr} outside of the CDE");
    }
    let rule = "egress: [{name: metadata, to: [{ipBlock: {cidr: 169.254.169.254/32}}], ports: [{port: 80}]}]";
    let record = "---\n{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {name: r}, spec: {records: [{policy: p, rule: metadata, owner: me, justification: \"x\", accessReason: \"Instance role.\"}]}}\n";
    assert!(ask(id, &format!("{}{record}", policy("p", "pci-env: cde", rule))).is_empty());
    let filler = record.replace("Instance role.", "-");
    assert_eq!(ask(id, &format!("{}{filler}", policy("p", "pci-env: cde", rule))).len(), 1);
}

#[test]
fn names_and_time_come_from_designated_servers_only() {
    let id = "PCI-1.3.2-007";
    for (cidr, ports, expected) in [
        ("10.0.8.52/31", "{protocol: UDP, port: 53}", None),
        ("10.0.8.52/31", "{protocol: TCP, port: 853}", None),
        ("10.0.8.52/30", "{protocol: UDP, port: 53}", Some("10.0.8.54")),
        ("10.0.8.51/32", "{protocol: TCP, port: 53}", Some("10.0.8.51")),
        ("10.0.8.51/32", "{protocol: UDP, port: 50, endPort: 60}", Some("10.0.8.51")),
        ("10.0.8.51/32", "{protocol: UDP, port: 54}", None),
        ("10.0.8.51/32", "{protocol: TCP, port: 123}", None),
        ("10.0.8.123/32", "{protocol: UDP, port: 123}", None),
        ("10.0.8.52/31", "{protocol: UDP, port: 123}", Some("10.0.8.52")),
        ("fd00:8::53/128", "{protocol: UDP, port: 53}", None),
        ("fd00:8::52/127", "{protocol: UDP, port: 53}", Some("fd00:8::52")),
        ("fd00:8::53/128", "{protocol: UDP, port: 123}", Some("fd00:8::53")),
    ] {
        let found = ask(id, &format!("{}{}", facts(), to(DATABASE, &block(cidr), ports)));
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(others(&found), expected, "{cidr} {ports}");
        assert!(ask(id, &format!("{}{}", facts(), to("tier: desk", &block(cidr), ports))).is_empty());
    }
}

#[test]
fn when_all_work_is_spent_the_walks_end_and_say_so() {
    let text = format!("{}{}", facts(), from(APP, &block("10.20.0.0/24"), "{port: 443}"));
    let (set, circumstances) = (read(&snapshot(&text)).set, circumstances());
    let facts = Facts::new(&set, set.standard.profile, &circumstances);
    let walk = || facts.reaches(Whose::Cde, Direction::Ingress, |_| true).count();
    assert_eq!((walk(), facts.is_spent()), (1, false));
    assert!(!facts.spend(usize::MAX));
    assert_eq!((walk(), facts.is_spent()), (0, true));
}
