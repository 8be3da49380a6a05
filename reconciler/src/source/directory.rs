//! A folder of YAML files, for one-off use without Git.
//!
//! Its commit id is the SHA-256 of all paths and contents in order, so the same files have the same id anywhere. Symbolic links
//! are entries like in Git and are never followed.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use policy::snapshot::{CommitId, Entry, Snapshot};
use sha2::{Digest, Sha256};

use super::limits::{DEPTH_MAX, ENTRIES_VISITED_MAX, FILE_BYTES_MAX, FILES_MAX, PATH_BYTES_MAX, SET_BYTES_MAX};
use super::{failed, names, refused};
use crate::converge::{Ancestry, CommitInfo, Gone, Head, RequestHeads, SignerList, Source, SourceError, StoredCommits};

/// Reads policies from a folder.
pub struct DirectorySource {
    folder: PathBuf,
    last: Arc<Mutex<Option<(CommitId, Snapshot)>>>,
}

impl DirectorySource {
    /// A source over `folder`, which is read at each look.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, last: Arc::default() }
    }

    async fn read(&self) -> Result<CommitId, SourceError> {
        let (folder, last) = (self.folder.clone(), Arc::clone(&self.last));
        let task = tokio::task::spawn_blocking(move || {
            let snapshot = read(&folder)?;
            let id = id_of(&snapshot)?;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, snapshot));
            Ok(id)
        });
        task.await.map_err(|error| failed("reading the folder ended unexpectedly", error))?
    }

    fn known(&self, commit: &CommitId) -> Option<Snapshot> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(id, _)| id == commit).map(|(_, snapshot)| snapshot.clone())
    }
}

impl Source for DirectorySource {
    async fn head(&self) -> Result<Head, SourceError> {
        self.read().await.map(Head::At)
    }

    /// A folder holds what it holds.
    fn keep(&self, _commit: &CommitId) {}

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        if let Some(snapshot) = self.known(commit) {
            return Ok(snapshot);
        }
        self.read().await?;
        self.known(commit)
            .ok_or_else(|| failed(format!("{} has changed since it was looked at; look again", self.folder.display()), Gone))
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        let subject = format!("files in {}", self.folder.display());
        Ok(CommitInfo {
            id: *commit,
            parents: Vec::new(),
            author: String::new(),
            committer: String::new(),
            subject,
            committed_at: 0,
        })
    }

    /// A folder has no history: whatever it holds now follows what it held before.
    async fn between(&self, base: &CommitId, head: &CommitId) -> Result<Ancestry, SourceError> {
        if base == head {
            return Ok(Ancestry::Descends(Vec::new()));
        }
        Ok(Ancestry::Descends(vec![self.describe(head).await?]))
    }

    async fn commit_bytes(&self, _commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(None)
    }

    async fn since(&self, _base: &CommitId, _head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        Ok(Some(Vec::new()))
    }

    async fn signer_list(&self, _commit: &CommitId, _path: &str) -> Result<Option<SignerList>, SourceError> {
        Ok(None)
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        Ok(RequestHeads { heads: numbers.iter().map(|number| (*number, None)).collect(), ..RequestHeads::default() })
    }
}

struct Reading {
    snapshot: Snapshot,
    visited: usize,
    bytes: u64,
}

fn read(folder: &Path) -> Result<Snapshot, SourceError> {
    let mut reading = Reading { snapshot: Snapshot::default(), visited: 0, bytes: 0 };
    let mut folders = vec![(folder.to_owned(), String::new(), 1)];
    while let Some((folder, path, depth)) = folders.pop() {
        let unreadable = |error| {
            failed(
                format!("cannot read the folder {}; check that it exists and that this user may read it", folder.display()),
                error,
            )
        };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            reading.visited += 1;
            if reading.visited > ENTRIES_VISITED_MAX {
                return Err(refused(format!("the folder has more than {ENTRIES_VISITED_MAX} entries; name a smaller one")));
            }
            if let Some(below) = reading.visit(&entry, &path, depth)? {
                folders.push((entry.path(), below, depth + 1));
            }
        }
    }
    Ok(reading.snapshot)
}

impl Reading {
    /// Looks at one entry; returns its path if it is a folder to look into.
    fn visit(&mut self, entry: &fs::DirEntry, folder: &str, depth: usize) -> Result<Option<String>, SourceError> {
        let raw = entry.file_name();
        // A checkout has a `.git`, which no commit can hold.
        if raw.as_bytes().starts_with(b".") {
            return Ok(None);
        }
        let join = |name: &str| {
            if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
        };
        let name = match names::decode(raw.as_bytes()) {
            Ok(name) => name,
            Err(reason) => {
                self.snapshot.entries.insert(join(&names::escape(raw.as_bytes())), Entry::Refused { reason });
                return Ok(None);
            }
        };
        let path = join(name);
        let kind = entry.file_type().map_err(|error| failed(format!("cannot look at {path}"), error))?;
        let document = names::is_document(name);
        if path.len() > PATH_BYTES_MAX || depth >= DEPTH_MAX && kind.is_dir() {
            let reason = format!("its path is longer than {PATH_BYTES_MAX} bytes or more than {DEPTH_MAX} folders deep");
            self.snapshot.entries.insert(names::escape(path.as_bytes()), Entry::Refused { reason });
        } else if kind.is_dir() {
            return Ok(Some(path));
        } else if kind.is_symlink() && (document || !name.contains('.')) {
            self.snapshot.entries.insert(path, Entry::Symlink);
        } else if kind.is_file() && document {
            let content = self.file(&entry.path(), &path)?;
            self.snapshot.entries.insert(path, content);
        }
        Ok(None)
    }

    fn file(&mut self, file: &Path, path: &str) -> Result<Entry, SourceError> {
        let mut content = Vec::new();
        let opened = File::open(file).and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut content));
        opened.map_err(|error| failed(format!("cannot read {path}; check that this user may read it"), error))?;
        let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if bytes > FILE_BYTES_MAX {
            let bytes = fs::metadata(file).map_or(bytes, |found| found.len());
            return Ok(Entry::TooLarge { bytes });
        }
        self.bytes += bytes;
        if self.bytes > SET_BYTES_MAX || self.snapshot.entries.len() >= FILES_MAX {
            return Err(refused(format!(
                "the folder has more than {FILES_MAX} policy files or {SET_BYTES_MAX} bytes; name a smaller one"
            )));
        }
        Ok(Entry::File(content))
    }
}

/// Each path and content with its length before it, so that no two sets of files have the same bytes.
fn id_of(snapshot: &Snapshot) -> Result<CommitId, SourceError> {
    let mut hash = Sha256::new();
    for (path, entry) in &snapshot.entries {
        let (kind, content): (u8, &[u8]) = match entry {
            Entry::File(content) => (0, content),
            Entry::Symlink => (1, &[]),
            Entry::Submodule => (2, &[]),
            Entry::Executable => (3, &[]),
            Entry::TooLarge { .. } => (4, &[]),
            Entry::Refused { .. } => (5, &[]),
        };
        for part in [path.as_bytes(), &[kind], content] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    CommitId::from_bytes(&hash.finalize()).map_err(|_| refused("the digest of the folder has an unexpected length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> (TempDir, DirectorySource) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let source = DirectorySource::new(dir.path().to_owned());
        (dir, source)
    }

    async fn id(source: &DirectorySource) -> CommitId {
        let Head::At(id) = source.head().await.unwrap() else { panic!("a folder has a head") };
        id
    }

    #[tokio::test]
    async fn the_same_files_have_the_same_id_anywhere_and_others_have_another() {
        let files = [("a.yaml", "a"), ("b/c.yml", "bc"), ("README.md", "text")];
        let ((_one, first), (two, second)) = (folder(&files), folder(&files));
        let commit = id(&first).await;
        assert_eq!(commit, id(&second).await);
        fs::write(two.path().join("README.md"), "other text").unwrap();
        assert_eq!(commit, id(&second).await);
        fs::write(two.path().join("b/c.yml"), "bd").unwrap();
        assert_ne!(commit, id(&second).await);
        let (_three, moved) = folder(&[("a.yaml", "ab"), ("b/c.yml", "c")]);
        assert_ne!(commit, id(&moved).await);
    }

    #[tokio::test]
    async fn a_snapshot_is_of_the_files_the_id_was_made_from() {
        let (dir, source) = folder(&[("a.yaml", "a")]);
        let commit = id(&source).await;
        fs::write(dir.path().join("a.yaml"), "changed").unwrap();
        assert_eq!(source.snapshot(&commit).await.unwrap().entries["a.yaml"], Entry::File(b"a".to_vec()));
        id(&source).await;
        assert!(source.snapshot(&commit).await.unwrap_err().to_string().contains("has changed"));
    }

    #[tokio::test]
    async fn links_are_not_followed_and_large_files_not_read() {
        let (dir, source) = folder(&[("large.yaml", &"a".repeat(2 << 20)), (".git/x.yaml", "x")]);
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.yaml")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let entries = source.snapshot(&id(&source).await).await.unwrap().entries;
        assert_eq!(entries["large.yaml"], Entry::TooLarge { bytes: 2 << 20 });
        assert_eq!((&entries["link.yaml"], &entries["root"], entries.len()), (&Entry::Symlink, &Entry::Symlink, 3));
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let source = DirectorySource::new("/nonexistent/policies".into());
        assert!(source.head().await.unwrap_err().to_string().contains("/nonexistent/policies"));
    }
}
