//! How long it takes from a push to a red status, at 1,000 policy files.
//!
//! `cargo run --release -p tests --example push_to_red [FILES]`. The real controller, without a target, follows a repository on this
//! machine; a forge stand-in on loopback takes the statuses. It times from posting the webhook, right after `git push` has returned,
//! until the forge has `failure` for the commit; each commit breaks a rule in one file. The stand-in answers at once: to a real forge,
//! add its own time for one or two calls.
//!
//! The goal is a median below 300 ms. Found on a virtual machine with two cores that other builds were using: median 106 ms, p99 151 ms,
//! best 97 ms.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking and prints what it found")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pci_segment::sandbox::Repository;
use tests::{Controller, ForgeStandIn, Options, WEBHOOK_SECRET, deliver_here, policy, push_body, write_template};
use webhook::{Receiver, Secrets};

/// Policy files beside the template's.
const FILES: u32 = 1_000;
/// How many pushes are timed: the budget of calls to a forge is 60 a minute, and each push may need two.
const PUSHES: u16 = 25;
/// The controller's port.
const PORT: u16 = 18_089;

fn main() {
    let files = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(FILES);
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let forge = ForgeStandIn::serve(TcpListener::bind("127.0.0.1:0").unwrap());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let hooks = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let options = Options { extra: forge.configuration(folder.path()) + &hooks, port: PORT, ..Options::default() };
    let mut controller = Controller::configure(folder.path(), None, &repository, &options);
    write_template(&repository);
    for n in 0..files {
        let unit = format!("      unit: app-{n}\n");
        repository
            .write(&format!("policies/apps/{n}.yaml"), &policy(&format!("app-{n}"), &(unit + &open("10.0.2.0/28", 8443))))
            .unwrap();
    }
    let commit = repository.push("A thousand files").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");
    std::thread::sleep(Duration::from_secs(2));

    let mut times: Vec<Duration> = (0..PUSHES).map(|n| time_one(&repository, &forge, n)).collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default();
    println!("push to red over {PUSHES} pushes at {files} files: median {:?}, p99 {:?}, best {:?}", at(50), at(99), at(0));
    controller.stop();
}

/// Rules that let some block in on a port.
fn open(block: &str, port: u16) -> String {
    format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: {block}\n      ports:\n        - protocol: TCP\n          port: {port}\n"
    )
}

fn time_one(repository: &Repository, forge: &ForgeStandIn, n: u16) -> Duration {
    repository.write("policies/moving.yaml", &policy("moving", &open("0.0.0.0/0", 6_000 + n))).unwrap();
    let commit = repository.push("Open it to everybody").unwrap();
    let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    let start = Instant::now();
    assert_eq!(deliver_here(PORT, &receiver, "push", &format!("d-{n}"), &push_body(&commit)), Some(202));
    while forge.states(&commit).last().map(String::as_str) != Some("failure") {
        assert!(start.elapsed() < Duration::from_secs(20), "push {n} is not red");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}
