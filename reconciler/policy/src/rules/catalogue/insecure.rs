//! Insecure services (PCI DSS v4.0.1 1.2.6, 2.2.5, 2.2.7).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
