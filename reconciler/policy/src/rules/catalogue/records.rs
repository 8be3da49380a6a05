//! Why a rule exists (PCI DSS v4.0.1 1.2.4, 1.2.5).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
