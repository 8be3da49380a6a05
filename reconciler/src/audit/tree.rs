//! The Merkle tree of RFC 6962 §2.1 by its frontier: the hashes of its perfect subtrees, largest first.
//!
//! Adding a leaf touches as many hashes as the size has trailing one bits, so it costs two on average, and at most 64 hashes are
//! ever held.

use sha2::{Digest, Sha256};

use super::Hash;

/// Size and perfect-subtree hashes of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

/// A stored frontier whose number of hashes does not fit its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} rows has {} subtree hashes, {found} bytes were stored", size.count_ones())]
pub struct NotAFrontier {
    size: u64,
    found: usize,
}

impl Frontier {
    /// From the stored size and the subtree hashes, one after another.
    ///
    /// # Errors
    /// Another number of hashes than a tree of that size has.
    pub fn from_parts(size: u64, bytes: &[u8]) -> Result<Self, NotAFrontier> {
        let (subtrees, rest) = bytes.as_chunks::<32>();
        let wanted = usize::try_from(size.count_ones()).unwrap_or(usize::MAX);
        if subtrees.len() != wanted || !rest.is_empty() {
            return Err(NotAFrontier { size, found: bytes.len() });
        }
        Ok(Self { size, subtrees: subtrees.to_vec() })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtree hashes, one after another, as they are stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.subtrees.concat()
    }

    /// Adds one leaf by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut carried = leaf;
        let mut level = self.size;
        while level & 1 == 1 {
            if let Some(left) = self.subtrees.pop() {
                carried = node(&left, &carried);
            }
            level >>= 1;
        }
        self.subtrees.push(carried);
        self.size += 1;
    }

    /// The Merkle tree hash of all leaves; of none, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.subtrees.iter().rev();
        let Some(last) = smallest_first.next() else { return Sha256::digest([]).into() };
        smallest_first.fold(*last, |right, left| node(left, &right))
    }
}

/// `SHA-256(01 | left | right)`.
pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962 §2.1, word by word: split at the largest power of two smaller than n.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn the_frontier_gives_the_root_of_the_definition_for_every_small_size() {
        let leaves: Vec<Hash> = (0..200_u8).map(|n| Sha256::digest([n]).into()).collect();
        let mut frontier = Frontier::default();
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), by_definition(&leaves[..n]), "size {n}");
            frontier.push(*leaf);
            let kept = Frontier::from_parts(frontier.size(), &frontier.to_bytes());
            assert_eq!(kept.as_ref(), Ok(&frontier));
        }
    }

    #[test]
    fn a_frontier_with_a_missing_hash_is_refused() {
        assert!(Frontier::from_parts(3, &[0; 32]).is_err());
        assert!(Frontier::from_parts(1, &[0; 33]).is_err());
    }
}
