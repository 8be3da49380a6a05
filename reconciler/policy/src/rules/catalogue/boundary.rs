//! Changes that call for a test or a new look at scope (PCI DSS v4.0.1 11.4.5, 12.5.2), and duties that are overdue.
//!
//! Both rules compare the set with the one in force, on what it means: moved files, other words and reordered rules are no change.

mod reachable;
mod scope;
mod side;
#[cfg(test)]
mod tests;

use alloc::format;

use super::super::facts::Facts;
use super::super::found::Found;
use super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::Profile;
use crate::model::standard::{Done, Standard};

/// Days after which a yearly duty is overdue.
const YEAR_DAYS: i64 = 366;
/// The same for service providers, who have half a year (PCI DSS v4.0.1 11.4.6, 12.5.2.1).
const HALF_YEAR_DAYS: i64 = 184;

pub(super) static ITEMS: [Item; 2] = [
    Item {
        id: "PCI-11.4.5-001",
        requirements: &["11.4.5", "11.4.6"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a warning: what crosses the border of the CDE differs from the set in force, so that a segmentation test is due. In pci-dss-4.0.1 an error, and a warning where only the calendar moved on since the enforced set: the last one is missing or older than 366 days, 184 for service providers",
        remediation: "Plan the test; record its id in the Standard.",
        violating: "",
        repaired: "",
        profile: Column::Baseline,
        needs: &[],
        wants: &["enforced set"],
        check: Check::Set(segmentation),
    },
    Item {
        id: "PCI-12.5.2-001",
        requirements: &["12.5.2", "6.5.2"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a warning: a zone, prefix or endpoint that is in scope or connected comes, goes or changes its part (classes and scope; CDE, account data and addresses), the labels that mark the CDE change, or they mark nothing. In pci-dss-4.0.1 an error, and a warning where only the calendar moved on since the enforced set: the last confirmation of scope is missing or older than 366 days, 184 for service providers",
        remediation: "Confirm the scope and record it in the Standard.",
        violating: "",
        repaired: "",
        profile: Column::Baseline,
        needs: &[],
        wants: &["Zones", "Inventory", "enforced set"],
        check: Check::Set(scope_changes),
    },
];

fn segmentation(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    reachable::changes(item, facts, found);
    overdue(item, facts, found, ("segmentationTest", "segmentation test"), |standard| standard.segmentation_test.as_ref());
}

fn scope_changes(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    scope::changes(item, facts, found);
    scope::unmarked(item, facts, found);
    overdue(item, facts, found, ("scopeConfirmation", "confirmation of scope"), |standard| standard.scope_confirmation.as_ref());
}

/// A yearly duty by its field and its name, and where the Standard records it.
fn overdue(item: &Item, facts: &Facts<'_>, found: &mut Found, (field, duty): (&str, &str), of: fn(&Standard) -> Option<&Done>) {
    let Some(origin) = facts.standard.origin.as_ref().filter(|_| facts.profile == Profile::PciDss401) else { return };
    let done = of(facts.standard);
    let days_max = if facts.standard.service_provider { HALF_YEAR_DAYS } else { YEAR_DAYS };
    let (severity, message) = match done.map(|done| (done, facts.circumstances.today.days_since(done.done_at))) {
        None => (Severity::Error, format!("the Standard records no {duty}")),
        Some((done, days)) if days > days_max => {
            let message = format!("the last {duty}, {}, was {days} days ago; at most {days_max} are allowed", done.id);
            (calendar(facts, |standard| of(standard) == Some(done)), message)
        }
        Some((done, days)) if days < 0 => {
            let message = format!("the {duty} {} is recorded for {}, which has not come yet", done.id, done.done_at);
            (Severity::Error, message)
        }
        Some(_) => return,
    };
    let finding = item.about_item(origin, field, message);
    found.add(Finding { code: Some("overdue"), severity, ..finding });
}

/// How bad it is that a day has passed. The calendar alone never refuses what is enforced: a duty recorded as before, of the same kind
/// of entity and under the same profile.
fn calendar(facts: &Facts<'_>, same_duty: impl Fn(&Standard) -> bool) -> Severity {
    let own = facts.standard;
    let as_before = facts.circumstances.enforced.as_ref().is_some_and(|enforced| {
        let then = &enforced.standard;
        (then.profile, then.service_provider) == (own.profile, own.service_provider) && same_duty(then)
    });
    if as_before { Severity::Warning } else { Severity::Error }
}
