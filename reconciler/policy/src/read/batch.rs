//! Files in batches, which can be read apart from each other.
//!
//! A batch is a run of files in the order of their names. Each keeps at most as many problems as the whole set may list, so that a
//! hostile set cannot fill the memory before they come together, and together the first ones stay, as if all had been read in turn.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use sha2::{Digest as _, Sha256};

use super::document::{self, Document};
use super::limits::{FILES_MAX, SET_BYTES_MAX};
use super::names::Names;
use super::problem::{Code, Problems};
use super::{scalar, text, tree};
use crate::model::{Kind, Spot};
use crate::snapshot::Entry;

/// A batch is full at this size: 512 KiB. A thread for less is not worth its start, and 64 MiB make at most 128 batches.
const BATCH_BYTES_MIN: usize = 512 << 10;
/// A batch is full with this many files.
const BATCH_FILES_MAX: usize = 512;

/// Some files, and what was read of them.
#[derive(Debug)]
pub struct Batch<'a> {
    files: Vec<(&'a str, &'a Entry)>,
    done: Option<Done>,
}

/// What the files of a batch say.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Each with its kind, `None` where nothing of it could be read.
    pub(super) documents: Vec<(Kind, Option<Document>)>,
    pub(super) problems: Problems,
    pub(super) names: Names,
}

/// The batches of a set.
#[derive(Default)]
pub(super) struct Cut<'a> {
    pub(super) batches: Vec<Batch<'a>>,
    /// Files looked at, the one that was too many included.
    pub(super) files: usize,
    /// The file at which the set became too large, and why; it and what follows is in no batch.
    pub(super) too_much: Option<(&'a str, String)>,
}

/// Cuts a set into batches, up to its limits.
pub(super) fn cut<'a>(files: impl Iterator<Item = (&'a str, &'a Entry)>) -> Cut<'a> {
    let mut cut = Cut::default();
    let (mut batch, mut batch_bytes, mut bytes) = (Vec::new(), 0_usize, 0_usize);
    for (path, entry) in files {
        cut.files += 1;
        let length = content(entry).map_or(0, <[u8]>::len);
        bytes = bytes.saturating_add(length);
        if cut.files > FILES_MAX {
            cut.too_much = Some((path, format!("this is file {}; FILES_MAX is {FILES_MAX}", cut.files)));
            break;
        }
        if bytes > SET_BYTES_MAX {
            let message = format!("the set has {bytes} bytes up to here; SET_BYTES_MAX is 64 MiB ({SET_BYTES_MAX})");
            cut.too_much = Some((path, message));
            break;
        }
        batch.push((path, entry));
        batch_bytes += length;
        if batch_bytes >= BATCH_BYTES_MIN || batch.len() >= BATCH_FILES_MAX {
            cut.batches.push(Batch { files: mem::take(&mut batch), done: None });
            batch_bytes = 0;
        }
    }
    if !batch.is_empty() {
        cut.batches.push(Batch { files: batch, done: None });
    }
    cut
}

impl Batch<'_> {
    /// Reads the files, if that has not been done.
    pub fn run(&mut self) {
        self.done.get_or_insert_with(|| read(&self.files));
    }

    /// Adds names and bytes of its files to the digest of the set.
    pub(super) fn hash(&self, hasher: &mut Sha256) {
        for (path, entry) in &self.files {
            let Some(content) = content(entry) else { continue };
            let mut head = Vec::with_capacity(path.len() + 16);
            crate::digest::text(&mut head, path);
            crate::digest::count(&mut head, content.len());
            hasher.update(&head);
            hasher.update(content);
        }
    }

    pub(super) fn finish(self) -> Done {
        self.done.unwrap_or_else(|| read(&self.files))
    }
}

fn read(files: &[(&str, &Entry)]) -> Done {
    let mut done = Done::default();
    for (path, entry) in files {
        done.problems.begin((*path).into());
        if let Some(content) = regular(path, entry, &mut done.problems) {
            read_file(content, &mut done);
        }
    }
    done
}

fn read_file(content: &[u8], done: &mut Done) {
    let Some(text) = text::prepare(content, &mut done.problems) else {
        return;
    };
    for node in tree::documents(&text, &mut done.problems) {
        done.documents.extend(document::read(&node, &mut done.problems, &mut done.names));
    }
}

fn content(entry: &Entry) -> Option<&[u8]> {
    match entry {
        Entry::File(content) => Some(content),
        Entry::Symlink | Entry::Submodule | Entry::Executable | Entry::TooLarge { .. } | Entry::Refused { .. } => None,
    }
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
