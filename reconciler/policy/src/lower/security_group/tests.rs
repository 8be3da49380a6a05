//! Words, quotas and names.

use alloc::string::{String, ToString as _};

use super::*;
use crate::compile::Endpoint;
use crate::lower::cloud::{Found, subjects, subjects_by_selector};
use crate::model::Labels;
use crate::read::read;
use crate::rules::tests::{day, snapshot};

fn ruleset(documents: &str) -> Ruleset {
    Ruleset::of(&read(&snapshot(documents)).set, day())
}

fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

fn lowered(spec: &str) -> Result<Table, Vec<Unsupported>> {
    let rules = ruleset(&policy("db", spec));
    lower(&rules, &subjects_by_selector(&rules, BACKEND).unwrap(), Limits::default())
}

fn words(table: &Table) -> Vec<String> {
    let rule = |key: &&Key| matches!(key, Key::Rule { .. });
    table.keys().filter(rule).map(|key| key.to_string().split_once(' ').unwrap().1.to_string()).collect()
}

#[test]
fn an_exception_is_said_by_what_is_left() {
    let table = lowered(
        "podSelector: {matchLabels: {tier: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, \
         except: [10.128.0.0/9]}}], ports: [{port: 5432}]}]",
    );
    assert_eq!(words(&table.unwrap()), ["ingress TCP 5432 from 10.0.0.0/9"]);
}

#[test]
fn a_direction_that_nobody_isolates_stays_open_for_both_families() {
    let table = lowered("podSelector: {matchLabels: {tier: db}}, policyTypes: [Ingress]");
    assert_eq!(words(&table.unwrap()), ["egress all traffic to 0.0.0.0/0", "egress all traffic to ::/0"]);
}

#[test]
fn types_of_icmp_are_said_and_each_family_has_its_own() {
    let table = lowered(
        "podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{protocol: ICMP, icmpType: 8, icmpCode: 0}, {protocol: ICMPv6}]}]",
    );
    assert_eq!(words(&table.unwrap()), ["ingress all ICMPv6 from ::/0", "ingress ICMP type 8 code 0 from 0.0.0.0/0"]);
}

#[test]
fn ports_of_sctp_are_refused_with_the_rule() {
    let refused =
        lowered("podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: SCTP, port: 3868}]}]").unwrap_err();
    let [one] = &*refused else { panic!("{refused:?}") };
    assert_eq!((one.policy.as_deref(), one.rule.as_deref()), (Some("db"), Some("/spec/ingress/0")));
    assert!(one.message.contains("knows no ports of SCTP"), "{}", one.message);
    assert!(lowered("podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{protocol: SCTP}]}]").is_ok());
}

#[test]
fn more_than_the_quota_is_refused_with_the_count_and_the_dearest_rule() {
    let blocks =
        |n: usize, net: usize| (0..n).map(|i| format!("{{ipBlock: {{cidr: 10.{net}.{i}.0/24}}}}")).collect::<Vec<_>>().join(", ");
    let spec = |few: usize, many: usize| {
        format!(
            "podSelector: {{}}, policyTypes: [Ingress], ingress: [{{from: [{}], ports: [{{port: 443}}]}}, {{from: [{}], ports: [{{port: 22}}]}}]",
            blocks(few, 1),
            blocks(many, 2)
        )
    };
    assert!(lowered(&spec(10, 50)).is_ok());
    let refused = lowered(&spec(10, 51)).unwrap_err();
    let [one] = &*refused else { panic!("{refused:?}") };
    assert_eq!(one.rule.as_deref(), Some("/spec/ingress/1"));
    assert!(
        one.message.contains("needs 61 ingress rules for IPv4") && one.message.contains("this rule alone needs 51"),
        "{}",
        one.message
    );
}

#[test]
fn a_selector_for_more_than_one_set_of_labels_needs_an_inventory() {
    let rules = ruleset(&policy(
        "db",
        "podSelector: {matchExpressions: [{key: tier, operator: In, values: [a, b]}]}, policyTypes: [Ingress]",
    ));
    let refused = subjects_by_selector(&rules, BACKEND).unwrap_err();
    assert!(refused[0].message.contains("add an Inventory"), "{}", refused[0].message);
}

#[test]
fn a_group_keeps_its_name_when_rules_change_and_labels_nobody_asks_for_do_not_count() {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect::<Labels>();
    let found =
        |id: &str, pairs: &[(&str, &str)]| Found { id: id.into(), endpoint: Endpoint::host(labels(pairs)), addresses: Vec::new() };
    let instances = [found("i-1", &[("tier", "db"), ("Name", "one")]), found("i-2", &[("tier", "db"), ("Name", "two")])];
    let names = |documents: &str| {
        let subjects = subjects(&ruleset(documents), &instances);
        let [one] = &*subjects else { panic!("{subjects:?}") };
        assert_eq!(one.ids.len(), 2);
        one.name.to_string()
    };
    let db = "podSelector: {matchLabels: {tier: db}}, policyTypes: [Ingress]";
    let before = names(&policy("db", db));
    assert!(before.starts_with("pci-segment-db-"), "{before}");
    let floor = policy("floor", "podSelector: {}, policyTypes: [Ingress, Egress]");
    assert_eq!(names(&format!("{}---\n{floor}", policy("other", db))), before);
}

#[test]
fn peers_that_are_all_members_of_a_group_are_named_by_it() {
    let text = "apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {name: inventory}\nspec:\n  workloads:\n    \
        - {name: app-1, labels: {tier: app}, addresses: [10.0.1.1], enforcedBy: [aws]}\n    \
        - {name: app-2, labels: {tier: app}, addresses: [10.0.1.2], enforcedBy: [aws]}\n    \
        - {name: app-3, labels: {tier: app, old: \"yes\"}, addresses: [10.0.1.3]}\n    \
        - {name: db, labels: {tier: db}, addresses: [10.0.3.1], enforcedBy: [aws]}\n---\n";
    let from = "podSelector: {matchLabels: {tier: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: \
        {tier: app}}}], ports: [{port: 5432}]}]";
    let rules = ruleset(&format!(
        "{text}{}---\n{}",
        policy("db", from),
        policy("app", "podSelector: {matchLabels: {tier: app}}, policyTypes: [Ingress, Egress]")
    ));
    let aws: Vec<Found> = rules.members().iter().filter(|m| !m.enforced_by.is_empty()).map(Found::from).collect();
    let subjects = subjects(&rules, &aws);
    let limits = Limits { name_groups: true, ..Limits::default() };
    let named = words(&lower(&rules, &subjects, limits).unwrap());
    let app = subjects.iter().find(|subject| subject.name.contains("app")).unwrap();
    assert_eq!(named, ["ingress TCP 5432 from 10.0.1.3/32".to_string(), format!("ingress TCP 5432 from {}", app.name)]);
    let plain = words(&lower(&rules, &subjects, Limits::default()).unwrap());
    assert_eq!(plain.len(), 3, "{plain:?}");
}
