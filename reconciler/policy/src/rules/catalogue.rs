//! The catalogue, version 1.0. Numbers are those of PCI DSS v4.0.1.
//!
//! Every item carries an example that breaks it and a twin with the smallest repair; a test runs both. A rule is
//! one item of one of these files; what it needs stands in it, and a rule that lacks that is listed under "not run".

mod backends;
mod boundary;
mod change;
mod crossing;
mod example;
mod forged;
mod inbound;
mod insecure;
mod meaning;
mod outbound;
mod records;
mod review;
mod standard;
mod stores;
mod tests;
mod text;
mod trust;

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
    /// When it runs.
    pub profile: Column,
    /// Kinds of documents, and facts about the change, that it cannot do without: it does not run where one is missing.
    pub needs: &'static [&'static str],
    /// What a part of it cannot do without.
    pub wants: &'static [&'static str],
    pub(super) check: Check,
}

/// When a rule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Always.
    Baseline,
    /// In `baseline` once the documents it needs exist.
    Facts,
    /// Only in `pci-dss-4.0.1`.
    Pci,
}

/// Who finds it.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Reading does.
    Reader,
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
    let families: [&'static [Item]; 16] = [
        &text::ITEMS,
        &backends::ITEMS,
        &standard::ITEMS,
        &change::ITEMS,
        &records::ITEMS,
        &insecure::ITEMS,
        &review::ITEMS,
        &meaning::ITEMS,
        &inbound::ITEMS,
        &outbound::ITEMS,
        &crossing::ITEMS,
        &trust::ITEMS,
        &forged::ITEMS,
        &stores::ITEMS,
        &boundary::ITEMS,
        &tests::ITEMS,
    ];
    families.into_iter().flatten()
}
