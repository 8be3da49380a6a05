//! Rows S1 to S33 as far as they concern one host without an Inventory.

use alloc::format;

use super::{Service, ask, policy, ruleset};
use crate::net::Direction::{Egress, Ingress};
use crate::net::service::{ICMP, SCTP, TCP, UDP};

const CDE: &[(&str, &str)] = &[("pci-env", "cde"), ("tier", "db")];
const SELECT: &str = "podSelector: {matchLabels: {pci-env: cde}}";

fn https() -> Service {
    Service::new(TCP, 443)
}

fn cde(rest: &str) -> crate::compile::Ruleset {
    ruleset(&policy("p", &format!("{SELECT}{rest}")))
}

#[test]
fn s1_an_endpoint_that_no_policy_selects_is_open() {
    let verdict = ask(&cde(""), &[("pci-env", "dmz")], Ingress, "8.8.8.8", https());
    assert!(verdict.allow && !verdict.isolated && verdict.policy.is_none());
    assert_eq!(serde_json::to_string(&verdict).unwrap(), r#"{"verdict":"allow","isolated":false}"#);
}

#[test]
fn s2_an_empty_selector_selects_everything_in_its_namespace() {
    let rules = ruleset(&policy("p", "podSelector: {}"));
    assert!(!ask(&rules, &[], Ingress, "8.8.8.8", https()).allow);
    let elsewhere =
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: other}\nspec: {podSelector: {}}\n";
    assert!(ask(&ruleset(elsewhere), &[], Ingress, "8.8.8.8", https()).allow);
}

#[test]
fn s3_s4_all_conditions_must_hold() {
    let rules = |expression: &str| {
        ruleset(&policy("p", &format!("podSelector: {{matchLabels: {{pci-env: cde}}, matchExpressions: [{expression}]}}")))
    };
    let selected = |expression: &str, own| ask(&rules(expression), own, Ingress, "8.8.8.8", https()).isolated;
    let (db, bare): (&[_], &[_]) = (CDE, &[("pci-env", "cde")]);
    for (expression, with_tier, without) in [
        ("{key: tier, operator: In, values: [db, app]}", true, false),
        ("{key: tier, operator: NotIn, values: [db]}", false, true),
        ("{key: tier, operator: NotIn, values: [app]}", true, true),
        ("{key: tier, operator: Exists}", true, false),
        ("{key: tier, operator: DoesNotExist}", false, true),
    ] {
        assert_eq!((selected(expression, db), selected(expression, bare)), (with_tier, without), "{expression}");
    }
}

#[test]
fn s6_s7_both_directions_are_isolated_unless_policy_types_narrows() {
    for (types, ingress, egress) in
        [("", true, true), (", policyTypes: [Ingress]", true, false), (", policyTypes: [Egress]", false, true)]
    {
        let isolated = |direction| ask(&cde(types), CDE, direction, "8.8.8.8", https()).isolated;
        assert_eq!((isolated(Ingress), isolated(Egress)), (ingress, egress), "{types}");
    }
}

#[test]
fn s9_rules_of_a_direction_left_out_allow_and_isolate_nothing() {
    let rules = cde(", policyTypes: [Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]");
    assert!(!ask(&rules, CDE, Ingress, "10.0.0.1", https()).isolated);
}

#[test]
fn s10_no_rule_lets_nothing_pass() {
    let verdict = ask(&cde(", egress: []"), CDE, Egress, "8.8.8.8", https());
    assert!(!verdict.allow && verdict.isolated && verdict.rule.is_none());
    assert_eq!(verdict.policy.as_deref(), Some("p"));
}

#[test]
fn s11_s12_s13_what_is_missing_is_everything() {
    let odd = Service::new(47, 0);
    for rule in ["{}", "{from: []}", "{ports: []}", "{from: [], ports: []}"] {
        let rules = cde(&format!(", ingress: [{rule}]"));
        assert!(ask(&rules, CDE, Ingress, "8.8.8.8", odd).allow && ask(&rules, CDE, Ingress, "2001:db8::1", odd).allow, "{rule}");
    }
}

#[test]
fn s14_any_of_the_peers_and_any_of_the_ports() {
    let rules =
        cde(", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24}}, {ipBlock: {cidr: 10.2.0.0/24}}], ports: [{port: 1}, {port: 2}]}]");
    for (peer, port, allow) in [("10.0.0.9", 2, true), ("10.2.0.9", 1, true), ("10.1.0.9", 1, false), ("10.0.0.9", 3, false)] {
        assert_eq!(ask(&rules, CDE, Ingress, peer, Service::new(TCP, port)).allow, allow, "{peer} {port}");
    }
}

#[test]
fn s15_all_of_ipv4_is_nothing_of_ipv6() {
    let rules = cde(", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]");
    assert!(ask(&rules, CDE, Ingress, "255.255.255.255", https()).allow && !ask(&rules, CDE, Ingress, "::1", https()).allow);
}

#[test]
fn s16_s17_an_exception_belongs_to_its_own_block() {
    let rules = cde(
        ", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 443}]}, {from: [{ipBlock: {cidr: 10.1.2.0/24}}], ports: [{port: 443}]}]",
    );
    for (peer, allow) in [("10.0.0.1", true), ("10.1.0.0", false), ("10.1.255.255", false), ("10.2.0.0", true), ("10.1.2.3", true)]
    {
        assert_eq!(ask(&rules, CDE, Ingress, peer, https()).allow, allow, "{peer}");
    }
}

#[test]
fn s24_s25_both_ends_of_a_range_are_in_it() {
    let rules = cde(", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 10, endPort: 20}]}]");
    for (port, allow) in [(9, false), (10, true), (20, true), (21, false)] {
        assert_eq!(ask(&rules, CDE, Ingress, "10.0.0.1", Service::new(TCP, port)).allow, allow, "{port}");
    }
}

#[test]
fn s26_s30_protocols_are_told_apart() {
    let rules = |port: &str| cde(&format!(", ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8}}}}], ports: [{port}]}}]"));
    let allows = |port: &str, protocol| ask(&rules(port), CDE, Ingress, "10.0.0.1", Service::new(protocol, 443)).allow;
    assert!(allows("{port: 443}", TCP) && !allows("{port: 443}", UDP));
    assert!(allows("{protocol: UDP}", UDP) && !allows("{protocol: UDP}", TCP));
    assert!(allows("{protocol: SCTP, port: 443}", SCTP) && !allows("{protocol: SCTP, port: 443}", TCP));
}

#[test]
fn s31_icmp_goes_by_type_and_code() {
    let rules = |port: &str| cde(&format!(", ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8}}}}], ports: [{port}]}}]"));
    let allows = |port: &str, kind, code| ask(&rules(port), CDE, Ingress, "10.0.0.1", Service::icmp(ICMP, kind, code)).allow;
    assert!(allows("{protocol: ICMP}", 13, 7));
    assert!(allows("{protocol: ICMP, icmpType: 8}", 8, 255) && !allows("{protocol: ICMP, icmpType: 8}", 9, 0));
    assert!(
        allows("{protocol: ICMP, icmpType: 3, icmpCode: 4}", 3, 4) && !allows("{protocol: ICMP, icmpType: 3, icmpCode: 4}", 3, 5)
    );
}

#[test]
fn s33_several_policies_add_up_and_order_does_not_matter() {
    let one = policy("a", &format!("{SELECT}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/24}}}}]}}]"));
    let two = policy("b", "podSelector: {matchLabels: {tier: db}}, ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/24}}]}]");
    for set in [format!("{one}{two}"), format!("{two}{one}")] {
        for (peer, policy) in [("10.0.0.1", "a"), ("10.1.0.1", "b")] {
            let verdict = ask(&ruleset(&set), CDE, Ingress, peer, https());
            assert_eq!(
                (verdict.allow, verdict.policy.as_deref(), verdict.rule.as_deref()),
                (true, Some(policy), Some("/spec/ingress/0"))
            );
        }
        assert!(!ask(&ruleset(&set), CDE, Ingress, "10.2.0.1", https()).allow);
    }
}

#[test]
fn s35_both_families_are_isolated_even_if_one_is_named() {
    let rules = cde(", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24}}]}]");
    assert!(!ask(&rules, CDE, Ingress, "2001:db8::1", https()).allow);
}

#[test]
fn an_audited_policy_isolates_nobody_and_allows_nothing() {
    let audited = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: trial, annotations: {pci-segment/mode: audit}}\nspec: {podSelector: {}, ingress: [{}]}\n---\n";
    assert!(!ask(&ruleset(audited), CDE, Ingress, "8.8.8.8", https()).isolated);
    let both = format!("{audited}{}", policy("p", SELECT));
    assert!(!ask(&ruleset(&both), CDE, Ingress, "8.8.8.8", https()).allow);
}
