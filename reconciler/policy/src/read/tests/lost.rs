//! What could not be read is told once: nothing is said of what would follow from it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::whole::{WHOLE, with};
use super::{Code, reading};
use crate::model::{Kind, Profile};
use crate::rules::tests::judge;

/// Code and rule of every finding that the set with one text replaced has and the whole one has not.
fn new(from: &str, to: &str) -> Vec<(&'static str, Option<&'static str>)> {
    let told = |text: &str| judge(text).findings.into_iter().map(|f| (f.rule_id, f.code)).collect::<Vec<_>>();
    let before = told(WHOLE);
    told(&with(from, to)).into_iter().filter(|found| !before.contains(found)).collect()
}

/// Rules that do not run, with what they need of this kind.
fn waiting(text: &str, need: &str) -> Vec<&'static str> {
    judge(text).not_run.iter().filter(|rule| rule.needs.contains(&need)).map(|rule| rule.rule_id).collect()
}

#[test]
fn a_list_under_a_misspelt_key_is_the_only_thing_told() {
    for (from, to, kind) in [
        ("spec: {zones: [", "spec: {zonez: [", Kind::Zones),
        ("spec: {services: [", "spec: {servicez: [", Kind::Services),
        ("{name: flows}, spec: {flows: [", "{name: flows}, spec: {flowz: [", Kind::DataFlows),
        ("spec: {records: [", "spec: {recordz: [", Kind::RuleRecords),
        ("  hosts: [", "  hostz: [", Kind::Inventory),
        ("  workloads: [", "  workloadz: [", Kind::Inventory),
    ] {
        let text = with(from, to);
        assert!(reading(&text).set.lost.contains(&kind), "{to}");
        let found = new(from, to);
        assert!(found.iter().all(|(_, code)| matches!(code, Some("unknown-field" | "missing-field"))), "{to}: {found:?}");
        assert!(!found.is_empty() && found.len() <= 2, "{to}: {found:?}");
    }
}

#[test]
fn an_item_that_cannot_be_read_is_the_only_thing_told() {
    for (from, to) in [
        ("pciScope: in, cidrs: [10.0.1.0/24]", "pciScope: inn, cidrs: [10.0.1.0/24]"),
        ("accountData: true", "accountData: yes"),
        ("addresses: [10.0.1.10]", "addresses: [10.0.1]"),
        ("reviewResult: keep", "reviewResult: kept"),
        ("{name: corporate, classes", "{name: Corporate, classes"),
        ("spec: {services: [\n  {name: postgres", "spec: {services: [\n  {nom: postgres"),
    ] {
        let problems = reading(&with(from, to)).problems.len();
        let found = new(from, to);
        assert_eq!((found.len(), found.iter().filter(|(_, code)| code.is_some()).count()), (problems, problems), "{to}: {found:?}");
        assert!((1..=2).contains(&problems), "{to}: {found:?}");
    }
}

#[test]
fn rules_that_would_judge_by_a_part_of_the_facts_are_listed_as_not_run() {
    assert!(waiting(WHOLE, "Zones that can be read").is_empty());
    let zones =
        waiting(&with("pciScope: in, cidrs: [10.0.1.0/24]", "pciScope: inn, cidrs: [10.0.1.0/24]"), "Zones that can be read");
    assert!(zones.contains(&"PCI-1.3.1-010") && zones.contains(&"PCI-1.3.3-001"), "{zones:?}");
    let records = waiting(&with("reviewResult: keep", "reviewResult: kept"), "RuleRecords that can be read");
    assert!(records.contains(&"PCI-1.2.5-001") && records.contains(&"PCI-1.2.7-001"), "{records:?}");
    // Its digests are over the addresses of whom selectors match.
    let inventory = waiting(&with("addresses: [10.0.1.10]", "addresses: [10.0.1]"), "Inventory that can be read");
    assert!(inventory.contains(&"PCI-1.2.7-003") && inventory.contains(&"FLOWTEST-001"), "{inventory:?}");
}

#[test]
fn a_wrong_name_is_told_beside_a_broken_item_whose_own_name_is_known() {
    let text = with("pciScope: in, cidrs: [10.0.1.0/24]", "pciScope: inn, cidrs: [10.0.1.0/24]");
    let codes: Vec<Code> = reading(&text.replace("to: cde-db}]", "to: cde-dc}]")).problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::BadValue, Code::UnknownReference]);
}

#[test]
fn a_rule_whose_name_cannot_be_read_is_not_missed_by_its_record() {
    assert_eq!(
        super::whole::changed("[{name: from-app-tier", "[{name: From-app-tier"),
        [("bad-name", "/spec/ingress/0/name".into())]
    );
    assert_eq!(
        super::whole::changed("[{name: from-app-tier", "[{nam: from-app-tier"),
        [("unknown-field", "/spec/ingress/0/nam".into())]
    );
}

#[test]
fn a_standard_that_cannot_be_read_is_the_strict_one() {
    const STANDARD: &str = "apiVersion: pci-segment/v1\nkind: Standard\nmetadata: {name: s}\n";
    for rest in ["", "spec:\n", "spec: baseline\n", "spec: [baseline]\n", "spec: {profile: basline, version: \"1\"}\n"] {
        let text = format!("{STANDARD}{rest}");
        assert_eq!(reading(&text).set.standard.profile, Profile::PciDss401, "{rest}");
    }
    let good = "spec: {profile: baseline, version: \"1\"}\n";
    let profile = |text: String| reading(&text).set.standard.profile;
    assert_eq!(profile(format!("{STANDARD}{good}")), Profile::Baseline);
    // Which of two is meant nobody knows.
    assert_eq!(profile(format!("{STANDARD}spec:\n---\n{STANDARD}{good}")), Profile::PciDss401);
    assert_eq!(
        profile(format!("{STANDARD}{good}---\n{STANDARD}spec: {{profile: pci-dss-4.0.1, version: \"1\"}}\n")),
        Profile::PciDss401
    );
    assert_eq!(profile(format!("{}{good}", STANDARD.replace("Standard", "Standrd"))), Profile::PciDss401);
}
