//! Heads of requests, from real repositories.

use std::time::Duration;

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{GitConfig, GitSource, RequestRefs};
use policy::snapshot::{CommitId, Entry};

use crate::http_server::GitServer;
use crate::support::{World, head};

/// Commits something beside the branch, as a forge keeps the head of a request.
fn open_request(world: &World, reference: &str, file: &str, content: &[u8]) -> CommitId {
    world.git(&["checkout", "-q", "--detach", "main"]);
    world.write(file, content);
    let commit = world.commit(reference);
    world.git(&["update-ref", reference, "HEAD"]);
    world.git(&["checkout", "-q", "main"]);
    commit
}

/// Requests that our mirror has a note of.
fn followed(world: &World) -> Vec<u64> {
    let notes = std::fs::read_dir(world.mirror().join("followed")).unwrap().flatten();
    let mut numbers: Vec<u64> = notes.filter_map(|note| note.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

async fn requests_come_and_go(world: &World, source: &GitSource) {
    world.write("a.yaml", "a");
    let main = world.commit("main");
    assert_eq!(head(source).await, main);
    let seven = open_request(world, "refs/pull/7/head", "b.yaml", b"seven");
    let ten = open_request(world, "refs/pull/10/head", "b.yaml", b"ten");
    open_request(world, "refs/pull/70/head", "b.yaml", b"not asked for");
    let found = source.request_heads(&[7, 10, 8]).await.unwrap().heads;
    assert_eq!(found, [(10, Some(ten)), (8, None), (7, Some(seven))]);
    assert_eq!(source.snapshot(&seven).await.unwrap().entries["b.yaml"], Entry::File(b"seven".to_vec()));
    assert_eq!(source.describe(&ten).await.unwrap().parents, [main]);
    assert_eq!(followed(world), [7, 10]);

    // New commits, also ones that replace the old, and a request that nobody asks for any more.
    let later = open_request(world, "refs/pull/7/head", "b.yaml", b"later");
    assert_eq!(source.request_heads(&[7]).await.unwrap().heads, [(7, Some(later))]);
    assert_eq!(source.snapshot(&later).await.unwrap().entries["b.yaml"], Entry::File(b"later".to_vec()));
    assert_eq!(followed(world), [7]);
    // The branch is where it was.
    assert_eq!(head(source).await, main);
    world.git(&["update-ref", "-d", "refs/pull/7/head"]);
    assert_eq!(source.request_heads(&[7]).await.unwrap().heads, [(7, None)]);
    assert_eq!(followed(world), [0; 0]);
    assert_eq!(source.request_heads(&[]).await.unwrap().heads, []);
}

#[tokio::test]
async fn heads_of_requests_are_fetched_from_a_local_repository() {
    let world = World::new();
    requests_come_and_go(&world, &world.source()).await;
}

#[tokio::test]
async fn heads_of_requests_are_fetched_over_http_and_unchanged_ones_only_listed() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let url = format!("http://{}/repo/.git", server.address);
    let source = GitSource::new(GitConfig { url, ..world.config() }).unwrap();
    requests_come_and_go(&world, &source).await;
    let nine = open_request(&world, "refs/pull/9/head", "b.yaml", b"nine");
    source.request_heads(&[9]).await.unwrap();
    server.seen.lock().unwrap().clear();
    assert_eq!(source.request_heads(&[9]).await.unwrap().heads, [(9, Some(nine))]);
    assert_eq!(server.lines().len(), 2, "{:?}", server.lines());
}

#[tokio::test]
async fn gitlab_names_them_otherwise() {
    let world = World::new();
    world.commit("main");
    let three = open_request(&world, "refs/merge-requests/3/head", "b.yaml", b"three");
    open_request(&world, "refs/pull/3/head", "b.yaml", b"another");
    let source = GitSource::new(GitConfig { requests: RequestRefs::MergeRequests, ..world.config() }).unwrap();
    head(&source).await;
    assert_eq!(source.request_heads(&[3]).await.unwrap().heads, [(3, Some(three))]);
}

#[tokio::test]
async fn g02_a_request_that_passes_a_limit_is_left_out_until_it_moves_and_keeps_no_other_waiting() {
    let noise: Vec<u8> = (0..750_000u32).flat_map(|n| n.wrapping_mul(n ^ 2_654_435_761).to_le_bytes()).collect();
    for over_http in [true, false] {
        let world = World::new();
        world.commit("main");
        let small = open_request(&world, "refs/pull/1/head", "b.yaml", b"small");
        open_request(&world, "refs/pull/2/head", "noise.bin", &noise);
        let server = GitServer::http(world.dir.path()).await;
        let url = if over_http { format!("http://{}/repo/.git", server.address) } else { world.config().url };
        let source = GitSource::new(GitConfig { url, pack_bytes_max: 1 << 20, ..world.config() }).unwrap();
        head(&source).await;
        // The large one may end the first look while it is on its way.
        if let Err(error) = source.request_heads(&[1, 2]).await {
            assert!(chain(&error).contains("pack larger than 1 MiB"), "{}", chain(&error));
        }
        let found = source.request_heads(&[1, 2]).await.unwrap();
        assert_eq!((found.heads, found.over_limit), (vec![(1, Some(small))], vec![2]), "over http: {over_http}");
        assert_eq!(followed(&world), [1]);
        let mended = open_request(&world, "refs/pull/2/head", "noise.bin", b"");
        assert_eq!(source.request_heads(&[1, 2]).await.unwrap().heads, [(2, Some(mended)), (1, Some(small))]);
    }
}

#[tokio::test]
async fn g08_requests_are_fetched_again_into_a_new_mirror() {
    let world = World::new();
    let main = world.commit("main");
    let one = open_request(&world, "refs/pull/1/head", "b.yaml", b"one");
    let source = world.source();
    head(&source).await;
    source.request_heads(&[1]).await.unwrap();
    std::fs::remove_dir_all(world.mirror().join("objects")).unwrap();
    std::fs::create_dir_all(world.mirror().join("objects/pack")).unwrap();
    assert_eq!(head(&source).await, main);
    assert_eq!(source.request_heads(&[1]).await.unwrap().heads, [(1, Some(one))]);
    assert_eq!(source.snapshot(&one).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn more_open_requests_than_a_mirror_may_have_packs_are_fetched_once() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let url = format!("http://{}/repo/.git", server.address);
    let source = GitSource::new(GitConfig { url, ..world.config() }).unwrap();
    world.commit("main");
    head(&source).await;
    let numbers: Vec<u64> = (1..=70).collect();
    for number in &numbers {
        open_request(&world, &format!("refs/pull/{number}/head"), "b.yaml", number.to_string().as_bytes());
    }
    let found = source.request_heads(&numbers).await.map_err(|error| chain(&error)).unwrap();
    assert_eq!((found.heads.len(), found.over_limit.len()), (70, 0));
    // The next look at the branch finds too many packs.
    head(&source).await;
    let packs = std::fs::read_dir(world.mirror().join("objects/pack")).unwrap().count();
    assert!(packs <= 2, "the mirror was renewed: {packs} files");
    assert_eq!(followed(&world), numbers, "what was fetched is taken over");
    server.seen.lock().unwrap().clear();
    assert_eq!(source.request_heads(&numbers).await.unwrap(), found);
    assert_eq!(server.lines().len(), 2, "{:?}", server.lines());
    for (_, commit) in found.heads {
        assert_eq!(source.snapshot(&commit.unwrap()).await.unwrap().entries.len(), 1);
    }
}

#[tokio::test]
async fn a_request_that_is_not_fetched_in_time_passes_no_limit_and_keeps_no_other_waiting() {
    // The server fails, or says nothing for longer than a look may take.
    for how in ["fails", "slow"] {
        let world = World::new();
        let main = world.commit("main");
        let one = open_request(&world, "refs/pull/1/head", "b.yaml", b"one");
        let two = open_request(&world, "refs/pull/2/head", "b.yaml", b"two");
        let server = GitServer::http(world.dir.path()).await;
        let url = format!("http://{}/{how}/{two}/repo/.git", server.address);
        let source = GitSource::new(GitConfig { url, timeout: Duration::from_secs(4), ..world.config() }).unwrap();
        assert_eq!(head(&source).await, main);
        let mut looks = 0;
        let found = loop {
            looks += 1;
            match source.request_heads(&[1, 2]).await {
                Ok(found) if !found.heads.is_empty() => break found,
                Ok(found) => assert_eq!(found.over_limit, [0; 0], "{how}"),
                Err(error) => assert!(chain(&error).contains("no answer") || chain(&error).contains("has not ended"), "{error:?}"),
            }
            assert!(looks < 20, "{how}: the first request waits for the second");
        };
        assert_eq!((found.heads, found.over_limit), (vec![(1, Some(one))], vec![]), "{how}");
    }
}
