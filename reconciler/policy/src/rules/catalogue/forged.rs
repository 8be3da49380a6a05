//! Addresses that can only be forged, and labels that nobody gave (PCI DSS v4.0.1 1.4.3).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
