//! From the files of a commit to typed documents, strictly.
//!
//! Nothing is ignored: what is not known is a problem. Nothing is guessed: a broken value never becomes "any". Problems are
//! collected, so that people fix a pull request once; only a YAML syntax error, or a limit that guards the reader itself, ends the
//! reading of its file.
//!
//! Bytes become `text` (encoding, control characters), text becomes a `tree` of nodes with places (what YAML there is), and a
//! `cursor` reads each `document` field by field. A kind of document is one file.

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
use limits::{FILES_MAX, POLICIES_MAX, SET_BYTES_MAX};
use problem::Problems;

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

/// Reads every file of a snapshot whose name ends in `.yaml` or `.yml`, except below names that begin with a dot.
#[must_use]
pub fn read(snapshot: &Snapshot) -> Reading {
    let hidden = |path: &str| path.split('/').any(|name| name.starts_with('.'));
    let skipped = snapshot.entries.keys().filter(|path| hidden(path)).count();
    let wanted = snapshot.entries.iter().filter(|(path, _)| !hidden(path) && (path.ends_with(".yaml") || path.ends_with(".yml")));
    Reading { skipped, ..read_entries(wanted.map(|(path, entry)| (path.as_str(), entry))) }
}

/// Reads every file of a snapshot whatever its name: those that somebody named one by one.
#[must_use]
pub fn read_named(snapshot: &Snapshot) -> Reading {
    read_entries(snapshot.entries.iter().map(|(path, entry)| (path.as_str(), entry)))
}

fn read_entries<'a>(entries: impl Iterator<Item = (&'a str, &'a Entry)>) -> Reading {
    let mut set = PolicySet::default();
    let mut problems = Problems::default();
    let mut hasher = Sha256::new();
    let (mut files, mut bytes) = (0_usize, 0_usize);
    for (path, entry) in entries {
        files += 1;
        problems.begin(path.into());
        if files > FILES_MAX {
            problems.add(Code::Limit, Spot::START, format!("this is file {files}; FILES_MAX is {FILES_MAX}"));
            break;
        }
        let Some(content) = regular(path, entry, &mut problems) else {
            continue;
        };
        bytes = bytes.saturating_add(content.len());
        if bytes > SET_BYTES_MAX {
            problems.add(
                Code::Limit,
                Spot::START,
                format!("the set has {bytes} bytes up to here; SET_BYTES_MAX is 64 MiB ({SET_BYTES_MAX})"),
            );
            break;
        }
        hash(&mut hasher, path, content);
        read_file(content, &mut set, &mut problems);
    }
    check_set(&set, &mut problems);
    let (problems, more_problems) = problems.finish();
    Reading { set, problems, more_problems, files, skipped: 0, digest: Digest(hasher.finalize().into()) }
}

fn hash(hasher: &mut Sha256, path: &str, content: &[u8]) {
    let mut head = Vec::with_capacity(path.len() + 16);
    crate::digest::text(&mut head, path);
    crate::digest::count(&mut head, content.len());
    hasher.update(&head);
    hasher.update(content);
}

/// The bytes of a regular file.
fn regular<'a>(path: &str, entry: &'a Entry, problems: &mut Problems) -> Option<&'a [u8]> {
    let what = match entry {
        Entry::File(content) => return Some(content),
        Entry::TooLarge { bytes } => {
            text::too_large(*bytes, problems);
            return None;
        }
        Entry::Symlink => "a symlink",
        Entry::Submodule => "a submodule",
        Entry::Executable => "an executable file",
        Entry::Refused { reason } => {
            problems.add(Code::NotAFile, Spot::START, format!("{}: {reason}", scalar::shown(path)));
            return None;
        }
    };
    let message = format!("{} is {what}; only regular files are read", scalar::shown(path));
    problems.add(Code::NotAFile, Spot::START, message);
    None
}

fn read_file(content: &[u8], set: &mut PolicySet, problems: &mut Problems) {
    let Some(text) = text::prepare(content, problems) else {
        return;
    };
    for node in tree::documents(&text, problems) {
        match document::read(&node, problems) {
            Some(Document::NetworkPolicy(policy)) => {
                set.kinds.insert(Kind::NetworkPolicy);
                set.policies.push(policy);
            }
            None => {}
        }
    }
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
