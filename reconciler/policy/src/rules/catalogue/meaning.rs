//! Rules that do not mean what they seem to (PCI DSS v4.0.1 1.2.7).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
