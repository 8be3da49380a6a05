//! What can be wrong with a log, how it is said, and which exit code it has.

use super::super::leaf::NotALeaf;
use super::super::{Hash, hex};

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
    /// The bytes of an exported row cannot be read.
    #[error("row {seq}: its leaf is not base64")]
    NotBase64 {
        /// The row.
        seq: u64,
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
    /// A row that was there before.
    #[error("row {seq}: comes a second time, where row {expected} belongs")]
    Again {
        /// The row.
        seq: u64,
        /// The one that should be there.
        expected: u64,
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
    /// A note that cannot be believed.
    #[error("{by}: {what}")]
    Note {
        /// Which.
        by: String,
        /// Why.
        what: String,
        /// Rows before this one are vouched for by others.
        row: Option<u64>,
    },
    /// Somebody saw more rows than there are.
    #[error("log has {rows} rows, {by} signed {size}: {} rows are missing", size - rows)]
    Shorter {
        /// How many there are.
        rows: u64,
        /// Who saw more.
        by: String,
        /// How many.
        size: u64,
    },
    /// Somebody saw other rows.
    #[error("two histories: {by} signed root {} at {size}, these rows give {}; the first that differs is one of rows {agreed} to {}", short(noted), short(computed), size.saturating_sub(1))]
    TwoHistories {
        /// Who.
        by: String,
        /// How many rows.
        size: u64,
        /// The signed root.
        noted: Hash,
        /// What the rows give.
        computed: Hash,
        /// So many rows are the same in all notes before.
        agreed: u64,
    },
    /// A sealed segment is not what its manifest says.
    #[error("segment {id}: {what}")]
    Segment {
        /// Its number.
        id: u64,
        /// Its first row.
        first: u64,
        /// What is wrong.
        what: String,
    },
}

/// The first bytes of a hash.
pub(super) fn short(hash: &[u8]) -> String {
    let of_length = || format!("of {} bytes", hash.len());
    hash.get(..8).filter(|_| hash.len() == 32).map_or_else(of_length, |start| format!("{}…", hex(start)))
}

fn before_text(seq: u64, before: &Hash) -> String {
    seq.checked_sub(1).map_or_else(|| "and no row is before it".to_owned(), |row| format!("row {row} is {}", short(before)))
}

impl Fault {
    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> u8 {
        match self {
            Self::Hash { .. } | Self::Bytes { .. } | Self::NotBase64 { .. } | Self::Column { .. } => 10,
            Self::Root { .. } | Self::Beyond { .. } => 10,
            Self::Chain { .. } | Self::Again { .. } => 11,
            Self::Note { .. } => 12,
            Self::Shorter { .. } => 13,
            Self::TwoHistories { .. } => 14,
            Self::Missing { .. } | Self::Segment { .. } => 15,
        }
    }

    /// The first row that is wrong, or may be.
    #[must_use]
    pub const fn row(&self) -> Option<u64> {
        match self {
            Self::Hash { seq, .. } | Self::Bytes { seq, .. } | Self::Column { seq, .. } | Self::Chain { seq, .. } => Some(*seq),
            Self::NotBase64 { seq } | Self::Root { seq, .. } | Self::Beyond { seq } | Self::Again { seq, .. } => Some(*seq),
            Self::Missing { first: seq, .. } | Self::Segment { first: seq, .. } => Some(*seq),
            Self::Shorter { rows, .. } => Some(*rows),
            Self::TwoHistories { agreed, .. } => Some(*agreed),
            Self::Note { row, .. } => *row,
        }
    }
}
