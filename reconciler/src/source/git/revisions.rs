//! Revisions of a repository on this machine, as people name them: `HEAD~1`, `main`, a tag, the first digits of a commit.
//!
//! Only read, and as strictly as the mirror: no hook, no filter, no replaced object.

use std::path::{Path, PathBuf};

use gix::Repository;
use policy::snapshot::{CommitId, Snapshot};

use super::fault::{Fault, text_of};
use super::{commit_id, mirror, tree};
use crate::converge::SourceError;
use crate::source::{failed, refused};

/// A repository whose revisions can be read.
pub struct Revisions {
    repo: Repository,
    root: Vec<String>,
}

impl Revisions {
    /// The repository that a folder is in: documents are those below that folder.
    ///
    /// # Errors
    /// The folder is not in a Git repository, or that cannot be read.
    pub fn around(folder: &Path) -> Result<Self, SourceError> {
        let missing = |error| failed(format!("cannot find the folder {}", folder.display()), error);
        let folder = folder.canonicalize().map_err(missing)?;
        let is_git = |at: &&Path| at.join(".git").exists() || at.join("HEAD").is_file() && at.join("objects").is_dir();
        let Some(top) = folder.ancestors().find(is_git) else {
            return Err(refused(format!("{} is not in a Git repository", folder.display())));
        };
        let below = folder.strip_prefix(top).map(Path::to_owned).unwrap_or_default();
        Self::open(top, &below)
    }

    /// A repository; documents are those below a folder of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(repository: &Path, below: &Path) -> Result<Self, SourceError> {
        let opened = mirror::options().with(gix::sec::Trust::Full).open(PathBuf::from(repository));
        let repo =
            opened.map_err(|error| failed(format!("cannot read the repository {}", repository.display()), text_of(&error)))?;
        let mut root = Vec::new();
        for part in below.components().filter(|part| !matches!(part, std::path::Component::CurDir)) {
            let name = part.as_os_str().to_str().ok_or_else(|| refused(format!("{} is not UTF-8", below.display())))?;
            root.push(name.to_owned());
        }
        Ok(Self { repo: repo.to_thread_local(), root })
    }

    /// The commit that a revision names, and its documents.
    ///
    /// # Errors
    /// Nothing of that name, or an object that cannot be read.
    pub fn snapshot(&self, revision: &str) -> Result<(CommitId, Snapshot), SourceError> {
        let unknown = |error: &gix::Error| failed(format!("no commit is called {revision} here"), text_of(error));
        let named = self.repo.rev_parse_single(self.named(revision)?.as_str()).map_err(|error| unknown(&error))?;
        let commit = named.object().and_then(gix::Object::peel_to_commit).map_err(|error| unknown(&error))?;
        let id = commit_id(commit.id).map_err(Fault::into_error)?;
        Ok((id, tree::snapshot(&self.repo, commit.id, &self.root).map_err(Fault::into_error)?))
    }

    /// In a mirror of ours `HEAD` is the head that is followed, which no ref need name.
    fn named(&self, revision: &str) -> Result<String, SourceError> {
        let follows = |rest: &&str| rest.is_empty() || rest.starts_with(['~', '^']);
        let Some(rest) = revision.strip_prefix("HEAD").filter(follows) else { return Ok(revision.to_owned()) };
        let followed = mirror::pointed(&self.repo, mirror::FOLLOWED).map_err(Fault::into_error)?;
        Ok(followed.map_or_else(|| revision.to_owned(), |id| format!("{id}{rest}")))
    }
}
