//! SSH: the real client against a closed port, and a stand-in client that runs the command here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{Credentials, GitConfig, GitSource};

use crate::support::{World, head};

fn source(world: &World, url: String) -> GitSource {
    let credentials =
        Credentials::SshKey { ssh_key_file: "/nonexistent/key".into(), known_hosts_file: "/nonexistent/hosts".into() };
    GitSource::new(GitConfig { url, credentials, ..world.config() }).unwrap()
}

#[tokio::test]
async fn g09_what_the_client_says_is_in_the_error() {
    let world = World::new();
    let text = chain(&source(&world, "ssh://git@127.0.0.1:1/repo".into()).head().await.unwrap_err());
    assert!(text.contains("Connection refused"), "{text}");
}

/// Runs the test below in a process whose `ssh` is a stand-in: it checks for `--`, drops what precedes the command, and runs it.
#[test]
fn a_repository_is_followed_through_the_client() {
    let world = World::new();
    let bin = world.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let client = bin.join("ssh");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n[ \"$2\" = example.org ] || exit 255\nexec sh -c \"$3\"\n";
    std::fs::write(&client, script).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "git_ssh::with_a_stand_in_client", "--ignored"])
        .env("PATH", path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "needs the stand-in client of the test above"]
async fn with_a_stand_in_client() {
    let world = World::new();
    world.write("a.yaml", "a");
    let first = world.commit("first");
    let folder: PathBuf = world.repo();
    let source = source(&world, format!("ssh://git@example.org{}", folder.display()));
    assert_eq!(head(&source).await, first);
    let second = world.commit("second");
    assert_eq!(head(&source).await, second);
    assert_eq!(source.snapshot(&second).await.unwrap().entries.len(), 1);
}
