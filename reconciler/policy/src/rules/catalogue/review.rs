//! When rules were reviewed, and when they end (PCI DSS v4.0.1 1.2.7).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
