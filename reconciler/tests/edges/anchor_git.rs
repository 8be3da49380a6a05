//! The Git anchor against repositories and servers as people have them: what it writes, `git notes` reads, and nothing is forced.

use std::process::Command;

use ed25519_dalek::SigningKey;
use pci_segment::anchor::git::GitAnchor;
use pci_segment::anchor::{Anchor as _, Ours, Parcel};
use pci_segment::audit::NoteSigner;
use pci_segment::source::git::{Credentials, GitConfig, GitSource};
use policy::snapshot::CommitId;

use crate::git_servers::{nginx, sshd};
use crate::support::{World, git_in};

const REF: &str = "refs/notes/pci-segment";

fn signer(origin: &str) -> NoteSigner {
    NoteSigner::new(origin, SigningKey::from_bytes(&[7; 32])).unwrap()
}

fn anchor(config: GitConfig) -> GitAnchor {
    GitAnchor::new(format!("git:{REF}"), REF.to_owned(), GitSource::new(config).unwrap())
}

fn parcel(signer: &NoteSigner, size: u64, on: Option<CommitId>) -> Parcel {
    Parcel { note: signer.sign(size, [1; 32]), commit: on, rows: Vec::new() }
}

fn ours(signer: &NoteSigner) -> Ours {
    Ours { keys: vec![signer.verifier().clone()], ..Ours::default() }
}

fn notes_on(world: &World, commit: &CommitId) -> String {
    world.git(&["notes", &format!("--ref={REF}"), "show", &commit.to_string()])
}

/// Puts, reads back, goes on after somebody else has written, and after our mirror is gone.
async fn goes_on_beside_others(world: &World, config: GitConfig) {
    let (us, them) = (signer("us/pci-segment/1"), signer("them/pci-segment/2"));
    world.write("a.yaml", "a: 1");
    let first = world.commit("first");
    let anchor = anchor(config.clone());
    assert_eq!(anchor.latest(&ours(&us)).await, Ok(None));
    anchor.put(&parcel(&us, 5, Some(first))).await.unwrap();
    assert_eq!(notes_on(world, &first), us.sign(5, [1; 32]).to_string().trim());
    let tip = world.git(&["rev-parse", REF]);

    // Another controller and a person write to the same ref, which ours has to see.
    world.git(&["notes", &format!("--ref={REF}"), "append", "-m", "Seen by the auditor.", &first.to_string()]);
    let other = self::anchor(GitConfig { mirror: world.dir.path().join("other.git"), ..config.clone() });
    other.put(&parcel(&them, 900, Some(first))).await.unwrap();
    world.write("a.yaml", "a: 2");
    let second = world.commit("second");
    anchor.put(&parcel(&us, 9, Some(first))).await.unwrap();
    anchor.put(&parcel(&us, 12, Some(second))).await.unwrap();
    let text = notes_on(world, &first);
    assert!(text.contains("Seen by the auditor.") && text.contains("them/pci-segment/2\n900\n"), "{text}");
    assert!(text.contains("us/pci-segment/1\n9\n") && !text.contains("us/pci-segment/1\n5\n"), "{text}");
    assert_eq!(notes_on(world, &second), us.sign(12, [1; 32]).to_string().trim());
    assert_eq!(world.git(&["merge-base", &tip, REF]), tip, "the history only grows");
    world.git(&["fsck", "--strict"]);

    std::fs::remove_dir_all(&config.mirror).unwrap();
    let found = anchor.latest(&ours(&us)).await.unwrap().unwrap();
    assert_eq!(found.note, us.sign(12, [1; 32]));
    assert!(found.at.is_some());
    let nobody = NoteSigner::new("nobody/pci-segment/3", SigningKey::from_bytes(&[8; 32])).unwrap();
    assert_eq!(anchor.latest(&ours(&nobody)).await, Ok(None), "signed by another key");
}

#[tokio::test]
async fn a_file_remote_has_notes_that_git_shows_whatever_others_write_there() {
    for format in ["sha1", "sha256"] {
        let world = World::with_format(format);
        goes_on_beside_others(&world, world.config()).await;
    }
}

#[tokio::test]
async fn many_names_for_a_large_note_cost_it_once_and_many_large_notes_are_refused() {
    let world = World::new();
    let us = signer("us/pci-segment/1");
    let on = world.commit("first");
    // A note of ours, and as much beside it as a push may bring.
    let fill = |text: &str, blobs: usize, names: usize| {
        let mut stream = format!("commit {REF}\ncommitter Ada <ada@example.org> 1767225600 +0000\ndata 5\nnotes\ndeleteall\n");
        stream.push_str(&format!("M 100644 inline {on}\ndata {}\n{text}\n", text.len()));
        for name in 0..names {
            let large = format!("{}{}", name % blobs, " ".repeat(4 * 1024 * 1024 - 2));
            stream.push_str(&format!("M 100644 inline name-{name}\ndata {}\n{large}\n", large.len()));
        }
        git_in(&world.repo(), &["fast-import", "--quiet", "--force"], stream.as_bytes());
    };
    let text = us.sign(3, [1; 32]).to_string();
    fill(&text, 1, 40);
    assert_eq!(anchor(world.config()).latest(&ours(&us)).await.unwrap().unwrap().note.checkpoint.size, 3);
    fill(&text, 9, 9);
    let error = anchor(world.config()).latest(&ours(&us)).await.unwrap_err();
    assert!(error.to_string().contains("more than 32 MiB of notes; use another ref"), "{error}");
}

#[tokio::test]
async fn notes_in_folders_of_two_digits_are_found_and_replaced_where_they_are() {
    let world = World::new();
    let us = signer("us/pci-segment/1");
    let commits: Vec<CommitId> = (0..300).map(|n| world.commit(&format!("number {n}"))).collect();
    let text = us.sign(3, [1; 32]).to_string();
    let mut input = String::new();
    for commit in &commits {
        input.push_str(&format!("N inline {commit}\ndata {}\n{text}\n", text.len()));
    }
    let stream = format!("commit {REF}\ncommitter Ada <ada@example.org> 1767225600 +0000\ndata 5\nnotes\n{input}");
    git_in(&world.repo(), &["fast-import", "--quiet"], stream.as_bytes());
    assert!(world.git(&["ls-tree", REF]).contains("040000 tree"), "they are spread over folders");
    let anchor = anchor(world.config());
    anchor.put(&parcel(&us, 7, Some(commits[5]))).await.unwrap();
    assert_eq!(notes_on(&world, &commits[5]), us.sign(7, [1; 32]).to_string().trim());
    assert_eq!(world.git(&["notes", &format!("--ref={REF}"), "list"]).lines().count(), 300);
    assert_eq!(anchor.latest(&ours(&us)).await.unwrap().unwrap().note.checkpoint.size, 7);
}

#[tokio::test]
async fn a_server_behind_nginx_takes_notes_by_the_password_that_reads_and_says_why_not() {
    let world = World::new();
    let test = "a_server_behind_nginx_takes_notes_by_the_password_that_reads_and_says_why_not";
    let Some((server, _running)) = nginx(&world, test).await else { return };
    let password_file = world.dir.path().join("password");
    std::fs::write(&password_file, "right\n").unwrap();
    let config = GitConfig {
        url: format!("{server}/repo/.git"),
        credentials: Credentials::Password { username: "git".into(), password_file: password_file.clone() },
        ca_file: Some(world.dir.path().join("cert.pem")),
        ..world.config()
    };
    goes_on_beside_others(&world, config.clone()).await;

    let us = signer("us/pci-segment/1");
    let anchor = anchor(config);
    world.git(&["config", "http.receivepack", "false"]);
    let said = anchor.put(&parcel(&us, 20, None)).await.unwrap_err().to_string();
    assert!(said.contains("403") && !said.contains("right\n"), "{said}");
    world.git(&["config", "--unset", "http.receivepack"]);
    let hook = world.repo().join(".git/hooks/update");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&hook).status().unwrap().success());
    let said = anchor.put(&parcel(&us, 20, None)).await.unwrap_err().to_string();
    assert!(said.contains("hook declined") && said.contains("allow this account to push"), "{said}");
    std::fs::remove_file(&hook).unwrap();
    anchor.put(&parcel(&us, 20, None)).await.unwrap();
    let on_nothing = world.git(&["notes", &format!("--ref={REF}"), "show", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"]);
    assert_eq!(on_nothing, us.sign(20, [1; 32]).to_string().trim(), "no commit is in force");
}

#[tokio::test]
async fn notes_go_over_ssh_by_the_key_that_reads() {
    let world = World::new();
    let Some((port, _running)) = sshd(&world, "notes_go_over_ssh_by_the_key_that_reads") else { return };
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let credentials = Credentials::SshKey {
        ssh_key_file: world.dir.path().join("client"),
        known_hosts_file: world.dir.path().join("known-host"),
    };
    let url = format!("ssh://{}@127.0.0.1:{port}{}/.git", me.trim(), world.repo().display());
    goes_on_beside_others(&world, GitConfig { url, credentials, ..world.config() }).await;
}
