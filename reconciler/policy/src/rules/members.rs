//! What peers hold, prefix by prefix: a block, or the addresses of everybody a selector matches.
//!
//! Many peers select the same endpoints. What is said of a list of endpoints is said once, and every look at a list is counted.

use alloc::collections::BTreeMap;

use super::facts::Facts;
use crate::model::{Part, Peer};
use crate::net::Cidr;

/// What is said of peers, remembered for each list of endpoints.
pub(super) struct Once<'a, T> {
    known: BTreeMap<*const Cidr, Option<(Part<'a>, T)>>,
}

impl<T> Default for Once<'_, T> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

impl<'a, T: Clone> Once<'a, T> {
    /// What is said of one of a peer's prefixes: the first of those for which nothing is worse. It stands where the peer stands.
    pub(super) fn worst(
        &mut self,
        facts: &Facts<'_>,
        peer: &'a Peer,
        of: impl Fn(Part<'a>) -> Option<T>,
        is_worse: impl Fn(&T, &T) -> bool,
    ) -> Option<(Part<'a>, T)> {
        let look = || {
            peer.parts()
                .filter_map(|part| Some((part, of(part)?)))
                .reduce(|worst, next| if is_worse(&next.1, &worst.1) { next } else { worst })
        };
        let Peer::Selected(selected) = peer else { return look() };
        let said = self
            .known
            .entry(selected.members.as_ptr())
            .or_insert_with(|| if facts.spend(selected.members.len()) { look() } else { None });
        // The same endpoints, selected elsewhere.
        said.clone().map(|(part, said)| (Part { at: selected.at, ..part }, said))
    }
}
