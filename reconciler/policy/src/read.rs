//! From the files of a commit to typed documents, strictly.
//!
//! Nothing is ignored: what is not known is a problem. Nothing is guessed: a broken value never becomes "any". Problems are
//! collected, so that people fix a pull request once; only a YAML syntax error, or a limit that guards the reader itself, ends the
//! reading of its file.
//!
//! Bytes become `text` (encoding, control characters), text becomes a `tree` of nodes with places (what YAML there is), and a
//! `cursor` reads each `document` field by field. A kind of document is one file. Files know nothing of each other: a `batch` of them
//! can be read on any thread. What only the whole set shows comes last: whom selectors mean (`resolve`), names (`references`),
//! addresses (`addresses`) and how machines are recognised (`identities`).

mod addresses;
mod batch;
mod cursor;
mod data_flows;
mod document;
mod flow_test;
mod guess;
mod identities;
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
use crate::model::{Kind, Origin, Place, PolicySet, Profile, Spot};
use crate::snapshot::{Entry, Snapshot};
use document::Document;
use limits::{ENDPOINTS_MAX, POLICIES_MAX};
use names::Names;
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
    let mut names = Names::default();
    let mut hasher = Sha256::new();
    for batch in batches {
        batch.hash(&mut hasher);
        let done = batch.finish();
        problems.append(done.problems);
        names.append(done.names);
        for (kind, document) in done.documents {
            set.kinds.insert(kind);
            document.into_iter().for_each(|document| add(document, &mut set, &mut problems));
        }
    }
    if let Some((path, message)) = cut.too_much {
        problems.begin(path.into());
        problems.add(Code::Limit, Spot::START, message);
    }
    check_set(&mut set, &mut names, &mut problems);
    let (problems, more_problems) = problems.finish();
    Reading { set, problems, more_problems, files: cut.files, skipped: 0, digest: Digest(hasher.finalize().into()) }
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
            (Some(first), Some(second)) => {
                problems.push(second_standard(second, first));
                // Whichever is meant, the rules are not milder.
                set.standard.profile = set.standard.profile.max(standard.profile);
            }
            (None | Some(_), _) => set.standard = *standard,
        },
        Document::Waiver(waiver) => set.waivers.push(*waiver),
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
    set.lost = names.lost.iter().map(|noun| noun.kind()).collect();
    if set.lost.contains(&Kind::Standard) {
        // Nobody knows what it said: a mistake in the Standard never makes the rules milder.
        set.standard.profile = Profile::PciDss401;
    }
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
    addresses::check(set, names, problems);
    identities::check(set, problems);
    resolve::resolve(set, names, problems);
}
