use policy::date::Date;
use policy::model::inventory::Enforcer;
use policy::model::standard::Standard;
use policy::net::service::TCP;
use policy::net::{Cidr, Direction, ServiceRange};

use super::*;
use crate::backend::cloud::{FoundGroup, FoundRule, FoundSide};
use crate::cli::validate::judge_named;

/// Groups of which one is open.
fn report_of_groups(check: impl FnOnce(&Report<'_>, &Posture)) {
    let rule = |id: &str, cidr: &str| FoundRule {
        id: Some(id.to_owned()),
        direction: Direction::Ingress,
        allows: true,
        priority: None,
        services: vec![ServiceRange::ports(TCP, 22, 22)],
        sides: vec![FoundSide::Prefix(Cidr::parse(cidr).unwrap())],
        text: format!("tcp 22 from {cidr}"),
        description: String::new(),
    };
    let group = |id: &str, rules| FoundGroup {
        cloud: Enforcer::Aws,
        id: id.to_owned(),
        name: format!("name of {id}"),
        network: "vpc-1".to_owned(),
        ours: true,
        default: false,
        attached: None,
        tags: std::collections::BTreeMap::new(),
        rules,
    };
    let groups = [
        group("sg-1", vec![rule("sgr-1", "10.0.1.0/24")]),
        group("sg-2", vec![rule("sgr-2", "0.0.0.0/1"), rule("sgr-3", "128.0.0.0/1")]),
    ];
    let today = Date::new(2026, 2, 1).unwrap();
    let posture = judge(&groups, &Standard::default(), Scope::Marked, today);
    let policies = judge_named(&policy::snapshot::Snapshot::default(), today, None);
    let judgement = whole(&posture, groups.len(), &policies);
    let report = Report {
        judgement: &judgement,
        snapshot: &posture.shown,
        compliant: false,
        strict: false,
        complete: true,
        groups: Some(&posture.groups),
    };
    check(&report, &posture);
}

#[test]
fn json_names_group_and_rule_and_no_file() {
    report_of_groups(|report, posture| {
        let document = json::document(report, posture, &[], "aws");
        let first = &document["findings"][0];
        assert_eq!((first["rule_id"].as_str(), first["group"].as_str()), (Some("PCI-1.4.2-001"), Some("sg-2")), "{document}");
        assert_eq!(first["group_name"], "name of sg-2");
        assert!(first["group_rule"].as_str().is_some_and(|rule| rule.starts_with("sgr-")), "{first}");
        assert!(first.get("file").is_none() && first.get("line").is_none(), "{first}");
        assert_eq!((&document["groups"], &document["judged"], &document["compliant"]), (&2.into(), &2.into(), &false.into()));
        assert_eq!(report.exit(), Exit::Violations);
    });
}

#[test]
fn what_differs_from_the_policies_is_a_finding_and_fails_the_run() {
    let difference = crate::converge::Difference {
        key: "group pci-segment-cde rule".to_owned(),
        expected: "tcp 443".to_owned(),
        kind: crate::converge::Deviation::Missing,
        ..crate::converge::Difference::default()
    };
    let hash = policy::digest::Digest::of(b"");
    let plan = crate::converge::TargetPlan {
        target: "aws/us-east-1/vpc-1".to_owned(),
        backend: "aws",
        create: Vec::new(),
        delete: Vec::new(),
        unchanged: 0,
        damage: Vec::new(),
        desired_hash: hash,
        observed_hash: hash,
        hash,
        blank: false,
        audited: false,
        absent: Vec::new(),
        dry_run: false,
        in_steps: true,
        foreign: Vec::new(),
        changes: 1,
        differences: vec![difference],
    };
    let mut posture = judge(&[], &Standard::default(), Scope::Marked, Date::new(2026, 2, 1).unwrap());
    add_drift(&mut posture, &plan);
    let [found] = posture.findings.as_slice() else { panic!("one finding: {:?}", posture.findings) };
    assert_eq!((found.rule_id, found.severity, found.code), ("RT-1.2.8-001", Severity::Error, Some("missing")));
    assert_eq!(posture.groups[&found.place.file].rule(found.place.spot), Some("group pci-segment-cde rule"));
}
