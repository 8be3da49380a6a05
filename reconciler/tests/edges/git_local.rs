//! Following a repository on this machine: real repositories, real mirrors.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::{World, chain, git_in, head};
use pci_segment::converge::{Ancestry, Head, Source as _};
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
    assert_eq!(
        snapshot.entries["policies/a.yaml"],
        Entry::File(b"a: 1\n".to_vec())
    );

    let below = GitSource::new(GitConfig {
        path: "policies/deep".into(),
        ..world.config()
    })
    .unwrap();
    assert_eq!(
        below
            .snapshot(&commit)
            .await
            .unwrap()
            .entries
            .keys()
            .collect::<Vec<_>>(),
        ["b.yml"]
    );
    let nowhere = GitSource::new(GitConfig {
        path: "other".into(),
        ..world.config()
    })
    .unwrap();
    assert!(nowhere.snapshot(&commit).await.unwrap().entries.is_empty());
    let file = GitSource::new(GitConfig {
        path: "policies/a.yaml".into(),
        ..world.config()
    })
    .unwrap();
    assert!(matches!(
        file.snapshot(&commit).await.unwrap().entries["."],
        Entry::Refused { .. }
    ));
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
    assert_eq!(
        (info.id, info.parents, info.subject.as_str()),
        (second, vec![first], "second")
    );
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
async fn what_lies_between_is_handed_out_oldest_first() {
    let world = World::new();
    let base = world.commit("base");
    let one = world.commit("one");
    world.git(&["checkout", "-q", "-b", "side", &base.to_string()]);
    // The date of a commit is its author's claim and decides nothing.
    world.git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "side",
        "--date",
        "2001-01-01T00:00:00Z",
    ]);
    let side = world.id("HEAD");
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    let merge = world.id("HEAD");
    let source = world.source();
    head(&source).await;
    let Ancestry::Descends(commits) = source.between(&base, &merge).await.unwrap() else {
        panic!()
    };
    let ids: Vec<_> = commits.iter().map(|commit| commit.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.contains(&one) && ids.contains(&side) && ids.last() == Some(&merge));
    assert_eq!(
        source.between(&merge, &merge).await.unwrap(),
        Ancestry::Descends(vec![])
    );
    assert_eq!(
        source.between(&merge, &one).await.unwrap(),
        Ancestry::Rewritten
    );
}

#[tokio::test]
async fn only_the_newest_200_commits_are_handed_out() {
    let world = World::new();
    let base = world.commit("base");
    let mut input = Vec::new();
    for number in 0..250 {
        let from = if number == 0 {
            format!("from {base}\n")
        } else {
            String::new()
        };
        let text = format!(
            "commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 3\n{number:03}\n{from}\n"
        );
        input.extend_from_slice(text.as_bytes());
    }
    git_in(
        &world.repo(),
        &["fast-import", "--quiet", "--force"],
        &input,
    );
    let source = world.source();
    let newest = head(&source).await;
    let Ancestry::Descends(commits) = source.between(&base, &newest).await.unwrap() else {
        panic!()
    };
    assert_eq!(commits.len(), 200);
    assert_eq!(
        (commits[0].subject.as_str(), commits[199].subject.as_str()),
        ("050", "249")
    );
}

#[tokio::test]
async fn more_commits_than_are_ever_walked_are_too_far() {
    let world = World::new();
    let base = world.commit("base");
    let mut input = Vec::new();
    for number in 0..10_001 {
        let from = if number == 0 {
            format!("from {base}\n")
        } else {
            String::new()
        };
        input.extend_from_slice(
            format!("commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 0\n{from}\n")
                .as_bytes(),
        );
    }
    git_in(
        &world.repo(),
        &["fast-import", "--quiet", "--force"],
        &input,
    );
    let source = world.source();
    let newest = head(&source).await;
    assert_eq!(
        source.between(&base, &newest).await.unwrap(),
        Ancestry::TooFar { walked: 10_000 }
    );
}

#[tokio::test]
async fn g01_links_submodules_executables_and_odd_modes_are_entries_of_their_kind() {
    let world = World::new();
    let first = world.commit("first");
    let blob = world.blob(b"/etc/shadow");
    let commit = world.commit_tree(&[
        ("100644", &blob, b"good.yaml"),
        ("100755", &blob, b"tool.yaml"),
        ("100755", &blob, b"tool.sh"),
        ("120000", &blob, b"link.yaml"),
        ("120000", &blob, b"linked-folder"),
        ("120000", &blob, b"picture.png"),
        ("160000", &first.to_string(), b"vendor"),
    ]);
    let source = world.source();
    assert_eq!(head(&source).await, commit);
    let entries = source.snapshot(&commit).await.unwrap().entries;
    assert_eq!(entries["good.yaml"], Entry::File(b"/etc/shadow".to_vec()));
    assert_eq!(entries["tool.yaml"], Entry::Executable);
    assert_eq!(entries["link.yaml"], Entry::Symlink);
    assert_eq!(entries["linked-folder"], Entry::Symlink);
    assert_eq!(entries["vendor"], Entry::Submodule);
    assert_eq!(entries.len(), 5, "{:?}", entries.keys());
}

#[tokio::test]
async fn g01_g03_names_that_deceive_are_refused_and_escaped() {
    let world = World::new();
    world.commit("first");
    let blob = world.blob(b"a: 1");
    let names: [&[u8]; 8] = [
        b"a\xff.yaml",
        b"b\n.yaml",
        b"c\x1b[2J.yaml",
        b"..",
        b".GIT",
        b"d\\e.yaml",
        "f\u{202e}g".as_bytes(),
        "e\u{301}.yaml".as_bytes(),
    ];
    let mut entries: Vec<_> = names
        .iter()
        .map(|name| ("100644", blob.as_str(), *name))
        .collect();
    entries.extend([
        ("100644", blob.as_str(), b"Twin.yaml".as_slice()),
        ("100644", blob.as_str(), b"twin.yaml"),
    ]);
    let commit = world.commit_tree(&entries);
    let source = world.source();
    head(&source).await;
    let found = source.snapshot(&commit).await.unwrap().entries;
    let refused = found
        .values()
        .filter(|entry| matches!(entry, Entry::Refused { .. }))
        .count();
    assert_eq!((found.len(), refused), (10, 9), "{found:?}");
    assert!(
        found.contains_key(r"a\xff.yaml") && found.contains_key(r"c\x1b[2J.yaml"),
        "{:?}",
        found.keys()
    );
    assert!(
        found
            .keys()
            .all(|path| path.bytes().all(|b| (0x20..0x7f).contains(&b)))
    );
}

#[tokio::test]
async fn g02_a_file_over_the_limit_is_said_to_be_too_large() {
    let world = World::new();
    world.write("big.yaml", vec![b'a'; 2 * 1024 * 1024]);
    world.write("full.yaml", vec![b'a'; 1024 * 1024]);
    let commit = world.commit("big");
    let source = world.source();
    head(&source).await;
    let entries = source.snapshot(&commit).await.unwrap().entries;
    assert_eq!(
        entries["big.yaml"],
        Entry::TooLarge {
            bytes: 2 * 1024 * 1024
        }
    );
    assert!(matches!(&entries["full.yaml"], Entry::File(content) if content.len() == 1024 * 1024));
}

#[tokio::test]
async fn g02_an_object_or_a_copy_over_the_limits_is_refused_by_name() {
    let world = World::new();
    world.write("big.bin", vec![0; 33 * 1024 * 1024]);
    world.commit("big");
    let error = chain(&world.source().head().await.unwrap_err());
    assert!(
        error.contains("34603008 bytes") && error.contains("33554432"),
        "{error}"
    );
    let small = GitSource::new(GitConfig {
        pack_bytes_max: 1024,
        ..world.config()
    })
    .unwrap();
    world.git(&["checkout", "-q", "--orphan", "fresh"]);
    world.git(&["rm", "-rqf", "."]);
    world.write("a.yaml", "x".repeat(2000));
    world.commit("fresh");
    world.git(&["branch", "-f", "main", "fresh"]);
    let error = chain(&small.head().await.unwrap_err());
    assert!(
        error.contains("1024 bytes") && error.contains("source.pack_mib"),
        "{error}"
    );
}

#[tokio::test]
async fn g02_too_many_entries_and_too_deep_folders_are_refused() {
    let world = World::new();
    let mut input = b"commit refs/heads/main\ncommitter A <a@b> 0 +0000\ndata 0\n".to_vec();
    input.extend_from_slice(
        format!("M 100644 inline {}deep.yaml\ndata 1\nx\n", "d/".repeat(20)).as_bytes(),
    );
    git_in(
        &world.repo(),
        &["fast-import", "--quiet", "--force"],
        &input,
    );
    let source = world.source();
    let deep = head(&source).await;
    let entries = source.snapshot(&deep).await.unwrap().entries;
    assert!(
        matches!(&entries["d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d"], Entry::Refused { reason } if reason.contains("16")),
        "{entries:?}"
    );

    let mut input =
        b"blob\nmark :1\ndata 1\nx\ncommit refs/heads/main\ncommitter A <a@b> 0 +0000\ndata 0\n\n"
            .to_vec();
    for number in 0..50_001 {
        input.extend_from_slice(format!("M 100644 :1 {number}.txt\n").as_bytes());
    }
    git_in(
        &world.repo(),
        &["fast-import", "--quiet", "--force"],
        &input,
    );
    world.git(&["update-ref", "refs/heads/main", "refs/heads/main"]);
    let many = head(&source).await;
    let entries = source.snapshot(&many).await.unwrap().entries;
    assert!(
        matches!(&entries["."], Entry::Refused { reason } if reason.contains("50000")),
        "{entries:?}"
    );
}

#[tokio::test]
async fn g04_a_rewritten_branch_is_seen_as_rewritten() {
    let world = World::new();
    let old = world.commit("first");
    let enforced = world.commit("enforced");
    let source = world.source();
    head(&source).await;
    world.git(&["reset", "-q", "--hard", &old.to_string()]);
    let new = world.commit("instead");
    assert_eq!(head(&source).await, new);
    assert_eq!(
        source.between(&enforced, &new).await.unwrap(),
        Ancestry::Rewritten
    );
    // What is enforced can still be read.
    assert!(source.snapshot(&enforced).await.is_ok());
    world.git(&["checkout", "-q", "--orphan", "unrelated"]);
    let unrelated = world.commit("unrelated");
    world.git(&["branch", "-f", "main", "unrelated"]);
    assert_eq!(head(&source).await, unrelated);
    assert_eq!(
        source.between(&enforced, &unrelated).await.unwrap(),
        Ancestry::Rewritten
    );
    let unknown = "1".repeat(40).parse().ok().unwrap();
    assert_eq!(
        source.between(&unknown, &unrelated).await.unwrap(),
        Ancestry::Rewritten
    );
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
    for folder in std::fs::read_dir(world.mirror().join("objects"))
        .unwrap()
        .flatten()
    {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::write(file.path(), "garbage").unwrap();
        }
    }
    let source = world.source();
    assert_eq!(
        source.snapshot(&commit).await.unwrap().entries["a.yaml"],
        Entry::File(b"a".to_vec())
    );
}

#[tokio::test]
async fn g09_a_repository_that_is_not_there_says_what_to_check() {
    let world = World::new();
    let source = GitSource::new(GitConfig {
        url: "file:///nonexistent/repo".into(),
        ..world.config()
    })
    .unwrap();
    let error = chain(&source.head().await.unwrap_err());
    assert!(
        error.contains("/nonexistent/repo") && error.contains("source.url"),
        "{error}"
    );
    let commit = world.commit("first");
    let error = chain(&world.source().snapshot(&commit).await.unwrap_err());
    assert!(error.contains("not in the mirror"), "{error}");
}

#[tokio::test]
async fn g12_what_is_planted_in_mirror_and_repository_has_no_effect() {
    let world = World::new();
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let source = world.source();
    head(&source).await;
    let trap = world.dir.path().join("trap");
    let script = format!("#!/bin/sh\ntouch {}\n", trap.display());
    let config = format!(
        "[core]\n\tfsmonitor = {0}\n\tsshCommand = {0}\n[filter \"x\"]\n\tsmudge = {0}\n[credential]\n\thelper = !{0}\n",
        "/bin/trap"
    );
    for folder in [world.mirror(), world.repo().join(".git")] {
        std::fs::create_dir_all(folder.join("hooks")).unwrap();
        std::fs::create_dir_all(folder.join("objects/info")).unwrap();
        std::fs::create_dir_all(folder.join("refs/replace")).unwrap();
        for hook in ["post-update", "reference-transaction", "pre-receive"] {
            let file = folder.join("hooks").join(hook);
            std::fs::write(&file, &script).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(
            folder.join("objects/info/alternates"),
            "/nonexistent/objects\n",
        )
        .unwrap();
        let old = std::fs::read_to_string(folder.join("config")).unwrap();
        std::fs::write(folder.join("config"), old + &config).unwrap();
    }
    std::fs::write(world.mirror().join("commondir"), "/nonexistent").unwrap();
    world.write(".gitattributes", "* filter=x\n");
    git_in(
        &world.repo(),
        &[
            "-c",
            "filter.x.smudge=",
            "-c",
            "core.fsmonitor=",
            "-c",
            "core.hooksPath=/dev/null",
            "add",
            "-A",
        ],
        b"",
    );
    git_in(
        &world.repo(),
        &[
            "-c",
            "core.fsmonitor=",
            "-c",
            "core.hooksPath=/dev/null",
            "commit",
            "-qm",
            "second",
        ],
        b"",
    );
    let second = world.id("HEAD");
    assert_eq!(head(&source).await, second);
    // A replace ref in the mirror would show the old commit for the new one.
    std::fs::create_dir_all(world.mirror().join("refs/replace")).unwrap();
    std::fs::write(
        world.mirror().join("refs/replace").join(second.to_string()),
        commit.to_string(),
    )
    .unwrap();
    assert_eq!(source.describe(&second).await.unwrap().subject, "second");
    assert!(source.snapshot(&second).await.is_ok());
    assert!(!trap.exists());
    for gone in ["hooks", "objects/info", "commondir", "refs/replace"] {
        assert!(!world.mirror().join(gone).exists(), "{gone}");
    }
    assert!(
        !std::fs::read_to_string(world.mirror().join("config"))
            .unwrap()
            .contains("trap")
    );
    assert_eq!(
        std::fs::metadata(world.mirror())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
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
    assert_eq!(
        source.snapshot(&commit).await.unwrap().entries["a.yaml"],
        Entry::File(b"ab".to_vec())
    );
}

#[tokio::test]
async fn a_look_that_takes_too_long_is_given_up() {
    let world = World::new();
    for number in 0..200 {
        world.write(&format!("{number}.yaml"), format!("{number}"));
    }
    world.commit("many");
    let source = GitSource::new(GitConfig {
        timeout: Duration::ZERO,
        ..world.config()
    })
    .unwrap();
    let error = chain(&source.head().await.unwrap_err());
    assert!(
        error.contains("source.timeout") || error.contains("not ended yet"),
        "{error}"
    );
}
