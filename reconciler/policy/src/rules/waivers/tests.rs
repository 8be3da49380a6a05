use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::apply;
use crate::admit::{Circumstances, Judgement};
use crate::finding::Severity;
use crate::model::Profile;
use crate::rules::catalogue;
use crate::rules::facts::Facts;
use crate::rules::recorded::tests::{POLICY, after, breaks, date, of, on, set, standard, today};

/// What the wide rule breaks.
const WIDE: &str = "PCI-1.3.1-008";

/// A policy whose rule `from-app-tier` is too wide: an error.
fn wide() -> String {
    POLICY.replace("10.0.1.0/24", "10.0.0.0/12")
}

/// A Waiver about a subject, approved on 2026-01-12 until 2026-03-31, in `baseline`.
fn waiver(name: &str, rule: &str, subject: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Waiver, metadata: {{name: {name}}}, spec: {{rule: {rule}, {subject}reason: \"Narrowed in March.\", riskAcceptance: \"One port.\", requestedBy: payments, approvedBy: network-security, approvedAt: 2026-01-12, expiresAt: 2026-03-31}}}}\n---\n"
    )
}

fn of_rule() -> String {
    waiver("app-range", WIDE, "policy: cde-database, ruleName: from-app-tier, ")
}

/// The findings of a rule: how many are waived, and how many are not.
fn counted(judgement: &Judgement, id: &str) -> (usize, usize) {
    let (waived, open): (Vec<_>, Vec<_>) = of(judgement, id).into_iter().partition(|finding| finding.waiver.is_some());
    (waived.len(), open.len())
}

#[test]
fn a_waived_finding_refuses_nothing_and_stays_in_the_output() {
    assert!(!today(&wide()).compliant());
    let judged = today(&format!("{}{}", wide(), of_rule()));
    assert!(judged.compliant(), "{:?}", judged.findings);
    let found = of(&judged, WIDE);
    let waived = found[0].waiver.as_ref().unwrap();
    assert_eq!(
        (&*waived.name, &*waived.reason, &*format!("{}", waived.expires_at)),
        ("app-range", "Narrowed in March.", "2026-03-31")
    );
    assert_eq!((judged.counts().waived, judged.counts().error), (1, 0));
}

#[test]
fn a_waiver_covers_what_it_names_and_nothing_else() {
    for subject in [
        // A finding at a rule needs the rule's name.
        "policy: cde-database, ",
        "policy: cde-database, ruleName: other, ",
        "policy: cde-other, ruleName: from-app-tier, ",
        "",
    ] {
        let other = POLICY.replace("cde-database", "cde-other");
        let second = wide().replace(
            "ports: [{protocol: TCP, port: 5432}]}]",
            "ports: [{protocol: TCP, port: 5432}]}, {name: other, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]",
        );
        let judged = today(&format!("{second}{other}{}", waiver("w", WIDE, subject)));
        assert_eq!(counted(&judged, WIDE), (0, 1), "{subject}: {:?}", judged.findings);
        let idle = of(&judged, "PCI-1.2.7-008");
        assert!(
            idle.len() == 1 && idle[0].severity == Severity::Warning && idle[0].message.contains("covers nothing"),
            "{subject}"
        );
    }
    let judged = today(&format!("{}{}", wide(), of_rule().replace(WIDE, "PCI-1.3.1-006")));
    assert_eq!(counted(&judged, WIDE), (0, 1));
}

#[test]
fn a_rule_without_a_name_cannot_be_waived() {
    let nameless = wide().replace("name: from-app-tier, ", "");
    let judged = today(&format!("{nameless}{}", waiver("w", WIDE, "policy: cde-database, ")));
    assert_eq!(counted(&judged, WIDE), (0, 1), "{:?}", judged.findings);
}

#[test]
fn a_finding_about_the_policy_needs_no_rule_name() {
    let id = "PCI-1.3.1-009";
    let mixed = POLICY.replace("{pci-env: cde, tier: database}", "{}").replace("matchLabels: {}", "");
    let judged = today(&format!("{mixed}{}", waiver("w", id, "policy: cde-database, ")));
    assert_eq!(counted(&judged, id), (1, 0), "{:?}", judged.findings);
    let judged = today(&format!("{mixed}{}", waiver("w", id, "policy: cde-database, ruleName: from-app-tier, ")));
    assert_eq!(counted(&judged, id), (0, 1), "{:?}", judged.findings);
}

#[test]
fn a_record_is_about_its_rule() {
    let record = crate::rules::recorded::tests::record_with("changeTicket", None);
    let id = "PCI-1.2.5-002";
    let text = format!("{POLICY}{record}{}", waiver("w", id, "policy: cde-database, ruleName: from-app-tier, "));
    let judged = today(&text);
    assert!(counted(&judged, id) == (1, 0) && judged.compliant(), "{:?}", judged.findings);
}

#[test]
fn a_waived_winner_hands_its_place_to_the_next() {
    // At one block of the rule -004 wins and -008 stands beside it.
    let open = POLICY.replace("10.0.1.0/24", "0.0.0.0/0");
    let winner = "PCI-1.3.1-004";
    assert_eq!(of(&today(&open), winner)[0].also, ["PCI-1.3.1-008"]);
    let text = format!("{open}{}", waiver("w", winner, "policy: cde-database, ruleName: from-app-tier, "));
    let judged = today(&text);
    assert_eq!((counted(&judged, winner), counted(&judged, WIDE)), ((1, 0), (0, 1)), "{:?}", judged.findings);
    assert!(of(&judged, winner)[0].also.is_empty() && of(&judged, WIDE)[0].also.is_empty() && !judged.compliant());
    // A waived one that did not win is not among the winner's others.
    let judged = today(&format!("{open}{}", of_rule()));
    assert_eq!((counted(&judged, winner), counted(&judged, WIDE)), ((0, 1), (1, 0)), "{:?}", judged.findings);
    assert!(of(&judged, winner)[0].also.is_empty());
}

#[test]
fn a_waiver_holds_until_the_end_of_its_last_day() {
    let text = format!("{}{}", wide(), of_rule());
    assert!(on("2026-03-31", &text).compliant());
    let judged = on("2026-04-01", &text);
    assert_eq!((counted(&judged, WIDE), counted(&judged, "PCI-1.2.7-004")), ((0, 1), (0, 1)), "{:?}", judged.findings);
    assert_eq!(of(&judged, "PCI-1.2.7-004")[0].severity, Severity::Error);
    assert!(!breaks(&judged, "PCI-1.2.7-008"));
}

#[test]
fn what_is_enforced_stays_waived_when_the_waiver_expires() {
    let (text, day) = (format!("{}{}", wide(), of_rule()), "2026-04-01");
    let judged = after(&text, day, &text);
    assert!(judged.compliant(), "{:?}", judged.findings);
    assert_eq!((counted(&judged, WIDE), of(&judged, "PCI-1.2.7-004")[0].severity), ((1, 0), Severity::Warning));
    // Other policies may change.
    let another = POLICY.replace("cde-database", "cde-other");
    assert!(after(&text, day, &format!("{another}{text}")).compliant());
    // What the Waiver is about may not, nor may an expired Waiver come in.
    for touching in
        [text.replace("10.0.0.0/12", "10.0.0.0/11"), text.replace("One port.", "A port."), text.replace("port: 5432", "port: 5433")]
    {
        let judged = after(&text, day, &touching);
        assert_eq!((counted(&judged, WIDE), of(&judged, "PCI-1.2.7-004")[0].severity), ((0, 1), Severity::Error), "{touching}");
    }
    assert!(!after(&wide(), day, &text).compliant());
    // Nor does one hold that never did: 91 days.
    let long = text.replace("2026-03-31", "2026-04-13");
    assert_eq!(counted(&after(&long, "2026-04-14", &long), WIDE), (0, 1));
}

#[test]
fn a_waiver_lasts_no_longer_than_the_standard_allows() {
    let id = "PCI-1.2.7-004";
    // 90 and 91 days from 2026-01-12.
    for (last, good) in [("2026-04-12", true), ("2026-04-13", false), ("2027-01-12", false)] {
        let judged = today(&format!("{}{}", wide(), of_rule().replace("2026-03-31", last)));
        assert_eq!((counted(&judged, WIDE) == (1, 0), !breaks(&judged, id), judged.compliant()), (good, good, good), "{last}");
    }
    let stricter = format!("{}{}{}", standard("thresholds: {waiverMaxDays: 30}"), wide(), of_rule());
    assert!(breaks(&today(&stricter), id));
}

#[test]
fn a_waiver_is_approved_before_it_covers() {
    let text = format!("{}{}", wide(), of_rule().replace("2026-01-12", "2026-02-02"));
    let judged = on("2026-02-01", &text);
    assert_eq!((counted(&judged, WIDE), counted(&judged, "PCI-1.2.7-004")), ((0, 1), (0, 1)));
    assert!(on("2026-02-02", &text).compliant());
}

#[test]
fn in_pci_only_approvers_accept_risks() {
    let id = "PCI-1.2.7-004";
    let text = |profile: &str, approvers: &str| {
        let standard = standard(&format!("approvers: [{approvers}]")).replace("baseline", profile);
        breaks(&today(&format!("{standard}{}{}", wide(), of_rule())), id)
    };
    assert!(!text("baseline", "ada") && !text("pci-dss-4.0.1", "ada, network-security"));
    assert!(text("pci-dss-4.0.1", "ada") && text("pci-dss-4.0.1", ""));
}

const INVENTORY: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: inventory}, spec: {hosts: [{name: db-01, labels: {pci-env: cde}, addresses: [10.0.30.11]}, {name: db-02, labels: {pci-env: cde}, addresses: [10.0.30.12]}]}}\n---\n";

/// Which of three findings a Waiver with this subject covers: of an endpoint, of another, of the set.
fn covered(subject: &str) -> [bool; 3] {
    let set = set(&format!("{INVENTORY}{}", waiver("w", WIDE, subject)));
    let circumstances = Circumstances::on(date("2026-02-01"));
    let facts = Facts::new(&set, Profile::Baseline, &circumstances);
    let item = *catalogue().find(|item| item.id == WIDE).unwrap();
    let [first, second] = [&set.members[0], &set.members[1]];
    let mut findings = [
        item.about_endpoint(first, "labels", String::new()),
        item.about_endpoint(second, "labels", String::new()),
        item.about_item(&first.origin, "labels", String::new()),
    ];
    apply(&facts, &mut findings, |_| true);
    findings.map(|finding| finding.waiver.is_some())
}

#[test]
fn a_waiver_covers_an_endpoint_or_the_set() {
    assert_eq!(covered("endpoint: db-01, "), [true, false, false]);
    assert_eq!(covered("endpoint: db-02, "), [false, true, false]);
    assert_eq!(covered(""), [false, false, true]);
}

#[test]
fn an_expired_waiver_of_an_endpoint_holds_while_the_endpoint_stays_as_it_is() {
    let text = format!("{INVENTORY}{POLICY}{}", waiver("w", WIDE, "endpoint: db-01, "));
    let severity = |before: &str, text: &str| of(&after(before, "2026-04-01", text), "PCI-1.2.7-004")[0].severity;
    assert_eq!(severity(&text, &text), Severity::Warning);
    assert_eq!(severity(&text, &format!("# Moved.\n{text}")), Severity::Warning);
    assert_eq!(severity(&text, &text.replace("10.0.30.12", "10.0.30.13")), Severity::Warning);
    assert_eq!(severity(&text, &text.replace("10.0.30.11", "10.0.30.13")), Severity::Error);
    // A policy that selects it, then or now.
    let selecting = text.replace("pci-env: cde, tier: database", "pci-env: cde");
    assert_eq!((severity(&text, &selecting), severity(&selecting, &text)), (Severity::Error, Severity::Error));
    assert_eq!(severity(&text, &text.replace("5432", "5433")), Severity::Warning);
    assert_eq!(severity(&text, &text.replace("One port.", "A port.")), Severity::Error);
    let whole = text.replace("endpoint: db-01, ", "");
    assert_eq!((severity(&whole, &whole), severity(&whole, &whole.replace("5432", "5433"))), (Severity::Warning, Severity::Error));
}

#[test]
fn no_waiver_covers_a_waiver() {
    let id = "PCI-1.2.7-004";
    let old = of_rule().replace("2026-03-31", "2026-01-31");
    let judged = today(&format!("{}{old}{}", wide(), waiver("w", id, "policy: cde-database, ruleName: from-app-tier, ")));
    assert_eq!(counted(&judged, id), (0, 1), "{:?}", judged.findings);
}

#[test]
fn the_waiver_that_lasts_longest_is_shown() {
    let longer = of_rule().replace("app-range", "longer").replace("2026-03-31", "2026-04-01");
    let judged = today(&format!("{}{}{longer}", wide(), of_rule()));
    assert_eq!(&*of(&judged, WIDE)[0].waiver.as_ref().unwrap().name, "longer");
    assert!(!breaks(&judged, "PCI-1.2.7-008"), "{:?}", judged.findings);
}

#[test]
fn a_waiver_of_a_rule_that_did_not_run_is_not_idle() {
    // PCI-1.2.7-002 looks at the enforced set too, which nobody knows here.
    let record = crate::rules::recorded::tests::record_with("", None);
    let judged =
        today(&format!("{POLICY}{record}{}", waiver("w", "PCI-1.2.7-002", "policy: cde-database, ruleName: from-app-tier, ")));
    assert!(!breaks(&judged, "PCI-1.2.7-008"), "{:?}", judged.findings);
}

#[test]
fn a_waiver_without_a_reason_covers_nothing() {
    for (field, text) in [("reason", "Narrowed in March."), ("riskAcceptance", "One port.")] {
        let judged = today(&format!("{}{}", wide(), of_rule().replace(text, "tbd")));
        let found = of(&judged, "PCI-1.2.7-004");
        assert_eq!((counted(&judged, WIDE), found.len()), ((0, 1), 1), "{field}");
        assert!(found[0].message.contains(field), "{:?}", found[0].message);
    }
}

#[test]
fn an_expired_waiver_covers_nothing_that_is_new() {
    // A document that the Waiver does not name makes the same rule break another limit.
    let text = format!("{}{}{}", standard("thresholds: {privateV4PrefixError: 8}"), wide(), of_rule());
    let stricter = text.replace("privateV4PrefixError: 8", "privateV4PrefixError: 16");
    let day = "2026-04-01";
    assert_eq!(counted(&after(&text, day, &text), WIDE), (1, 0));
    let judged = after(&text, day, &stricter);
    assert_eq!(counted(&judged, WIDE), (0, 1), "{:?}", judged.findings);
    // One that is still in time covers both.
    assert_eq!(counted(&after(&text, "2026-03-31", &stricter), WIDE), (1, 0));
}

#[test]
fn an_expired_waiver_covers_no_endpoint_that_is_new() {
    let rule = "PCI-1.3.1-010";
    let network =
        super::super::catalogue::item(rule).repaired.split("apiVersion: pci-segment/v1\nkind: NetworkPolicy").next().unwrap();
    let policy = POLICY.replace("10.0.1.0/24", "10.0.9.0/24");
    let text = format!("{network}{policy}{}", waiver("w", rule, "policy: cde-database, ruleName: from-app-tier, "));
    let day = "2026-04-01";
    assert_eq!(counted(&after(&text, day, &text), rule), (1, 0));
    let more = text.replace(
        "{name: app-01,",
        "{name: db-02, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.12], zone: cde-db, function: \"Card vault\"},\n  {name: app-01,",
    );
    let judged = after(&text, day, &more);
    assert!(counted(&judged, rule).0 == 0 && breaks(&judged, rule), "{:?}", judged.findings);
    // Other words about an endpoint are no other endpoint, and one that goes brings nothing about.
    for same in [(&text, text.replace("Card vault", "Vault")), (&more, text.clone())] {
        assert_eq!(counted(&after(same.0, day, &same.1), rule), (1, 0));
    }
}
