use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use crate::admit::{Change, Circumstances, admit};
use crate::rules::recorded::tests::{GOOD, POLICY, after, breaks, of, reading, record, record_with, set, standard, today};
use crate::rules::tests::circumstances;

fn with(field: &str, value: Option<&str>) -> String {
    format!("{POLICY}{}", record_with(field, value))
}

#[test]
fn in_baseline_the_records_there_are_get_judged() {
    let nameless = POLICY.replace("name: from-app-tier, ", "").replace("cde-database", "cde-nameless");
    let other = POLICY.replace("cde-database", "cde-other");
    let judged = today(&format!("{nameless}{other}{}", with("", None)));
    assert!(!breaks(&judged, "PCI-1.2.5-001") && judged.counts().error == 0, "{:?}", judged.findings);
}

#[test]
fn in_pci_every_rule_needs_a_name_and_a_record() {
    let nameless = POLICY.replace("name: from-app-tier, ", "").replace("cde-database", "cde-nameless");
    let other = POLICY.replace("cde-database", "cde-other");
    let pci = standard("approvers: [network-security]").replace("baseline", "pci-dss-4.0.1");
    let judged = today(&format!("{pci}{nameless}{other}{}", with("", None)));
    let found = of(&judged, "PCI-1.2.5-001");
    let about: alloc::vec::Vec<_> = found.iter().map(|f| (f.policy.as_deref(), f.rule.as_deref(), f.path.as_deref())).collect();
    let path = Some("/spec/ingress/0");
    assert_eq!(about, [(Some("cde-nameless"), None, path), (Some("cde-other"), Some("from-app-tier"), path)]);
}

#[test]
fn a_justification_is_long_enough_at_the_limit() {
    let id = "PCI-1.2.5-001";
    for (text, broken) in [
        ("123456789 12345", false),
        ("123456789 1234", true),
        ("123456         89 1234", true),
        ("Zahlungsverkehr", false),
        ("n/a, n/a, n/a, n/a, n/a", true),
        ("Test! Test! Test! Legacy.", true),
        ("................", true),
    ] {
        let judged = today(&with("justification", Some(&format!("\"{text}\""))));
        assert_eq!(breaks(&judged, id), broken, "{text}: {:?}", judged.findings);
    }
    let shorter = format!("{}{}", standard("thresholds: {justificationChars: 4}"), with("justification", Some("\"Card\"")));
    assert!(!breaks(&today(&shorter), id));
}

#[test]
fn a_record_names_who_approved_when_and_where() {
    let id = "PCI-1.2.5-002";
    assert!(!breaks(&today(&format!("{POLICY}{}", record(GOOD))), id));
    for (field, word) in [("approvedBy", "approver"), ("approvedAt", "approval date"), ("changeTicket", "ticket")] {
        let judged = today(&with(field, None));
        let found = of(&judged, id);
        assert!(found.len() == 1 && found[0].message.contains(word), "{field}: {:?}", judged.findings);
        assert_eq!((found[0].policy.as_deref(), found[0].rule.as_deref()), (Some("cde-database"), Some("from-app-tier")));
    }
    assert!(breaks(&today(&with("changeTicket", Some("TBD"))), id));
    assert!(breaks(&today(&with("approvedAt", Some("2026-02-02"))), id));
    assert!(!breaks(&today(&with("approvedAt", Some("2026-02-01"))), id));
}

#[test]
fn nobody_approves_their_own_rule() {
    let id = "PCI-1.2.5-003";
    for (field, value) in [("requestedBy", "network-security"), ("owner", "network-security"), ("approvedBy", "payments")] {
        let judged = today(&with(field, Some(value)));
        assert_eq!(of(&judged, id).len(), 1, "{field}: {:?}", judged.findings);
    }
    // Names are compared exactly.
    assert!(!breaks(&today(&with("requestedBy", Some("Network-security"))), id));
}

#[test]
fn only_approvers_approve_records() {
    let id = "PCI-1.2.5-003";
    let listed = |who: &str| format!("{}{}", standard(&format!("approvers: [{who}]")), with("", None));
    assert!(!breaks(&today(&listed("network-security")), id));
    assert!(!breaks(&today(&listed("ada, network-security")), id));
    assert!(breaks(&today(&listed("ada")), id));
    assert!(breaks(&today(&listed("network")), id));
}

#[test]
fn the_author_of_a_change_does_not_approve_the_records_it_brings() {
    let id = "PCI-1.2.5-003";
    let by = |author: &str, enforced: Option<&str>| {
        let change = Some(Change { author: author.into(), ..Change::default() });
        let enforced = enforced.map(|text| Arc::new(set(text)));
        let circumstances = Circumstances { change, enforced, ..circumstances() };
        breaks(&admit(reading(&with("", None)), &circumstances), id)
    };
    let (before, same) = (with("changeTicket", Some("CHG-1000")), with("", None));
    assert!(by("network-security", None));
    assert!(by("network-security", Some(&before)));
    assert!(!by("ada", Some(&before)));
    // What somebody else brought in and is enforced is not touched by this change.
    assert!(!by("network-security", Some(&same)));
    assert!(!breaks(&after(&before, "2026-02-01", &same), id));
}

mod network;
