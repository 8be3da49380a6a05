//! Rules that do not mean what they seem to (PCI DSS v4.0.1 1.2.7).
//!
//! Rules only add up: what one takes out another may let in, and what one allows another may allow already. Both are decided on
//! sets of addresses and services, over everything that applies to what a policy selects.

mod defeated;
mod denies;
mod nobody;
mod redundant;
#[cfg(test)]
mod tests;

use super::Item;

pub(super) static ITEMS: [Item; 4] = [redundant::ITEM, defeated::ITEM, denies::ITEM, nobody::ITEM];
