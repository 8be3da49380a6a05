//! The one difference of the project: what must happen to a table for it to become another one.
//!
//! Backends differ in words, not in how two maps differ.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// One step from what is there to what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<K, R> {
    /// Nothing is there under this key.
    Create {
        /// The key.
        key: K,
        /// What should be there.
        rule: R,
    },
    /// Something else is there.
    Replace {
        /// The key.
        key: K,
        /// What is there.
        old: R,
        /// What should be there.
        new: R,
    },
    /// Nothing should be there.
    Delete {
        /// The key.
        key: K,
        /// What is there.
        rule: R,
    },
}

impl<K, R> Change<K, R> {
    /// The key it is about.
    pub fn key(&self) -> &K {
        match self {
            Self::Create { key, .. } | Self::Replace { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// How two tables differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff<K, R> {
    /// The steps, in order of their keys.
    pub changes: Vec<Change<K, R>>,
    /// How many keys have the same rule in both.
    pub unchanged: usize,
}

/// What must happen to `observed` for it to become `desired`.
#[must_use]
pub fn diff<K: Ord + Clone, R: Eq + Clone>(observed: &BTreeMap<K, R>, desired: &BTreeMap<K, R>) -> Diff<K, R> {
    let mut changes = Vec::new();
    let mut unchanged = 0;
    let (mut olds, mut news) = (observed.iter().peekable(), desired.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => return Diff { changes, unchanged },
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        match (old, new) {
            (Some((_, old)), Some((_, new))) if old == new => unchanged += 1,
            (Some((key, old)), Some((_, new))) => {
                changes.push(Change::Replace { key: key.clone(), old: old.clone(), new: new.clone() });
            }
            (Some((key, rule)), None) => changes.push(Change::Delete { key: key.clone(), rule: rule.clone() }),
            (None, Some((key, rule))) => changes.push(Change::Create { key: key.clone(), rule: rule.clone() }),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_desired_table(
            old in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..20),
            new in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..20),
        ) {
            let difference = diff(&old, &new);
            let mut table = old.clone();
            for change in &difference.changes {
                match change {
                    Change::Create { key, rule } => prop_assert_eq!(table.insert(*key, *rule), None),
                    Change::Replace { key, old, new } => { prop_assert_ne!(old, new); prop_assert_eq!(table.insert(*key, *new), Some(*old)); }
                    Change::Delete { key, rule } => prop_assert_eq!(table.remove(key), Some(*rule)),
                }
            }
            prop_assert_eq!(&table, &new);
            prop_assert_eq!(difference.unchanged, old.iter().filter(|(k, v)| new.get(k) == Some(v)).count());
        }
    }
}
