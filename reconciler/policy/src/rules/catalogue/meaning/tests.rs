//! Redundancy, undone exceptions and denies at their borders; and that redundancy is exact, against `verdict`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::admit::admit;
use crate::compile::{Endpoint, Flow, Ruleset};
use crate::finding::{Finding, Severity};
use crate::net::{Direction, Service};
use crate::read::read;
use crate::rules::tests::{assert_witness, circumstances, day, snapshot};

/// A policy of the CDE.
fn policy(name: &str, more: &str, spec: &str) -> String {
    let annotations = if more.is_empty() { String::new() } else { format!(", annotations: {{{more}}}") };
    format!(
        "---\napiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}{annotations}}}\nspec: {{podSelector: {{matchLabels: {{pci-env: cde}}}}, {spec}}}\n"
    )
}

fn rule(blocks: &[&str], ports: &str) -> String {
    let blocks: Vec<String> = blocks.iter().map(|block| format!("{{ipBlock: {{cidr: \"{block}\"}}}}")).collect();
    format!("{{from: [{}], ports: [{ports}]}}", blocks.join(", "))
}

fn ingress(rules: &[String]) -> String {
    format!("ingress: [{}]", rules.join(", "))
}

/// What one rule finds, with every witness checked.
fn findings(id: &str, text: &str) -> Vec<Finding> {
    let text = text.trim_start_matches("---\n");
    let reading = read(&snapshot(text));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let set = reading.set.clone();
    let judged = admit(reading, &circumstances());
    judged.findings.iter().for_each(|finding| assert_witness(&set, finding));
    judged.findings.into_iter().filter(|f| f.rule_id == id || f.also.contains(&id)).collect()
}

/// Which rules are redundant: `policy/direction/number`.
fn redundant(text: &str) -> Vec<String> {
    let path = |finding: Finding| {
        let path = finding.path.unwrap_or_default();
        format!("{}{}", finding.policy.unwrap_or_default(), path.strip_prefix("/spec").unwrap_or_default())
    };
    findings("PCI-1.2.7-005", text).into_iter().map(path).collect()
}

#[test]
fn two_rules_together_make_a_third_redundant() {
    let (low, high) = (rule(&["10.0.1.0/25"], "{port: 443}"), rule(&["10.0.1.128/25"], "{port: 443}"));
    let both = rule(&["10.0.1.0/24"], "{port: 443}");
    assert_eq!(redundant(&policy("p", "", &ingress(&[low.clone(), high.clone(), both.clone()]))), ["p/ingress/2"]);
    // Whoever deletes what is listed changes nothing: not all three are.
    assert_eq!(redundant(&policy("p", "", &ingress(&[both, low.clone(), high.clone()]))), ["p/ingress/1", "p/ingress/2"]);
    let more = rule(&["10.0.0.0/23"], "{port: 443}");
    assert_eq!(redundant(&policy("p", "", &ingress(&[low, high, more]))), ["p/ingress/0", "p/ingress/1"]);
}

#[test]
fn of_two_equal_rules_the_later_is_redundant() {
    let same = rule(&["fd00:1::/64"], "{port: 443}");
    assert_eq!(redundant(&policy("p", "", &ingress(&[same.clone(), same.clone()]))), ["p/ingress/1"]);
    let text = policy("a", "", &ingress(core::slice::from_ref(&same))) + &policy("b", "", &ingress(&[same]));
    assert_eq!(redundant(&text), ["b/ingress/0"]);
}

#[test]
fn each_service_and_each_family_has_to_be_covered() {
    let wide = rule(&["10.0.1.0/24", "fd00:1::/64"], "{port: 8000, endPort: 8003}, {protocol: UDP, port: 53}");
    let covered =
        |other: &str, ports: &str| !redundant(&policy("p", "", &ingress(&[wide.clone(), rule(&[other], ports)]))).is_empty();
    assert!(covered("10.0.1.7/32", "{port: 8001}, {protocol: UDP, port: 53}"));
    assert!(covered("fd00:1::7/128", "{port: 8000, endPort: 8003}"));
    assert!(!covered("10.0.1.7/32", "{port: 8003, endPort: 8004}"));
    assert!(!covered("10.0.1.7/32", "{protocol: SCTP, port: 8001}"));
    assert!(!covered("fd00:2::7/128", "{port: 8001}"));
    // 10.0.1.0/24 as IPv6 is not 10.0.1.0/24.
    assert!(!covered("::a00:100/120", "{port: 8001}"));
}

#[test]
fn a_covering_policy_makes_a_rule_redundant_and_a_covered_one_does_not() {
    let (wide, narrow) = (rule(&["10.0.1.0/24"], "{port: 443}"), rule(&["10.0.1.7/32"], "{port: 443}"));
    let of = |name: &str, selector: &str, rule: &str| {
        format!(
            "---\napiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{podSelector: {{matchLabels: {{{selector}}}}}, ingress: [{rule}]}}\n"
        )
    };
    assert_eq!(redundant(&(of("zone", "pci-env: cde", &wide) + &of("db", "pci-env: cde, tier: db", &narrow))), ["db/ingress/0"]);
    assert!(redundant(&(of("db", "pci-env: cde, tier: db", &wide) + &of("zone", "pci-env: cde", &narrow))).is_empty());
    assert!(redundant(&(of("web", "tier: web", &wide) + &of("db", "tier: db", &narrow))).is_empty());
}

#[test]
fn what_is_only_audited_makes_nothing_redundant_that_is_enforced() {
    let same = ingress(&[rule(&["10.0.1.0/24"], "{port: 443}")]);
    let (audited, enforced) = (policy("a", "pci-segment/mode: audit", &same), policy("b", "", &same));
    assert_eq!(redundant(&(audited.clone() + &enforced)), ["a/ingress/0"]);
    assert_eq!(
        redundant(&(audited.clone() + &audited.replace("name: a", "name: c") + &policy("d", "", "egress: []"))),
        ["c/ingress/0"]
    );
}

#[test]
fn a_rule_past_its_last_day_makes_nothing_redundant() {
    let named =
        |name: &str, block: &str| format!("{{name: {name}, from: [{{ipBlock: {{cidr: {block}}}}}], ports: [{{port: 443}}]}}");
    let rules = policy("p", "", &ingress(&[named("old", "10.0.1.0/24"), named("new", "10.0.1.7/32")]));
    let record = |last: &str| {
        format!(
            "---\n{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: p, rule: old, owner: o, justification: \"The settlement file is fetched.\", expiresAt: {last}}}]}}}}\n"
        )
    };
    assert_eq!(redundant(&(rules.clone() + &record("2026-02-01"))), ["p/ingress/1"]);
    assert!(redundant(&(rules + &record("2026-01-31"))).is_empty());
}

#[test]
fn rules_without_peers_or_ports_cover_everything() {
    let rules = [
        String::from("{}"),
        rule(&["10.0.1.0/24", "fd00::/8"], "{protocol: ICMP}"),
        "{from: [{ipBlock: {cidr: 10.0.0.0/24}}]}".into(),
    ];
    assert_eq!(redundant(&policy("p", "", &ingress(&rules))), ["p/ingress/1", "p/ingress/2"]);
}

fn inventory(ports: [&str; 2]) -> String {
    let [first, second] = ports;
    format!(
        "---\n{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{workloads: [\n  {{name: db-01, labels: {{pci-env: cde}}, addresses: [10.0.30.11, \"fd00:30::11\"], ports: [{{name: sql, protocol: TCP, port: {first}}}], enforcedBy: [aws]}},\n  {{name: db-02, labels: {{pci-env: cde}}, addresses: [10.0.30.12], ports: [{{name: sql, protocol: TCP, port: {second}}}], enforcedBy: [aws]}}]}}}}\n"
    )
}

#[test]
fn a_port_name_covers_itself_and_the_number_that_everybody_declares() {
    let (name, number) = (rule(&["10.0.1.0/24"], "{protocol: TCP, port: sql}"), rule(&["10.0.1.7/32"], "{port: 5432}"));
    let narrow = rule(&["10.0.1.7/32"], "{protocol: TCP, port: sql}");
    let rules = |rules: &[String], ports| inventory(ports) + &policy("p", "", &ingress(rules));
    assert_eq!(redundant(&rules(&[name.clone(), narrow.clone()], ["5432", "5433"])), ["p/ingress/1"]);
    assert_eq!(redundant(&rules(&[name.clone(), number.clone()], ["5432", "5432"])), ["p/ingress/1"]);
    assert!(redundant(&rules(&[name, number], ["5432", "5433"])).is_empty());
    let range = rule(&["10.0.1.0/24"], "{port: 5432, endPort: 5433}");
    assert_eq!(redundant(&rules(&[range, narrow.clone()], ["5432", "5433"])), ["p/ingress/1"]);
    let one = rule(&["10.0.1.0/24"], "{port: 5432}");
    assert!(redundant(&rules(&[one, narrow], ["5432", "5433"])).is_empty());
}

fn undone(text: &str) -> Vec<Finding> {
    findings("PCI-1.2.7-006", text)
}

fn except(cidr: &str, except: &str) -> String {
    format!("{{from: [{{ipBlock: {{cidr: \"{cidr}\", except: [\"{except}\"]}}}}], ports: [{{port: 443}}]}}")
}

#[test]
fn an_exception_is_undone_by_half_of_it() {
    for (whole, out, half) in
        [("10.1.0.0/16", "10.1.2.0/24", "10.1.2.128/25"), ("fd00:1::/48", "fd00:1:0:2::/64", "fd00:1:0:2:8000::/65")]
    {
        let found = undone(&policy("p", "", &ingress(&[except(whole, out), rule(&[half], "{port: 443}")])));
        assert_eq!((found.len(), found[0].severity), (1, Severity::Error), "{whole}");
        let first = half.split('/').next().unwrap();
        assert_eq!(found[0].witness.as_ref().unwrap().source.text(), first);
        assert!(found[0].message.contains("ingress rule 2 of p"), "{}", found[0].message);
    }
}

#[test]
fn another_port_or_family_or_neighbour_undoes_nothing() {
    for other in [
        rule(&["10.1.2.0/24"], "{port: 444}"),
        rule(&["10.1.3.0/24"], "{port: 443}"),
        rule(&["::/96"], "{port: 443}"),
        rule(&["10.1.2.0/24"], "{protocol: UDP, port: 443}"),
    ] {
        assert!(undone(&policy("p", "", &ingress(&[except("10.1.0.0/16", "10.1.2.0/24"), other]))).is_empty());
    }
}

#[test]
fn another_peer_of_the_same_rule_undoes_an_exception_and_the_block_itself_does_not() {
    let rule = "ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.2.0/24, 10.1.2.0/25]}}, {ipBlock: {cidr: 10.1.2.200/32}}], ports: [{port: 443}]}]";
    assert_eq!(undone(&policy("p", "", rule)).len(), 1);
    assert!(undone(&policy("p", "", &rule.replace(", {ipBlock: {cidr: 10.1.2.200/32}}", ""))).is_empty());
}

#[test]
fn an_audited_policy_undoes_an_exception_without_a_packet_to_show() {
    let audited = policy("a", "pci-segment/mode: audit", &ingress(&[rule(&["10.1.2.0/24"], "{port: 443}")]));
    let found = undone(&(audited + &policy("p", "", &ingress(&[except("10.1.0.0/16", "10.1.2.0/24")]))));
    assert_eq!((found.len(), found[0].witness.is_none()), (1, true));
}

#[test]
fn outside_the_cde_an_undone_exception_is_a_warning() {
    let text = policy("p", "", &ingress(&[except("10.1.0.0/16", "10.1.2.0/24"), rule(&["10.1.2.7/32"], "{port: 443}")]));
    let found = undone(&text.replace("pci-env: cde", "pci-env: dmz"));
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
}

#[test]
fn a_port_name_undoes_an_exception_only_for_those_who_declare_that_number() {
    let rules = |number: &str| {
        let except = except("10.1.0.0/16", "10.1.2.0/24").replace("port: 443", &format!("port: {number}"));
        inventory(["5432", "5433"]) + &policy("p", "", &ingress(&[except, rule(&["10.1.2.0/25"], "{protocol: TCP, port: sql}")]))
    };
    assert_eq!((undone(&rules("5433")).len(), undone(&rules("5434")).len()), (1, 0));
}

fn denies(text: &str) -> Vec<(Severity, String)> {
    findings("PCI-1.2.7-007", text).into_iter().map(|f| (f.severity, f.path.unwrap_or_default())).collect()
}

#[test]
fn a_default_deny_beside_narrower_rules_is_what_it_says() {
    let narrow =
        policy("db", "", &ingress(&[rule(&["10.0.1.0/24"], "{port: 443}")])).replace("pci-env: cde", "pci-env: cde, tier: db");
    assert!(denies(&(policy("default-deny", "", "policyTypes: [Ingress, Egress]") + &narrow)).is_empty());
}

#[test]
fn what_allows_the_same_endpoints_makes_a_deny_none() {
    let allow = policy("app", "", &ingress(&[rule(&["10.20.0.0/24"], "{port: 443}")]));
    let warning = || [(Severity::Warning, "/metadata/name".to_string())];
    assert_eq!(denies(&(policy("deny-corp", "", "ingress: []") + &allow)), warning());
    assert_eq!(denies(&(policy("corp", "pci-segment/intent: deny", "ingress: []") + &allow)), warning());
    // It says nothing of ingress.
    assert!(denies(&(policy("deny-corp", "", "policyTypes: [Egress], egress: []") + &allow)).is_empty());
}

#[test]
fn a_written_nothing_that_another_policy_widens_is_worth_knowing() {
    let allow = policy("app", "", &ingress(&[rule(&["10.20.0.0/24"], "{port: 443}")]));
    assert_eq!(denies(&(policy("db", "", "ingress: []") + &allow)), [(Severity::Info, "/spec/ingress".to_string())]);
    assert!(denies(&(policy("db", "", "egress: []") + &allow)).is_empty());
}

#[test]
fn a_selector_or_peer_that_nobody_answers_to_is_found_with_an_inventory_only() {
    let rules = "ingress: [{from: [{podSelector: {matchLabels: {tier: gone}}}], ports: [{port: 443}]}]";
    let found = findings("PCI-1.2.7-008", &(inventory(["1", "2"]) + &policy("p", "", rules)));
    assert_eq!((found.len(), found[0].severity, found[0].path.as_deref()), (1, Severity::Error, Some("/spec/ingress/0/from/0")));
    let other = policy("p", "", "egress: []").replace("pci-env: cde", "app: gone");
    let found = findings("PCI-1.2.7-008", &(inventory(["1", "2"]) + &other));
    assert_eq!((found.len(), found[0].severity, found[0].path.as_deref()), (1, Severity::Warning, Some("/spec/podSelector")));
    assert!(findings("PCI-1.2.7-008", &other).is_empty());
}

const BLOCKS: [&str; 7] = ["10.0.0.0/29", "10.0.0.0/30", "10.0.0.4/30", "10.0.0.4/31", "10.0.0.6/31", "fd00::/126", "fd00::2/127"];
const PORTS: [&str; 5] =
    ["{port: 80, endPort: 83}", "{port: 80, endPort: 81}", "{port: 82, endPort: 83}", "{port: 81}", "{protocol: UDP, port: 81}"];

type Written = (bool, Vec<usize>, Vec<usize>);

fn written() -> impl Strategy<Value = Written> {
    let blocks = proptest::collection::vec(0..BLOCKS.len(), 1..4);
    let ports = proptest::collection::vec(0..PORTS.len(), 1..3);
    (any::<bool>(), blocks, ports)
}

/// Two policies, the second for some of those whom the first selects; rules that are gone have no flow.
fn text(rules: &[Written], gone: &[usize]) -> String {
    let list = |second: bool| {
        let mine = rules.iter().enumerate().filter(|(_, rule)| rule.0 == second);
        let rules = mine.map(|(number, (_, blocks, ports))| {
            let blocks: Vec<&str> =
                if gone.contains(&number) { ["203.0.113.7/32"].into() } else { blocks.iter().map(|b| BLOCKS[*b]).collect() };
            rule(&blocks, &ports.iter().map(|port| PORTS[*port]).collect::<Vec<_>>().join(", "))
        });
        ingress(&rules.collect::<Vec<_>>())
    };
    policy("a", "", &list(false)) + &policy("b", "", &list(true)).replace("pci-env: cde", "pci-env: cde, tier: db")
}

/// Who may do what, over every address and service that matters, for both whom the policies select.
fn allows(text: &str) -> Vec<bool> {
    let ruleset = Ruleset::of(&read(&snapshot(text.trim_start_matches("---\n"))).set, day());
    let labels = [[("pci-env", "cde")].to_vec(), [("pci-env", "cde"), ("tier", "db")].to_vec()];
    let endpoints = labels.map(|labels| Endpoint::host(labels.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()));
    let peers = (0..8).map(|n| format!("10.0.0.{n}")).chain((0..4).map(|n| format!("fd00::{n}")));
    let services: Vec<Service> = (80..84).map(|port| Service::new(6, port)).chain([Service::new(17, 81)]).collect();
    let mut all = Vec::new();
    for peer in peers {
        for (endpoint, service) in endpoints.iter().flat_map(|e| services.iter().map(move |s| (e, *s))) {
            let flow = Flow { endpoint: endpoint.clone(), direction: Direction::Ingress, peer: peer.parse().unwrap(), service };
            all.push(ruleset.verdict(&flow).allow);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_rules_that_can_go_are_redundant(rules in proptest::collection::vec(written(), 1..7)) {
        let whole = text(&rules, &[]);
        let paths: Vec<String> = {
            let (mut first, mut second) = (0, 0);
            let path = |second_policy: bool, n: usize| format!("{}/ingress/{n}", if second_policy { "b" } else { "a" });
            rules.iter().map(|(which, ..)| { let n = if *which { &mut second } else { &mut first }; *n += 1; path(*which, *n - 1) }).collect()
        };
        let reported = redundant(&whole);
        let gone: Vec<usize> = paths.iter().enumerate().filter(|(_, path)| reported.contains(path)).map(|(n, _)| n).collect();
        let meaning = allows(&whole);
        prop_assert_eq!(&allows(&text(&rules, &gone)), &meaning, "deleting all of {:?} changes something", reported);
        for one in (0..rules.len()).filter(|n| !gone.contains(n)) {
            let more: Vec<usize> = gone.iter().copied().chain([one]).collect();
            prop_assert_ne!(&allows(&text(&rules, &more)), &meaning, "{} can go as well", paths[one]);
        }
    }
}
