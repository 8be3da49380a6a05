//! The fields of the Standard.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::whole::{WHOLE, changed, with};
use super::{codes, reading};
use crate::finding::Severity;
use crate::model::Profile;
use crate::net::ServiceRange;
use crate::net::service::{TCP, UDP};

const VERSION: &str = "version: \"2026.1\"";

/// The problems that a further field of the Standard has.
fn field(text: &str) -> alloc::vec::Vec<(&'static str, alloc::string::String)> {
    changed(VERSION, &format!("{VERSION}, {text}"))
}

#[test]
fn profile_and_version_are_required() {
    for (from, to, pointer) in [
        ("profile: pci-dss-4.0.1, ", "", "/spec"),
        ("profile: pci-dss-4.0.1", "profile: pci-dss-4.0", "/spec/profile"),
        ("version: \"2026.1\", ", "", "/spec"),
        (VERSION, "version: 2026.1", "/spec/version"),
        (VERSION, "version: \"a version of more than 32 bytes is no version\"", "/spec/version"),
    ] {
        let found = changed(from, to);
        assert_eq!((found.len(), found[0].1.as_str()), (1, pointer), "{to}: {found:?}");
    }
}

#[test]
fn a_mistake_in_the_standard_never_makes_the_rules_milder() {
    for (from, to) in [("profile: pci-dss-4.0.1, ", ""), ("profile: pci-dss-4.0.1", "profile: base")] {
        assert_eq!(reading(&with(from, to)).set.standard.profile, Profile::PciDss401, "{to}");
    }
}

#[test]
fn further_fields_have_their_types() {
    for (text, code, pointer) in [
        ("cdeLabels: {}", "bad-value", "cdeLabels"),
        ("cdeLabels: {pci-env: []}", "bad-value", "cdeLabels/pci-env"),
        ("cdeLabels: {pci-env: cde}", "wrong-type", "cdeLabels/pci-env"),
        ("cdeLabels: {pci-env: [\"-\"]}", "bad-value", "cdeLabels/pci-env/0"),
        ("reservedLabels: [\"a b\"]", "bad-name", "reservedLabels/0"),
        ("serviceProvider: 1", "bad-value", "serviceProvider"),
        ("segmentationTest: {doneAt: 2026-01-12}", "missing-field", "segmentationTest"),
        ("scopeConfirmation: {doneAt: soon, id: SC-1}", "bad-value", "scopeConfirmation/doneAt"),
        ("ports: {insecure: [{protocol: TCP, port: 1}]}", "wrong-type", "ports/insecure"),
        ("ports: {insecure: {add: [{port: 1}]}}", "missing-field", "ports/insecure/add/0"),
        ("ports: {secure: {}}", "unknown-field", "ports/secure"),
        ("forbiden: []", "unknown-field", "forbiden"),
        ("fixtures: true", "contradiction", "fixtures"),
    ] {
        assert_eq!(field(text), [(code, format!("/spec/{pointer}"))], "{text}");
    }
    for text in [
        "cdeLabels: {pci-env: [cde, cde-shared], scope: [pci]}",
        "reservedLabels: []",
        "serviceProvider: true",
        "segmentationTest: {doneAt: 2026-01-12, id: ST-7}",
        "fixtures: false",
    ] {
        assert!(field(text).is_empty(), "{text}: {:?}", field(text));
    }
    assert_eq!(
        changed("approvers: [network-security]", "approvers: [network security]"),
        [("bad-value", "/spec/approvers/0".into())]
    );
    let fixtures = with(VERSION, &format!("{VERSION}, fixtures: true")).replace("profile: pci-dss-4.0.1", "profile: baseline");
    assert!(reading(&fixtures).problems.is_empty() && reading(&fixtures).set.standard.fixtures);
}

#[test]
fn changes_to_the_house_lists_are_read() {
    let text = "ports: {admin: {add: [{protocol: TCP, port: 4172}], remove: [{protocol: UDP, port: 1, endPort: 9}]}}";
    let ports = reading(&with(VERSION, &format!("{VERSION}, {text}"))).set.standard.ports;
    assert_eq!(ports.admin.add, [ServiceRange::ports(TCP, 4172, 4172)]);
    assert_eq!(ports.admin.remove, [ServiceRange::ports(UDP, 1, 9)]);
    assert!(ports.insecure.add.is_empty());
}

#[test]
fn forbidden_flows_name_zones_or_classes() {
    let forbidden = "forbidden: [{from: \"class:cde\", to: \"class:corporate\"}]";
    for (to, code, pointer) in [
        ("forbidden: [{from: \"class:cde\"}]", "missing-field", "0"),
        ("forbidden: [{from: \"class:cards\", to: corporate}]", "bad-value", "0/from"),
        ("forbidden: [{from: cde, to: corporate}]", "unknown-reference", "0/from"),
        ("forbidden: [{from: corporate, to: cde-db, services: [ssh]}]", "unknown-reference", "0/services/0"),
        ("forbidden: [{from: corporate, to: cde-db, services: []}]", "bad-value", "0/services"),
    ] {
        assert_eq!(changed(forbidden, to), [(code, format!("/spec/forbidden/{pointer}"))], "{to}");
    }
    assert!(changed(forbidden, "forbidden: [{from: internet, to: cde-db, services: [postgres]}]").is_empty());
}

#[test]
fn severities_name_rules_of_the_catalogue() {
    let of = |text: &str| field(&format!("severities: {{{text}}}"));
    assert_eq!(of("PCI-1.3.1-404: error"), [("unknown-reference", "/spec/severities/PCI-1.3.1-404".into())]);
    assert_eq!(of("PCI-1.2.8-001: warning"), [("bad-value", "/spec/severities/PCI-1.2.8-001".into())]);
    assert_eq!(of("PCI-1.3.1-008: fatal"), [("bad-value", "/spec/severities/PCI-1.3.1-008".into())]);
    let read = reading(&with(VERSION, &format!("{VERSION}, severities: {{PCI-1.3.1-008: error}}"))).set.standard.severities;
    assert_eq!(read.get("PCI-1.3.1-008"), Some(&Severity::Error));
}

#[test]
fn thresholds_are_whole_numbers_and_two_of_them_only_go_down() {
    let threshold = |text: &str| changed("portRangeMax: 8", text);
    for (key, least, most) in [
        ("portRangeMax", 1_u64, 65_535_u64),
        ("privateV4PrefixWarn", 0, 32),
        ("privateV4PrefixError", 0, 32),
        ("publicV4PrefixWarn", 0, 32),
        ("publicV4PrefixError", 0, 32),
        ("v6PrefixWarn", 0, 128),
        ("v6PrefixError", 0, 128),
        ("openV4Addresses", 1, 1 << 32),
        ("openV6Prefix", 0, 128),
        ("justificationChars", 1, 2_048),
        ("reviewWarnDays", 1, 36_525),
        ("reviewMaxDays", 1, 184),
        ("temporaryWarnDays", 1, 36_525),
        ("waiverMaxDays", 1, 90),
        ("idleRuleDays", 1, 36_525),
        ("clockOffsetMs", 1, 86_400_000),
    ] {
        for number in [least, most] {
            assert!(threshold(&format!("{key}: {number}")).is_empty(), "{key}: {number}");
        }
        for text in [(most + 1).to_string(), "-1".into(), "1.5".into(), "01".into(), "\"1\"".into(), "a".into()] {
            assert_eq!(threshold(&format!("{key}: {text}")), [("bad-value", format!("/spec/thresholds/{key}"))], "{key}: {text}");
        }
    }
    assert_eq!(threshold("portRange: 8")[0].0, "unknown-field");
}

#[test]
fn every_threshold_reaches_its_number() {
    let keys = [
        "portRangeMax",
        "privateV4PrefixWarn",
        "privateV4PrefixError",
        "publicV4PrefixWarn",
        "publicV4PrefixError",
        "v6PrefixWarn",
        "v6PrefixError",
        "openV6Prefix",
        "openV4Addresses",
        "justificationChars",
        "reviewWarnDays",
        "reviewMaxDays",
        "temporaryWarnDays",
        "waiverMaxDays",
        "idleRuleDays",
        "clockOffsetMs",
    ];
    let written: Vec<_> = keys.iter().enumerate().map(|(i, key)| format!("{key}: {}", i + 1)).collect();
    let t = reading(&with("portRangeMax: 8", &written.join(", "))).set.standard.thresholds;
    let read: [i128; 16] = [
        t.port_range_max.into(),
        t.private_v4_prefix_warn.into(),
        t.private_v4_prefix_error.into(),
        t.public_v4_prefix_warn.into(),
        t.public_v4_prefix_error.into(),
        t.v6_prefix_warn.into(),
        t.v6_prefix_error.into(),
        t.open_v6_prefix.into(),
        t.open_v4_addresses.try_into().unwrap(),
        t.justification_chars.try_into().unwrap(),
        t.review_warn_days.into(),
        t.review_max_days.into(),
        t.temporary_warn_days.into(),
        t.waiver_max_days.into(),
        t.idle_rule_days.into(),
        t.clock_offset_ms.into(),
    ];
    assert!(read.into_iter().eq(1..=16), "{read:?}");
}

#[test]
fn a_set_has_one_standard() {
    let second = "{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: other}, spec: {profile: baseline, version: two}}\n";
    for text in [format!("{WHOLE}---\n{second}"), format!("{second}---\n{second}")] {
        let found = reading(&text);
        assert_eq!(found.problems.iter().map(|p| p.code.name()).collect::<Vec<_>>(), ["duplicate-name"]);
        assert_eq!(found.problems[0].related.len(), 1);
    }
    assert_eq!(reading(&format!("{WHOLE}---\n{second}")).set.standard.profile, Profile::PciDss401);
    assert!(codes(second).is_empty());
}
