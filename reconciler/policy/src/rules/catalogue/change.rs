//! How a commit came about (PCI DSS v4.0.1 1.2.2, 6.5.1).

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
