//! From the files of a commit to typed documents, strictly.
//!
//! Nothing is ignored: what is not known is a problem. Nothing is guessed: a broken value never becomes "any". Problems are
//! collected, so that people fix a pull request once; only a YAML syntax error, or a limit that guards the reader itself, ends the
//! reading of its file.
//!
//! Bytes become `text` (encoding, control characters), text becomes a `tree` of nodes with places (what YAML there is), and a
//! `cursor` reads each `document` field by field. A kind of document is one file. Files know nothing of each other: a `batch` of them
//! can be read on any thread, and only then the set is looked at as a whole.

mod batch;
mod cursor;
mod document;
mod guess;
pub mod limits;
mod network_policy;
pub mod problem;
mod scalar;
mod text;
mod tree;
mod types;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::model::{Kind, NetworkPolicy, Place, PolicySet, Spot};
use crate::snapshot::{Entry, Snapshot};
use document::Document;
use limits::POLICIES_MAX;
use problem::Problems;

pub use batch::Batch;
pub(crate) use guess::nearest;
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
    /// Files skipped because their name, or a folder's above them, begins with a dot.
    pub skipped: usize,
    /// SHA-256 over names and bytes of the files read.
    pub digest: Digest,
}

/// Which files of a snapshot are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those whose names end in `.yaml` or `.yml`, except below names that begin with a dot: what a commit holds.
    Found,
    /// All, whatever their names: those that somebody named one by one.
    Named,
}

/// Reads what [`Which::Found`] says.
#[must_use]
pub fn read(snapshot: &Snapshot) -> Reading {
    read_with(snapshot, Which::Found, |_| {})
}

/// Reads what [`Which::Named`] says.
#[must_use]
pub fn read_named(snapshot: &Snapshot) -> Reading {
    read_with(snapshot, Which::Named, |_| {})
}

/// Reads with the help of whoever has threads: `run` may run the batches in any order and wherever it likes. What it leaves is run
/// here, and the reading is the same in every case.
#[must_use]
pub fn read_with(snapshot: &Snapshot, which: Which, run: impl FnOnce(&mut [Batch<'_>])) -> Reading {
    let named = which == Which::Named;
    let hidden = |path: &str| !named && path.split('/').any(|name| name.starts_with('.'));
    let wanted = |path: &str| !hidden(path) && (named || path.ends_with(".yaml") || path.ends_with(".yml"));
    let skipped = snapshot.entries.keys().filter(|path| hidden(path)).count();
    let files = snapshot.entries.iter().map(|(path, entry)| (path.as_str(), entry)).filter(|(path, _)| wanted(path));
    Reading { skipped, ..read_files(files, run) }
}

fn read_files<'a>(files: impl Iterator<Item = (&'a str, &'a Entry)>, run: impl FnOnce(&mut [Batch<'_>])) -> Reading {
    let cut = batch::cut(files);
    let mut batches = cut.batches;
    run(&mut batches);
    let mut set = PolicySet::default();
    let mut problems = Problems::default();
    let mut hasher = Sha256::new();
    for batch in batches {
        batch.hash(&mut hasher);
        let done = batch.finish();
        problems.append(done.problems);
        for document in done.documents {
            match document {
                Document::NetworkPolicy(policy) => {
                    set.kinds.insert(Kind::NetworkPolicy);
                    set.policies.push(policy);
                }
            }
        }
    }
    if let Some((path, message)) = cut.too_much {
        problems.begin(path.into());
        problems.add(Code::Limit, Spot::START, message);
    }
    check_set(&set, &mut problems);
    let (problems, more_problems) = problems.finish();
    Reading { set, problems, more_problems, files: cut.files, skipped: 0, digest: Digest(hasher.finalize().into()) }
}

/// What only the whole set shows: too many policies, and names that are used twice.
fn check_set(set: &PolicySet, problems: &mut Problems) {
    if let Some(policy) = set.policies.get(POLICIES_MAX) {
        problems.begin(policy.file.clone());
        let count = set.policies.len();
        problems.add(Code::Limit, policy.at, format!("{count} policies; POLICIES_MAX is {POLICIES_MAX}"));
    }
    let mut first: BTreeMap<&Arc<str>, &NetworkPolicy> = BTreeMap::new();
    for policy in &set.policies {
        let known = *first.entry(&policy.name).or_insert(policy);
        if !core::ptr::eq(known, policy) {
            problems.push(same_name(policy, known.place(known.at)));
        }
    }
}

fn same_name(policy: &NetworkPolicy, first: Place) -> Problem {
    let spot = first.spot;
    Problem {
        code: Code::DuplicateName,
        place: policy.place(policy.at),
        path: Some("/metadata/name".to_string()),
        policy: Some(policy.name.clone()),
        message: format!("{} is also defined at {}:{}:{}", policy.name, scalar::shown(&first.file), spot.line, spot.column),
        did_you_mean: None,
        related: [first].into(),
    }
}
