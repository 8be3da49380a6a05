//! Documents that the tests of records, reviews and waivers are made of.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::admit::{Circumstances, Judgement, admit};
use crate::date::Date;
use crate::finding::Finding;
use crate::model::PolicySet;
use crate::read::{Reading, read};
use crate::rules::tests::{day, snapshot};

/// A rule `from-app-tier` for the card database.
pub(in crate::rules) const POLICY: &str = "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: cde-database, annotations: {pci-dss: \"Req 1.3.1\"}}, spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, ingress: [{name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}}\n---\n";

/// A record that no rule objects to on the day of the tests.
pub(in crate::rules) const GOOD: &str = "owner: payments, requestedBy: payments, justification: \"The payment API stores authorisations.\", changeTicket: CHG-1041, approvedBy: network-security, approvedAt: 2026-01-12, reviewedAt: 2026-01-12, reviewedBy: network-security";

/// The record of the rule.
pub(in crate::rules) fn record(fields: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {{name: records}}, spec: {{records: [{{policy: cde-database, rule: from-app-tier, {fields}}}]}}}}\n---\n"
    )
}

/// The record with one field written otherwise, or left out.
pub(in crate::rules) fn record_with(field: &str, value: Option<&str>) -> String {
    let kept: Vec<String> = GOOD.split(", ").filter(|part| !part.starts_with(&format!("{field}:"))).map(String::from).collect();
    let added = value.map(|value| format!("{field}: {value}"));
    record(&kept.into_iter().chain(added).collect::<Vec<_>>().join(", "))
}

/// A Standard of `baseline` with these fields besides.
pub(in crate::rules) fn standard(fields: &str) -> String {
    format!(
        "{{apiVersion: pci-segment/v1, kind: Standard, metadata: {{name: standard}}, spec: {{profile: baseline, version: \"1\", {fields}}}}}\n---\n"
    )
}

/// What is read of a text; its last separator has no document after it.
pub(in crate::rules) fn reading(text: &str) -> Reading {
    read(&snapshot(text.strip_suffix("---\n").unwrap_or(text)))
}

pub(in crate::rules) fn set(text: &str) -> PolicySet {
    let reading = reading(text);
    assert!(reading.problems.is_empty(), "{:?}\n{text}", reading.problems);
    reading.set
}

pub(in crate::rules) fn date(text: &str) -> Date {
    Date::parse(text).unwrap()
}

/// Judged on a day, with nothing else known.
pub(in crate::rules) fn on(today: &str, text: &str) -> Judgement {
    admit(reading(text), &Circumstances::on(date(today)))
}

/// Judged where another text is enforced.
pub(in crate::rules) fn after(before: &str, today: &str, text: &str) -> Judgement {
    let enforced = Some(Arc::new(set(before)));
    admit(reading(text), &Circumstances { enforced, ..Circumstances::on(date(today)) })
}

/// Judged on the day of the tests.
pub(in crate::rules) fn today(text: &str) -> Judgement {
    admit(reading(text), &Circumstances::on(day()))
}

/// The findings of one rule, those that stand beside another's not among them.
pub(in crate::rules) fn of<'a>(judgement: &'a Judgement, id: &str) -> Vec<&'a Finding> {
    judgement.findings.iter().filter(|finding| finding.rule_id == id).collect()
}

/// Whether a rule is broken anywhere.
pub(in crate::rules) fn breaks(judgement: &Judgement, id: &str) -> bool {
    judgement.findings.iter().any(|finding| finding.rule_id == id || finding.also.contains(&id))
}
