//! Repositories and mirrors that were made to do harm.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{GitConfig, GitSource};
use policy::snapshot::Entry;

use crate::support::{World, git_in, head};

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
    let mut entries: Vec<_> = names.iter().map(|name| ("100644", blob.as_str(), *name)).collect();
    entries.extend([("100644", blob.as_str(), b"Twin.yaml".as_slice()), ("100644", blob.as_str(), b"twin.yaml")]);
    let commit = world.commit_tree(&entries);
    let source = world.source();
    head(&source).await;
    let found = source.snapshot(&commit).await.unwrap().entries;
    let refused = found.values().filter(|entry| matches!(entry, Entry::Refused { .. })).count();
    assert_eq!((found.len(), refused), (10, 9), "{found:?}");
    assert!(found.contains_key(r"a\xff.yaml") && found.contains_key(r"c\x1b[2J.yaml"), "{:?}", found.keys());
    assert!(found.keys().all(|path| path.bytes().all(|b| (0x20..0x7f).contains(&b))));
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
    assert_eq!(entries["big.yaml"], Entry::TooLarge { bytes: 2 * 1024 * 1024 });
    assert!(matches!(&entries["full.yaml"], Entry::File(content) if content.len() == 1024 * 1024));
}

#[tokio::test]
async fn g02_an_object_or_a_copy_over_the_limits_is_refused_by_name() {
    let world = World::new();
    world.write("big.bin", vec![0; 33 * 1024 * 1024]);
    world.commit("big");
    let error = chain(&world.source().head().await.unwrap_err());
    assert!(error.contains("34603008 bytes") && error.contains("33554432"), "{error}");
    let small = GitSource::new(GitConfig { pack_bytes_max: 1024, ..world.config() }).unwrap();
    world.git(&["checkout", "-q", "--orphan", "fresh"]);
    world.git(&["rm", "-rqf", "."]);
    world.write("a.yaml", "x".repeat(2000));
    world.commit("fresh");
    world.git(&["branch", "-f", "main", "fresh"]);
    let error = chain(&small.head().await.unwrap_err());
    assert!(error.contains("1024 bytes") && error.contains("source.pack_mib"), "{error}");
}

#[tokio::test]
async fn g02_too_many_entries_and_too_deep_folders_are_refused() {
    let world = World::new();
    let mut input = b"commit refs/heads/main\ncommitter A <a@b> 0 +0000\ndata 0\n".to_vec();
    input.extend_from_slice(format!("M 100644 inline {}deep.yaml\ndata 1\nx\n", "d/".repeat(20)).as_bytes());
    git_in(&world.repo(), &["fast-import", "--quiet", "--force"], &input);
    let source = world.source();
    let deep = head(&source).await;
    let entries = source.snapshot(&deep).await.unwrap().entries;
    assert!(
        matches!(&entries["d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d"], Entry::Refused { reason } if reason.contains("16")),
        "{entries:?}"
    );

    let blob = world.blob(b"x");
    let names: Vec<_> = (0..50_001).map(|number| format!("{number}.txt")).collect();
    let entries: Vec<_> = names.iter().map(|name| ("100644", blob.as_str(), name.as_bytes())).collect();
    world.commit_tree(&entries);
    let many = head(&source).await;
    let entries = source.snapshot(&many).await.unwrap().entries;
    assert!(matches!(&entries["."], Entry::Refused { reason } if reason.contains("50000")), "{entries:?}");
}

#[tokio::test]
async fn g12_what_is_planted_in_mirror_and_repository_has_no_effect() {
    let world = World::new();
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let source = world.source();
    head(&source).await;
    let trap = world.dir.path().join("trap");
    for folder in [world.mirror(), world.repo().join(".git")] {
        plant(&folder, &trap);
    }
    std::fs::write(world.mirror().join("commondir"), "/nonexistent").unwrap();
    world.write("b.yaml", "b");
    let harmless = ["-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null"];
    git_in(&world.repo(), &[&harmless[..], &["add", "-A"]].concat(), b"");
    git_in(&world.repo(), &[&harmless[..], &["commit", "-qm", "second"]].concat(), b"");
    let second = world.id("HEAD");
    assert_eq!(head(&source).await, second);
    // A replace ref in the mirror would show the old commit for the new one.
    std::fs::create_dir_all(world.mirror().join("refs/replace")).unwrap();
    std::fs::write(world.mirror().join("refs/replace").join(second.to_string()), commit.to_string()).unwrap();
    assert_eq!(source.describe(&second).await.unwrap().subject, "second");
    assert!(source.snapshot(&second).await.is_ok());
    assert!(!trap.exists());
    for gone in ["hooks", "objects/info", "commondir", "refs/replace"] {
        assert!(!world.mirror().join(gone).exists(), "{gone}");
    }
    assert!(!std::fs::read_to_string(world.mirror().join("config")).unwrap().contains("trap"));
    assert_eq!(std::fs::metadata(world.mirror()).unwrap().permissions().mode() & 0o777, 0o700);
}

/// Hooks, programs in the configuration and borrowed objects, as an attacker with access to the folder would leave them.
fn plant(folder: &Path, trap: &Path) {
    std::fs::create_dir_all(folder.join("hooks")).unwrap();
    std::fs::create_dir_all(folder.join("objects/info")).unwrap();
    let script = folder.join("trap.sh");
    std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", trap.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for hook in ["post-update", "reference-transaction", "pre-receive"] {
        std::fs::copy(&script, folder.join("hooks").join(hook)).unwrap();
    }
    std::fs::write(folder.join("objects/info/alternates"), "/nonexistent/objects\n").unwrap();
    let run = script.display();
    let config = format!(
        "[core]\n\tfsmonitor = {run}\n\tsshCommand = {run}\n[credential]\n\thelper = !{run}\n[include]\n\tpath = /nonexistent\n"
    );
    let old = std::fs::read_to_string(folder.join("config")).unwrap();
    std::fs::write(folder.join("config"), old + &config).unwrap();
}
