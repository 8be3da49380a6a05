//! `pci-segment rules`: the catalogue, and one rule with an example that breaks it.
//!
//! Nothing here is typed in twice: the example is judged by the same gate as a commit, and what is shown is what it found.

mod ids;
mod page;

use std::collections::BTreeSet;

use anyhow::bail;
use clap::Args;
use policy::admit::{CATALOGUE, STANDARD};
use policy::finding::{Basis, Severity};
use policy::rules::catalogue::Column;
use policy::rules::{Item, catalogue};
use serde_json::{Value, json};

use super::output::{Output, Tone};
use super::{Exit, Format};

pub use ids::IdParser;

/// `rules`
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Explains this rule, for example PCI-1.3.1-004
    #[arg(value_name = "ID", value_parser = IdParser, hide_possible_values = true)]
    pub id: Option<&'static str>,
    /// Only rules of this requirement of PCI DSS v4.0.1 and of those below it: 1.3.1, 1.3
    #[arg(long, value_name = "NUMBER", conflicts_with = "id")]
    pub requirement: Option<String>,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Lists the rules, or explains one.
///
/// # Errors
/// A requirement that no rule is for.
pub fn rules(args: &RulesArgs, out: Output) -> anyhow::Result<Exit> {
    if let Some(item) = args.id.and_then(|id| catalogue().find(|item| item.id == id)) {
        page::show(item, args.format, out);
        return Ok(Exit::Done);
    }
    let items: Vec<&Item> =
        catalogue().filter(|item| args.requirement.as_deref().is_none_or(|number| is_for(item, number))).collect();
    if items.is_empty() {
        let known: BTreeSet<&str> = catalogue().flat_map(|item| item.requirements.iter().copied()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        bail!("no rule is for requirement {}; there are rules for {}", args.requirement.as_deref().unwrap_or(""), known.join(", "));
    }
    match args.format {
        Format::Json => {
            let items: Vec<Value> = items.into_iter().map(value).collect();
            out.json(&json!({"catalogue": CATALOGUE, "standard": STANDARD, "rules": items}));
        }
        Format::Human => list(&items, out),
    }
    Ok(Exit::Done)
}

fn list(items: &[&Item], out: Output) {
    let row = |item: &&Item| {
        vec![item.id.to_owned(), item.requirements.join(", "), severity(item).to_owned(), when(item), item.condition.to_owned()]
    };
    out.table(&["id", "requirement", "severity", "runs", "condition"], items.iter().map(row).collect());
    let one = items.first().map_or("ID", |item| item.id);
    let hint = format!("\n{} rules; `pci-segment rules {one}` explains one. No Waiver covers an error!", items.len());
    out.line(out.paint(Tone::Dim, &hint));
}

/// Whether a rule is for this requirement or for one below it.
fn is_for(item: &Item, number: &str) -> bool {
    let number = number.trim_start_matches("Req").trim();
    item.requirements.iter().any(|own| own.strip_prefix(number).is_some_and(|below| below.is_empty() || below.starts_with('.')))
}

/// `error!` is an error that no Waiver covers.
fn severity(item: &Item) -> &'static str {
    match (item.severity, item.waivable) {
        (Severity::Error, false) => "error!",
        (Severity::Error, true) => "error",
        (Severity::Warning, _) => "warning",
        (Severity::Info, _) => "info",
    }
}

/// When it runs.
fn when(item: &Item) -> String {
    match (item.profile, item.needs) {
        (Column::Pci, []) => "in pci-dss-4.0.1".to_owned(),
        (Column::Pci, needs) => format!("in pci-dss-4.0.1, with {}", needs.join(", ")),
        (Column::Baseline | Column::Facts, []) => "always".to_owned(),
        (Column::Baseline | Column::Facts, needs) => format!("with {}", needs.join(", ")),
    }
}

fn profile(item: &Item) -> &'static str {
    match item.profile {
        Column::Baseline => "baseline",
        Column::Facts => "facts",
        Column::Pci => "pci-dss-4.0.1",
    }
}

/// What it rests on, in words.
fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::D => "the requirement says it",
        Basis::G => "the guidance, notes or definitions of the requirement say it",
        Basis::H => "a house rule: part of your own configuration standard (PCI DSS v4.0.1 1.2.1)",
    }
}

fn value(item: &Item) -> Value {
    json!({
        "rule_id": item.id,
        "requirements": item.requirements,
        "severity": item.severity,
        "waivable": item.waivable,
        "basis": item.basis,
        "profile": profile(item),
        "needs": item.needs,
        "wants": item.wants,
        "condition": item.condition,
        "remediation": item.remediation,
        "violating": item.violating,
        "repaired": item.repaired,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_means_itself_and_those_below_it() {
        let item = catalogue().find(|item| item.id == "PCI-1.3.1-004").unwrap();
        for (number, expected) in
            [("1.3.1", true), ("1.3", true), ("Req 1.3.1", true), ("1", true), ("1.3.2", false), ("1.3.", false)]
        {
            assert_eq!(is_for(item, number), expected, "{number}");
        }
    }
}
