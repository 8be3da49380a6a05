//! Words that several formats share.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use policy::admit::NotRun;
use policy::finding::{Finding, Severity, Witness};
use policy::rules::{Item, catalogue};

use crate::cli::output::escape;

/// A rule of the catalogue with its index in it.
pub(super) fn rule(id: &str) -> Option<(usize, &'static Item)> {
    catalogue().enumerate().find(|(_, item)| item.id == id)
}

/// `1.3.1, 1.3.2`: the requirements of a rule, empty for one that is not in the catalogue.
pub(super) fn requirements(id: &str) -> &'static [&'static str] {
    rule(id).map_or(&[], |(_, item)| item.requirements)
}

/// `PCI-1.3.1-008 (Req 1.3.1, 1.3.2)`, for each rule that is broken at the same place.
pub(super) fn also(finding: &Finding) -> Option<String> {
    let ids: Vec<String> = finding.also.iter().map(|id| format!("{id} (Req {})", requirements(id).join(", "))).collect();
    (!ids.is_empty()).then(|| ids.join(", "))
}

/// `8.8.8.8 -> pci-env=cde TCP 443`, or `ICMP type 8 code 0`.
pub(super) fn witness(witness: &Witness) -> String {
    let value = serde_json::to_value(witness).unwrap_or_default();
    let part = |key: &str| value.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    let side = |key: &str, more: &str| {
        let mut text = part(key).unwrap_or_default();
        if let Some(more) = part(more) {
            let _ = write!(text, " ({more})");
        }
        text
    };
    let service = match (part("port"), part("icmp_type"), part("icmp_code")) {
        (Some(port), ..) => port,
        (None, Some(kind), code) => format!("type {kind} code {}", code.unwrap_or_else(|| "0".to_owned())),
        (None, None, _) => String::new(),
    };
    let (source, destination) = (side("source", "source_zone"), side("destination", "destination_endpoint"));
    let text = format!("{source} -> {destination} {} {service}", part("protocol").unwrap_or_default());
    text.trim_end().to_owned()
}

/// What was probably meant, where the message does not say it already.
pub(super) fn meant(finding: &Finding) -> Option<String> {
    let meant = finding.did_you_mean.as_deref()?;
    (!finding.message.ends_with(&format!("Did you mean {meant}?"))).then(|| format!("did you mean `{}`?", escape(meant)))
}

/// As people read it.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// `1 file`, `2 files`.
pub(super) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Rules that did not run, by what they need: the needs in order, each with its rules.
pub(super) fn by_need(not_run: &[NotRun]) -> BTreeMap<String, Vec<&'static str>> {
    let mut needs: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for rule in not_run {
        needs.entry(rule.needs.join(", ")).or_default().push(rule.rule_id);
    }
    needs
}
