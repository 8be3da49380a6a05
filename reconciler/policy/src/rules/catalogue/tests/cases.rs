//! What is a miss, what is not, and what cannot be judged.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::asker::{Asker, Told};
use crate::admit::{Circumstances, admit};
use crate::finding::{Finding, Severity};
use crate::model::flow_test::{FlowTest, Party};
use crate::read::read;
use crate::rules::tests::{day, judge, snapshot};

const NETWORK: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {workloads: [
  {name: db-01, labels: {tier: db}, addresses: [10.0.30.11, \"fd00:30::11\"]},
  {name: app-01, labels: {tier: app}, addresses: [10.0.1.0/30, 10.0.2.1, \"fd00:1::10\"]},
  {name: six-01, labels: {tier: app}, addresses: [\"fd00:6::1\"]}]}}
---
{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: database}, spec: {podSelector: {matchLabels: {tier: db}},
  ingress: [{name: from-app, from: [{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: \"fd00:1::/64\"}}], ports: [{port: 5432}]}]}}
---
";

fn misses(flow: &str) -> Vec<Finding> {
    let text = format!(
        "{NETWORK}{{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {{name: t}}, spec: {{flows: [\n  {{{flow}}}]}}}}\n"
    );
    judge(&text).findings.into_iter().filter(|finding| finding.rule_id == "FLOWTEST-001").collect()
}

fn messages(flow: &str) -> Vec<String> {
    misses(flow).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn every_address_pair_of_one_family_must_give_the_expected_verdict() {
    // 10.0.2.1 is one of its addresses too, and is not allowed in.
    assert_eq!(
        messages("from: {endpoint: app-01}, to: {endpoint: db-01}, protocol: TCP, port: 5432, expect: allow"),
        [
            "app-01 (10.0.2.1) to db-01 (10.0.30.11) on TCP 5432: expected allow, got deny; database isolates ingress there, and no rule allows it"
        ]
    );
    assert_eq!(messages("from: {endpoint: app-01}, to: {endpoint: db-01}, protocol: TCP, port: 22, expect: deny"), vec![""; 0]);
}

#[test]
fn a_miss_says_what_was_expected_and_which_rule_allows() {
    let flow = "from: {address: 10.0.1.3}, to: {endpoint: db-01}, protocol: TCP, port: 5432, expect: deny";
    let found = misses(flow);
    assert_eq!(
        found[0].message,
        "10.0.1.3 to db-01 (10.0.30.11) on TCP 5432: expected deny, got allow; no policy isolates egress at the source, and rule from-app of database allows it"
    );
    assert_eq!((found.len(), found[0].place.spot.line, found[0].path.as_deref()), (1, 10, Some("/spec/flows/0")));
    let related: Vec<(u32, bool)> = found[0].related.iter().map(|place| (place.spot.line, place.spot.column > 1)).collect();
    assert_eq!(related, [(7, true)]);
    assert!(!found[0].waivable);
}

#[test]
fn an_address_of_an_endpoint_is_that_endpoint() {
    let flow = |expect: &str| {
        format!("from: {{address: 10.0.30.11}}, to: {{address: 8.8.8.8}}, protocol: TCP, port: 443, expect: {expect}")
    };
    assert_eq!((messages(&flow("deny")).len(), messages(&flow("allow")).len()), (0, 1));
}

#[test]
fn a_made_up_endpoint_needs_no_inventory_entry() {
    let flow = |labels: &str, expect: &str| {
        format!(
            "from: {{address: 10.0.9.9}}, to: {{labels: {{tier: {labels}}}, address: 10.0.30.99}}, protocol: TCP, port: 5432, expect: {expect}"
        )
    };
    assert_eq!((messages(&flow("db", "deny")).len(), messages(&flow("db", "allow")).len()), (0, 1));
    assert_eq!((messages(&flow("web", "deny")).len(), messages(&flow("web", "allow")).len()), (1, 0));
}

#[test]
fn an_endpoint_reaches_itself() {
    let flow = "from: {endpoint: db-01}, to: {endpoint: db-01}, protocol: TCP, port: 1, expect: allow";
    assert_eq!(messages(flow), vec![""; 0]);
}

#[test]
fn ends_without_a_common_family_are_not_a_pass() {
    for expect in ["allow", "deny"] {
        let flow = format!("from: {{address: 10.0.1.3}}, to: {{endpoint: six-01}}, protocol: TCP, port: 1, expect: {expect}");
        let found = messages(&flow);
        assert_eq!(found, ["a flow of t could not be judged: its ends have no addresses of one family".to_string()], "{expect}");
    }
}

/// What is found of a set in which endpoints have these addresses, for one test.
fn with(db: &str, app: &str, rule: &str, flow: &str) -> Vec<String> {
    let text = format!(
        "{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{workloads: [
  {{name: db, labels: {{tier: db}}, addresses: [{db}]}},
  {{name: app, labels: {{tier: app}}, addresses: [{app}]}}]}}}}
---
{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: database}}, spec: {{podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{name: r, {rule}}}]}}}}
---
{{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {{name: t}}, spec: {{flows: [{{from: {{endpoint: app}}, {flow}}}]}}}}
"
    );
    let findings = judge(&text).findings.into_iter().filter(|finding| finding.rule_id == "FLOWTEST-001");
    findings.map(|finding| finding.message).collect()
}

#[test]
fn what_passes_in_the_middle_of_a_prefix_is_found() {
    let rule = "from: [{ipBlock: {cidr: 10.0.1.64/26}}], ports: [{port: 5432}]";
    let to = |port: u16, expect: &str| format!("to: {{endpoint: db}}, protocol: TCP, port: {port}, expect: {expect}");
    let found = with("10.0.30.11", "10.0.1.0/24", rule, &to(5432, "deny"));
    assert_eq!(
        found,
        [
            "app (10.0.1.64) to db (10.0.30.11) on TCP 5432: expected deny, got allow; no policy isolates egress at the source, and rule r of database allows it"
        ]
    );
    assert_eq!(with("10.0.30.11", "10.0.1.64/26", rule, &to(5432, "allow")), vec![""; 0]);
    assert_eq!(with("10.0.30.11", "10.0.1.0/24", rule, &to(22, "deny")), vec![""; 0]);
    // A hole in the middle too.
    let hole = "from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.1.7/32]}}], ports: [{port: 5432}]";
    let found = with("10.0.30.11", "10.0.1.0/24", hole, &to(5432, "allow"));
    assert!(found.len() == 1 && found[0].starts_with("app (10.0.1.7) to db"), "{found:?}");
    // Somebody else's own address in the middle is no source.
    let own = "to: {labels: {tier: db}, address: 10.0.1.64}, protocol: TCP, port: 22, expect: deny";
    assert_eq!(with("10.0.30.11", "10.0.1.0/24", rule, own), vec![""; 0]);
}

#[test]
fn icmp_is_asked_about_between_addresses_of_its_own_family() {
    let rule = "from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: ICMP, icmpType: 8, icmpCode: 0}]";
    let to = |protocol: &str, expect: &str| format!("to: {{endpoint: db}}, protocol: {protocol}, icmpType: 8, expect: {expect}");
    let (db, app) = ("10.0.30.11, \"fd00::1\"", "10.0.1.1, \"fd00::2\"");
    assert_eq!(with(db, app, rule, &to("ICMP", "allow")), vec![""; 0]);
    assert_eq!(with(db, app, rule, &to("ICMP", "deny")).len(), 1);
    assert_eq!(with(db, app, rule, &to("ICMPv6", "deny")), vec![""; 0]);
    for expect in ["allow", "deny"] {
        let found = with("\"fd00::1\"", "\"fd00::2\"", "from: [{podSelector: {}}]", &to("ICMP", expect));
        assert!(
            found.len() == 1 && found[0].contains("could not be judged: its ends have no addresses between which"),
            "{found:?}"
        );
    }
}

#[test]
fn more_looking_for_policies_than_there_is_time_for_is_a_finding() {
    let text = "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {matchExpressions: [{key: k, operator: Exists}, {key: l, operator: Exists}]}}}
---
{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {name: t}, spec: {flows: [{from: {labels: {a: b}, address: 10.0.0.1}, to: {address: 10.0.0.2}, protocol: TCP, port: 1, expect: allow}]}}
";
    let mut set = read(&snapshot(text)).set;
    set.policies = vec![set.policies[0].clone(); 10_000];
    let test = |n: usize| {
        let from = Party::MadeUp {
            labels: [("a".to_string(), format!("v{n}"))].into(),
            namespace: "default".into(),
            address: "10.0.0.1".parse().unwrap(),
        };
        FlowTest { from, ..set.tests[0].clone() }
    };
    let tests: Vec<FlowTest> = (0..700).map(test).collect();
    let mut asker = Asker::new(&set, day());
    // Each made-up endpoint takes three steps a policy, of twenty million.
    let judged = tests.iter().filter(|test| matches!(asker.judge(test), Told::Met)).count();
    assert_eq!(judged, 667);
    let Told::Unjudged(why) = asker.judge(&tests[0]) else { panic!("judged") };
    assert!(why.contains("20000000"), "{why}");
    // The same labels are looked up once.
    let mut asker = Asker::new(&set, day());
    assert!((0..700).all(|_| matches!(asker.judge(&tests[0]), Told::Met)));
}

/// How bad it is that a test misses, with these last days of the rule in force and now.
fn severity(enforced: Option<(&str, &str)>, now: (&str, &str)) -> Vec<Severity> {
    let set = |(last, rule): (&str, &str)| {
        let text = format!(
            "{NETWORK}{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: more}}, spec: {{podSelector: {{matchLabels: {{tier: db}}}}, ingress: [{{name: monitor, {rule}}}]}}}}
---
{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: r}}, spec: {{records: [{{policy: more, rule: monitor, owner: ops, justification: \"For the test only\", expiresAt: {last}}}]}}}}
---
{{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {{name: t}}, spec: {{flows: [{{from: {{address: 10.0.9.1}}, to: {{endpoint: db-01}}, protocol: TCP, port: 9100, expect: allow}}]}}}}
"
        );
        let reading = read(&snapshot(&text));
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        reading
    };
    let circumstances =
        Circumstances { enforced: enforced.map(|enforced| Arc::new(set(enforced).set)), ..Circumstances::on(day()) };
    let findings = admit(set(now), &circumstances).findings;
    findings.into_iter().filter(|finding| finding.rule_id == "FLOWTEST-001").map(|finding| finding.severity).collect()
}

#[test]
fn a_test_that_only_the_calendar_broke_is_a_warning_for_what_is_enforced() {
    let rule = "from: [{ipBlock: {cidr: 10.0.9.0/24}}], ports: [{port: 9100}]";
    let other = "from: [{ipBlock: {cidr: 10.0.8.0/24}}], ports: [{port: 9100}]";
    let (over, later) = (("2026-01-31", rule), ("2026-03-01", rule));
    assert_eq!(severity(Some(over), over), [Severity::Warning]);
    assert_eq!(severity(Some(later), later), []);
    // Nothing is in force; somebody wrote the day; what is in force misses for another reason, or somebody changed the rule.
    assert_eq!(severity(None, over), [Severity::Error]);
    assert_eq!(severity(Some(later), over), [Severity::Error]);
    assert_eq!(severity(Some(("2026-01-31", other)), over), [Severity::Error]);
    assert_eq!(severity(Some(over), ("2026-01-31", other)), [Severity::Error]);
}
