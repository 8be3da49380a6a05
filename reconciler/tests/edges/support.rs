//! Repositories made by the real `git`, away from the configuration of whoever runs the tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pci_segment::converge::{Head, Source as _};
use pci_segment::source::git::{Credentials, GitConfig, GitSource, PACK_BYTES_MAX, PACK_OBJECTS_MAX, RequestRefs};
use policy::snapshot::CommitId;
use tempfile::TempDir;

/// A repository with a work tree, and a place for our mirror beside it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_format("sha1")
    }

    pub(crate) fn with_format(format: &str) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.repo()).unwrap();
        world.git(&["init", "-q", "-b", "main", "--object-format", format]);
        world
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(crate) fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror.git")
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.repo(), args, b"")
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.repo().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// Commits everything in the work tree.
    pub(crate) fn commit(&self, subject: &str) -> CommitId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.id("HEAD")
    }

    /// Commits a tree of `mode type id` lines with raw names, which need not be possible in a work tree.
    pub(crate) fn commit_tree(&self, entries: &[(&str, &str, &[u8])]) -> CommitId {
        let mut input = Vec::new();
        for (mode, id, name) in entries {
            let kind = match *mode {
                "40000" => "tree",
                "160000" => "commit",
                _ => "blob",
            };
            input.extend_from_slice(format!("{mode} {kind} {id}\t").as_bytes());
            input.extend_from_slice(name);
            input.push(0);
        }
        let tree = git_in(&self.repo(), &["mktree", "-z", "--missing"], &input);
        let commit = self.git(&["commit-tree", "-m", "made by hand", &tree]);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        commit.parse().ok().unwrap()
    }

    pub(crate) fn blob(&self, content: &[u8]) -> String {
        git_in(&self.repo(), &["hash-object", "-w", "--stdin"], content)
    }

    pub(crate) fn id(&self, revision: &str) -> CommitId {
        self.git(&["rev-parse", revision]).parse().ok().unwrap()
    }

    pub(crate) fn config(&self) -> GitConfig {
        GitConfig {
            url: format!("file://{}", self.repo().display()),
            branch: "main".into(),
            path: ".".into(),
            timeout: Duration::from_secs(60),
            credentials: Credentials::None,
            ca_file: None,
            proxy: None,
            mirror: self.mirror(),
            pack_bytes_max: PACK_BYTES_MAX,
            pack_objects_max: PACK_OBJECTS_MAX,
            requests: RequestRefs::default(),
        }
    }

    pub(crate) fn source(&self) -> GitSource {
        GitSource::new(self.config()).unwrap()
    }
}

pub(crate) fn git_in(folder: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.org",
            "-c",
            "core.protectNTFS=false",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The head of the branch, which must be there.
pub(crate) async fn head(source: &GitSource) -> CommitId {
    match source.head().await {
        Ok(Head::At(id)) => id,
        other => panic!("{other:?}"),
    }
}
