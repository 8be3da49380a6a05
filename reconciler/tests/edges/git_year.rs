//! What many pushes leave behind.

use pci_segment::chain::chain;
use pci_segment::converge::{Ancestry, Source as _};
use pci_segment::source::git::{GitConfig, GitSource};

use crate::http_server::GitServer;
use crate::support::{World, head};

/// Pushes that are seen one by one; a year has tens of thousands.
const PUSHES_DEFAULT: usize = 80;

fn packs(world: &World) -> (usize, u64) {
    let files = std::fs::read_dir(world.mirror().join("objects/pack")).unwrap().flatten();
    let packs: Vec<_> = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "pack")).collect();
    (packs.len(), packs.iter().map(|pack| pack.metadata().unwrap().len()).sum())
}

#[tokio::test]
async fn a_year_of_pushes_leaves_few_packs_and_keeps_what_is_in_force() {
    let pushes = std::env::var("PCI_SEGMENT_PUSHES").ok().and_then(|text| text.parse().ok()).unwrap_or(PUSHES_DEFAULT);
    let world = World::new();
    for number in 0..50 {
        world.write(&format!("policies/{number}.yaml"), format!("name: {number}\n"));
    }
    let first = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = GitSource::new(GitConfig { url: format!("http://{}/repo/.git", server.address), ..world.config() }).unwrap();
    assert_eq!(head(&source).await, first);
    world.write("policies/0.yaml", "in force\n");
    let in_force = world.commit("in force");
    assert_eq!(head(&source).await, in_force);
    source.keep(&in_force);
    // What is in force goes from the branch, and so from every later clone.
    world.git(&["reset", "-q", "--hard", &first.to_string()]);
    let (mut most, mut last, mut renewals) = ((0, 0), 0, 0);
    for number in 0..pushes {
        world.write("policies/1.yaml", format!("name: {number}\n"));
        let commit = world.commit("push");
        assert_eq!(head(&source).await, commit);
        let now = packs(&world);
        renewals += usize::from(now.0 < last);
        last = now.0;
        most = (now.0.max(most.0), now.1.max(most.1));
        assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 50);
    }
    assert!(renewals >= pushes / 70, "{renewals} renewals");
    assert!(most.0 <= 65 && most.1 < 1 << 20, "{most:?}");
    assert_eq!(source.snapshot(&in_force).await.unwrap().entries.len(), 50);
    assert!(matches!(source.between(&in_force, &world.id("HEAD")).await, Ok(Ancestry::Rewritten)));
    for left in ["mirror.git.new", "mirror.git.old", "mirror.git.damaged"] {
        assert!(!world.dir.path().join(left).exists(), "{left}");
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_be_renewed_is_used_as_it_is() {
    let world = World::new();
    let first = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = GitSource::new(GitConfig { url: format!("http://{}/repo/.git", server.address), ..world.config() }).unwrap();
    assert_eq!(head(&source).await, first);
    for number in 0..70 {
        std::fs::write(world.mirror().join(format!("objects/pack/pack-{number:040}.pack")), "").unwrap();
    }
    std::fs::create_dir(world.dir.path().join("mirror.git.old")).unwrap();
    let blocked = world.dir.path().join("mirror.git.new");
    assert_eq!(head(&source).await, first);
    assert_eq!(packs(&world).0, 1, "a new mirror holds one clone");
    assert!(!blocked.exists());
    assert_eq!(source.describe(&first).await.map_err(|error| chain(&error)).unwrap().subject, "first");
}

#[tokio::test]
async fn what_is_in_force_outlives_a_renewal_that_comes_with_a_rewritten_branch() {
    let world = World::new();
    let first = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = GitSource::new(GitConfig { url: format!("http://{}/repo/.git", server.address), ..world.config() }).unwrap();
    assert_eq!(head(&source).await, first);
    world.write("policies/0.yaml", "in force\n");
    let in_force = world.commit("in force");
    assert_eq!(head(&source).await, in_force);
    source.keep(&in_force);
    // What is merely asked about, as after a delivery that names any commit, takes its place from nothing.
    source.between(&first, &in_force).await.unwrap();
    for number in 0..70 {
        std::fs::write(world.mirror().join(format!("objects/pack/pack-{number:040}.pack")), "").unwrap();
    }
    world.git(&["reset", "-q", "--hard", &first.to_string()]);
    world.write("policies/0.yaml", "rewritten\n");
    let rewritten = world.commit("rewritten");
    assert_eq!(head(&source).await, rewritten);
    assert_eq!(packs(&world).0, 1, "the mirror was renewed");
    source.between(&first, &rewritten).await.unwrap();
    assert_eq!(source.snapshot(&in_force).await.map_err(|error| chain(&error)).unwrap().entries.len(), 1);
}

#[tokio::test]
async fn g02_a_clone_that_passes_a_limit_renews_nothing_and_leaves_nothing_behind() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let url = format!("http://{}/repo/.git", server.address);
    let source = GitSource::new(GitConfig { url, pack_bytes_max: 1 << 20, ..world.config() }).unwrap();
    // Each push fits, and all of them together do not.
    let mut last = None;
    for push in 0..3_u32 {
        let noise: Vec<u8> = (0..150_000_u32).flat_map(|n| (n + push).wrapping_mul(n ^ 2_654_435_761).to_le_bytes()).collect();
        world.write(&format!("{push}.bin"), &noise);
        last = Some(world.commit("push"));
        assert_eq!(Some(head(&source).await), last);
    }
    for number in 0..70 {
        std::fs::write(world.mirror().join(format!("objects/pack/pack-{number:040}.pack")), "").unwrap();
    }
    assert_eq!(Some(head(&source).await), last);
    assert!(packs(&world).0 > 70, "the old mirror is used as it is");
    assert!(!world.dir.path().join("mirror.git.new").exists());
    assert_eq!(source.describe(&last.unwrap()).await.unwrap().subject, "push");
}
