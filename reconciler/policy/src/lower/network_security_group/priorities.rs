//! Which rule has which priority.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{BACKEND, Key};
use crate::lower::Unsupported;
use crate::net::Direction;

/// The first priority of our rules that allow; below it may be rules of others.
pub const FIRST: u16 = 1_000;
/// The last.
pub const LAST: u16 = 3_999;
/// New rules stand so far apart while there is room, so that a person can put one between them.
const GAP: u16 = 10;

/// The priorities of all rules that allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Priorities(BTreeMap<Key, u16>);

type Band = (Arc<str>, Direction);

impl Priorities {
    /// What was observed.
    #[must_use]
    pub fn observed(numbers: impl IntoIterator<Item = (Key, u16)>) -> Self {
        Self(numbers.into_iter().collect())
    }

    /// The priority of a rule.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<u16> {
        self.0.get(key).copied()
    }

    /// Gives every rule that allows a priority: its old one if it has one, else a free one. Numbers of rules that go stay taken until
    /// they are gone, and so do those of others.
    ///
    /// # Errors
    /// A group whose band is full.
    pub fn assign<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a Key>,
        foreign: &BTreeMap<Band, BTreeSet<u16>>,
    ) -> Result<Self, Vec<Unsupported>> {
        let mut taken = foreign.clone();
        for (key, number) in &self.0 {
            taken.entry(band(key)).or_default().insert(*number);
        }
        let (mut numbers, mut full) = (BTreeMap::new(), BTreeMap::new());
        for key in wanted.into_iter().filter(|key| matches!(key, Key::Allow { .. })) {
            let taken = taken.entry(band(key)).or_default();
            let number = self.get(key).or_else(|| free(taken));
            match number {
                Some(number) => {
                    taken.insert(number);
                    numbers.insert(key.clone(), number);
                }
                None => *full.entry(band(key)).or_insert(0_usize) += 1,
            }
        }
        if full.is_empty() {
            Ok(Self(numbers))
        } else {
            Err(full.into_iter().map(|(band, missing)| refusal(&band, missing)).collect())
        }
    }
}

fn band(key: &Key) -> Band {
    let direction = match key {
        Key::Allow { direction, .. } | Key::Deny { direction, .. } => *direction,
        Key::Group { .. } | Key::Member { .. } => Direction::Ingress,
    };
    (key.group().clone(), direction)
}

fn free(taken: &BTreeSet<u16>) -> Option<u16> {
    let apart = (FIRST..=LAST).step_by(usize::from(GAP));
    apart.chain(FIRST..=LAST).find(|number| !taken.contains(number))
}

fn refusal((group, direction): &Band, missing: usize) -> Unsupported {
    let message = format!(
        "network security group {group} has no {} priority left between {FIRST} and {LAST} for {missing} rules",
        direction.name()
    );
    Unsupported { backend: BACKEND, policy: None, rule: None, place: None, message }
}
