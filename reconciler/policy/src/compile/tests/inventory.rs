//! Rows S17 to S37 as far as they need an Inventory.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{policy, ruleset};
use crate::compile::{Endpoint, Flow, Party, Ruleset};
use crate::net::Direction::{self, Egress, Ingress};
use crate::net::Service;
use crate::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::read::{Code, read};
use crate::rules::tests::{day, snapshot};

/// Two databases and an application in `default`, monitoring in `ops`, a database of its own in `lab`.
const INVENTORY: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {
  namespaces: [{name: ops, labels: {team: operations}}, {name: lab, labels: {team: research}}],
  workloads: [
    {name: db-01, labels: {tier: db}, addresses: [10.0.30.11, \"fd00:30::11\"], ports: [{name: sql, protocol: TCP, port: 5432}]},
    {name: db-02, labels: {tier: db}, addresses: [10.0.30.12], ports: [{name: sql, protocol: TCP, port: 6432}]},
    {name: app-01, labels: {tier: app}, addresses: [10.0.1.10, \"fd00:1::/126\"], ports: [{name: sql, protocol: UDP, port: 53}]},
    {name: mon-01, namespace: ops, labels: {tier: monitoring}, addresses: [10.0.9.5]},
    {name: db-lab, namespace: lab, labels: {tier: db}, addresses: [10.40.0.1], ports: [{name: sql, protocol: TCP, port: 5432}]}]}}
---
";

fn known(documents: &str) -> Ruleset {
    ruleset(&format!("{INVENTORY}{documents}"))
}

/// A policy for the databases of `default` with one ingress rule.
fn from(rule: &str) -> Ruleset {
    known(&policy("p", &format!("podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{{rule}}}]")))
}

/// The same for what they may reach.
fn to(rule: &str) -> Ruleset {
    known(&policy("p", &format!("podSelector: {{matchLabels: {{tier: db}}}}, egress: [{{{rule}}}]")))
}

fn tcp(port: u16) -> Service {
    Service::new(TCP, port)
}

fn asks(rules: &Ruleset, name: &str, direction: Direction, peer: &str, service: Service) -> bool {
    let member = rules.members().iter().find(|member| &*member.name == name).unwrap();
    rules.verdict(&Flow { endpoint: member.into(), direction, peer: peer.parse().unwrap(), service }).allow
}

/// Who of everybody may reach db-01 on TCP 1.
fn who(rules: &Ruleset) -> Vec<&str> {
    let reaches = |peer: &&&str| asks(rules, "db-01", Ingress, peer, tcp(1));
    ["10.0.30.12", "10.0.1.10", "fd00:1::3", "10.0.9.5", "10.40.0.1", "8.8.8.8"].iter().filter(reaches).copied().collect()
}

fn codes(documents: &str) -> Vec<Code> {
    read(&snapshot(documents.trim_end_matches("---\n"))).problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn s17_what_one_peer_excepts_another_peer_rule_or_policy_allows() {
    let block = "{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.1.0/24]}}";
    let select = "podSelector: {matchLabels: {tier: db}}";
    let again = "{podSelector: {matchLabels: {tier: app}}}";
    let alone = policy("p", &format!("{select}, ingress: [{{from: [{block}]}}]"));
    assert!(!who(&known(&alone)).contains(&"10.0.1.10"));
    for documents in [
        policy("p", &format!("{select}, ingress: [{{from: [{block}, {again}]}}]")),
        policy("p", &format!("{select}, ingress: [{{from: [{block}]}}, {{from: [{again}]}}]")),
        alone.clone() + &policy("q", &format!("{select}, ingress: [{{from: [{again}]}}]")),
    ] {
        assert!(who(&known(&documents)).contains(&"10.0.1.10"), "{documents}");
    }
}

#[test]
fn s18_a_pod_selector_means_the_policys_own_namespace_and_a_namespace_selector_all_of_the_namespaces() {
    for (peer, expected) in [
        ("{podSelector: {matchLabels: {tier: db}}}", &["10.0.30.12"][..]),
        ("{podSelector: {}}", &["10.0.30.12", "10.0.1.10", "fd00:1::3"]),
        ("{namespaceSelector: {matchLabels: {team: operations}}}", &["10.0.9.5"]),
        ("{namespaceSelector: {}}", &["10.0.30.12", "10.0.1.10", "fd00:1::3", "10.0.9.5", "10.40.0.1"]),
    ] {
        assert_eq!(who(&from(&format!("from: [{peer}]"))), expected, "{peer}");
    }
}

#[test]
fn s19_both_selectors_of_one_peer_must_hold_and_of_two_peers_either() {
    let one = from("from: [{podSelector: {matchLabels: {tier: db}}, namespaceSelector: {matchLabels: {team: research}}}]");
    assert_eq!(who(&one), ["10.40.0.1"]);
    let two = from("from: [{podSelector: {matchLabels: {tier: db}}}, {namespaceSelector: {matchLabels: {team: research}}}]");
    assert_eq!(who(&two), ["10.0.30.12", "10.40.0.1"]);
}

#[test]
fn s20_a_namespace_is_default_unless_written_and_always_carries_its_name() {
    let named = |name: &str| format!("from: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}]");
    assert_eq!(who(&from(&named("default"))), ["10.0.30.12", "10.0.1.10", "fd00:1::3"]);
    assert_eq!(who(&from(&named("ops"))), ["10.0.9.5"]);
    // A policy of another namespace does not select the databases of this one.
    let lab =
        "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: p, namespace: lab}, spec: {podSelector: {}}}\n---\n";
    let rules = known(lab);
    assert!(asks(&rules, "db-01", Ingress, "8.8.8.8", tcp(1)) && !asks(&rules, "db-lab", Ingress, "8.8.8.8", tcp(1)));
}

#[test]
fn s21_a_peer_that_names_nobody_or_too_much_contains_no_address() {
    for peer in ["{}", "{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}"] {
        let documents = format!(
            "{INVENTORY}{}",
            policy("p", &format!("podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{from: [{peer}]}}]"))
        );
        let reading = read(&snapshot(documents.trim_end_matches("---\n")));
        assert_eq!(reading.problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::BadPeer], "{peer}");
        assert_eq!(who(&Ruleset::of(&reading.set, day())), Vec::<&str>::new(), "{peer}");
    }
}

#[test]
fn s22_a_selector_peer_is_all_addresses_of_whom_it_matches_and_nobody_elses() {
    let rules = from("from: [{podSelector: {matchLabels: {tier: app}}}]");
    for (peer, allow) in [
        ("10.0.1.9", false),
        ("10.0.1.10", true),
        ("10.0.1.11", false),
        ("fd00:0:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("fd00:1::", true),
        ("fd00:1::3", true),
        ("fd00:1::4", false),
    ] {
        assert_eq!(asks(&rules, "db-01", Ingress, peer, tcp(1)), allow, "{peer}");
    }
}

#[test]
fn s23_a_selector_peer_that_matches_nobody_allows_nobody_and_needs_an_inventory() {
    let rule = "from: [{podSelector: {matchLabels: {tier: none}}}]";
    assert_eq!(who(&from(rule)), Vec::<&str>::new());
    let alone = policy("p", &format!("podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{{rule}}}]"));
    assert_eq!(codes(&alone), [Code::BadPeer]);
}

#[test]
fn s27_a_port_name_in_ingress_is_the_port_each_selected_endpoint_declares() {
    let rules = from("from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: sql}]");
    for (name, port, allow) in [("db-01", 5432, true), ("db-01", 6432, false), ("db-02", 6432, true), ("db-02", 5432, false)] {
        assert_eq!(asks(&rules, name, Ingress, "10.0.1.10", tcp(port)), allow, "{name} {port}");
    }
    let everybody = known(&policy("p", "podSelector: {}, ingress: [{from: [], ports: [{protocol: TCP, port: sql}]}]"));
    // It declares the name for another protocol, and so is not matched.
    assert!(!asks(&everybody, "app-01", Ingress, "8.8.8.8", tcp(53)));
    assert!(!asks(&everybody, "app-01", Ingress, "8.8.8.8", Service::new(UDP, 53)));
    let made_up = Endpoint::host([("tier".to_string(), "db".to_string())].into());
    let flow = Flow { endpoint: made_up, direction: Ingress, peer: "8.8.8.8".parse().unwrap(), service: tcp(5432) };
    assert!(!everybody.verdict(&flow).allow);
}

#[test]
fn s28_a_port_name_in_egress_is_the_port_at_each_destination() {
    let rules = to("to: [{namespaceSelector: {}, podSelector: {matchLabels: {tier: db}}}], ports: [{protocol: TCP, port: sql}]");
    for (peer, port, allow) in [
        ("10.0.30.11", 5432, true),
        ("fd00:30::11", 5432, true),
        ("10.0.30.12", 5432, false),
        ("10.0.30.12", 6432, true),
        ("10.40.0.1", 5432, true),
        ("10.0.1.10", 5432, false),
    ] {
        assert_eq!(asks(&rules, "db-02", Egress, peer, tcp(port)), allow, "{peer} {port}");
    }
    let block =
        policy("p", "podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{protocol: TCP, port: sql}]}]");
    assert_eq!(codes(&format!("{INVENTORY}{block}")), [Code::BadPort]);
}

#[test]
fn s28_a_number_beside_a_port_name_holds_for_every_peer() {
    let rules = to("to: [{podSelector: {}}], ports: [{protocol: TCP, port: sql}, {protocol: TCP, port: 22}]");
    for (peer, port, allow) in
        [("10.0.30.12", 6432, true), ("10.0.30.12", 22, true), ("10.0.1.10", 22, true), ("10.0.1.10", 53, false)]
    {
        assert_eq!(asks(&rules, "db-01", Egress, peer, tcp(port)), allow, "{peer} {port}");
    }
}

#[test]
fn s29_a_port_name_that_nobody_in_question_declares_is_no_port() {
    let rule = "from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: SCTP, port: sql}]";
    let documents = policy("p", &format!("podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{{rule}}}]"));
    assert_eq!(codes(&format!("{INVENTORY}{documents}")), [Code::BadPort]);
    assert_eq!(codes(&documents), [Code::BadPort]);
    let rules = Ruleset::of(&read(&snapshot(format!("{INVENTORY}{documents}").trim_end_matches("---\n"))).set, day());
    for service in [tcp(5432), Service::new(SCTP, 5432), Service::new(SCTP, 0)] {
        assert!(!asks(&rules, "db-01", Ingress, "10.0.1.10", service), "{service}");
    }
}

#[test]
fn s32_icmp_needs_a_block_of_its_own_family() {
    let rule = |protocol: &str, block: &str| {
        policy(
            "p",
            &format!(
                "podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: \"{block}\"}}}}], ports: [{{protocol: {protocol}}}]}}]"
            ),
        )
    };
    assert_eq!(codes(&rule("ICMP", "fd00::/8")), [Code::BadPort]);
    assert_eq!(codes(&rule("ICMPv6", "10.0.0.0/8")), [Code::BadPort]);
    let rules = ruleset(&rule("ICMPv6", "fd00::/8"));
    let asked = |service| super::ask(&rules, &[], Ingress, "fd00::1", service).allow;
    assert!(asked(Service::icmp(ICMPV6, 128, 0)) && !asked(Service::icmp(ICMP, 8, 0)));
}

#[test]
fn s34_a_flow_between_two_endpoints_needs_both_sides() {
    let database = policy(
        "in",
        "podSelector: {matchLabels: {tier: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {tier: app}}}], ports: [{port: 5432}]}]",
    );
    let closed = policy("out", "podSelector: {matchLabels: {tier: app}}, policyTypes: [Egress]");
    let open = policy(
        "out",
        "podSelector: {matchLabels: {tier: app}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.30.0/24}}], ports: [{port: 5432}]}]",
    );
    let party = |address: &str| Party { address: address.parse().unwrap(), endpoint: None };
    let passes = |rules: &Ruleset, from: &str, to: &str| rules.passes(&party(from), &party(to), tcp(5432));
    assert!(!passes(&known(&(database.clone() + &closed)), "10.0.1.10", "10.0.30.11"));
    let agreed = known(&(database + &open));
    assert!(passes(&agreed, "10.0.1.10", "10.0.30.11"));
    // Egress allows every address of 10.0.30.0/24, ingress of db-02 agrees, and a stranger is asked on one side only.
    assert!(passes(&agreed, "10.0.1.10", "10.0.30.200") && !passes(&agreed, "8.8.8.8", "10.0.30.11"));
    assert!(passes(&agreed, "8.8.8.8", "9.9.9.9"));
}

#[test]
fn s35_an_endpoint_is_isolated_on_all_its_addresses() {
    let rules = from("from: [{ipBlock: {cidr: 10.0.1.0/24}}]");
    assert!(asks(&rules, "db-01", Ingress, "10.0.1.10", tcp(1)) && !asks(&rules, "db-01", Ingress, "fd00:1::1", tcp(1)));
}

#[test]
fn s37_an_endpoint_reaches_itself_by_any_of_its_addresses() {
    let rules = known(&policy("p", "podSelector: {}"));
    let party = |address: &str| Party { address: address.parse().unwrap(), endpoint: None };
    for (from, to, allow) in
        [("10.0.30.11", "10.0.30.11", true), ("fd00:1::1", "fd00:1::2", true), ("10.0.30.11", "10.0.30.12", false)]
    {
        assert_eq!(rules.passes(&party(from), &party(to), tcp(1)), allow, "{from} {to}");
    }
}

#[test]
fn a_rule_past_its_last_day_allows_nothing_whatever_names_its_ports() {
    let record = |rule: &str, last: &str| {
        format!(
            "{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: {rule}, owner: somebody, justification: \"For the test\", expiresAt: {last}}}]}}}}\n---\n"
        )
    };
    let rules = |rule: &str, last: &str| {
        let spec = format!("podSelector: {{matchLabels: {{tier: db}}}}, egress: [{{name: r, {rule}}}]");
        known(&(policy("p", &spec) + &record("r", last)))
    };
    for rule in [
        "to: [{podSelector: {}}], ports: [{protocol: TCP, port: sql}]",
        "to: [{podSelector: {}}], ports: [{port: 6432}]",
        "to: [{ipBlock: {cidr: 10.0.30.12/32}}]",
        "to: []",
    ] {
        for (last, allow) in [("2026-02-01", true), ("2026-01-31", false)] {
            assert_eq!(asks(&rules(rule, last), "db-01", Egress, "10.0.30.12", tcp(6432)), allow, "{rule} {last}");
        }
    }
}

#[test]
fn the_text_of_these_tests_reads_without_a_problem() {
    let text: String = INVENTORY.trim_end_matches("---\n").to_string();
    assert_eq!(codes(&text), []);
}
