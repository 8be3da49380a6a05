//! Sealed segments: what their manifests say of the rows.

use super::super::Hash;
use super::chain::Chain;
use super::fault::Fault;

/// Whether the bodies of a segment's rows are still in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are, and in the file.
    Sealed,
    /// They are in the file only.
    Pruned,
}

/// What was written down of a segment when it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// From 1, without gaps.
    pub id: u64,
    /// First row.
    pub first: u64,
    /// Last row.
    pub last: u64,
    /// Hash of the row before the first; zero bytes for row 0.
    pub head_in: Hash,
    /// Hash of the last row.
    pub head_out: Hash,
    /// Root of the log's tree over all rows up to the last.
    pub root: Hash,
    /// The file's name, without a folder.
    pub file: String,
    /// Of the file's bytes.
    pub sha256: Hash,
    /// Time of the newest row, in nanoseconds since 1970.
    pub newest_ts: i64,
    /// Where the bodies are.
    pub state: State,
}

impl Manifest {
    /// Something is wrong with this segment.
    #[must_use]
    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::Segment { id: self.id, first: self.first, what: what.into() }
    }
}

/// Segments follow each other from row 0 without gaps.
///
/// # Errors
/// The first that does not.
pub fn check_places(segments: &[Manifest]) -> Result<(), Fault> {
    let mut next = 0;
    for segment in segments {
        if segment.first > next {
            return Err(segment.fault(format!(
                "begins at row {}, but no segment holds rows {next} to {}",
                segment.first,
                segment.first - 1
            )));
        }
        if segment.first < next || segment.last < segment.first {
            return Err(segment.fault(format!(
                "rows {} to {} cannot follow row {}",
                segment.first,
                segment.last,
                next.saturating_sub(1)
            )));
        }
        next = segment.last.saturating_add(1);
    }
    Ok(())
}

/// Heads and roots of manifests are those of the rows, as far as these were read. The chain must have been given the marks.
///
/// # Errors
/// The first segment that belongs to other rows.
pub fn check_roots(segments: &[Manifest], chain: &Chain) -> Result<(), Fault> {
    for segment in segments {
        let before = if segment.first == 0 { Some([0; 32]) } else { chain.head_at(segment.first) };
        let after = chain.head_at(segment.last.saturating_add(1));
        let root = chain.root_at(segment.last.saturating_add(1));
        let differs = |seen: Option<Hash>, noted: &Hash| seen.is_some_and(|seen| seen != *noted);
        if differs(before, &segment.head_in) || differs(after, &segment.head_out) || differs(root, &segment.root) {
            return Err(segment.fault("its manifest does not match the rows"));
        }
        if after.is_none() && segment.last >= chain.next() && chain.first() == 0 {
            return Err(segment.fault(format!("ends at row {}, behind the last row", segment.last)));
        }
    }
    Ok(())
}
