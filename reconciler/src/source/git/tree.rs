//! The files of one commit, read by object id out of the mirror; there is never a work tree.
//!
//! Sizes are taken from object headers before anything is inflated. Whatever does not belong into a policy repository becomes an
//! entry that says so; the walk ends at the first limit that concerns the whole commit.

use std::collections::BTreeSet;

use gix::objs::TreeRefIter;
use gix::objs::tree::{EntryKind, EntryRef};
use gix::{ObjectId, Repository};
use policy::snapshot::{Entry, Snapshot};

use super::fault::Fault;
use crate::source::limits::{
    DEPTH_MAX, ENTRIES_VISITED_MAX, FILE_BYTES_MAX, FILES_MAX, PATH_BYTES_MAX, SET_BYTES_MAX, TREE_BYTES_MAX,
};
use crate::source::names;

/// Reads all policy documents below `root` at `commit`, which is in the mirror.
pub(crate) fn snapshot(repo: &Repository, commit: ObjectId, root: &[String]) -> Result<Snapshot, Fault> {
    let tree = repo.find_commit(commit).and_then(|commit| Ok(commit.tree_id()?.detach())).map_err(|error| unreadable(&error))?;
    let mut walk = Walk { repo, snapshot: Snapshot::default(), visited: 0, bytes: 0, full: false };
    if let Some(tree) = walk.descend(tree, root)? {
        walk.all_below(tree)?;
    }
    Ok(walk.snapshot)
}

fn unreadable(error: &gix::Error) -> Fault {
    Fault::damaged("an object of this commit cannot be read; the mirror is cloned again", error)
}

struct Folder {
    tree: ObjectId,
    path: String,
    depth: usize,
}

struct Walk<'a> {
    repo: &'a Repository,
    snapshot: Snapshot,
    visited: usize,
    bytes: u64,
    full: bool,
}

impl Walk<'_> {
    /// The tree of the policy root. A root that is missing has no files; one that is not a folder is said to be so.
    fn descend(&mut self, mut tree: ObjectId, root: &[String]) -> Result<Option<ObjectId>, Fault> {
        for part in root {
            let Some(bytes) = self.tree_bytes(tree, ".")? else {
                return Ok(None);
            };
            let entries = TreeRefIter::from_bytes(&bytes, self.repo.object_hash()).entries().map_err(|error| unreadable(&error))?;
            let Some(entry) = entries.iter().find(|entry| entry.filename == part.as_str()) else {
                return Ok(None);
            };
            if !entry.mode.is_tree() {
                self.refuse(".", format!("the policy root is not a folder: `{part}` is a {}", entry.mode.as_str()));
                return Ok(None);
            }
            tree = entry.oid.to_owned();
        }
        Ok(Some(tree))
    }

    fn all_below(&mut self, root: ObjectId) -> Result<(), Fault> {
        let mut folders = vec![Folder { tree: root, path: String::new(), depth: 1 }];
        while let Some(folder) = folders.pop().filter(|_| !self.full) {
            let shown = if folder.path.is_empty() { "." } else { &folder.path };
            let Some(bytes) = self.tree_bytes(folder.tree, shown)? else {
                continue;
            };
            let mut seen = BTreeSet::new();
            for entry in TreeRefIter::from_bytes(&bytes, self.repo.object_hash()) {
                let Ok(entry) = entry else {
                    self.refuse(shown, "the folder is malformed".into());
                    break;
                };
                folders.extend(self.visit(&entry, &folder, &mut seen)?);
                if self.full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Looks at one entry; returns the folder it is, if it is one to look into.
    fn visit(&mut self, entry: &EntryRef<'_>, folder: &Folder, seen: &mut BTreeSet<String>) -> Result<Option<Folder>, Fault> {
        self.visited += 1;
        if self.visited > ENTRIES_VISITED_MAX {
            self.stop(format!("the commit has more than {ENTRIES_VISITED_MAX} entries below the policy root"));
            return Ok(None);
        }
        let name = match names::decode(entry.filename) {
            Ok(name) => name,
            Err(problem) => {
                self.refuse(&join(&folder.path, &names::escape(entry.filename)), problem);
                return Ok(None);
            }
        };
        if name.starts_with('.') {
            return Ok(None);
        }
        let path = join(&folder.path, name);
        if path.len() > PATH_BYTES_MAX {
            self.refuse(
                &names::escape(path.as_bytes()),
                format!("its path has {} bytes; the limit is {PATH_BYTES_MAX}", path.len()),
            );
        } else if !seen.insert(name.to_lowercase()) {
            self.refuse(&path, "another name in this folder differs from it only in upper and lower case".into());
        } else if entry.mode.kind() == EntryKind::Tree {
            return Ok(self.enter(entry, path, folder.depth + 1));
        } else {
            self.keep(entry, name, path)?;
        }
        Ok(None)
    }

    fn enter(&mut self, entry: &EntryRef<'_>, path: String, depth: usize) -> Option<Folder> {
        if depth > DEPTH_MAX {
            self.refuse(&path, format!("folders lie more than {DEPTH_MAX} deep"));
            return None;
        }
        Some(Folder { tree: entry.oid.to_owned(), path, depth })
    }

    fn keep(&mut self, entry: &EntryRef<'_>, name: &str, path: String) -> Result<(), Fault> {
        let document = names::is_document(name);
        // A link without an extension may stand for a folder of documents, and a reader would think they count.
        let may_hold_documents = document || !name.contains('.');
        let found = match entry.mode.kind() {
            EntryKind::Commit => Entry::Submodule,
            EntryKind::Link if may_hold_documents => Entry::Symlink,
            EntryKind::BlobExecutable if document => Entry::Executable,
            EntryKind::Blob if document && entry.mode.value() != 0o100_644 => {
                Entry::Refused { reason: format!("its mode is {:o}; policy documents have 100644", entry.mode.value()) }
            }
            EntryKind::Blob if document => return self.file(entry.oid.to_owned(), path),
            EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link | EntryKind::Tree => {
                return Ok(());
            }
        };
        self.snapshot.entries.insert(path, found);
        Ok(())
    }

    fn file(&mut self, id: ObjectId, path: String) -> Result<(), Fault> {
        let bytes = self.repo.find_header(id).map_err(|error| unreadable(&error))?.size();
        if self.snapshot.entries.len() >= FILES_MAX {
            self.stop(format!("the commit has more than {FILES_MAX} policy files"));
            return Ok(());
        }
        if bytes > FILE_BYTES_MAX {
            self.snapshot.entries.insert(path, Entry::TooLarge { bytes });
            return Ok(());
        }
        self.bytes += bytes;
        if self.bytes > SET_BYTES_MAX {
            self.stop(format!("the policy files have more than {SET_BYTES_MAX} bytes together"));
            return Ok(());
        }
        let content = self.repo.find_blob(id).map_err(|error| unreadable(&error))?.take_data();
        self.snapshot.entries.insert(path, Entry::File(content));
        Ok(())
    }

    fn tree_bytes(&mut self, id: ObjectId, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        let size = self.repo.find_header(id).map_err(|error| unreadable(&error))?.size();
        if size > TREE_BYTES_MAX {
            self.refuse(path, format!("the folder has {size} bytes of names; the limit is {TREE_BYTES_MAX}"));
            return Ok(None);
        }
        Ok(Some(self.repo.find_tree(id).map_err(|error| unreadable(&error))?.detach().data))
    }

    fn refuse(&mut self, path: &str, reason: String) {
        self.snapshot.entries.insert(path.to_owned(), Entry::Refused { reason });
    }

    /// A limit of the whole commit: nothing after it is read.
    fn stop(&mut self, reason: String) {
        self.full = true;
        self.refuse(".", reason);
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
