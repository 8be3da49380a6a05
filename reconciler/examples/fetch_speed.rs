//! What fetching one new commit costs, beside `git fetch`.
//!
//! `cargo run --release -p pci-segment --example fetch_speed`. A repository of 10,000 commits and 5,000 files, made by
//! `git fast-import`, is served by `git http-backend`; both sides follow it with a bare mirror of its whole history, and fetch one new
//! commit at a time. Time is from start to end of the process, both ours and Git's; memory is the most that the largest process held:
//! ours is one process, Git is five.
//!
//! On two busy cores: one new commit in 45 ms and 12.3 MiB, Git in 55 ms and 14.8 MiB, so 0.82 and 0.83 times as much (the goal is 1.5);
//! the first clone in 0.41 s and 19.4 MiB, Git in 1.41 s and 36.3 MiB. Unoptimised, ours takes 1.62 times Git's time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement fails by panicking and prints what it found"
)]
#![expect(dead_code, reason = "the server knows faults that are not asked for here")]

#[path = "../tests/edges/http_server.rs"]
mod http_server;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pci_segment::converge::{Head, Source as _};
use pci_segment::source::git::{Credentials, GitConfig, GitSource, PACK_BYTES_MAX, PACK_OBJECTS_MAX, RequestRefs};

const COMMITS: usize = 10_000;
const FILES: usize = 5_000;
const ROUNDS: usize = 15;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.as_slice() {
        [child, url, mirror] if child == "--look" => runtime.block_on(look(url, Path::new(mirror))),
        _ => runtime.block_on(compare()),
    }
}

/// One look, as the controller takes it.
async fn look(url: &str, mirror: &Path) {
    let source = GitSource::new(GitConfig {
        url: url.to_owned(),
        branch: "main".into(),
        path: ".".into(),
        timeout: Duration::from_secs(600),
        credentials: Credentials::None,
        ca_file: None,
        proxy: None,
        mirror: mirror.to_owned(),
        pack_bytes_max: PACK_BYTES_MAX,
        pack_objects_max: PACK_OBJECTS_MAX,
        requests: RequestRefs::Pull,
    });
    assert!(matches!(source.unwrap().head().await.unwrap(), Head::At(_)));
}

async fn compare() {
    let folder = tempfile::tempdir().unwrap();
    let repo = make_repository(folder.path());
    let server = http_server::GitServer::http(folder.path()).await;
    let url = format!("http://{}/repo.git", server.address);
    let (ours, theirs) = (folder.path().join("ours.git"), folder.path().join("theirs.git"));
    git(folder.path(), &["init", "-q", "--bare", "theirs.git"]);
    let mut sides: HashMap<&str, Vec<Cost>> = HashMap::new();
    for round in 0..=ROUNDS {
        let first = measured(&mut us(&url, &ours));
        let second = measured(&mut them(&url, &theirs));
        if round == 0 {
            println!("clone: ours {:?} and {} KiB, git {:?} and {} KiB", first.time, first.kib, second.time, second.kib);
        } else {
            sides.entry("ours").or_default().push(first);
            sides.entry("git").or_default().push(second);
        }
        add_commit(&repo, round);
    }
    let middle = |side: &str| {
        let mut costs: Vec<&Cost> = sides[side].iter().collect();
        costs.sort_by_key(|cost| cost.time);
        (costs[costs.len() / 2].time, costs.iter().map(|cost| cost.kib).max().unwrap())
    };
    let (ours, git) = (middle("ours"), middle("git"));
    println!("one new commit, median of {ROUNDS}: ours {:?} and {} KiB, git {:?} and {} KiB", ours.0, ours.1, git.0, git.1);
    println!("ratio: time {:.2}, memory {:.2}", ours.0.as_secs_f64() / git.0.as_secs_f64(), share(ours.1, git.1));
}

fn share(ours: u32, git: u32) -> f64 {
    f64::from(ours) / f64::from(git)
}

fn us(url: &str, mirror: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--look", url]).arg(mirror);
    command
}

fn them(url: &str, mirror: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "--git-dir"]).arg(mirror);
    command.args(["fetch", "-q", "--no-tags", url, "+refs/heads/main:refs/heads/main"]);
    command
}

struct Cost {
    time: Duration,
    kib: u32,
}

fn measured(command: &mut Command) -> Cost {
    let began = Instant::now();
    let mut child: Child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut kib = 0;
    loop {
        kib = kib.max(largest(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return Cost { time: began.elapsed(), kib };
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// The most memory that a process, or one it started, has had so far.
fn largest(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok()).map(largest);
    own.unwrap_or(0).max(children.max().unwrap_or(0))
}

fn make_repository(folder: &Path) -> PathBuf {
    git(folder, &["init", "-q", "--bare", "-b", "main", "repo.git"]);
    let repo = folder.join("repo.git");
    let mut child = Command::new("git").args(["fast-import", "--quiet"]).current_dir(&repo).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = std::io::BufWriter::new(child.stdin.take().unwrap());
    for number in 0..COMMITS {
        let time = 1_700_000_000 + number;
        writeln!(input, "commit refs/heads/main\ncommitter A <a@b> {time} +0000\ndata 0").unwrap();
        if number == 0 {
            for file in 0..FILES {
                writeln!(input, "M 100644 inline {}\ndata 40\nname: {file:033}\n", path(file)).unwrap();
            }
        }
        writeln!(input, "M 100644 inline {}\ndata 40\nname: {number:033}\n", path(number % FILES)).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    git(&repo, &["repack", "-adq"]);
    repo
}

fn path(file: usize) -> String {
    format!("policies/{:02}/{file}.yaml", file % 50)
}

fn add_commit(repo: &Path, round: usize) {
    let text = format!(
        "commit refs/heads/main\ncommitter A <a@b> 1800000000 +0000\ndata 0\nfrom refs/heads/main^0\nM 100644 inline {}\ndata 2\n{round:02}\n",
        path(round)
    );
    let mut child = Command::new("git").args(["fast-import", "--quiet"]).current_dir(repo).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn git(folder: &Path, arguments: &[&str]) {
    assert!(Command::new("git").args(arguments).current_dir(folder).status().unwrap().success());
}
