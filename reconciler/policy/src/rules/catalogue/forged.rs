//! Group E: forged sources (PCI DSS v4.0.1 1.4.3), of packets and of labels.

mod internal;
mod labels;
mod special;

use super::Item;

pub(super) static ITEMS: [Item; 3] = [special::SPECIAL_BLOCK, internal::INTERNAL, labels::LABELS];
