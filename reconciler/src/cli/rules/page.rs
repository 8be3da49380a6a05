//! One rule, explained: what it says, an example that breaks it with what the gate finds in it, and the repair.

use policy::admit::{Judgement, STANDARD};
use policy::date::Date;
use policy::finding::Finding;
use policy::rules::Item;
use policy::snapshot::{Entry, Snapshot};
use serde_json::Value;

use super::{basis, severity, value, when};
use crate::cli::Format;
use crate::cli::output::{Output, Tone};
use crate::cli::validate::human::Drawer;
use crate::cli::validate::judge_named;

/// What the examples call their file.
const FILE: &str = "example.yaml";

pub(super) fn show(item: &Item, format: Format, out: Output) {
    let snapshot = Snapshot { entries: [(FILE.to_owned(), Entry::File(item.violating.as_bytes().to_vec()))].into() };
    let judgement = example_day().filter(|_| !item.violating.is_empty()).map(|day| judge_named(&snapshot, day, None));
    let found: Vec<&Finding> = judgement.iter().flat_map(|judgement| own(judgement, item)).collect();
    match format {
        Format::Json => {
            let mut rule = value(item);
            if let Some(fields) = rule.as_object_mut() {
                fields.insert("findings".to_owned(), serde_json::to_value(&found).unwrap_or(Value::Null));
            }
            out.json(&rule);
        }
        Format::Human => human(item, &found, &snapshot, out),
    }
}

/// The day the examples are written for, so that they say the same every day.
fn example_day() -> Option<Date> {
    Date::new(2026, 2, 1)
}

/// The findings of this rule, or where another one won its place, that one.
fn own<'a>(judgement: &'a Judgement, item: &Item) -> impl Iterator<Item = &'a Finding> {
    judgement.findings.iter().filter(|finding| finding.rule_id == item.id || finding.also.contains(&item.id))
}

fn human(item: &Item, found: &[&Finding], snapshot: &Snapshot, out: Output) {
    let head = |text: &str| out.paint(Tone::Strong, text);
    out.line(format_args!("{}  {STANDARD} {}\n", head(item.id), item.requirements.join(", ")));
    out.line(format_args!("Broken by    {}", item.condition));
    out.line(format_args!("Severity     {}", severity_words(item)));
    out.line(format_args!("Rests on     {}", basis(item.basis)));
    let part = if item.wants.is_empty() { String::new() } else { format!("; a part of it with {}", item.wants.join(", ")) };
    out.line(format_args!("Runs         {}{part}", when(item)));
    out.line(format_args!("What to do   {}", item.remediation));
    if item.violating.is_empty() {
        return;
    }
    out.line(format_args!("\n{}\n", head("An example that breaks it")));
    listing(item.violating, item.repaired, Tone::Bad, out);
    let mut drawer = Drawer::new(snapshot, out);
    if found.is_empty() {
        out.line(format_args!("\nFiles alone do not show it: this rule runs {}.", when(item)));
    } else {
        out.line(format_args!("\n{}\n", head("What `pci-segment validate` says of it")));
        let drawn: Vec<String> = found.iter().map(|finding| drawer.draw(finding)).collect();
        out.line(drawn.join("\n\n"));
    }
    out.line(format_args!("\n{}\n", head("The same, mended")));
    listing(item.repaired, item.violating, Tone::Good, out);
}

/// A document, its lines that the other one does not have in a tone.
fn listing(text: &str, other: &str, tone: Tone, out: Output) {
    for line in text.lines() {
        let differs = !line.is_empty() && !other.lines().any(|same| same == line);
        let shown = if differs { out.paint(tone, line) } else { line.to_owned() };
        out.line(format!("    {shown}").trim_end());
    }
}

fn severity_words(item: &Item) -> String {
    let word = severity(item).trim_end_matches('!');
    match (word, item.waivable) {
        ("info", _) => "info; fails nothing".to_owned(),
        (_, true) => format!("{word}; a Waiver may cover it"),
        (_, false) => format!("{word}; no Waiver covers it"),
    }
}
