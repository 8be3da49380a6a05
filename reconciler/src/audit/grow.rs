//! A log as far as it is known to be good, and the rows after that: each is hashed again from its bytes before it is signed for.

use super::{Frontier, Hash, leaf};

/// How rows are packed for this, in SQL: place and length, each with a space behind it, then the bytes and their hash.
pub const PACKED_ROW: &str = "concat(seq, ' ', octet_length(leaf), ' ', leaf, hash)";

/// Rows that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trunk {
    frontier: Frontier,
    last: Hash,
}

/// A row that does not follow from the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// A gap, or a buffer that is none.
    #[error("row {0} is missing")]
    Missing(u64),
    /// Other bytes than were hashed.
    #[error("row {0} does not give its stored hash")]
    Hash(u64),
    /// Another row was before it.
    #[error("row {0} does not follow the row before it")]
    Chain(u64),
    /// The tree beside the rows is another.
    #[error("the rows up to {0} are not those the tree was made of")]
    Tree(u64),
}

impl Trunk {
    /// From a tree that was signed, and the hash of its last row (zero bytes for no rows).
    #[must_use]
    pub fn new(frontier: Frontier, last: Hash) -> Self {
        Self { frontier, last }
    }

    /// The tree over these rows.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Adds packed rows.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn add(&mut self, mut packed: &[u8]) -> Result<(), Unsound> {
        while !packed.is_empty() {
            let next = self.frontier.size();
            let (seq, bytes, stored, rest) = unpack(packed).ok_or(Unsound::Missing(next))?;
            if seq != next {
                return Err(Unsound::Missing(next));
            }
            let hash = leaf::hash(bytes);
            if stored != hash {
                return Err(Unsound::Hash(next));
            }
            match leaf::Leaf::decode(bytes) {
                Ok(leaf) if leaf.seq == next && leaf.prev == self.last => {}
                Ok(_) | Err(_) => return Err(Unsound::Chain(next)),
            }
            self.frontier.push(hash);
            self.last = hash;
            packed = rest;
        }
        Ok(())
    }

    /// After the last row: nothing is missing, and the tree that was written beside them is the same.
    ///
    /// # Errors
    /// It is not.
    pub fn compare(&self, stored: &Frontier) -> Result<(), Unsound> {
        if self.frontier.size() < stored.size() {
            return Err(Unsound::Missing(self.frontier.size()));
        }
        if self.frontier == *stored { Ok(()) } else { Err(Unsound::Tree(stored.size())) }
    }
}

/// Place, bytes, hash, and what follows.
type Packed<'a> = (u64, &'a [u8], &'a [u8], &'a [u8]);

fn unpack(packed: &[u8]) -> Option<Packed<'_>> {
    let (seq, rest) = number(packed)?;
    let (length, rest) = number(rest)?;
    let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (hash, rest) = rest.split_at_checked(32)?;
    Some((seq, bytes, hash, rest))
}

fn number(packed: &[u8]) -> Option<(u64, &[u8])> {
    let space = packed.iter().take(21).position(|byte| *byte == b' ')?;
    let (digits, rest) = packed.split_at_checked(space)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::audit::{AuditEvent, Draft, kind};

    fn rows(count: u64) -> (Vec<Vec<u8>>, Frontier) {
        let (mut frontier, mut last, mut packed) = (Frontier::default(), [0; 32], Vec::new());
        for seq in 0..count {
            let draft = Draft { kind: kind::HEARTBEAT, origin: "host:t", ..Draft::at(Timestamp::UNIX_EPOCH) };
            let bytes = leaf::encode(&AuditEvent::new(draft).unwrap(), seq, &last);
            last = leaf::hash(&bytes);
            frontier.push(last);
            packed.push([format!("{seq} {} ", bytes.len()).as_bytes(), &bytes, &last].concat());
        }
        (packed, frontier)
    }

    #[test]
    fn rows_are_added_in_parts_and_give_the_tree_that_was_stored() {
        let (packed, frontier) = rows(9);
        let mut trunk = Trunk::default();
        trunk.add(&packed[..4].concat()).unwrap();
        assert_eq!(trunk.compare(&frontier), Err(Unsound::Missing(4)));
        trunk.add(&packed[4..].concat()).unwrap();
        assert_eq!(trunk.compare(&frontier), Ok(()));
        assert_eq!(trunk.compare(&rows(9).1), Err(Unsound::Tree(9)), "other rows of the same number");
    }

    #[test]
    fn the_first_row_that_does_not_hold_is_named() {
        let (packed, _) = rows(4);
        let add = |rows: &[&[u8]]| Trunk::default().add(&rows.concat());
        assert_eq!(add(&[&packed[0], &packed[2]]), Err(Unsound::Missing(1)));
        let mut flipped = packed[1].clone();
        flipped[40] ^= 1;
        assert_eq!(add(&[&packed[0], &flipped]), Err(Unsound::Hash(1)));
        let other = rows(2).0;
        assert_eq!(add(&[&packed[0], &other[1]]), Err(Unsound::Chain(1)));
        assert_eq!(add(&[&packed[0], &packed[1][..50]]), Err(Unsound::Missing(1)), "a buffer that is cut");
    }
}
