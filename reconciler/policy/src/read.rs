//! From the files of a commit to typed documents, strictly.
//!
//! Nothing is ignored: what is not known is a problem. Nothing is guessed: a broken value never becomes "any". Problems are
//! collected, so that people fix a pull request once; only a YAML syntax error, or a limit that guards the reader itself, ends the
//! reading of its file.
//!
//! Bytes become `text` (encoding, control characters), text becomes a `tree` of nodes with places (what YAML there is), and a
//! `cursor` reads each `document` field by field. A kind of document is one file. What only the whole set shows comes last: whom
//! selectors mean (`resolve`), names (`references`) and addresses (`addresses`).

mod addresses;
mod cursor;
mod data_flows;
mod document;
mod flow_test;
mod guess;
mod inventory;
pub mod limits;
mod names;
mod network_policy;
mod ports;
pub mod problem;
mod references;
mod resolve;
mod rule_records;
mod scalar;
mod services;
mod standard;
mod text;
mod tree;
mod types;
mod values;
mod waiver;
mod zones;

#[cfg(test)]
mod tests;

use alloc::format;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::model::{Origin, Place, PolicySet, Spot};
use crate::snapshot::{Entry, Snapshot};
use document::Document;
use limits::{ENDPOINTS_MAX, FILES_MAX, POLICIES_MAX, SET_BYTES_MAX};
use names::Names;
use problem::Problems;

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
    let mut names = Names::default();
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
        read_file(content, &mut set, &mut problems, &mut names);
    }
    check_set(&mut set, &mut names, &mut problems);
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

fn read_file(content: &[u8], set: &mut PolicySet, problems: &mut Problems, names: &mut Names) {
    let Some(text) = text::prepare(content, problems) else {
        return;
    };
    for node in tree::documents(&text, problems) {
        if let Some((kind, document)) = document::read(&node, problems, names) {
            set.kinds.insert(kind);
            document.into_iter().for_each(|document| add(document, set, problems));
        }
    }
}

fn add(document: Document, set: &mut PolicySet, problems: &mut Problems) {
    match document {
        Document::NetworkPolicy(policy) => set.policies.push(*policy),
        Document::Zones(zones) => set.zones.extend(zones),
        Document::Inventory(namespaces, members) => {
            set.namespaces.extend(namespaces);
            set.members.extend(members);
        }
        Document::DataFlows(flows) => set.flows.extend(flows),
        Document::Services(services) => set.services.extend(services),
        Document::RuleRecords(records) => set.records.extend(records),
        Document::Standard(standard) => match (&set.standard.origin, &standard.origin) {
            (Some(first), Some(second)) => problems.push(second_standard(second, first)),
            (None | Some(_), _) => set.standard = *standard,
        },
        Document::Waiver(waiver) => set.waivers.push(waiver),
        Document::FlowTest(tests) => set.tests.extend(tests),
    }
}

fn second_standard(second: &Origin, first: &Origin) -> Problem {
    let Place { file, spot } = &first.place;
    Problem {
        code: Code::DuplicateName,
        place: second.place.clone(),
        path: Some(second.path.clone()),
        policy: None,
        message: format!("a set has one Standard; the first is at {}:{}:{}", scalar::shown(file), spot.line, spot.column),
        did_you_mean: None,
        related: [first.place.clone()].into(),
    }
}

/// What only the whole set shows.
fn check_set(set: &mut PolicySet, names: &mut Names, problems: &mut Problems) {
    if let Some(policy) = set.policies.get(POLICIES_MAX) {
        problems.begin(policy.file.clone());
        let count = set.policies.len();
        problems.add(Code::Limit, policy.at, format!("{count} policies; POLICIES_MAX is {POLICIES_MAX}"));
    }
    if let Some(member) = set.members.get(ENDPOINTS_MAX) {
        problems.begin(member.origin.place.file.clone());
        let count = set.members.len();
        problems.add(Code::Limit, member.origin.place.spot, format!("{count} endpoints; ENDPOINTS_MAX is {ENDPOINTS_MAX}"));
        set.members.truncate(ENDPOINTS_MAX);
    }
    references::check(set, names, problems);
    addresses::check(set, problems);
    resolve::resolve(set, problems);
}
