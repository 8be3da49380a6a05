//! What the set expects of itself.

use super::Item;

pub(super) static ITEMS: [Item; 0] = [];
