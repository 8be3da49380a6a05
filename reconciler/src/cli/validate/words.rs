//! Words that several formats share.

use std::collections::BTreeMap;

use policy::admit::NotRun;
use policy::finding::{Finding, Severity, Side, Witness};
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

/// `8.8.8.8 -> pci-env=cde TCP 443`; with facts `10.20.0.0 (corporate) -> db-01 (10.0.30.11, cde-db) TCP 5432`.
pub(super) fn witness(witness: &Witness) -> String {
    let service = witness.service;
    let asked = if service.is_icmp() {
        let [kind, code] = service.port().to_be_bytes();
        format!("type {kind} code {code}")
    } else {
        service.port().to_string()
    };
    escape(&format!("{} -> {} {} {asked}", side(&witness.source), side(&witness.destination), service.protocol_name()))
}

/// Its name if it has one, and in brackets what else is known.
fn side(side: &Side) -> String {
    let text = side.text();
    match (side.endpoint(), side.zone()) {
        (Some(name), Some(zone)) => format!("{name} ({text}, {zone})"),
        (Some(name), None) => format!("{name} ({text})"),
        (None, Some(zone)) => format!("{text} ({zone})"),
        (None, None) => text,
    }
}

/// The Waiver that covers a finding: its name, its last day, its reason.
pub(super) fn waived(finding: &Finding) -> Option<String> {
    let waiver = finding.waiver.as_ref()?;
    Some(escape(&format!("{}, until {}: {}", waiver.name, waiver.expires_at, waiver.reason)))
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
pub(in crate::cli) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Whether a rule ran but for a part of it: all that it lacks is what only that part wants.
pub(super) fn ran_in_part(missing: &NotRun) -> bool {
    rule(missing.rule_id).is_some_and(|(_, item)| missing.needs.iter().all(|need| item.wants.contains(need)))
}

/// Rules that did not run, by what they need: the needs in order, each with its rules.
pub(super) fn by_need(not_run: &[NotRun]) -> BTreeMap<String, Vec<&'static str>> {
    let mut needs: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for rule in not_run {
        needs.entry(rule.needs.join(", ")).or_default().push(rule.rule_id);
    }
    needs
}
