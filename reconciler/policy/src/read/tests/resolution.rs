//! Rows S18 to S32 of the table: what selectors and port names mean in an Inventory.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{codes, reading};
use crate::compile::{Endpoint, Flow, Ruleset};
use crate::model::{Peer, Port};
use crate::net::Direction::{self, Egress, Ingress};
use crate::net::Service;
use crate::net::service::{SCTP, TCP, UDP};
use crate::read::Reading;
use crate::rules::tests::day;

const INVENTORY: &str = r#"{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {
  namespaces: [{name: web, labels: {team: shop}}, {name: empty, labels: {team: shop}}],
  workloads: [
    {name: db, labels: {app: db}, addresses: [10.0.0.1, "fd00::1"], ports: [{name: sql, protocol: TCP, port: 5432}]},
    {name: db2, labels: {app: db}, addresses: [10.0.0.2], ports: [{name: sql, protocol: TCP, port: 3306}, {name: sql, protocol: UDP, port: 99}]},
    {name: app, labels: {app: api}, addresses: [10.0.1.1]},
    {name: front, namespace: web, labels: {app: api}, addresses: [10.0.2.1], ports: [{name: sql, protocol: TCP, port: 1}]},
    {name: six, namespace: web, labels: {app: six}, addresses: ["fd00::6"]}]}}
---
"#;

/// A policy for the databases, in namespace `default`, beside the Inventory.
fn with_rule(rule: &str) -> String {
    format!(
        "{INVENTORY}{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: {{matchLabels: {{app: db}}}}, {rule}}}}}\n"
    )
}

fn from(peers: &str) -> String {
    with_rule(&format!("ingress: [{{from: [{peers}], ports: [{{port: 443}}]}}]"))
}

fn ask(found: &Reading, endpoint: &str, direction: Direction, peer: &str, service: Service) -> bool {
    let rules = Ruleset::of(&found.set, day());
    let endpoint: Endpoint = rules.members().iter().find(|member| &*member.name == endpoint).unwrap().into();
    let peer: IpAddr = peer.parse().unwrap();
    rules.verdict(&Flow { endpoint, direction, peer, service }).allow
}

/// Which of these addresses reach port 443 of `db`.
fn reach(peers: &str) -> Vec<&'static str> {
    let found = reading(&from(peers));
    assert!(found.problems.is_empty(), "{peers}: {:?}", found.problems);
    let all = ["10.0.0.2", "10.0.1.1", "10.0.2.1", "fd00::1", "fd00::6", "192.0.2.1"];
    all.into_iter().filter(|peer| ask(&found, "db", Ingress, peer, Service::new(TCP, 443))).collect()
}

#[test]
fn s18_a_selector_means_its_own_namespace_and_a_namespace_selector_everybody_there() {
    assert_eq!(reach("{podSelector: {matchLabels: {app: api}}}"), ["10.0.1.1"]);
    assert_eq!(reach("{podSelector: {}}"), ["10.0.0.2", "10.0.1.1", "fd00::1"]);
    assert_eq!(reach("{namespaceSelector: {matchLabels: {team: shop}}}"), ["10.0.2.1", "fd00::6"]);
    assert_eq!(reach("{namespaceSelector: {}}"), ["10.0.0.2", "10.0.1.1", "10.0.2.1", "fd00::1", "fd00::6"]);
}

#[test]
fn s19_both_in_one_item_must_hold_and_either_of_two_items_is_enough() {
    let (pods, shop) = ("podSelector: {matchLabels: {app: api}}", "namespaceSelector: {matchLabels: {team: shop}}");
    assert_eq!(reach(&format!("{{{pods}, {shop}}}")), ["10.0.2.1"]);
    assert_eq!(reach(&format!("{{{pods}}}, {{{shop}}}")), ["10.0.1.1", "10.0.2.1", "fd00::6"]);
}

#[test]
fn s20_namespaces_have_labels_and_always_their_name() {
    let named = |name: &str| format!("{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}");
    assert_eq!(reach(&named("web")), ["10.0.2.1", "fd00::6"]);
    assert_eq!(reach(&named("default")), ["10.0.0.2", "10.0.1.1", "fd00::1"]);
    let elsewhere = |namespace: &str| {
        from("{podSelector: {}}").replace("metadata: {name: p}", &format!("metadata: {{name: p, namespace: {namespace}}}"))
    };
    assert!(codes(&elsewhere("empty")).is_empty());
    let found = reading(&elsewhere("wed")).problems;
    assert_eq!(
        (found[0].code.name(), found[0].path.as_deref(), found[0].did_you_mean.as_deref()),
        ("unknown-reference", Some("/metadata/namespace"), Some("web"))
    );
    let alone = elsewhere("wed").replace(INVENTORY, "").replace("{podSelector: {}}", "{ipBlock: {cidr: 10.0.0.0/8}}");
    assert!(codes(&alone).is_empty());
}

#[test]
fn s21_a_block_beside_a_selector_and_an_empty_peer_are_refused_with_an_inventory_too() {
    for peer in ["{}", "{ipBlock: {cidr: 10.0.0.0/24}, podSelector: {}}", "{ipBlock: {cidr: 10.0.0.0/24}, namespaceSelector: {}}"] {
        let found = reading(&from(peer));
        assert_eq!(found.problems.iter().map(|p| p.code.name()).collect::<Vec<_>>(), ["bad-peer"], "{peer}");
        assert!(matches!(found.set.policies[0].ingress.list[0].peers[..], [Peer::Nobody { .. }]));
    }
}

#[test]
fn s22_a_selector_means_all_addresses_of_both_families() {
    let egress = with_rule("egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]");
    let found = reading(&egress);
    for peer in ["10.0.0.1", "10.0.0.2", "fd00::1"] {
        assert!(ask(&found, "db", Egress, peer, Service::new(TCP, 1)), "{peer}");
    }
    assert!(!ask(&found, "db", Egress, "fd00::2", Service::new(TCP, 1)));
}

#[test]
fn s23_a_selector_that_matches_nobody_allows_nobody_and_one_without_inventory_is_refused() {
    assert!(reach("{podSelector: {matchLabels: {app: none}}}").is_empty());
    assert!(reach("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: empty}}}").is_empty());
    let alone = from("{podSelector: {}}, {namespaceSelector: {}}").replace(INVENTORY, "");
    let found = reading(&alone);
    let told: Vec<_> = found.problems.iter().map(|p| (p.code.name(), p.path.as_deref().unwrap())).collect();
    assert_eq!(told, [("bad-peer", "/spec/ingress/0/from/0"), ("bad-peer", "/spec/ingress/0/from/1")]);
    assert!(found.problems[0].message.contains("no Inventory resolves this selector"));
    assert!(found.set.policies[0].ingress.list[0].peers.iter().all(|peer| matches!(peer, Peer::Nobody { .. })));
}

#[test]
fn s25_a_range_does_not_begin_at_a_name() {
    assert_eq!(codes(&with_rule("ingress: [{from: [{podSelector: {}}], ports: [{port: sql, endPort: 6000}]}]")), ["bad-port"]);
}

#[test]
fn s27_a_name_in_ingress_is_the_port_that_each_selected_endpoint_declares() {
    let found = reading(&with_rule("ingress: [{ports: [{port: sql}]}]"));
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    for (endpoint, port, allow) in
        [("db", 5432, true), ("db", 3306, false), ("db2", 3306, true), ("db2", 5432, false), ("db2", 99, false)]
    {
        assert_eq!(ask(&found, endpoint, Ingress, "192.0.2.1", Service::new(TCP, port)), allow, "{endpoint} {port}");
    }
    let udp = reading(&with_rule("ingress: [{ports: [{protocol: UDP, port: sql}]}]"));
    assert!(ask(&udp, "db2", Ingress, "192.0.2.1", Service::new(UDP, 99)));
    // It declares none for UDP: not matched, whatever the port.
    assert!(!(0..=u16::MAX).any(|port| ask_quick(&udp, "db", port)));
}

fn ask_quick(found: &Reading, endpoint: &str, port: u16) -> bool {
    let member = found.set.members.iter().find(|member| &*member.name == endpoint).unwrap();
    let rule = &found.set.policies[0].ingress.list[0];
    let service = Service::new(UDP, port);
    rule.grants(Ingress, &member.ports).iter().any(|grant| grant.services.iter().any(|range| range.contains(service)))
}

#[test]
fn s28_a_name_in_egress_is_the_port_that_each_destination_declares() {
    let found = reading(&with_rule(
        "egress: [{to: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: shop}}}], ports: [{port: sql}]}]",
    ));
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    for (peer, port, allow) in [
        ("10.0.0.1", 5432, true),
        ("fd00::1", 5432, true),
        ("10.0.0.2", 3306, true),
        ("10.0.2.1", 1, true),
        ("10.0.0.1", 3306, false),
        ("10.0.0.2", 5432, false),
        ("10.0.1.1", 5432, false),
    ] {
        assert_eq!(ask(&found, "db", Egress, peer, Service::new(TCP, port)), allow, "{peer} {port}");
    }
    for to in ["", "to: [], ", "to: [{ipBlock: {cidr: 10.0.0.0/8}}], ", "to: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], "]
    {
        let refused = reading(&with_rule(&format!("egress: [{{{to}ports: [{{port: sql}}]}}]")));
        assert_eq!(refused.problems.iter().map(|p| p.code.name()).collect::<Vec<_>>(), ["bad-port"], "{to}");
        assert!(matches!(refused.set.policies[0].egress.list[0].ports[0].port, Port::Unreadable));
    }
}

#[test]
fn s29_a_name_that_nobody_in_question_declares_is_refused() {
    for (rule, pointer) in [
        ("ingress: [{from: [{namespaceSelector: {}}], ports: [{port: http}]}]", "/spec/ingress/0/ports/0"),
        ("ingress: [{ports: [{port: 1}, {protocol: SCTP, port: sql}]}]", "/spec/ingress/0/ports/1"),
        ("egress: [{to: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: sql}]}]", "/spec/egress/0/ports/0"),
        ("egress: [{to: [{podSelector: {matchLabels: {app: none}}}], ports: [{port: sql}]}]", "/spec/egress/0/ports/0"),
    ] {
        let found = reading(&with_rule(rule));
        let told: Vec<_> = found.problems.iter().map(|p| (p.code.name(), p.path.as_deref().unwrap())).collect();
        assert_eq!(told, [("bad-port", pointer)], "{rule}");
    }
    let alone = with_rule("ingress: [{ports: [{port: sql}]}]").replace(INVENTORY, "");
    let found = reading(&alone);
    assert_eq!(found.problems.iter().map(|p| p.code.name()).collect::<Vec<_>>(), ["bad-port"]);
    assert!(found.set.policies[0].ingress.list[0].services().is_empty());
}

#[test]
fn s29_an_endpoint_that_could_not_be_read_may_have_declared_the_name() {
    let broken = with_rule("ingress: [{ports: [{port: http}]}]").replace("addresses: [10.0.1.1]", "addresses: [10.0.1]");
    assert_eq!(codes(&broken), ["bad-cidr"]);
}

#[test]
fn s30_sctp_is_never_taken_for_tcp_by_name_either() {
    let text = with_rule("ingress: [{ports: [{protocol: SCTP, port: sql}]}]")
        .replace("{name: sql, protocol: UDP, port: 99}", "{name: sql, protocol: SCTP, port: 99}");
    let found = reading(&text);
    assert!(ask(&found, "db2", Ingress, "192.0.2.1", Service::new(SCTP, 99)));
    assert!(!ask(&found, "db2", Ingress, "192.0.2.1", Service::new(TCP, 99)));
}

#[test]
fn s32_icmp_needs_a_block_of_its_family_where_there_are_only_blocks() {
    let icmp = |protocol: &str, peers: &str| {
        codes(&with_rule(&format!("ingress: [{{from: [{peers}], ports: [{{protocol: {protocol}}}]}}]")))
    };
    let six = "{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: six}}}";
    let four = "{podSelector: {matchLabels: {app: api}}}";
    for (protocol, peers, good) in [
        ("ICMP", "{ipBlock: {cidr: \"fd00::/64\"}}", false),
        ("ICMPv6", "{ipBlock: {cidr: 10.0.0.0/8}}", false),
        ("ICMPv6", "{ipBlock: {cidr: \"fd00::/64\"}}, {ipBlock: {cidr: 10.0.0.0/8}}", true),
        // Whom a selector matches changes with the Inventory; `ping` for both families stays one rule.
        ("ICMP", six, true),
        ("ICMPv6", four, true),
        ("ICMP", &format!("{six}, {{ipBlock: {{cidr: \"fd00::/64\"}}}}"), true),
        ("ICMPv6", &format!("{four}, {{ipBlock: {{cidr: 10.0.0.0/8}}}}"), true),
    ] {
        assert_eq!(icmp(protocol, peers).is_empty(), good, "{protocol} {peers}");
    }
}

#[test]
fn equal_selectors_share_their_answer() {
    let found = reading(&from("{podSelector: {}}, {podSelector: {}}"));
    let members = found.set.policies[0].ingress.list[0].peers.iter().filter_map(|peer| match peer {
        Peer::Selected(selected) => Some(selected.members.clone()),
        Peer::Block(_) | Peer::Nobody { .. } => None,
    });
    let [one, other] = &members.collect::<Vec<_>>()[..] else { panic!() };
    assert!(alloc::sync::Arc::ptr_eq(one, other) && one.is_sorted());
}

#[test]
fn y07_a_reference_to_nothing_is_never_widened() {
    let blocks = |text: &str| {
        let found = reading(text);
        let nobody = found.set.policies.iter().flat_map(|p| &p.ingress.list).all(|rule| {
            crate::net::Family::BOTH.iter().all(|family| rule.addresses(*family).is_empty()) || rule.services().is_empty()
        });
        (found.problems.iter().map(|p| p.code.name().to_string()).collect::<Vec<_>>(), nobody)
    };
    for (text, code) in [
        (from("{podSelector: {matchLabels: {app: none}}}"), None),
        (from("{podSelector: {}}").replace(INVENTORY, ""), Some("bad-peer")),
        (with_rule("ingress: [{ports: [{port: http}]}]"), Some("bad-port")),
        (
            from("{podSelector: {}}").replace("metadata: {name: p}", "metadata: {name: p, namespace: nowhere}"),
            Some("unknown-reference"),
        ),
    ] {
        let (told, nobody) = blocks(&text);
        assert_eq!((told.first().map(String::as_str), nobody), (code, true), "{text}");
    }
}
