//! Stores of account data (PCI DSS v4.0.1 1.4.4).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
