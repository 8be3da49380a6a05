//! Findings for people: place, source line with a caret, witness, help.

use std::fmt::Write as _;

use policy::admit::Judgement;
use policy::finding::{Finding, Severity};
use policy::snapshot::{Entry, Snapshot};

use crate::cli::output::{Output, Tone, escape};

/// A longer source line is cut around the caret.
const SOURCE_COLUMNS_MAX: usize = 160;

pub(super) fn print(judgement: &Judgement, snapshot: &Snapshot, out: Output) {
    for finding in &judgement.findings {
        out.line(show(finding, snapshot, out));
    }
    if judgement.more_problems > 0 {
        out.line(format!("and {} more problems", judgement.more_problems));
    }
    out.line(summary(judgement, out));
}

fn summary(judgement: &Judgement, out: Output) -> String {
    let counts = judgement.counts();
    let read = format!(
        "{} in {}, profile {}",
        counted(judgement.policies, "policy", "policies"),
        counted(judgement.files, "file", "files"),
        judgement.profile.name()
    );
    let skipped = if judgement.skipped > 0 { format!(", {} skipped", judgement.skipped) } else { String::new() };
    let found = format!("{}, {}", counted(counts.error, "error", "errors"), counted(counts.warning, "warning", "warnings"));
    let not_run = match judgement.not_run.len() {
        0 => String::new(),
        n => format!(" ({n} rules did not run: they need facts this set does not hold; --format json lists them)"),
    };
    let verdict = if judgement.compliant() { out.paint(Tone::Good, "compliant") } else { out.paint(Tone::Bad, "not compliant") };
    format!("{verdict}: {read}{skipped}: {found}{not_run}")
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn show(finding: &Finding, snapshot: &Snapshot, out: Output) -> String {
    let (word, tone) = match finding.severity {
        Severity::Error => ("error", Tone::Bad),
        Severity::Warning => ("warning", Tone::Warning),
        Severity::Info => ("info", Tone::Dim),
    };
    let requirements = finding.requirements.join(", ");
    let place = &finding.place;
    let label = out.paint(tone, &format!("{word}[{}]", finding.rule_id));
    let mut text = format!("{label}: Req {requirements}: {}\n", escape(&finding.message));
    let _ = writeln!(text, "  --> {}:{}:{}", escape(&place.file), place.spot.line, place.spot.column);
    text.push_str(&excerpt(finding, snapshot, out).unwrap_or_default());
    if let Some(witness) = &finding.witness {
        let _ = writeln!(text, "  witness: {}", escape(&witness_text(witness)));
    }
    for related in &finding.related {
        let _ = writeln!(text, "  with:    {}:{}:{}", escape(&related.file), related.spot.line, related.spot.column);
    }
    if let Some(meant) = &finding.did_you_mean {
        let _ = writeln!(text, "  help:    did you mean `{}`?", escape(meant));
    }
    let _ = writeln!(text, "  help:    {}", escape(&finding.remediation));
    if !finding.also.is_empty() {
        let _ = writeln!(text, "  also:    {}", finding.also.join(", "));
    }
    text
}

fn witness_text(witness: &policy::finding::Witness) -> String {
    let value = serde_json::to_value(witness).unwrap_or_default();
    let part = |key: &str| value.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    let service = part("port").unwrap_or_else(|| format!("type {}", part("icmp_type").unwrap_or_default()));
    format!(
        "{} -> {} {} {service}",
        part("source").unwrap_or_default(),
        part("destination").unwrap_or_default(),
        part("protocol").unwrap_or_default()
    )
}

/// The source line and a caret under the column.
fn excerpt(finding: &Finding, snapshot: &Snapshot, out: Output) -> Option<String> {
    let Some(Entry::File(bytes)) = snapshot.entries.get(&*finding.place.file) else { return None };
    let line_number = finding.place.spot.line as usize;
    let line = std::str::from_utf8(bytes).ok()?.lines().nth(line_number.checked_sub(1)?)?;
    let column = (finding.place.spot.column as usize).saturating_sub(1);
    let start = column.saturating_sub(SOURCE_COLUMNS_MAX / 2);
    let shown: String = line.chars().skip(start).take(SOURCE_COLUMNS_MAX).collect();
    let before: String = line.chars().skip(start).take(column - start).collect();
    let gutter = line_number.to_string();
    let pad = " ".repeat(gutter.len());
    let indent = " ".repeat(escape(&before).chars().count());
    let caret = out.paint(Tone::Bad, "^");
    Some(format!(" {pad} |\n {gutter} | {}\n {pad} | {indent}{caret}\n", escape(&shown)))
}
