//! How a commit came about (PCI DSS v4.0.1 1.2.2, 6.5.1).
//!
//! No document says it: the merge and the forge do, and the controller tells ([`Change`]).

use alloc::format;
use alloc::vec::Vec;

use super::super::approval::is_approver;
use super::super::facts::Facts;
use super::super::filler::says_something;
use super::super::found::Found;
use super::{Check, Column, Item};
use crate::admit::Change;
use crate::finding::{Basis, Severity};
use crate::model::{Place, Spot};

pub(super) static ITEMS: [Item; 1] = [Item {
    id: "PCI-1.2.2-001",
    requirements: &["1.2.2", "6.5.1"],
    severity: Severity::Error,
    waivable: false,
    basis: Basis::D,
    condition: "the merge lacks signature, approval by somebody else of `approvers`, ticket, reason, impact or back-out",
    remediation: "Use the change template; all six are read from the merge and the forge.",
    violating: "",
    repaired: "",
    profile: Column::Pci,
    needs: &["change"],
    wants: &[],
    check: Check::Set(incomplete),
}];

/// One finding that names everything that lacks.
fn incomplete(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let Some(change) = &facts.circumstances.change else { return };
    let lacking = lacking(facts, change);
    if !lacking.is_empty() {
        let standard = facts.standard.origin.as_ref().map(|origin| origin.place.clone());
        let policy = || facts.set.policies.first().map(|policy| policy.place(Spot::START));
        let place = standard.or_else(policy).unwrap_or(Place { file: ".".into(), spot: Spot::START });
        found.add(item.finding(place, format!("the change has no {}", lacking.join(", no "))));
    }
}

fn lacking(facts: &Facts<'_>, change: &Change) -> Vec<&'static str> {
    let approved = change.approved_by.iter().any(|who| *who != change.author && is_approver(facts, who));
    let says = |text: &Option<alloc::string::String>| says_something(text.as_deref());
    let parts = [
        ("signature", change.signed),
        ("approval by somebody of approvers other than its author", approved),
        ("ticket", says(&change.ticket)),
        ("reason", says(&change.reason)),
        ("impact", says(&change.impact)),
        ("back-out", says(&change.back_out)),
    ];
    parts.into_iter().filter(|(_, there)| !there).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests;
