//! Checking a log: every row against its own bytes, every row against the one before, all of them against the frontier.
//!
//! This is the part without a database. Rows come packed, many in one buffer, so that reading them costs little more than hashing
//! them; buffers are examined in any order and on any thread, because a row's link to the one before lies in its own bytes. Only
//! [`Chain`] goes row by row, and all it does is compare.

use super::leaf::{self, Leaf, NotALeaf};
use super::{Frontier, Hash, hex};

/// What is to be checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// First row; its link is compared with the stored hash of the row before it.
    pub from: Option<u64>,
    /// Last row.
    pub to: Option<u64>,
    /// Be content only with a log somebody else vouches for.
    pub strict: bool,
}

/// What came of it: one line for people, the rest for scripts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The exit code: 0 good, 1 good but, 2 could not read, 10 a row, 11 the chain, 15 missing rows.
    pub exit: u8,
    /// One line.
    pub message: String,
    /// How many rows were found good.
    pub rows: u64,
    /// Hash of the last good row.
    pub head: Option<String>,
    /// Root of the tree over all rows; null where only a part was checked or something is wrong.
    pub root: Option<String>,
    /// The first row that is wrong.
    pub bad_row: Option<u64>,
    /// How many signed checkpoints were checked.
    pub signatures: u64,
    /// The newest anchor that agrees.
    pub anchor: Option<String>,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The stored hash is not that of the bytes.
    #[error("row {seq}: stored hash {}, its bytes give {}", short(stored), short(computed))]
    Hash {
        /// The row.
        seq: u64,
        /// In the column.
        stored: Vec<u8>,
        /// Of the bytes.
        computed: Hash,
    },
    /// The bytes cannot have been written by us.
    #[error("row {seq}: its bytes are not a row: {cause}")]
    Bytes {
        /// The row.
        seq: u64,
        /// Why.
        cause: NotALeaf,
    },
    /// A column is not the copy it should be.
    #[error("row {seq}: column {name} differs from its bytes")]
    Column {
        /// The row.
        seq: u64,
        /// The column.
        name: &'static str,
    },
    /// The link does not lead to the row before.
    #[error("row {seq}: prev is {}, {}", short(prev), before_text(*seq, before))]
    Chain {
        /// The row.
        seq: u64,
        /// In its bytes.
        prev: Hash,
        /// Of the row before.
        before: Hash,
    },
    /// Rows are gone.
    #[error("rows {first} to {last} are missing")]
    Missing {
        /// First.
        first: u64,
        /// Last.
        last: u64,
    },
    /// The rows are sound, but not those the frontier was made of.
    #[error("row {seq}: the stored frontier of {} rows has root {}, the rows give {}", seq + 1, short(stored), short(computed))]
    Root {
        /// The last row.
        seq: u64,
        /// By the frontier.
        stored: Hash,
        /// By the rows.
        computed: Hash,
    },
    /// A row the frontier does not count.
    #[error("row {seq}: the stored frontier ends before it")]
    Beyond {
        /// The first such row.
        seq: u64,
    },
}

fn short(hash: &[u8]) -> String {
    hash.get(..8).map_or_else(|| format!("of {} bytes", hash.len()), |start| format!("{}…", hex(start)))
}

fn before_text(seq: u64, before: &Hash) -> String {
    seq.checked_sub(1).map_or_else(|| "and no row is before it".to_owned(), |row| format!("row {row} is {}", short(before)))
}

impl Fault {
    const fn exit(&self) -> u8 {
        match self {
            Self::Hash { .. } | Self::Bytes { .. } | Self::Column { .. } | Self::Root { .. } | Self::Beyond { .. } => 10,
            Self::Chain { .. } => 11,
            Self::Missing { .. } => 15,
        }
    }

    const fn row(&self) -> u64 {
        match self {
            Self::Hash { seq, .. } | Self::Bytes { seq, .. } | Self::Column { seq, .. } | Self::Chain { seq, .. } => *seq,
            Self::Root { seq, .. } | Self::Beyond { seq } | Self::Missing { first: seq, .. } => *seq,
        }
    }
}

impl Report {
    /// The log could not be read.
    #[must_use]
    pub fn unreadable(why: String) -> Self {
        Self { exit: 2, message: why, rows: 0, head: None, root: None, bad_row: None, signatures: 0, anchor: None }
    }

    /// What a check came to.
    #[must_use]
    pub fn of(chain: &Chain, whole: bool, fault: Option<&Fault>, strict: bool) -> Self {
        let rows = chain.next - chain.first;
        let head = (rows > 0).then(|| hex(&chain.last));
        if let Some(fault) = fault {
            let (exit, bad_row) = (fault.exit(), Some(fault.row()));
            return Self { exit, message: fault.to_string(), rows, head, root: None, bad_row, signatures: 0, anchor: None };
        }
        let shown = head.as_ref().map_or_else(|| "none".to_owned(), |_| short(&chain.last));
        let (exit, message) = if strict {
            (1, format!("verified, but no anchor was given: {rows} rows, head {shown}, 0 signatures"))
        } else {
            (0, format!("verified {rows} rows, head {shown}, 0 signatures, no anchor"))
        };
        let root = whole.then(|| hex(&chain.frontier.root()));
        Self { exit, message, rows, head, root, bad_row: None, signatures: 0, anchor: None }
    }
}

/// The longest number, its minus, and the space behind it.
const NUMBER_BYTES_MAX: usize = 21;

/// A row as it is stored, borrowed from a packed buffer.
#[derive(Debug)]
struct Stored<'a> {
    seq: i64,
    ts: i64,
    event_id: &'a [u8],
    kind: &'a [u8],
    leaf: &'a [u8],
    hash: &'a [u8],
}

/// A packed buffer that does not follow its own lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rows could not be unpacked")]
pub struct NotPacked;

/// How rows are packed, in SQL: two numbers and four lengths, each with a space behind it, then the four fields. One function call,
/// because every `||` would copy the row once more.
pub const PACKED: &str = "concat(seq, ' ', ts, ' ', octet_length(event_id), ' ', octet_length(kind), ' ', octet_length(leaf), ' ', \
                          octet_length(hash), ' ', event_id, kind, leaf, hash)";

/// One row after it was compared with its own bytes.
#[derive(Debug)]
pub struct Examined {
    seq: u64,
    prev: Hash,
    hash: Hash,
    /// What hides everything else that could be said of this row.
    broken: Option<Box<Fault>>,
    /// What is said only of a row whose link holds.
    copy: Option<Box<Fault>>,
}

/// Compares every row of a packed buffer with its own bytes.
///
/// # Errors
/// The buffer is not one.
pub fn examine(mut packed: &[u8]) -> Result<Vec<Examined>, NotPacked> {
    let mut rows = Vec::new();
    while !packed.is_empty() {
        let (row, rest) = unpack(packed).ok_or(NotPacked)?;
        rows.push(examine_one(&row)?);
        packed = rest;
    }
    Ok(rows)
}

fn unpack(packed: &[u8]) -> Option<(Stored<'_>, &[u8])> {
    let (seq, rest) = number(packed)?;
    let (ts, rest) = number(rest)?;
    let (id_length, rest) = length(rest)?;
    let (kind_length, rest) = length(rest)?;
    let (leaf_length, rest) = length(rest)?;
    let (hash_length, rest) = length(rest)?;
    let (event_id, rest) = rest.split_at_checked(id_length)?;
    let (kind, rest) = rest.split_at_checked(kind_length)?;
    let (leaf, rest) = rest.split_at_checked(leaf_length)?;
    let (hash, rest) = rest.split_at_checked(hash_length)?;
    Some((Stored { seq, ts, event_id, kind, leaf, hash }, rest))
}

/// Decimal digits up to a space, the first of which may be a minus.
fn number(packed: &[u8]) -> Option<(i64, &[u8])> {
    let space = packed.iter().take(NUMBER_BYTES_MAX).position(|byte| *byte == b' ')?;
    let (digits, rest) = packed.split_at_checked(space)?;
    let (negative, digits) = digits.strip_prefix(b"-").map_or((false, digits), |digits| (true, digits));
    if digits.is_empty() {
        return None;
    }
    // Counted down, because the smallest number has no positive twin.
    let down = digits.iter().try_fold(0_i64, |sum, digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        sum.checked_mul(10)?.checked_sub(i64::from(value))
    })?;
    Some((if negative { down } else { down.checked_neg()? }, rest.get(1..)?))
}

fn length(packed: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = number(packed)?;
    Some((usize::try_from(length).ok()?, rest))
}

fn examine_one(row: &Stored<'_>) -> Result<Examined, NotPacked> {
    let seq = u64::try_from(row.seq).map_err(|_| NotPacked)?;
    let hash = leaf::hash(row.leaf);
    let mut examined = Examined { seq, prev: [0; 32], hash, broken: None, copy: None };
    if row.hash != hash {
        examined.broken = Some(Box::new(Fault::Hash { seq, stored: row.hash.to_vec(), computed: hash }));
        return Ok(examined);
    }
    match Leaf::decode(row.leaf) {
        Err(cause) => examined.broken = Some(Box::new(Fault::Bytes { seq, cause })),
        Ok(leaf) => {
            examined.prev = leaf.prev;
            examined.copy = differing_column(row, seq, &leaf).map(|name| Box::new(Fault::Column { seq, name }));
        }
    }
    Ok(examined)
}

fn differing_column(row: &Stored<'_>, seq: u64, leaf: &Leaf<'_>) -> Option<&'static str> {
    let columns = [
        ("seq", leaf.seq == seq),
        ("event_id", leaf.event_id == row.event_id),
        ("ts", leaf.ts_ns == row.ts),
        ("kind", leaf.kind.as_bytes() == row.kind),
    ];
    columns.into_iter().find(|(_, equal)| !equal).map(|(name, _)| name)
}

/// The rows seen so far, in order.
#[derive(Debug)]
pub struct Chain {
    first: u64,
    next: u64,
    last: Hash,
    frontier: Frontier,
}

impl Chain {
    /// A chain whose next row is `first`, and whose last was `before` (zero bytes for row 0).
    #[must_use]
    pub fn starting(first: u64, before: Hash) -> Self {
        Self { first, next: first, last: before, frontier: Frontier::default() }
    }

    /// Goes on with the next rows.
    ///
    /// # Errors
    /// The first thing that is wrong, by row.
    pub fn follow(&mut self, rows: Vec<Examined>) -> Result<(), Fault> {
        for row in rows {
            if row.seq != self.next {
                return Err(Fault::Missing { first: self.next, last: row.seq.saturating_sub(1) });
            }
            if let Some(broken) = row.broken {
                return Err(*broken);
            }
            if row.prev != self.last {
                return Err(Fault::Chain { seq: row.seq, prev: row.prev, before: self.last });
            }
            if let Some(copy) = row.copy {
                return Err(*copy);
            }
            self.last = row.hash;
            self.next += 1;
            if self.first == 0 {
                self.frontier.push(row.hash);
            }
        }
        Ok(())
    }

    /// After the last row: all of them were there, and they are what the frontier was made of.
    ///
    /// # Errors
    /// Rows missing at the end, another root.
    pub fn finish(&self, end: u64, stored: Option<&Frontier>) -> Result<(), Fault> {
        if self.next < end {
            return Err(Fault::Missing { first: self.next, last: end - 1 });
        }
        let Some(stored) = stored else { return Ok(()) };
        let (stored, computed) = (stored.root(), self.frontier.root());
        if stored == computed { Ok(()) } else { Err(Fault::Root { seq: end.saturating_sub(1), stored, computed }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_read_at_their_edges() {
        for n in [0, 1, -1, i64::MAX, i64::MIN] {
            let packed = format!("{n} rest");
            assert_eq!(number(packed.as_bytes()), Some((n, b"rest".as_slice())), "{packed}");
        }
        for bad in ["", " ", "- ", "123", "12x4567 ", "--12345 ", "9223372036854775808 ", "99999999999999999999 "] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_buffer_that_lies_about_a_length_is_refused() {
        let packed = format!("0 0 16 4 {} 32 short", usize::MAX / 4);
        assert!(examine(packed.as_bytes()).is_err());
        assert!(examine(b"").is_ok_and(|rows| rows.is_empty()));
    }
}
