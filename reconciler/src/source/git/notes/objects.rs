//! The Git objects of notes: blobs in trees, spread over folders of two digits or not.

use std::collections::BTreeSet;

use gix::objs::{Kind, Tree, Write as _, tree};
use gix::{ObjectId, Repository};

use super::super::fault::{Fault, one_line, text_of};
use super::super::pack::Made;
use super::{NewNote, Rewrite, unreadable};
use crate::source::{failed, refused};

/// One note; those of many hosts on one commit fit in.
const NOTE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Notes that are read from one ref, and folders of them.
const NOTES_MAX: usize = 20_000;
/// All of them together.
const ALL_NOTES_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What is below a tree, each object once: whoever may push may give one object many names.
#[derive(Default)]
pub(super) struct Listed {
    seen: BTreeSet<ObjectId>,
    blobs: Vec<ObjectId>,
}

impl Listed {
    pub(super) fn add(&mut self, repo: &Repository, tree: ObjectId, levels: u32) -> Result<(), gix::Error> {
        for entry in owned(repo, tree)?.entries {
            if self.seen.len() > NOTES_MAX || !self.seen.insert(entry.oid) {
                continue;
            }
            if entry.mode.is_blob() {
                self.blobs.push(entry.oid);
            } else if entry.mode.is_tree() && levels > 0 {
                self.add(repo, entry.oid, levels - 1)?;
            }
        }
        Ok(())
    }

    /// All of them or none: one that is left out could be the one that matters.
    pub(super) fn texts(self, repo: &Repository, reference: &str) -> Result<Vec<String>, Fault> {
        let too_many = |what: String| refused(format!("{reference} holds more than {what}; use another ref for anchors"));
        if self.seen.len() > NOTES_MAX {
            return Err(too_many(format!("{NOTES_MAX} notes")).into());
        }
        let (mut texts, mut bytes) = (Vec::with_capacity(self.blobs.len()), 0);
        for id in self.blobs {
            let note = text(repo, id)?;
            bytes += note.len() as u64;
            if bytes > ALL_NOTES_BYTES_MAX {
                return Err(too_many(format!("{} MiB of notes", ALL_NOTES_BYTES_MAX / 1024 / 1024)).into());
            }
            texts.push(note);
        }
        Ok(texts)
    }
}

fn owned(repo: &Repository, id: ObjectId) -> Result<Tree, gix::Error> {
    Ok(repo.find_tree(id)?.decode()?.into())
}

fn text(repo: &Repository, id: ObjectId) -> Result<String, Fault> {
    let unreadable = |error: gix::Error| Fault::damaged("a note cannot be read from the mirror; it is cloned again", &error);
    if repo.find_header(id).map_err(unreadable)?.size() > NOTE_BYTES_MAX {
        return Err(refused(format!("the note {id} is larger than {NOTE_BYTES_MAX} bytes; use another ref for anchors")).into());
    }
    let blob = repo.find_blob(id).map_err(unreadable)?;
    Ok(String::from_utf8_lossy(&blob.data).into_owned())
}

/// Makes the objects of a note on top of where the ref is.
pub(super) fn write(
    repo: &Repository,
    old: Option<ObjectId>,
    target: ObjectId,
    note: &NewNote,
    rewrite: &Rewrite,
) -> Result<(ObjectId, Vec<Made>), Fault> {
    let reading = |error: gix::Error| unreadable(&note.reference, &error);
    let tree = match old {
        Some(old) => {
            let commit = repo.find_commit(old).map_err(reading)?;
            Some(commit.tree_id().map_err(reading)?.detach())
        }
        None => None,
    };
    let name = target.to_string();
    let known = tree.map(|tree| find(repo, tree, &name)).transpose().map_err(reading)?.flatten();
    let before = known.map(|id| text(repo, id)).transpose()?.unwrap_or_default();
    let mut made = Vec::new();
    let blob = make(repo, Kind::Blob, rewrite(&before).into_bytes(), &mut made)?;
    let tree = replace(repo, tree, &name, blob, &mut made)?;
    let parent = old.map_or_else(String::new, |old| format!("parent {old}\n"));
    let who = format!("pci-segment <pci-segment@localhost> {} +0000", note.at.as_second());
    let commit = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\n{}\n", one_line(&note.subject));
    let commit = make(repo, Kind::Commit, commit.into_bytes(), &mut made)?;
    Ok((commit, made))
}

fn make(repo: &Repository, kind: Kind, bytes: Vec<u8>, made: &mut Vec<Made>) -> Result<ObjectId, Fault> {
    let written = repo.objects.write_buf(kind, &bytes);
    let id = written.map_err(|error| failed("cannot write to the mirror; check the space on its disk", text_of(&error)))?;
    made.push(Made { kind, bytes });
    Ok(id)
}

/// The note of an object, however deep in folders of two digits it lies.
fn find(repo: &Repository, tree: ObjectId, name: &str) -> Result<Option<ObjectId>, gix::Error> {
    let entries = owned(repo, tree)?.entries;
    if let Some(entry) = entries.iter().find(|entry| entry.mode.is_blob() && entry.filename == name) {
        return Ok(Some(entry.oid));
    }
    let Some((folder, rest)) = name.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) else { return Ok(None) };
    match entries.iter().find(|entry| entry.mode.is_tree() && entry.filename == folder) {
        Some(entry) => find(repo, entry.oid, rest),
        None => Ok(None),
    }
}

/// The tree with that note: where it was, else in the folder for it, else at the top. Everything else stays.
fn replace(repo: &Repository, old: Option<ObjectId>, name: &str, blob: ObjectId, made: &mut Vec<Made>) -> Result<ObjectId, Fault> {
    let reading = |error: gix::Error| Fault::damaged("notes cannot be read from the mirror; it is cloned again", &error);
    let mut tree = old.map(|id| owned(repo, id)).transpose().map_err(reading)?.unwrap_or_else(Tree::empty);
    let (mut name, mut kind, mut oid) = (name.to_owned(), tree::EntryKind::Blob, blob);
    let nested = name.split_at_checked(2).and_then(|(folder, rest)| {
        let entry = tree.entries.iter().find(|entry| entry.mode.is_tree() && entry.filename == folder)?;
        let flat = tree.entries.iter().any(|entry| entry.filename == name.as_str());
        (!flat && !rest.is_empty()).then(|| (folder.to_owned(), rest.to_owned(), entry.oid))
    });
    if let Some((folder, rest, below)) = nested {
        oid = replace(repo, Some(below), &rest, blob, made)?;
        (name, kind) = (folder, tree::EntryKind::Tree);
    }
    tree.entries.retain(|entry| entry.filename != name.as_str());
    tree.entries.push(tree::Entry { mode: kind.into(), filename: name.into(), oid });
    tree.entries.sort();
    let mut bytes = Vec::new();
    gix::objs::WriteTo::write_to(&tree, &mut bytes).map_err(|error| failed("cannot make a tree of notes", error))?;
    make(repo, Kind::Tree, bytes, made)
}
