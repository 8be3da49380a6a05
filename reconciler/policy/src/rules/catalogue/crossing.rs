//! Flows between zones: what may enter and leave the CDE beyond what is open (PCI DSS v4.0.1 1.3.1 to 1.3.3, 1.4.5, 6.5.3).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
