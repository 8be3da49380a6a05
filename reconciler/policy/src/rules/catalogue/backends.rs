//! What backends cannot say (PCI DSS v4.0.1 1.2.8).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
