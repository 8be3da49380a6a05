//! Repositories that are too large on purpose, and packs that are not whole.
//!
//! What may grow is measured in a process of its own, so that no other test adds to it.

use std::process::{Command, Stdio};

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{GitConfig, GitSource};
use policy::snapshot::Entry;

use crate::http_server::GitServer;
use crate::support::{World, git_in, head};

/// What a process that looks at a hostile repository may take, in MiB, well below the 256 that are promised.
const MEMORY_MAX: u64 = 96;
/// The same where the test itself writes down the million names it asks for.
const MEMORY_MAX_WITH_NAMES: u64 = 176;

/// Inflated size of the bomb; 10 GiB take minutes to make.
fn bomb_mib() -> usize {
    std::env::var("PCI_SEGMENT_BOMB_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(112)
}

/// Runs one of the ignored tests below in a process of its own.
fn in_a_process_of_its_own(name: &str) {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("git_limits::{name}"), "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

/// The most memory this process ever had.
fn assert_memory_stayed_below(mib: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    println!("memory at most: {most} KiB");
    assert!(most < mib * 1024, "{most} KiB");
}

/// Nothing is left of what was refused.
fn assert_nothing_was_kept(world: &World) {
    assert_eq!(std::fs::read_dir(world.mirror().join("objects/pack")).unwrap().count(), 0);
}

/// Commits one blob that is piped in, so that nobody has to hold it.
fn commit_piped(world: &World, write: impl FnOnce(&mut dyn std::io::Write)) {
    let mut child = Command::new("git")
        .args(["fast-import", "--quiet", "--force", "--big-file-threshold=1m"])
        .current_dir(world.repo())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    write(&mut input);
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn g02_a_blob_that_inflates_without_end_is_refused_and_never_inflated() {
    in_a_process_of_its_own("a_bomb");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn a_bomb() {
    let world = World::new();
    let mib = bomb_mib();
    commit_piped(&world, |input| {
        write!(input, "commit refs/heads/main\ncommitter A <a@b> 0 +0000\ndata 0\nM 100644 inline bomb.yaml\ndata {}\n", mib << 20)
            .unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..mib {
            input.write_all(&zeros).unwrap();
        }
        input.write_all(b"\n").unwrap();
    });
    for over_http in [true, false] {
        let server = GitServer::http(world.dir.path()).await;
        let url = if over_http { format!("http://{}/repo/.git", server.address) } else { world.config().url };
        let text = chain(&GitSource::new(GitConfig { url, ..world.config() }).unwrap().head().await.unwrap_err());
        println!("{text}");
        assert!(text.contains("larger than 32 MiB") || text.contains("the limit is 33554432"), "{text}");
        // A pack is refused before anybody has read how large the object is.
        assert!(over_http || text.contains(&(mib << 20).to_string()), "{text}");
        assert_nothing_was_kept(&world);
    }
    assert_memory_stayed_below(MEMORY_MAX);
}

#[test]
fn g02_a_tree_of_a_million_entries_is_refused_by_the_limit_it_passes() {
    in_a_process_of_its_own("a_wide_tree");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn a_wide_tree() {
    let world = World::new();
    let blob = world.blob(b"x");
    for (entries, limit) in [(1_000_000, 33_554_432), (500_000, 16_777_216)] {
        let lines: String = (0..entries).map(|number| format!("100644 blob {blob}\t{number:07}\n")).collect();
        let tree = git_in(&world.repo(), &["mktree", "--missing"], lines.as_bytes());
        drop(lines);
        let commit = world.git(&["commit-tree", "-m", "wide", &tree]);
        world.git(&["update-ref", "refs/heads/main", &commit]);
        let bytes = (entries * 35).to_string();
        for over_http in [entries == 1_000_000, false] {
            let server = GitServer::http(world.dir.path()).await;
            let url = if over_http { format!("http://{}/repo/.git", server.address) } else { world.config().url };
            let source = GitSource::new(GitConfig { url, ..world.config() }).unwrap();
            if limit > 16_777_216 {
                let text = chain(&source.head().await.unwrap_err());
                println!("{text}");
                assert!(
                    text.contains("larger than 32 MiB") || text.contains(&bytes) && text.contains(&limit.to_string()),
                    "{text}"
                );
                assert_nothing_was_kept(&world);
            } else {
                let id = head(&source).await;
                let entries = source.snapshot(&id).await.unwrap().entries;
                let Some(Entry::Refused { reason }) = entries.get(".") else { panic!("{entries:?}") };
                assert!(reason.contains(&bytes) && reason.contains(&limit.to_string()), "{reason}");
            }
        }
    }
    assert_memory_stayed_below(MEMORY_MAX_WITH_NAMES);
}

#[test]
fn g02_deltas_that_build_far_more_than_was_sent_stay_within_memory() {
    in_a_process_of_its_own("a_delta_bomb");
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn a_delta_bomb() {
    let world = World::new();
    // Each is below the limit of one object, and a few bytes of delta to the one before.
    let large = vec![b'a'; 6 << 20];
    for number in 0..8 {
        let mut content = large.clone();
        content.extend_from_slice(format!("{number}").as_bytes());
        world.write(&format!("{number}.txt"), content);
    }
    drop(large);
    let commit = world.commit("deltas");
    world.git(&["repack", "-adfq", "--depth=50", "--window=50"]);
    let server = GitServer::http(world.dir.path()).await;
    let config = GitConfig { timeout: std::time::Duration::from_secs(600), ..world.config() };
    let source = GitSource::new(GitConfig { url: format!("http://{}/repo/.git", server.address), ..config }).unwrap();
    assert_eq!(head(&source).await, commit);
    assert!(source.snapshot(&commit).await.unwrap().entries.is_empty());
    assert_memory_stayed_below(MEMORY_MAX);
}

#[tokio::test]
async fn g02_more_objects_than_a_pack_may_have_are_refused_by_number() {
    let world = World::new();
    for number in 0..150 {
        world.write(&format!("{number}.yaml"), format!("{number}"));
    }
    let commit = world.commit("many");
    let server = GitServer::http(world.dir.path()).await;
    let config = GitConfig { url: format!("http://{}/repo/.git", server.address), ..world.config() };
    let narrow = GitSource::new(GitConfig { pack_objects_max: 151, ..config.clone() }).unwrap();
    let text = chain(&narrow.head().await.unwrap_err());
    assert!(text.contains("the pack has 152 objects; the limit is 151"), "{text}");
    assert_nothing_was_kept(&world);
    assert_eq!(head(&GitSource::new(GitConfig { pack_objects_max: 152, ..config }).unwrap()).await, commit);
}

#[tokio::test]
async fn g08_a_pack_that_is_not_whole_is_asked_for_three_times_and_leaves_nothing() {
    for fault in ["cut", "garbled"] {
        let world = World::new();
        world.write("a.yaml", "content that takes some bytes, so that there is something to break");
        let commit = world.commit("first");
        let server = GitServer::http(world.dir.path()).await;
        let at = |path: &str| {
            let url = format!("http://{}/{path}", server.address);
            GitSource::new(GitConfig { url, ..world.config() }).unwrap()
        };
        let text = chain(&at(&format!("{fault}/repo/.git")).head().await.unwrap_err());
        assert!(text.contains("a pack that is not whole"), "{fault}: {text}");
        let looks = server.lines().iter().filter(|line| line.starts_with("GET ")).count();
        assert_eq!(looks, 3, "{fault}: {:?}", server.lines());
        assert_nothing_was_kept(&world);
        assert_eq!(head(&at("repo/.git")).await, commit, "{fault}");
    }
}
