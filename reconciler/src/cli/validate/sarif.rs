//! Findings as SARIF 2.1.0, for code scanning services and editors.
//!
//! One run. Every rule of the catalogue stands in `tool.driver.rules`, whether or not it found something, so that a viewer can show what
//! was checked; rules that did not run are notifications of the invocation, because silence is never success. Waived findings are
//! results with a suppression. There is no time in it: the same input and day give the same bytes.
//!
//! The structs are the part of the format that we write, in its order; a test holds the output against the published schema.

mod model;
mod rules;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use policy::finding::{Finding, Severity};
use policy::model::Place;
use serde_json::json;

use self::model::{
    ArtifactLocation, BaseId, Driver, Invocation, Level, Location, Log, LogicalLocation, Notification, PhysicalLocation, Region,
    ReportingReference, Run, SarifResult, Suppression, Text, Tool,
};
use super::Report;
use super::source::Sources;
use super::words::{meant, ran_in_part, rule, waived, witness};
use crate::cli::files::STDIN_NAME;
use crate::cli::output::{Output, escape};

/// Where the published schema stands.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The folder that relative paths start from, by the name that code scanning services use for it.
const ROOT: &str = "%SRCROOT%";
/// The kinds of notifications.
const NOT_RUN: &str = "rule-not-run";
const NOT_LISTED: &str = "findings-not-listed";
const UNREADABLE: &str = "input-unreadable";

pub(super) fn print(report: &Report<'_>, out: Output) {
    out.json(&log(report));
}

fn log<'a>(report: &'a Report<'a>) -> Log<'a> {
    let mut sources = Sources::new(report.snapshot);
    let judgement = report.judgement;
    let driver = Driver {
        name: "pci-segment",
        version: env!("CARGO_PKG_VERSION"),
        semantic_version: env!("CARGO_PKG_VERSION"),
        rules: rules::all(),
        notifications: [
            (NOT_RUN, "A rule did not run, because what it needs is not known."),
            (NOT_LISTED, "There are more findings than are listed."),
            (UNREADABLE, "Something that was named could not be read."),
        ]
        .map(|(id, text)| rules::notification(id, text))
        .into(),
    };
    let run = Run {
        tool: Tool { driver },
        invocations: [Invocation {
            execution_successful: report.complete,
            exit_code: report.exit().code(),
            tool_execution_notifications: notifications(report),
        }],
        original_uri_base_ids: [(ROOT, BaseId { description: Text::new("The folder the command ran in.") })].into(),
        column_kind: "unicodeCodePoints",
        results: judgement.findings.iter().map(|finding| result(report, finding, &mut sources)).collect(),
        properties: json!({
            "compliant": report.passes(),
            "profile": judgement.profile.name(),
            "standard": policy::admit::STANDARD,
            "catalogue": policy::admit::CATALOGUE,
            "date": judgement.date,
            "set": judgement.inputs,
            "counts": judgement.counts(),
        }),
    };
    Log { schema: SCHEMA, version: "2.1.0", runs: [run] }
}

fn notifications(report: &Report<'_>) -> Vec<Notification> {
    let judgement = report.judgement;
    let mut list = Vec::new();
    let mut add = |kind, level, text: String, rule: Option<&str>| {
        list.push(Notification {
            descriptor: ReportingReference::id(kind),
            associated_rule: rule.map(reference),
            level,
            message: Text::new(text),
        });
    };
    if !report.complete {
        add(UNREADABLE, Level::Error, "Not everything that was named could be read; the results are not the whole.".into(), None);
    }
    for (more, level, what) in
        [(judgement.more_problems, Level::Error, "errors"), (judgement.more_findings, Level::Warning, "warnings and notes")]
    {
        if more > 0 {
            add(NOT_LISTED, level, format!("{more} more {what} are counted and not listed."), None);
        }
    }
    for missing in &judgement.not_run {
        let what = if ran_in_part(missing) { "ran without a part that needs" } else { "did not run: it needs" };
        let text = format!("{} {what} {}.", missing.rule_id, missing.needs.join(", "));
        add(NOT_RUN, Level::Note, text, Some(missing.rule_id));
    }
    list
}

fn reference(id: &str) -> ReportingReference {
    ReportingReference { id: id.to_owned(), index: rule(id).map(|(index, _)| index) }
}

fn result<'a>(report: &Report<'_>, finding: &'a Finding, sources: &mut Sources<'_>) -> SarifResult<'a> {
    let mut related = |(id, place): (usize, &Place)| Location {
        id: Some(id),
        message: Some(Text::new("together with this")),
        ..location(report, place, sources)
    };
    let related_locations = finding.related.iter().enumerate().map(&mut related).collect();
    SarifResult {
        rule_id: finding.rule_id,
        rule_index: rule(finding.rule_id).map(|(index, _)| index),
        level: level(finding.severity),
        message: Text::new(message(finding)),
        locations: [location(report, &finding.place, sources)],
        related_locations,
        partial_fingerprints: BTreeMap::from([("pciSegment/v1", json!(finding.fingerprint()))]),
        suppressions: suppressions(finding),
        properties: json!({
            "requirements": finding.requirements,
            "also": finding.also,
            "waivable": finding.waivable,
            "basis": finding.basis,
            "code": finding.code,
            "policy": finding.policy.as_deref(),
            "rule": finding.rule.as_deref(),
            "endpoint": finding.endpoint.as_deref(),
            "path": finding.path,
            "remediation": finding.remediation,
            "did_you_mean": finding.did_you_mean,
            "witness": finding.witness,
        }),
    }
}

/// What is wrong, and a packet that shows it: an alert's page shows this text and nothing of the property bag.
fn message(finding: &Finding) -> String {
    let mut text = format!("Req {}: {}", finding.requirements.join(", "), escape(&finding.message));
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    if let Some(meant) = meant(finding) {
        let _ = write!(text, " {meant}");
    }
    if let Some(shown) = &finding.witness {
        let _ = write!(text, " Witness: {}.", witness(shown));
    }
    text
}

/// Always there, because a run states suppressions for all of its results or for none (SARIF 2.1.0, 3.27.23).
fn suppressions(finding: &Finding) -> Vec<Suppression> {
    let suppression = |justification| Suppression { kind: "external", status: "accepted", justification };
    waived(finding).map(suppression).into_iter().collect()
}

/// A place in a file, or a group of a cloud and its rule.
fn location(report: &Report<'_>, place: &Place, sources: &mut Sources<'_>) -> Location {
    let Some(group) = report.groups.and_then(|groups| groups.get(&place.file)) else {
        let physical_location = Some(physical(place, sources));
        return Location { id: None, message: None, physical_location, logical_locations: Vec::new() };
    };
    let rule = group.rule(place.spot);
    let whole = rule.map_or_else(|| place.file.to_string(), |rule| format!("{}/{rule}", place.file));
    let logical = LogicalLocation {
        name: rule.unwrap_or(&group.name).to_owned(),
        fully_qualified_name: whole,
        kind: if rule.is_some() { "resource rule" } else { "resource" },
    };
    Location { id: None, message: None, physical_location: None, logical_locations: vec![logical] }
}

fn physical(place: &Place, sources: &mut Sources<'_>) -> PhysicalLocation {
    let columns = sources.columns(&place.file, place.spot);
    PhysicalLocation {
        artifact_location: artifact(&place.file),
        region: Region { start_line: place.spot.line, start_column: place.spot.column, end_column: columns.map(|c| c.end) },
    }
}

/// A path as a URI reference (RFC 3986): relative ones against the folder the command ran in.
fn artifact(file: &str) -> ArtifactLocation {
    if file.starts_with('/') {
        return ArtifactLocation { uri: format!("file://{}", encoded(file)), uri_base_id: None };
    }
    let file = if file == STDIN_NAME { "stdin" } else { file.trim_start_matches("./") };
    ArtifactLocation { uri: encoded(file), uri_base_id: Some(ROOT) }
}

/// Everything but unreserved characters and slashes, percent-encoded.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn level(severity: Severity) -> Level {
    match severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Info => Level::Note,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{WAIVER, waived_report};
    use super::*;

    #[test]
    fn a_waived_finding_is_a_result_with_a_suppression() {
        waived_report(|report| {
            let log = serde_json::to_value(log(report)).unwrap();
            let results = log["runs"][0]["results"].as_array().unwrap();
            let waived = results.iter().find(|result| result["ruleId"] == "PCI-1.3.1-004").unwrap();
            assert_eq!(waived["suppressions"], json!([{"kind": "external", "status": "accepted", "justification": WAIVER}]));
            assert!(results.iter().all(|result| result["suppressions"].is_array()), "{results:?}");
        });
    }

    #[test]
    fn a_path_becomes_a_uri_reference() {
        let uri = |file: &str| artifact(file).uri;
        assert_eq!(uri("policies/a b.yaml"), "policies/a%20b.yaml");
        assert_eq!(uri("./a:b%.yaml"), "a%3Ab%25.yaml");
        assert_eq!(uri("/srv/é.yaml"), "file:///srv/%C3%A9.yaml");
        assert_eq!(uri("../p.yaml"), "../p.yaml");
        assert_eq!((artifact("/a").uri_base_id, artifact("a").uri_base_id), (None, Some(ROOT)));
    }
}
