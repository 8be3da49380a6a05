//! A policy repository as people have one: a bare remote, and a clone to commit and push from. It uses the `git` command.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bare repository and a clone of it.
#[derive(Debug)]
pub struct Repository {
    remote: PathBuf,
    clone: PathBuf,
}

impl Repository {
    /// Makes both below `folder`, with the branch `main` and no commit.
    ///
    /// # Errors
    /// No `git` command, or it says no.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let repository = Self { remote: folder.join("policies.git"), clone: folder.join("clone") };
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "policies.git"])?;
        git(folder, &["clone", "--quiet", "policies.git", "clone"])?;
        git(&repository.clone, &["symbolic-ref", "HEAD", "refs/heads/main"])?;
        Ok(repository)
    }

    /// The remote's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.remote.display())
    }

    /// The remote's folder.
    #[must_use]
    pub fn remote(&self) -> &Path {
        &self.remote
    }

    /// The clone's folder: write files here.
    #[must_use]
    pub fn clone_folder(&self) -> &Path {
        &self.clone
    }

    /// Writes a file in the clone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.clone.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)
    }

    /// Commits everything in the clone; returns the commit's id.
    ///
    /// # Errors
    /// Nothing to commit, or git says no.
    pub fn commit(&self, subject: &str) -> io::Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", subject])?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits everything and pushes it.
    ///
    /// # Errors
    /// As [`Repository::commit`], or the push is refused.
    pub fn push(&self, subject: &str) -> io::Result<String> {
        let id = self.commit(subject)?;
        self.git(&["push", "--quiet", "--force", "origin", "HEAD:main"])?;
        Ok(id)
    }

    /// Runs git in the clone.
    ///
    /// # Errors
    /// git says no.
    pub fn git(&self, arguments: &[&str]) -> io::Result<String> {
        git(&self.clone, arguments)
    }
}

/// Runs git with none of the user's configuration.
fn git(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    let identity = ["-c", "user.name=pci-segment demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(identity)
        .args(arguments)
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run git (package git): {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(io::Error::other(format!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}
