//! Reasons, as people read them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Explainer;
use crate::compile::Endpoint;
use crate::model::PolicySet;
use crate::net::service::TCP;
use crate::net::{Direction, Service};
use crate::read::read;
use crate::rules::tests::{day, snapshot};

const DATABASE: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {workloads: [
  {name: db-01, labels: {tier: db}, addresses: [10.0.30.11]},
  {name: app-01, labels: {tier: app}, addresses: [10.0.1.10]}]}}
---
apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: database}
spec:
  podSelector: {matchLabels: {tier: db}}
  ingress:
    - {name: from-app, from: [{ipBlock: {cidr: 10.0.0.0/16, except: [10.0.7.0/24]}}], ports: [{port: 5432}]}
---
";

fn policy(name: &str, more: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: {name}{more}}}, spec: {{podSelector: {{matchLabels: {{tier: db}}}}, {spec}}}}}\n---\n"
    )
}

fn set(more: &str) -> PolicySet {
    let reading = read(&snapshot(format!("{DATABASE}{more}").trim_end_matches("---\n")));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    reading.set
}

/// The verdict, the reason, and each near rule in words.
fn why(more: &str, peer: &str, port: u16) -> (bool, String, Vec<String>) {
    let set = set(more);
    let mut explainer = Explainer::new(&set, day());
    let own = explainer.answers().named("db-01").unwrap();
    let found = explainer.explain(&own, Direction::Ingress, peer.parse().unwrap(), Service::new(TCP, port));
    (found.answer.allow, found.reason(), found.near.iter().map(super::Near::text).collect())
}

#[test]
fn an_allowed_flow_is_allowed_by_a_rule() {
    assert_eq!(why("", "10.0.1.10", 5432), (true, "rule from-app of policy database allows it".to_string(), [].into()));
}

#[test]
fn a_denied_flow_names_who_isolates_and_what_the_nearest_rule_lacks() {
    let isolated = "policy database isolates this workload for ingress, and no rule allows the flow".to_string();
    let rule = "rule from-app of database allows TCP 5432 from 10.0.0.0/16 except 10.0.7.0/24";
    for (peer, port, lacks) in [
        ("8.8.8.8", 5432, Some("but not from this peer")),
        ("10.0.1.10", 22, Some("but not TCP 22")),
        ("10.0.7.9", 5432, Some("but takes 10.0.7.0/24 out")),
        ("8.8.8.8", 22, None),
    ] {
        let near: Vec<String> = lacks.map(|lacks| format!("{rule}, {lacks}")).into_iter().collect();
        assert_eq!(why("", peer, port), (false, isolated.clone(), near), "{peer} {port}");
    }
}

#[test]
fn a_rule_that_would_allow_it_but_does_not_count_comes_first() {
    let rule = "ingress: [{name: open, from: [{ipBlock: {cidr: 8.8.8.0/24}}], ports: [{port: 5432}]}]";
    let record = "{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {name: r}, spec: {records: [{policy: q, rule: open, owner: somebody, justification: \"For the test\", expiresAt: 2026-01-31}]}}\n---\n";
    for (more, first) in [
        (policy("q", "", &format!("policyTypes: [Egress], {rule}")), "rule open of q does nothing: policyTypes leaves ingress out"),
        (
            policy("q", ", annotations: {pci-segment/mode: audit}", rule),
            "rule open of q would allow it, but that policy is only audited",
        ),
        (policy("q", "", rule) + record, "rule open of q allowed it until 2026-01-31, its last day"),
    ] {
        let (allow, _, near) = why(&more, "8.8.8.8", 5432);
        assert_eq!((allow, near.len(), &*near[0]), (false, 2, first));
    }
}

#[test]
fn what_nothing_isolates_and_what_goes_to_itself_is_not_filtered() {
    let set = set("");
    let mut explainer = Explainer::new(&set, day());
    let own = explainer.answers().named("app-01").unwrap();
    let mut reason = |peer: &str| explainer.explain(&own, Direction::Egress, peer.parse().unwrap(), Service::new(TCP, 1)).reason();
    assert_eq!(reason("8.8.8.8"), "no policy isolates this workload for egress, so nothing is filtered");
    assert_eq!(reason("10.0.1.10"), "an endpoint always reaches itself");
}

#[test]
fn the_other_side_may_object() {
    let set = set("");
    let mut explainer = Explainer::new(&set, day());
    let own = explainer.answers().named("app-01").unwrap();
    let mut ask = |port| {
        let found = explainer.explain(&own, Direction::Egress, "10.0.30.11".parse().unwrap(), Service::new(TCP, port));
        (found.answer.allow, found.objection())
    };
    assert_eq!(ask(5432), (true, None));
    let objection = "the flow does not pass: the other side is db-01, which policy database isolates for ingress";
    assert_eq!(ask(22), (true, Some(objection.to_string())));
}

#[test]
fn the_output_has_the_promised_fields_and_places() {
    let set = set("");
    let mut explainer = Explainer::new(&set, day());
    let own = explainer.answers().named("db-01").unwrap();
    let mut json = |peer: &str, port| {
        let found = explainer.explain(&own, Direction::Ingress, peer.parse().unwrap(), Service::new(TCP, port));
        serde_json::to_value(found).unwrap()
    };
    let allowed = json("10.0.1.10", 5432);
    for (field, value) in [
        ("verdict", "allow"),
        ("policy", "database"),
        ("rule", "/spec/ingress/0"),
        ("rule_name", "from-app"),
        ("direction", "ingress"),
    ] {
        assert_eq!(allowed[field], value, "{field}");
    }
    assert_eq!((&allowed["isolated"], &allowed["file"], &allowed["line"]), (&true.into(), &"p.yaml".into(), &11.into()));
    assert_eq!((&allowed["peer_endpoint"], &allowed["peer_verdict"]), (&"app-01".into(), &"allow".into()));
    let denied = json("8.8.8.8", 5432);
    assert_eq!(
        (&denied["verdict"], &denied["policy"], &denied["rule"]),
        (&"deny".into(), &"database".into(), &serde_json::Value::Null)
    );
    assert_eq!(denied["isolating"], serde_json::json!([{"policy": "database", "file": "p.yaml", "line": 7}]));
    assert_eq!(denied["nearest"][0]["line"], 11);
    let made_up = explainer.answers().subject(Endpoint::host([("tier".to_string(), "none".to_string())].into()));
    let open = explainer.explain(&made_up, Direction::Ingress, "8.8.8.8".parse().unwrap(), Service::new(TCP, 1));
    let open = serde_json::to_value(open).unwrap();
    assert_eq!((&open["verdict"], &open["isolated"], open.get("policy")), (&"allow".into(), &false.into(), None));
}

#[test]
fn a_peer_that_declares_another_port_under_the_name_lacks_the_service_not_the_peer() {
    let more = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: j}, spec: {workloads: [
  {name: web-01, labels: {tier: web}, addresses: [10.0.2.1], ports: [{name: api, protocol: TCP, port: 80}]},
  {name: web-02, labels: {tier: web}, addresses: [10.0.2.2], ports: [{name: api, protocol: TCP, port: 81}]}]}}
---
"
    .to_string()
        + &policy("q", "", "egress: [{name: out, to: [{podSelector: {matchLabels: {tier: web}}}], ports: [{port: api}]}]");
    let set = set(&more);
    let mut explainer = Explainer::new(&set, day());
    let own = explainer.answers().named("db-01").unwrap();
    let mut near = |peer: &str, port| {
        let found = explainer.explain(&own, Direction::Egress, peer.parse().unwrap(), Service::new(TCP, port));
        (found.answer.allow, found.near.iter().map(|near| near.miss).collect::<Vec<_>>())
    };
    assert_eq!(near("10.0.2.1", 80), (true, [].into()));
    assert_eq!(near("10.0.2.1", 81), (false, [super::Miss::Service].into()));
    assert_eq!(near("8.8.8.8", 81), (false, [super::Miss::Peer].into()));
}

#[test]
fn a_namespace_that_is_not_there_is_refused_with_the_nearest() {
    let text = format!(
        "{DATABASE}{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: j}}, spec: {{namespaces: [{{name: payments}}]}}}}\n"
    );
    let set = read(&snapshot(&text)).set;
    let check = |name: &str| super::Namespaces::new(&set).check(name);
    assert_eq!((check("default"), check("payments")), (Ok(()), Ok(())));
    assert_eq!(check("payment").unwrap_err(), "the Inventory has no namespace payment. Did you mean payments?");
    assert_eq!(check("nowhere").unwrap_err(), "the Inventory has no namespace nowhere. There are default, payments.");
    // Without an Inventory nobody says which there are.
    assert_eq!(super::Namespaces::new(&PolicySet::default()).check("nowhere"), Ok(()));
}
