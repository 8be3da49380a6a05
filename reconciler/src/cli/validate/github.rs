//! Findings as workflow commands, which GitHub shows beside the changed lines.
//!
//! GitHub shows the first ten annotations of each level of a step and drops the others without a word. So errors come first, and where
//! something is dropped one notice says how many there are; place is kept for it. All commands stand in the step's log either way.

use policy::finding::{Finding, Severity};

use super::Report;
use super::words::{also, counted, meant, waived, witness};
use crate::cli::output::{Output, escape};

/// Annotations of one level that GitHub shows of a step.
const SHOWN_MAX: usize = 10;

pub(super) fn print(report: &Report<'_>, out: Output) {
    let lines = lines(report);
    if !lines.is_empty() {
        out.line(lines.join("\n"));
    }
}

fn lines(report: &Report<'_>) -> Vec<String> {
    let judgement = report.judgement;
    let of = |level: Level| judgement.findings.iter().filter(move |finding| Level::of(finding) == level);
    let counts = [Level::Error, Level::Warning, Level::Notice].map(|level| of(level).count());
    let more = judgement.more_problems + judgement.more_findings > 0;
    let totals = more || counts.iter().any(|n| *n > SHOWN_MAX);
    let room = if totals { SHOWN_MAX - 1 } else { SHOWN_MAX };
    let mut lines: Vec<String> = of(Level::Error).chain(of(Level::Warning)).map(|finding| command(report, finding)).collect();
    lines.extend(of(Level::Notice).take(room).map(|finding| command(report, finding)));
    // Beyond the room they are lines of the log, not commands.
    lines.extend(of(Level::Notice).skip(room).map(logged));
    lines.extend(totals.then(|| format!("::notice title=pci-segment::{}", data(&summary(report, counts)))));
    lines
}

/// How GitHub shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Notice,
}

impl Level {
    fn of(finding: &Finding) -> Self {
        match finding.severity {
            Severity::Error | Severity::Warning if finding.waiver.is_some() => Self::Notice,
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Notice,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// A group of a cloud is in no file of the repository: its title says where.
fn command(report: &Report<'_>, finding: &Finding) -> String {
    let place = &finding.place;
    let Some(group) = report.groups.and_then(|groups| groups.get(&place.file)) else { return annotation(finding) };
    let rule = group.rule(place.spot).map(|rule| format!(" {rule}")).unwrap_or_default();
    let title = property(&escape(&format!("{} {} ({}){rule}", finding.rule_id, group.name, group.id)));
    format!("::{} title={title}::{}", Level::of(finding).name(), data(&message(finding)))
}

fn annotation(finding: &Finding) -> String {
    let place = &finding.place;
    format!(
        "::{} file={},line={},col={},title={}::{}",
        Level::of(finding).name(),
        property(&escape(place.file.trim_start_matches("./"))),
        place.spot.line,
        place.spot.column,
        property(finding.rule_id),
        data(&message(finding)),
    )
}

fn logged(finding: &Finding) -> String {
    let place = &finding.place;
    let text = data(&escape(&finding.message));
    format!("notice[{}]: {}:{}:{}: {text}", finding.rule_id, escape(&place.file), place.spot.line, place.spot.column)
}

/// What is wrong, then what to do and what shows it, a line each.
fn message(finding: &Finding) -> String {
    let mut lines: Vec<String> = waived(finding).map(|waiver| format!("Waived by {waiver}")).into_iter().collect();
    lines.push(format!("Req {}: {}", finding.requirements.join(", "), escape(&finding.message)));
    lines.extend(meant(finding).map(|meant| format!("Help: {meant}")));
    lines.push(escape(&finding.remediation));
    lines.extend(finding.witness.as_ref().map(|shown| format!("Witness: {}", witness(shown))));
    lines.extend(also(finding).map(|also| format!("Also: {also}")));
    lines.join("\n")
}

fn summary(report: &Report<'_>, [errors, warnings, notices]: [usize; 3]) -> String {
    let judgement = report.judgement;
    format!(
        "{}, {} and {} in all; GitHub shows the first {SHOWN_MAX} of each, the log of this step has the others{}",
        counted(errors + judgement.more_problems, "error", "errors"),
        counted(warnings, "warning", "warnings"),
        counted(notices, "notice", "notices"),
        match judgement.more_problems + judgement.more_findings {
            0 => String::new(),
            more => format!(" but {more} that are only counted"),
        }
    )
}

/// The escapes of GitHub's workflow commands for a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for a property, which also ends at `:` and `,`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{WAIVER, waived_report};
    use super::*;

    #[test]
    fn a_waived_finding_is_a_notice_with_the_reason() {
        waived_report(|report| {
            let lines = lines(report);
            let line = lines.iter().find(|line| line.contains("title=PCI-1.3.1-004")).unwrap();
            assert!(line.starts_with("::notice ") && line.contains(&format!("::Waived by {WAIVER}%0A")), "{line}");
            assert!(!lines.iter().any(|line| line.starts_with("::error")), "{lines:?}");
        });
    }

    #[test]
    fn text_from_a_repository_cannot_start_a_command_of_its_own() {
        assert_eq!(data("a\n::error::b"), "a%0A::error::b");
        assert_eq!(property("a,line=1:b"), "a%2Cline=1%3Ab");
    }

    #[test]
    fn control_characters_of_a_file_name_are_shown_and_not_sent() {
        waived_report(|report| {
            let mut finding = report.judgement.findings[0].clone();
            finding.place.file = "policies/a\u{1b}[2J\u{8}.yaml".into();
            let line = annotation(&finding);
            assert!(line.contains("file=policies/a\\u{1b}[2J\\u{8}.yaml,"), "{line}");
        });
    }
}
