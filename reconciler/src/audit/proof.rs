//! Proofs of RFC 9162 §2.1.3 and §2.1.4 (the same as RFC 6962 §2.1.1 and §2.1.2): that a row is in a signed tree, and that a tree
//! begins with an older one.
//!
//! A proof names subtrees. Which ones is arithmetic on the numbers of rows; their hashes are then gathered in one pass over the
//! hashes of the rows.

use std::ops::Range;

use super::tree::node;
use super::{Frontier, Hash};

/// The rows under each hash of an inclusion proof, in the proof's order; `None` for a row that is not in the tree.
#[must_use]
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    while high - low > 1 {
        let middle = low + largest_power_below(high - low);
        if index < middle {
            path.push(middle..high);
            high = middle;
        } else {
            path.push(low..middle);
            low = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The rows under each hash of a consistency proof; `None` where the first size is nothing or more than the second.
#[must_use]
pub fn consistency(old: u64, new: u64) -> Option<Vec<Range<u64>>> {
    if old == 0 || old > new {
        return None;
    }
    let mut path = Vec::new();
    let (mut low, mut high, mut whole) = (0, new, true);
    while high != old {
        let middle = low + largest_power_below(high - low);
        if old <= middle {
            path.push(middle..high);
            high = middle;
        } else {
            path.push(low..middle);
            low = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(low..high);
    }
    path.reverse();
    Some(path)
}

/// Of two or more.
fn largest_power_below(count: u64) -> u64 {
    count.checked_sub(1).and_then(u64::checked_ilog2).map_or(1, |power| 1 << power)
}

/// Gathers the hashes of a proof while the hashes of all rows go by.
#[derive(Debug)]
pub struct Gather {
    subtrees: Vec<(Range<u64>, Frontier)>,
    next: u64,
}

impl Gather {
    /// For the subtrees over these rows.
    #[must_use]
    pub fn over(path: Vec<Range<u64>>) -> Self {
        Self { subtrees: path.into_iter().map(|rows| (rows, Frontier::default())).collect(), next: 0 }
    }

    /// The hash of the next row.
    pub fn push(&mut self, hash: Hash) {
        let at = self.next;
        self.next += 1;
        for (_, tree) in self.subtrees.iter_mut().filter(|(rows, _)| rows.contains(&at)) {
            tree.push(hash);
        }
    }

    /// The proof; `None` if rows are missing.
    #[must_use]
    pub fn finish(self) -> Option<Vec<Hash>> {
        let complete = |(rows, tree): &(Range<u64>, Frontier)| tree.size() == rows.end - rows.start;
        self.subtrees.iter().all(complete).then(|| self.subtrees.iter().map(|(_, tree)| tree.root()).collect())
    }
}

/// The root that an inclusion proof leads to (RFC 9162 §2.1.3.2); `None` if it cannot be one.
#[must_use]
pub fn root_of_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut first, mut last) = (index, size.checked_sub(1).filter(|last| index <= *last)?);
    let mut root = *leaf;
    for hash in path {
        if last == 0 {
            return None;
        }
        if first & 1 == 1 || first == last {
            root = node(hash, &root);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            root = node(&root, hash);
        }
        first >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// Whether a consistency proof holds between two roots (RFC 9162 §2.1.4.2).
#[must_use]
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), path: &[Hash]) -> bool {
    roots_of_consistency(old, new.0, path).is_some_and(|(first, second)| first == *old.1 && second == *new.1)
}

fn roots_of_consistency(old: (u64, &Hash), new: u64, path: &[Hash]) -> Option<(Hash, Hash)> {
    let (size, root) = old;
    if size == new {
        return path.is_empty().then_some((*root, *root));
    }
    let (mut first, mut last) = (size.checked_sub(1)?, new.checked_sub(1).filter(|_| size < new)?);
    let mut path = path.iter();
    // An old tree of a power of two is a subtree itself and is not named again.
    let start = if size.is_power_of_two() { *root } else { *path.next()? };
    while first & 1 == 1 {
        first >>= 1;
        last >>= 1;
    }
    let (mut older, mut newer) = (start, start);
    for hash in path {
        if last == 0 {
            return None;
        }
        if first & 1 == 1 || first == last {
            older = node(hash, &older);
            newer = node(hash, &newer);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            newer = node(&newer, hash);
        }
        first >>= 1;
        last >>= 1;
    }
    (last == 0).then_some((older, newer))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| Sha256::digest(n.to_be_bytes()).into()).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    }

    fn gathered(leaves: &[Hash], path: Vec<Range<u64>>) -> Vec<Hash> {
        let mut gather = Gather::over(path);
        leaves.iter().for_each(|leaf| gather.push(*leaf));
        gather.finish().unwrap()
    }

    /// `PATH(m, D[n])` of RFC 6962 §2.1.1, word by word.
    fn path_by_definition(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, other) = match index.checked_sub(left.len()) {
            None => (path_by_definition(index, left), right),
            Some(index) => (path_by_definition(index, right), left),
        };
        path.push(root(other));
        path
    }

    /// `SUBPROOF(m, D[n], b)` of RFC 6962 §2.1.2, word by word.
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves)] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, other) =
            if old <= left.len() { (subproof(old, left, whole), right) } else { (subproof(old - left.len(), right, false), left) };
        path.push(root(other));
        path
    }

    #[test]
    fn every_row_of_every_small_tree_has_the_proof_of_the_definition_and_no_other_leads_to_the_root() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let tree = &all[..size];
            for (index, leaf) in tree.iter().enumerate() {
                let (at, of) = (index as u64, size as u64);
                let path = gathered(tree, inclusion(at, of).unwrap());
                assert_eq!(path, path_by_definition(index, tree), "row {index} of {size}");
                assert_eq!(root_of_inclusion(leaf, at, of, &path), Some(root(tree)), "row {index} of {size}");
                assert_ne!(root_of_inclusion(&[9; 32], at, of, &path), Some(root(tree)));
                if let Some(short) = path.get(1..) {
                    assert_ne!(root_of_inclusion(leaf, at, of, short), Some(root(tree)));
                }
                assert_ne!(root_of_inclusion(leaf, at, of, &[path.as_slice(), &[[0; 32]]].concat()), Some(root(tree)));
            }
            assert_eq!(inclusion(size as u64, size as u64), None);
        }
    }

    #[test]
    fn every_two_small_trees_have_the_consistency_proof_of_the_definition() {
        let all = leaves(40);
        for new in 1..=all.len() {
            for old in 1..=new {
                let (sizes, tree) = ((old as u64, new as u64), &all[..new]);
                let path = gathered(tree, consistency(sizes.0, sizes.1).unwrap());
                assert_eq!(path, subproof(old, tree, true), "{old} of {new}");
                let (first, second) = (root(&all[..old]), root(tree));
                assert!(is_consistent((sizes.0, &first), (sizes.1, &second), &path), "{old} of {new}");
                assert!(!is_consistent((sizes.0, &[7; 32]), (sizes.1, &second), &path), "{old} of {new}");
                assert!(old == new || !is_consistent((sizes.0, &first), (sizes.1, &[7; 32]), &path), "{old} of {new}");
            }
        }
        assert_eq!(consistency(0, 5), None);
        assert_eq!(consistency(6, 5), None);
    }

    proptest::proptest! {
        #[test]
        fn proofs_hold_at_any_place_of_larger_trees(size in 1_u64..3000, at in 0_u64..3000, older in 1_u64..3000) {
            let all = leaves(size);
            let (at, older) = (at % size, older % size + 1);
            let path = gathered(&all, inclusion(at, size).unwrap());
            proptest::prop_assert_eq!(root_of_inclusion(&all[usize::try_from(at).unwrap()], at, size, &path), Some(root(&all)));
            let path = gathered(&all, consistency(older, size).unwrap());
            let first = root(&all[..usize::try_from(older).unwrap()]);
            proptest::prop_assert!(is_consistent((older, &first), (size, &root(&all)), &path));
        }

        #[test]
        fn no_numbers_make_a_proof_fall_over(index: u64, size: u64, older: u64, path: Vec<[u8; 32]>) {
            let _ = root_of_inclusion(&[1; 32], index, size, &path);
            let _ = is_consistent((older, &[1; 32]), (size, &[2; 32]), &path);
            let _ = (inclusion(index, size), consistency(older, size));
        }
    }
}
