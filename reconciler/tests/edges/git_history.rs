//! How commits are related.

use pci_segment::converge::{Ancestry, Source as _};
use pci_segment::source::git::{GitConfig, GitSource};

use crate::http_server::GitServer;
use crate::support::{World, git_in, head};

#[tokio::test]
async fn what_lies_between_is_handed_out_oldest_first() {
    let world = World::new();
    let base = world.commit("base");
    let one = world.commit("one");
    world.git(&["checkout", "-q", "-b", "side", &base.to_string()]);
    // The date of a commit is its author's claim and decides nothing.
    world.git(&["commit", "-q", "--allow-empty", "-m", "side", "--date", "2001-01-01T00:00:00Z"]);
    let side = world.id("HEAD");
    world.git(&["checkout", "-q", "main"]);
    world.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    let merge = world.id("HEAD");
    let source = world.source();
    head(&source).await;
    let Ancestry::Descends(commits) = source.between(&base, &merge).await.unwrap() else { panic!() };
    let ids: Vec<_> = commits.iter().map(|commit| commit.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.contains(&one) && ids.contains(&side) && ids.last() == Some(&merge));
    assert_eq!(source.between(&merge, &merge).await.unwrap(), Ancestry::Descends(vec![]));
    assert_eq!(source.between(&merge, &one).await.unwrap(), Ancestry::Rewritten);
}

#[tokio::test]
async fn only_the_newest_200_commits_are_handed_out() {
    let world = World::new();
    let base = world.commit("base");
    let mut input = Vec::new();
    for number in 0..250 {
        let from = if number == 0 { format!("from {base}\n") } else { String::new() };
        let text = format!("commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 3\n{number:03}\n{from}\n");
        input.extend_from_slice(text.as_bytes());
    }
    git_in(&world.repo(), &["fast-import", "--quiet", "--force"], &input);
    let source = world.source();
    let newest = head(&source).await;
    let Ancestry::Descends(commits) = source.between(&base, &newest).await.unwrap() else { panic!() };
    assert_eq!(commits.len(), 200);
    assert_eq!((commits[0].subject.as_str(), commits[199].subject.as_str()), ("050", "249"));
}

#[tokio::test]
async fn more_commits_than_are_ever_walked_are_too_far() {
    let world = World::new();
    let base = world.commit("base");
    let mut input = Vec::new();
    for number in 0..10_001 {
        let from = if number == 0 { format!("from {base}\n") } else { String::new() };
        input.extend_from_slice(format!("commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 0\n{from}\n").as_bytes());
    }
    git_in(&world.repo(), &["fast-import", "--quiet", "--force"], &input);
    let source = world.source();
    let newest = head(&source).await;
    assert_eq!(source.between(&base, &newest).await.unwrap(), Ancestry::TooFar { walked: 10_000 });
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
    assert_eq!(source.between(&enforced, &new).await.unwrap(), Ancestry::Rewritten);
    // What is enforced can still be read.
    assert!(source.snapshot(&enforced).await.is_ok());
    world.git(&["checkout", "-q", "--orphan", "unrelated"]);
    let unrelated = world.commit("unrelated");
    world.git(&["branch", "-f", "main", "unrelated"]);
    assert_eq!(head(&source).await, unrelated);
    assert_eq!(source.between(&enforced, &unrelated).await.unwrap(), Ancestry::Rewritten);
    let unknown = "1".repeat(40).parse().ok().unwrap();
    assert_eq!(source.between(&unknown, &unrelated).await.unwrap(), Ancestry::Rewritten);
}

/// Makes the branch a commit of these bytes.
fn commit_literally(world: &World, text: &str) -> policy::snapshot::CommitId {
    let file = world.dir.path().join("object");
    std::fs::write(&file, text).unwrap();
    let made = world.git(&["hash-object", "--literally", "-t", "commit", "-w", file.to_str().unwrap()]);
    std::fs::write(world.repo().join(".git/refs/heads/main"), format!("{made}\n")).unwrap();
    made.parse().ok().unwrap()
}

#[tokio::test]
async fn g07_a_malformed_commit_on_the_way_is_handed_out_and_does_not_end_the_walk() {
    for over_http in [false, true] {
        let world = World::new();
        world.commit("older");
        let base = world.commit("base");
        let server = GitServer::http(world.dir.path()).await;
        let url = if over_http { format!("http://{}/repo/.git", server.address) } else { world.config().url };
        let source = GitSource::new(GitConfig { url, ..world.config() }).unwrap();
        assert_eq!(head(&source).await, base);
        let text = world.git(&["cat-file", "commit", "HEAD"]).replace("base", "bad") + "\n";
        let tree = text.lines().next().unwrap();
        let parents = text.lines().nth(1).unwrap().to_owned();
        let text = text.replacen(tree, &format!("{tree}\n{tree}"), 1).replace(&parents, &format!("parent {base}"));
        let bad = commit_literally(&world, &text);
        assert_eq!(head(&source).await, bad);
        let tree = tree.trim_start_matches("tree ");
        let good = world.git(&["commit-tree", "-m", "good", "-p", &bad.to_string(), tree]);
        world.git(&["update-ref", "refs/heads/main", &good]);
        let good = good.parse().ok().unwrap();
        assert_eq!(head(&source).await, good, "over http: {over_http}");
        let Ancestry::Descends(commits) = source.between(&base, &good).await.unwrap() else { panic!() };
        let told: Vec<_> = commits.iter().map(|commit| (commit.id, commit.subject.as_str())).collect();
        assert_eq!(told, [(bad, "malformed commit"), (good, "good")], "over http: {over_http}");
        let mut since: Vec<_> = source.since(&base, &good).await.unwrap().unwrap().into_iter().map(|(id, _)| id).collect();
        since.sort_by_key(|id| *id == good);
        assert_eq!(since, [bad, good]);
        assert!(!world.dir.path().join("mirror.git.damaged").exists());
    }
}
