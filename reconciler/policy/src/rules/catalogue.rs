//! The catalogue, version 1.0. Numbers are those of PCI DSS v4.0.1.
//!
//! Every item carries an example that breaks it and a twin with the smallest repair; a test runs both. Rules that need other kinds of
//! documents, or a later version, stand in `LATER` and are listed under "not run".

mod inbound;
mod outbound;
mod text;

use super::facts::Facts;
use super::found::Found;
use crate::finding::{Basis, Severity};

/// One rule.
#[derive(Clone, Copy)]
pub struct Item {
    /// `PCI-1.3.1-004`.
    pub id: &'static str,
    /// Numbers of PCI DSS v4.0.1.
    pub requirements: &'static [&'static str],
    /// How bad it is at worst.
    pub severity: Severity,
    /// Whether a Waiver may cover it.
    pub waivable: bool,
    /// What it rests on.
    pub basis: Basis,
    /// When it is broken.
    pub condition: &'static str,
    /// What to do.
    pub remediation: &'static str,
    /// Documents that break it.
    pub violating: &'static str,
    /// The same, with the smallest repair.
    pub repaired: &'static str,
    pub(super) check: Check,
}

/// Who finds it.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Reading does.
    Reader,
    /// Lowering does, for each enabled backend.
    Backends,
    /// This function does.
    Set(fn(&Item, &Facts<'_>, &mut Found)),
}

/// The item with this number; the first for a number that is none.
pub(super) fn item(id: &str) -> &'static Item {
    let [first, ..] = &text::ITEMS;
    catalogue().find(|item| item.id == id).unwrap_or(first)
}

/// Every rule this version can ask.
pub fn catalogue() -> impl Iterator<Item = &'static Item> {
    text::ITEMS.iter().chain(&inbound::ITEMS).chain(&outbound::ITEMS)
}

/// Rules that this version cannot ask, and what each needs.
pub(super) const LATER: [(&str, &[&str]); 37] = [
    ("PCI-1.2.2-001", &["change"]),
    ("PCI-1.2.3-001", &["Zones"]),
    ("PCI-1.2.4-001", &["RuleRecords", "DataFlows"]),
    ("PCI-1.2.5-001", &["RuleRecords"]),
    ("PCI-1.2.5-002", &["RuleRecords"]),
    ("PCI-1.2.5-003", &["RuleRecords"]),
    ("PCI-1.2.5-004", &["Services", "Zones", "Inventory"]),
    ("PCI-1.2.6-001", &["a later version"]),
    ("PCI-1.2.6-002", &["a later version"]),
    ("PCI-1.2.7-001", &["RuleRecords"]),
    ("PCI-1.2.7-002", &["RuleRecords"]),
    ("PCI-1.2.7-003", &["RuleRecords"]),
    ("PCI-1.2.7-004", &["RuleRecords"]),
    ("PCI-1.2.7-005", &["a later version"]),
    ("PCI-1.2.7-006", &["a later version"]),
    ("PCI-1.2.7-007", &["a later version"]),
    ("PCI-1.3.1-010", &["Zones", "Inventory", "DataFlows"]),
    ("PCI-1.3.2-005", &["Zones", "Inventory", "DataFlows"]),
    ("PCI-1.3.2-006", &["a later version"]),
    ("PCI-1.3.2-007", &["Services"]),
    ("PCI-1.3.3-001", &["Zones"]),
    ("PCI-1.4.1-001", &["Zones", "Inventory"]),
    ("PCI-1.4.1-002", &["Inventory"]),
    ("PCI-1.4.2-001", &["a later version"]),
    ("PCI-1.4.2-002", &["Zones", "Inventory", "Services"]),
    ("PCI-1.4.2-003", &["backends"]),
    ("PCI-1.4.3-001", &["a later version"]),
    ("PCI-1.4.3-002", &["Zones", "Inventory"]),
    ("PCI-1.4.3-003", &["Inventory"]),
    ("PCI-1.4.4-001", &["Inventory"]),
    ("PCI-1.4.4-002", &["Zones", "Inventory", "DataFlows", "Services"]),
    ("PCI-1.4.5-001", &["a later version"]),
    ("PCI-2.2.7-001", &["a later version"]),
    ("PCI-6.5.3-001", &["Zones", "Inventory"]),
    ("PCI-11.4.5-001", &["enforced set"]),
    ("PCI-12.5.2-001", &["Zones", "Inventory", "enforced set"]),
    ("FLOWTEST-001", &["FlowTest"]),
];
