//! Findings as JUnit XML: one `testsuite` for each requirement, one `testcase` for each rule and document.
//!
//! A rule that several requirements ask for stands in each of their suites, and so does a rule that is only an `also` of another one:
//! each counts for its own requirement. Errors are failures, and with `--strict` warnings; other findings are output of a case that
//! passed. Waived findings and rules that did not run are skipped, with the reason. There are no times: same input, same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use policy::admit::NotRun;
use policy::finding::{Finding, Severity};
use policy::rules::catalogue;

use super::Report;
use super::source::documents;
use super::words::{also, meant, ran_in_part, requirements, rule, severity, waived, witness};
use super::xml::xml;
use crate::cli::output::{Output, escape};

/// The suite of what belongs to no requirement.
const OTHER: &str = "other";

/// A document: its file, the line it begins at, and whether it is the file's only one.
type Document<'a> = (&'a str, u32, bool);

pub(super) fn print(report: &Report<'_>, out: Output) {
    write(report, &mut |part| out.line(part));
}

/// Gives the document part by part: a large set has hundreds of thousands of cases.
fn write(report: &Report<'_>, part: &mut dyn FnMut(&str)) {
    part(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    let command = if report.groups.is_some() { "cloud-validate" } else { "validate" };
    part(&format!("<testsuites name=\"pci-segment {command}\">"));
    let cases = Cases::new(report);
    let mut suites: BTreeMap<Vec<u16>, (&str, BTreeSet<&str>)> = BTreeMap::new();
    for id in catalogue().map(|item| item.id).chain(cases.not_run.keys().copied()).chain(cases.found.keys().map(|(id, _)| *id)) {
        let of = requirements(id);
        for number in if of.is_empty() { &[OTHER] } else { of } {
            suites.entry(sort_key(number)).or_insert((number, BTreeSet::new())).1.insert(id);
        }
    }
    for (number, ids) in suites.values() {
        part(&cases.suite(number, ids));
    }
    if report.judgement.more_problems > 0 {
        part(&format!(
            "  <testsuite name=\"not listed\" tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\">\n    <testcase name=\"limit\" \
             classname=\"all files\">\n      <failure message=\"{} more errors are counted and not listed\"/>\n    </testcase>\n  \
             </testsuite>",
            report.judgement.more_problems
        ));
    }
    part("</testsuites>");
}

/// `1.2.8` before `1.10`, and what is no number last.
fn sort_key(number: &str) -> Vec<u16> {
    number.split('.').map(|part| part.parse().unwrap_or(u16::MAX)).collect()
}

/// How a case ended.
enum Outcome {
    Passed,
    Failed { message: String },
    Skipped { reason: String },
}

struct Cases<'a> {
    report: &'a Report<'a>,
    documents: Vec<Document<'a>>,
    /// Findings by rule and document; under an `also`, the finding that won its place.
    found: BTreeMap<(&'a str, Document<'a>), Vec<&'a Finding>>,
    not_run: BTreeMap<&'a str, &'a NotRun>,
}

impl<'a> Cases<'a> {
    fn new(report: &'a Report<'a>) -> Self {
        let judgement = report.judgement;
        let files: BTreeSet<&str> =
            report.snapshot.entries.keys().map(String::as_str).chain(judgement.findings.iter().map(|f| &*f.place.file)).collect();
        let of_file = |file: &'a str| {
            let starts = documents(report.snapshot, file);
            let only = starts.len() == 1;
            starts.into_iter().map(move |line| (file, line, only))
        };
        let documents: Vec<Document<'a>> = files.into_iter().flat_map(of_file).collect();
        let mut found: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
        for finding in &judgement.findings {
            let document = document_of(&documents, finding);
            for id in std::iter::once(finding.rule_id).chain(finding.also.iter().copied()) {
                found.entry((id, document)).or_default().push(finding);
            }
        }
        let not_run = judgement.not_run.iter().map(|missing| (missing.rule_id, missing)).collect();
        Self { report, documents, found, not_run }
    }

    fn suite(&self, number: &str, ids: &BTreeSet<&str>) -> String {
        let (mut body, mut tests, mut failures, mut skipped) = (String::new(), 0_usize, 0_usize, 0_usize);
        let mut add = |id: &str, class: &str, outcome: &Outcome, output: &str| {
            tests += 1;
            failures += usize::from(matches!(outcome, Outcome::Failed { .. }));
            skipped += usize::from(matches!(outcome, Outcome::Skipped { .. }));
            case(&mut body, id, class, outcome, output);
        };
        for id in ids {
            let missing = self.not_run.get(id);
            if let Some(missing) = missing {
                let part = if ran_in_part(missing) { "a part was not run" } else { "not run" };
                add(id, "not run", &Outcome::Skipped { reason: format!("{part}: needs {}", missing.needs.join(", ")) }, "");
            }
            let ran = missing.is_none_or(|missing| ran_in_part(missing));
            // Nothing that was found is left out, whoever found it.
            for document in self.documents.iter().filter(|document| ran || self.found.contains_key(&(*id, **document))) {
                let (outcome, output) = self.outcome(id, *document);
                add(id, &class(*document), &outcome, &output);
            }
        }
        let standard = if number == OTHER { "" } else { "PCI DSS v4.0.1 " };
        format!(
            "  <testsuite name=\"{standard}{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">\n{body}  \
             </testsuite>",
            xml(number)
        )
    }

    /// How a rule ended over a document, and every finding in words.
    fn outcome(&self, id: &str, document: Document<'_>) -> (Outcome, String) {
        let findings = self.found.get(&(id, document)).map_or(&[][..], Vec::as_slice);
        let [first, rest @ ..] = findings else { return (Outcome::Passed, String::new()) };
        let details = findings.iter().map(|finding| detail(id, finding)).collect::<Vec<_>>().join("\n");
        let failed = |finding: &&&Finding| finding.waiver.is_none() && self.report.fails(severity_of(id, finding));
        let outcome = match findings.iter().find(failed) {
            Some(worst) if rest.is_empty() => Outcome::Failed { message: headline(worst) },
            Some(worst) => Outcome::Failed { message: format!("{} ({} findings)", headline(worst), findings.len()) },
            None => waived(first).map_or(Outcome::Passed, |waiver| Outcome::Skipped { reason: format!("waived by {waiver}") }),
        };
        (outcome, details)
    }
}

/// How bad a finding is for a rule: for an `also`, no worse than the rule can be nor than what won its place.
fn severity_of(id: &str, finding: &Finding) -> Severity {
    let own = if id == finding.rule_id { None } else { rule(id).map(|(_, item)| item.severity) };
    own.map_or(finding.severity, |own| own.max(finding.severity))
}

/// The document that holds a finding: the last that begins at or before its line, else the file's first.
fn document_of<'a>(documents: &[Document<'a>], finding: &Finding) -> Document<'a> {
    let file = &*finding.place.file;
    let behind = documents.partition_point(|(name, line, _)| (*name, *line) <= (file, finding.place.spot.line));
    let holds = |at: usize| documents.get(at).filter(|(name, ..)| *name == file).copied();
    behind.checked_sub(1).and_then(holds).or_else(|| holds(behind)).unwrap_or(("", 1, true))
}

fn class((file, line, only): Document<'_>) -> String {
    if only { file.to_owned() } else { format!("{file}:{line}") }
}

fn headline(finding: &Finding) -> String {
    let (place, message) = (&finding.place, escape(&finding.message));
    format!("{}:{}:{}: {message}", escape(&place.file), place.spot.line, place.spot.column)
}

fn detail(id: &str, finding: &Finding) -> String {
    let word = severity(finding.severity);
    let mut text = format!("{word}[{}]: {}\n", finding.rule_id, headline(finding));
    if id != finding.rule_id {
        let _ = writeln!(text, "  breaks {id} at the same place");
    }
    for place in &finding.related {
        let _ = writeln!(text, "  with: {}:{}:{}", escape(&place.file), place.spot.line, place.spot.column);
    }
    if let Some(shown) = &finding.witness {
        let _ = writeln!(text, "  witness: {}", witness(shown));
    }
    if let Some(meant) = meant(finding) {
        let _ = writeln!(text, "  help: {meant}");
    }
    let _ = writeln!(text, "  help: {}", escape(&finding.remediation));
    if let Some(waiver) = waived(finding) {
        let _ = writeln!(text, "  waived: {waiver}");
    }
    if let Some(also) = also(finding) {
        let _ = writeln!(text, "  also: {also}");
    }
    text
}

fn case(body: &mut String, id: &str, class: &str, outcome: &Outcome, output: &str) {
    let _ = write!(body, "    <testcase name=\"{}\" classname=\"{}\"", xml(id), xml(class));
    let inner = match outcome {
        Outcome::Passed if output.is_empty() => {
            body.push_str("/>\n");
            return;
        }
        Outcome::Passed => format!("<system-out>{}</system-out>", text(output)),
        Outcome::Failed { message } => {
            format!("<failure type=\"{}\" message=\"{}\">{}</failure>", xml(id), xml(message), text(output))
        }
        Outcome::Skipped { reason } if output.is_empty() => format!("<skipped message=\"{}\"/>", xml(reason)),
        Outcome::Skipped { reason } => {
            format!("<skipped message=\"{}\"/>\n      <system-out>{}</system-out>", xml(reason), text(output))
        }
    };
    let _ = writeln!(body, ">\n      {inner}\n    </testcase>");
}

/// Between tags lines may stay as they are, which people can read.
fn text(output: &str) -> String {
    output.lines().map(xml).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{WAIVER, waived_report};
    use super::*;

    #[test]
    fn a_waived_finding_is_skipped_with_the_reason() {
        waived_report(|report| {
            let mut text = String::new();
            write(report, &mut |part| text.push_str(part));
            let document = roxmltree::Document::parse(&text).unwrap();
            let case = document.descendants().find(|node| {
                node.attribute("name") == Some("PCI-1.3.1-004") && node.children().any(|child| child.has_tag_name("skipped"))
            });
            let skipped = case.unwrap().children().find(|child| child.has_tag_name("skipped")).unwrap();
            assert_eq!(skipped.attribute("message"), Some(format!("waived by {WAIVER}").as_str()));
            assert!(!document.descendants().any(|node| node.has_tag_name("failure")), "{text}");
        });
    }
}
