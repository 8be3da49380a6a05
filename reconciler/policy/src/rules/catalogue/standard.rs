//! What the Standard and the Zones say of a rule (PCI DSS v4.0.1 1.2.1, 1.2.3).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
