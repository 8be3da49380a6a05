//! Between trusted and untrusted networks (PCI DSS v4.0.1 1.4.1, 1.4.2).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
