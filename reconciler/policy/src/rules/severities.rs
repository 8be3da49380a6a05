//! The severities of the Standard: it raises any rule, and lowers house rules, never below a warning and never what no Waiver may
//! cover. Who may not accept a finding may not talk it down either.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::finding::{Basis, Finding, Severity};

/// What the Standard makes of a finding's severity.
pub(super) fn severity(severities: &BTreeMap<String, Severity>, finding: &Finding) -> Severity {
    let own = finding.severity;
    // The more severe one is the lesser in their order.
    match severities.get(finding.rule_id) {
        Some(wanted) if *wanted < own => *wanted,
        Some(wanted) if finding.basis == Basis::H && finding.waivable => own.max((*wanted).min(Severity::Warning)),
        Some(_) | None => own,
    }
}

#[cfg(test)]
mod tests;
