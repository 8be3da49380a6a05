//! Changes that call for a test or a new look at scope (PCI DSS v4.0.1 11.4.5, 12.5.2).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
