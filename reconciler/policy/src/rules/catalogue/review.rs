//! Group D: are rules looked at again (PCI DSS v4.0.1 1.2.7)?
//!
//! Dates are compared with the day of the circumstances. What the calendar alone brings about is an error only for a commit that
//! touches the policy: else a rule that is enforced would be refused overnight.

use alloc::format;
use alloc::string::String;

use super::super::digest::digest;
use super::super::facts::Facts;
use super::super::filler::says_something;
use super::super::found::{Found, with_severity};
use super::super::recorded::{Kept, is_required, kept};
use super::super::waivers;
use super::{Check, Column, Item};
use crate::date::Date;
use crate::finding::{Basis, Finding, Severity};
use crate::model::records::{MissedReview, RuleRecord};

/// A rule for the card database, by itself in `baseline`.
macro_rules! rule {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: cde-database, annotations: {pci-dss: \"Req 1.3.1\"}},\n",
            "  spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, ingress: [\n",
            "    {name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}}\n",
            "---\n"
        )
    };
}

/// Its record, with these last fields.
macro_rules! record {
    ($fields:expr) => {
        concat!(
            rule!(),
            "{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {name: cde-database}, spec: {records: [\n",
            "  {policy: cde-database, rule: from-app-tier, owner: payments-platform, changeTicket: CHG-1041,\n",
            "    justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12,\n",
            "    ",
            $fields,
            "}]}}\n"
        )
    };
}

pub(super) static ITEMS: [Item; 4] = [
    Item {
        id: "PCI-1.2.7-001",
        requirements: &["1.2.7"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a record without `reviewedAt` or `reviewedBy`; a warning outside the CDE",
        remediation: "Review the rule, then record it.",
        violating: record!("reviewResult: keep"),
        repaired: record!("reviewedAt: 2026-01-12, reviewedBy: network-security, reviewResult: keep"),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &[],
        check: Check::Set(not_reviewed),
    },
    Item {
        id: "PCI-1.2.7-002",
        requirements: &["1.2.7"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "the last review is older than `reviewWarnDays` (a warning) or `reviewMaxDays`, or came later than that after the one before it without a `missedReview` that was due before and says why; a `missedReview` of the last review is reported",
        remediation: "Review, and record why it was late.",
        violating: record!("reviewedAt: 2025-07-26, reviewedBy: network-security, reviewResult: keep"),
        repaired: record!("reviewedAt: 2026-01-26, reviewedBy: network-security, reviewResult: keep"),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &["enforced set"],
        check: Check::Set(overdue),
    },
    Item {
        id: "PCI-1.2.7-003",
        requirements: &["1.2.7"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::H,
        condition: "`reviewedAt` in the future, or `reviewedDigest` is not that of the rule as it stands; in pci-dss-4.0.1 also: no `reviewedDigest`",
        remediation: "Review what the rule says now.",
        violating: record!(
            "reviewedAt: 2026-01-12, reviewedBy: network-security, reviewedDigest: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\""
        ),
        repaired: record!(
            "reviewedAt: 2026-01-12, reviewedBy: network-security, reviewedDigest: \"sha256:91a23ae3a3736f7a1488eb09840bef3326aabff4428378635555d4393db45997\""
        ),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &[],
        check: Check::Set(reviewed_something_else),
    },
    Item {
        id: "PCI-1.2.7-004",
        requirements: &["1.2.7"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::H,
        condition: "`expiresAt` of a record or a Waiver has passed; a Waiver without independent approval, without a reason or a risk acceptance that says something, approved in the future or for more than `waiverMaxDays`; a temporary rule older than `temporaryWarnDays` (a warning)",
        remediation: "Delete the rule. It is already left out of what is compiled.",
        violating: record!("reviewedAt: 2026-01-12, reviewedBy: network-security, temporary: true, expiresAt: 2026-01-31"),
        repaired: record!("reviewedAt: 2026-01-12, reviewedBy: network-security, temporary: true, expiresAt: 2026-02-01"),
        profile: Column::Baseline,
        needs: &[],
        wants: &[],
        check: Check::Set(expired),
    },
];

fn not_reviewed(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        let what = match (rule.record.reviewed_at, &rule.record.reviewed_by) {
            (Some(_), Some(_)) => continue,
            (None, _) => "no review is recorded",
            (Some(_), None) => "nobody is recorded as reviewer",
        };
        let message = format!("{what} of {}", rule.name());
        found.add(with_severity(rule.finding(item, "reviewedAt", message), rule.severity()));
    }
}

fn overdue(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        let Some(reviewed) = rule.record.reviewed_at else { continue };
        let findings = late(item, facts, &rule, reviewed).into_iter().chain(due(item, facts, &rule, reviewed));
        findings.for_each(|finding| found.add(finding));
    }
}

/// The age of the last review.
fn due(item: &Item, facts: &Facts<'_>, rule: &Kept<'_>, reviewed: Date) -> Option<Finding> {
    let age = facts.circumstances.today.days_since(reviewed);
    let (warn, max) = (facts.thresholds().review_warn_days, facts.thresholds().review_max_days);
    let message = |word| format!("the last review of {} was {age} days ago, on {reviewed}; {word} {max} days", rule.name());
    if age > max {
        let finding = rule.finding(item, "reviewedAt", message("at most"));
        return Some(with_severity(finding, facts.since.calendar(&rule.here.policy.name)));
    }
    (age > warn).then(|| Finding {
        severity: Severity::Warning,
        basis: Basis::H,
        ..rule.finding(item, "reviewedAt", message("the next is due after"))
    })
}

/// The time between the review before the last, where it is known, and the last.
fn late(item: &Item, facts: &Facts<'_>, rule: &Kept<'_>, reviewed: Date) -> Option<Finding> {
    if let Some(missed) = caught_up(rule.record, reviewed) {
        let MissedReview { due_at, reason, recorded_by, .. } = missed;
        let message = format!("the review of {} was due on {due_at} and done on {reviewed}: {reason} ({recorded_by})", rule.name());
        return Some(with_severity(rule.finding(item, "missedReview", message), Severity::Info));
    }
    let before = facts.since.record(rule.record)?.reviewed_at?;
    let gap = reviewed.days_since(before);
    let max = facts.thresholds().review_max_days;
    (gap > max).then(|| {
        let message = format!(
            "{} was reviewed on {reviewed}, {gap} days after {before}; at most {max} days, and no missedReview says why",
            rule.name()
        );
        rule.finding(item, "reviewedAt", message)
    })
}

/// What is recorded of a late review, if it is about the last one, was late, and says why.
fn caught_up(record: &RuleRecord, reviewed: Date) -> Option<&MissedReview> {
    record
        .missed_review
        .as_ref()
        .filter(|missed| missed.done_at == reviewed && missed.due_at < reviewed && says_something(Some(&*missed.reason)))
}

fn reviewed_something_else(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        let today = || format!("today's is sha256:{}", digest(rule.here.policy, rule.here.direction, rule.here.rule));
        let Some(reviewed) = rule.record.reviewed_at else { continue };
        if reviewed > facts.circumstances.today {
            let message = format!("the review of {} is dated {reviewed}, which has not come yet", rule.name());
            found.add(rule.finding(item, "reviewedAt", message));
        }
        match rule.record.reviewed_digest {
            Some(then) if then != digest(rule.here.policy, rule.here.direction, rule.here.rule) => {
                let message = format!("{} is not what was reviewed on {reviewed}; {}", rule.name(), today());
                found.add(rule.finding(item, "reviewedDigest", message));
            }
            None if is_required(facts) => {
                let message =
                    format!("the review of {} does not say what was reviewed: no reviewedDigest; {}", rule.name(), today());
                found.add(rule.finding(item, "reviewedDigest", message));
            }
            Some(_) | None => {}
        }
    }
}

fn expired(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        rule_expired(item, facts, &rule).into_iter().for_each(|finding| found.add(finding));
    }
    waivers::invalid(item, facts, found);
}

fn rule_expired(item: &Item, facts: &Facts<'_>, rule: &Kept<'_>) -> Option<Finding> {
    let today = facts.circumstances.today;
    if let Some(last) = rule.record.expires_at.filter(|last| *last < today) {
        let message = format!("{} expired on {last}", rule.name());
        return Some(with_severity(rule.finding(item, "expiresAt", message), facts.since.calendar(&rule.here.policy.name)));
    }
    let age = rule.record.approved_at.filter(|_| rule.record.temporary).map(|approved| today.days_since(approved))?;
    (age > facts.thresholds().temporary_warn_days).then(|| {
        let message: String = format!("{} is temporary and {age} days old", rule.name());
        Finding {
            remediation: "Delete the rule, or make it a lasting one with a reason of its own.".into(),
            ..with_severity(rule.finding(item, "temporary", message), Severity::Warning)
        }
    })
}

#[cfg(test)]
mod tests;
