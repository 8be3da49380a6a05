//! Following a repository on this machine: real repositories, real mirrors.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::{World, head};
use pci_segment::chain::chain;
use pci_segment::converge::{Head, Source as _};
use pci_segment::source::git::{GitConfig, GitSource};
use policy::snapshot::Entry;

#[tokio::test]
async fn the_documents_of_the_head_are_read_and_nothing_else() {
    let world = World::new();
    world.write("policies/a.yaml", "a: 1\n");
    world.write("policies/deep/b.yml", "b: 2\n");
    world.write("policies/README.md", "text");
    world.write(".github/workflows/ci.yaml", "on: push");
    world.write("policies/.hidden.yaml", "x");
    let commit = world.commit("first");
    let source = world.source();
    assert_eq!(head(&source).await, commit);
    let snapshot = source.snapshot(&commit).await.unwrap();
    let paths: Vec<_> = snapshot.entries.keys().map(String::as_str).collect();
    assert_eq!(paths, ["policies/a.yaml", "policies/deep/b.yml"]);
    assert_eq!(snapshot.entries["policies/a.yaml"], Entry::File(b"a: 1\n".to_vec()));

    let below = GitSource::new(GitConfig { path: "policies/deep".into(), ..world.config() }).unwrap();
    assert_eq!(below.snapshot(&commit).await.unwrap().entries.keys().collect::<Vec<_>>(), ["b.yml"]);
    let nowhere = GitSource::new(GitConfig { path: "other".into(), ..world.config() }).unwrap();
    assert!(nowhere.snapshot(&commit).await.unwrap().entries.is_empty());
    let file = GitSource::new(GitConfig { path: "policies/a.yaml".into(), ..world.config() }).unwrap();
    assert!(matches!(file.snapshot(&commit).await.unwrap().entries["."], Entry::Refused { .. }));
}

#[tokio::test]
async fn new_commits_are_seen_and_described() {
    let world = World::new();
    let first = world.commit("first");
    let source = world.source();
    assert_eq!(head(&source).await, first);
    world.write("a.yaml", "a");
    let second = world.commit("second\n\nbody \u{1b}[2J");
    assert_eq!(head(&source).await, second);
    let info = source.describe(&second).await.unwrap();
    assert_eq!((info.id, info.parents, info.subject.as_str()), (second, vec![first], "second"));
    assert_eq!(info.author, "Ada <ada@example.org>");
    assert!(info.committed_at > 1_600_000_000);
}

#[tokio::test]
async fn an_empty_repository_and_a_missing_branch_are_told_apart() {
    let world = World::new();
    let source = world.source();
    assert_eq!(source.head().await.unwrap(), Head::EmptyRepository);
    world.commit("first");
    world.git(&["checkout", "-q", "-b", "other"]);
    assert!(matches!(source.head().await.unwrap(), Head::At(_)));
    world.git(&["branch", "-D", "main"]);
    assert_eq!(source.head().await.unwrap(), Head::BranchMissing);
    world.git(&["tag", "main"]);
    assert_eq!(source.head().await.unwrap(), Head::BranchMissing);
}

#[tokio::test]
async fn g08_a_damaged_mirror_is_set_aside_and_cloned_again_once_an_hour() {
    let world = World::new();
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let source = world.source();
    head(&source).await;
    let destroy = || {
        let objects = world.mirror().join("objects");
        std::fs::remove_dir_all(&objects).unwrap();
        std::fs::create_dir_all(objects.join("pack")).unwrap();
    };
    destroy();
    assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 1);
    assert!(world.dir.path().join("mirror.git.damaged").is_dir());
    destroy();
    let error = chain(&source.head().await.unwrap_err());
    assert!(error.contains("damaged again within an hour"), "{error}");
}

#[tokio::test]
async fn g08_a_mirror_with_garbage_in_its_objects_is_mended() {
    let world = World::new();
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    head(&world.source()).await;
    for folder in std::fs::read_dir(world.mirror().join("objects")).unwrap().flatten() {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::write(file.path(), "garbage").unwrap();
        }
    }
    let source = world.source();
    assert_eq!(source.snapshot(&commit).await.unwrap().entries["a.yaml"], Entry::File(b"a".to_vec()));
}

#[tokio::test]
async fn g09_a_repository_that_is_not_there_says_what_to_check() {
    let world = World::new();
    let source = GitSource::new(GitConfig { url: "file:///nonexistent/repo".into(), ..world.config() }).unwrap();
    let error = chain(&source.head().await.unwrap_err());
    assert!(error.contains("/nonexistent/repo") && error.contains("source.url"), "{error}");
    let commit = world.commit("first");
    let error = chain(&world.source().snapshot(&commit).await.unwrap_err());
    assert!(error.contains("not in the mirror"), "{error}");
}

#[tokio::test]
async fn a_repository_with_sha256_ids_is_followed() {
    let world = World::with_format("sha256");
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let source = world.source();
    assert_eq!(commit.as_bytes().len(), 32);
    assert_eq!(head(&source).await, commit);
    assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 1);
    std::fs::write(world.mirror().join("config"), "").unwrap();
    assert_eq!(head(&source).await, commit);
}

#[tokio::test]
async fn packed_repositories_and_worktrees_are_read_alike() {
    let world = World::new();
    world.write("a.yaml", "a");
    world.commit("first");
    world.write("a.yaml", "ab");
    let commit = world.commit("second");
    world.git(&["gc", "-q"]);
    world.git(&["pack-refs", "--all"]);
    let source = world.source();
    assert_eq!(head(&source).await, commit);
    assert_eq!(source.snapshot(&commit).await.unwrap().entries["a.yaml"], Entry::File(b"ab".to_vec()));
}

#[tokio::test]
async fn a_look_that_takes_too_long_is_given_up() {
    let world = World::new();
    for number in 0..200 {
        world.write(&format!("{number}.yaml"), format!("{number}"));
    }
    world.commit("many");
    let source = GitSource::new(GitConfig { timeout: Duration::ZERO, ..world.config() }).unwrap();
    let error = chain(&source.head().await.unwrap_err());
    assert!(error.contains("source.timeout") || error.contains("not ended yet"), "{error}");
}

#[tokio::test]
async fn two_processes_do_not_use_one_mirror_at_once() {
    let world = World::new();
    let commit = world.commit("first");
    let other = std::fs::File::create(world.dir.path().join("mirror.git.lock")).unwrap();
    other.lock().unwrap();
    let source = world.source();
    let error = chain(&source.head().await.unwrap_err());
    assert!(error.contains("another process uses the mirror"), "{error}");
    drop(other);
    assert_eq!(head(&source).await, commit);
}
