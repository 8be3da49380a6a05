use alloc::format;
use alloc::string::String;

use crate::finding::{Basis, Severity};
use crate::rules::digests;
use crate::rules::recorded::tests::{GOOD, POLICY, after, breaks, of, on, record, record_with, set, standard, today};

fn with(field: &str, value: Option<&str>) -> String {
    format!("{POLICY}{}", record_with(field, value))
}

fn reviewed(day: &str) -> String {
    with("reviewedAt", Some(day))
}

/// How severe the age of a review is on a day.
fn age(day: &str, text: &str) -> Option<Severity> {
    of(&on(day, text), "PCI-1.2.7-002").first().map(|finding| finding.severity)
}

#[test]
fn a_review_has_a_day_and_a_reviewer() {
    let id = "PCI-1.2.7-001";
    assert!(!breaks(&today(&with("", None)), id));
    for field in ["reviewedAt", "reviewedBy"] {
        let inside = today(&with(field, None));
        assert_eq!(of(&inside, id)[0].severity, Severity::Error, "{field}");
        let outside = today(&with(field, None).replace("pci-env: cde", "pci-env: dmz"));
        assert_eq!(of(&outside, id)[0].severity, Severity::Warning, "{field}");
    }
}

#[test]
fn a_review_is_due_the_day_after_its_limit() {
    // 2026-01-01 and 150, 151, 184, 185 days.
    let text = reviewed("2026-01-01").replace("approvedAt: 2026-01-12", "approvedAt: 2026-01-01");
    for (day, severity) in [
        ("2026-01-01", None),
        ("2026-05-31", None),
        ("2026-06-01", Some(Severity::Warning)),
        ("2026-07-04", Some(Severity::Warning)),
        ("2026-07-05", Some(Severity::Error)),
        ("2036-07-05", Some(Severity::Error)),
    ] {
        assert_eq!(age(day, &text), severity, "{day}");
    }
}

#[test]
fn a_leap_day_counts_as_a_day() {
    let text = reviewed("2027-12-01").replace("approvedAt: 2026-01-12", "approvedAt: 2027-12-01");
    // 2028 has a 29th of February: the 184th day is the 2nd of June, in 2027 it would be the 3rd.
    assert_eq!(age("2028-06-02", &text), Some(Severity::Warning));
    assert_eq!(age("2028-06-03", &text), Some(Severity::Error));
    let plain = reviewed("2026-12-01").replace("approvedAt: 2026-01-12", "approvedAt: 2026-12-01");
    assert_eq!(age("2027-06-03", &plain), Some(Severity::Warning));
    assert_eq!(age("2027-06-04", &plain), Some(Severity::Error));
    assert_eq!(age("2028-03-01", &reviewed("2028-02-29")), None);
}

#[test]
fn the_warning_is_the_house_s_and_the_error_the_requirement_s() {
    let text = reviewed("2026-01-12");
    let basis = |day: &str| of(&on(day, &text), "PCI-1.2.7-002")[0].basis;
    assert_eq!((basis("2026-06-30"), basis("2026-12-31")), (Basis::H, Basis::D));
}

#[test]
fn the_standard_asks_for_reviews_more_often() {
    let text = format!("{}{}", standard("thresholds: {reviewWarnDays: 10, reviewMaxDays: 20}"), reviewed("2026-01-12"));
    assert_eq!(age("2026-01-22", &text), None);
    assert_eq!(age("2026-01-23", &text), Some(Severity::Warning));
    assert_eq!(age("2026-02-02", &text), Some(Severity::Error));
}

#[test]
fn the_calendar_alone_never_refuses_what_is_enforced() {
    let (id, day) = ("PCI-1.2.7-002", "2026-12-31");
    let text = reviewed("2026-01-12");
    let severity = |before: &str, text: &str| of(&after(before, day, text), id)[0].severity;
    assert_eq!(age(day, &text), Some(Severity::Error));
    assert_eq!(severity(&text, &text), Severity::Warning);
    assert!(after(&text, day, &text).compliant());
    // A commit that only moves the policy, or is about another one, does not touch it.
    let another = POLICY.replace("cde-database", "cde-other");
    assert_eq!(severity(&text, &format!("# Moved.\n{another}{text}")), Severity::Warning);
    assert_eq!(severity(&format!("{another}{text}"), &text), Severity::Warning);
    // One that changes the policy, its record or a Waiver about it does.
    let waiver = "{apiVersion: pci-segment/v1, kind: Waiver, metadata: {name: w}, spec: {rule: PCI-1.2.5-002, policy: cde-database, ruleName: from-app-tier, reason: r, riskAcceptance: r, requestedBy: a, approvedBy: b, approvedAt: 2026-12-01, expiresAt: 2027-01-01}}\n---\n";
    for touching in [
        text.replace("10.0.1.0/24", "10.0.1.0/25"),
        text.replace("cidr: 10.0.1.0/24", "cidr: 10.0.1.0/24, except: [10.0.1.8/32]"),
        text.replace("[{ipBlock: {cidr: 10.0.1.0/24}}]", "[{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: 10.0.2.0/24}}]"),
        text.replace("port: 5432", "port: 5433"),
        text.replace("ingress: [", "egress: [{name: out, to: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}], ingress: ["),
        text.replace("{name: cde-database, annotations", "{name: cde-database, namespace: shop, annotations"),
        text.replace("Req 1.3.1\"", "Req 1.3.1\", pci-segment/intent: deny"),
        text.replace("pci-env: cde,", "pci-env: cde, app: x,"),
        text.replace("CHG-1041", "CHG-1042"),
        format!("{waiver}{text}"),
    ] {
        assert_eq!(severity(&text, &touching), Severity::Error, "{touching}");
        assert_eq!(severity(&touching, &text), Severity::Error, "{touching}");
    }
    assert_eq!(severity(&another, &text), Severity::Error);
}

const LATE: &str = "{dueAt: 2026-07-15, doneAt: 2026-09-01, reason: \"The reviewer was ill.\", recordedBy: ada}";

#[test]
fn a_late_review_says_why() {
    let id = "PCI-1.2.7-002";
    let (before, late) = (reviewed("2026-01-12"), reviewed("2026-09-01"));
    let judged = after(&before, "2026-09-02", &late);
    assert_eq!((of(&judged, id).len(), of(&judged, id)[0].severity), (1, Severity::Error), "{:?}", judged.findings);
    let missed = |value: &str| {
        let fields = format!("{}, missedReview: {value}", GOOD.replace("reviewedAt: 2026-01-12", "reviewedAt: 2026-09-01"));
        format!("{POLICY}{}", record(&fields))
    };
    let judged = after(&before, "2026-09-02", &missed(LATE));
    let found = of(&judged, id);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Info), "{:?}", judged.findings);
    assert!(found[0].message.contains("The reviewer was ill.") && judged.compliant());
    // It is about that review, not about another one.
    let judged = after(&before, "2026-09-02", &missed(&LATE.replace("doneAt: 2026-09-01", "doneAt: 2026-08-31")));
    assert_eq!(of(&judged, id)[0].severity, Severity::Error);
    // One that was not late, or that says nothing, explains nothing.
    let in_time = LATE.replace("dueAt: 2026-07-15", "dueAt: 2026-09-01");
    assert_ne!(in_time, LATE);
    for empty in [in_time, LATE.replace("The reviewer was ill.", "n/a")] {
        assert_eq!(of(&after(&before, "2026-09-02", &missed(&empty)), id)[0].severity, Severity::Error, "{empty}");
    }
    // And never about the next.
    assert_eq!(of(&on("2027-03-05", &missed(LATE)), id).iter().map(|f| f.severity).min(), Some(Severity::Error));
}

#[test]
fn a_review_in_time_needs_no_reason() {
    // 184 days, and 185.
    let before = reviewed("2026-01-12");
    assert!(!breaks(&after(&before, "2026-07-16", &reviewed("2026-07-15")), "PCI-1.2.7-002"));
    assert!(breaks(&after(&before, "2026-07-16", &reviewed("2026-07-16")), "PCI-1.2.7-002"));
}

#[test]
fn a_review_is_of_what_the_rule_says_today() {
    let id = "PCI-1.2.7-003";
    let digest = digests(&set(POLICY)).next().unwrap().digest;
    let own = |text: &str| with("reviewedDigest", Some(text));
    let good = own(&format!("\"sha256:{digest}\""));
    assert!(!breaks(&today(&good), id));
    assert!(!breaks(&today(&with("", None)), id));
    for widened in [good.replace("10.0.1.0/24", "10.0.0.0/23"), good.replace("port: 5432", "port: 5432, endPort: 5433")] {
        let judged = today(&widened);
        let found = of(&judged, id);
        let now = digests(&set(&widened)).next().unwrap().digest;
        assert!(found.len() == 1 && found[0].message.contains(&format!("sha256:{now}")), "{:?}", judged.findings);
    }
}

#[test]
fn in_pci_a_review_says_what_was_reviewed() {
    let id = "PCI-1.2.7-003";
    let pci = standard("approvers: [network-security]").replace("baseline", "pci-dss-4.0.1");
    let digest = digests(&set(POLICY)).next().unwrap().digest;
    let judged = today(&format!("{pci}{}", with("", None)));
    assert!(
        of(&judged, id).len() == 1 && of(&judged, id)[0].message.contains(&format!("sha256:{digest}")),
        "{:?}",
        judged.findings
    );
    assert!(!breaks(&today(&format!("{pci}{}", with("reviewedDigest", Some(&format!("\"sha256:{digest}\""))))), id));
}

#[test]
fn nobody_reviews_tomorrow() {
    assert!(breaks(&today(&reviewed("2026-02-02")), "PCI-1.2.7-003"));
    assert!(!breaks(&today(&reviewed("2026-02-01")), "PCI-1.2.7-003"));
}

#[test]
fn a_rule_lasts_until_the_end_of_its_last_day() {
    let id = "PCI-1.2.7-004";
    let text = with("expiresAt", Some("2026-02-28"));
    assert!(!breaks(&on("2026-02-28", &text), id));
    assert_eq!(of(&on("2026-03-01", &text), id)[0].severity, Severity::Error);
    assert_eq!(of(&after(&text, "2026-03-01", &text), id)[0].severity, Severity::Warning);
    assert!(after(&text, "2026-03-01", &text).compliant());
    let touched = text.replace("5432", "5433");
    assert_eq!(of(&after(&text, "2026-03-01", &touched), id)[0].severity, Severity::Error);
}

#[test]
fn a_temporary_rule_is_asked_about_after_its_days() {
    // 90 and 91 days after 2026-01-12.
    let text = with("temporary", Some("true, expiresAt: 2026-12-31"));
    assert!(!breaks(&on("2026-04-12", &text), "PCI-1.2.7-004"));
    let judged = on("2026-04-13", &text);
    let found = of(&judged, "PCI-1.2.7-004");
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warning));
    assert!(!breaks(&on("2026-04-13", &with("expiresAt", Some("2026-12-31"))), "PCI-1.2.7-004"));
}
