//! Documents that could not be read: no rule judges by the rest of them.
//!
//! The problem that lost them refuses the set. What a rule said of a network with a hole in it would be false, and there would be so
//! much of it that nobody found the cause.

use alloc::vec::Vec;

use super::Item;
use crate::model::{Kind, PolicySet};

/// Rules that read more kinds than they need: where there are none, those say nothing of it.
const READ_BESIDES: [(&str, &[Kind]); 2] =
    [("PCI-1.2.7-003", &[Kind::Inventory]), ("FLOWTEST-001", &[Kind::Inventory, Kind::NetworkPolicy])];

/// What would have to be readable before a rule can run.
pub(super) fn lost(item: &Item, set: &PolicySet) -> Vec<&'static str> {
    let besides = READ_BESIDES.iter().filter(|(id, _)| *id == item.id).flat_map(|(_, kinds)| kinds.iter());
    let reads =
        |kind: &&Kind| item.needs.iter().chain(item.wants).any(|need| *need == kind.name()) || besides.clone().any(|b| b == *kind);
    // A FlowTest says nothing of the others.
    set.lost.iter().filter(|kind| **kind != Kind::FlowTest).filter(reads).map(|kind| readable(*kind)).collect()
}

fn readable(kind: Kind) -> &'static str {
    match kind {
        Kind::NetworkPolicy => "NetworkPolicy that can be read",
        Kind::Zones => "Zones that can be read",
        Kind::Inventory => "Inventory that can be read",
        Kind::DataFlows => "DataFlows that can be read",
        Kind::Services => "Services that can be read",
        Kind::RuleRecords => "RuleRecords that can be read",
        Kind::Standard => "Standard that can be read",
        Kind::Waiver => "Waiver that can be read",
        Kind::FlowTest => "FlowTest that can be read",
    }
}
