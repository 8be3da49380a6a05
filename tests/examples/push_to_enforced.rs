//! How long it takes from a push to the kernel, and what the controller costs while nothing happens.
//!
//! `cargo run --release -p tests --example push_to_enforced`, as root. It times from posting the webhook, right after `git push` has
//! returned, until the kernel shows the new generation; then memory at rest, and CPU time of polls that find nothing new at 1,000
//! policy files.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking and prints what it found")]

use std::time::{Duration, Instant};

use tests::{Controller, Options, Scene, WEBHOOK_SECRET, deliver, policy, push_body, root_or_left_out, signature};

/// How many pushes are timed.
const PUSHES: u16 = 200;
/// How many policy files the polls look past.
const FILES: u32 = 1_000;
/// How many polls are counted.
const POLLS: u32 = 100;
/// The controller's port.
const PORT: u16 = 8088;
/// What the kernel counts CPU time in, on every Linux we know: 10 ms.
const TICK_MS: u64 = 10;

fn main() {
    if !root_or_left_out("push_to_enforced") {
        return;
    }
    let scene = Scene::build("bench");
    let secret = scene.sandbox.folder().join("webhook-secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let mut controller = scene.controller(&Options { extra, port: PORT, ..Options::default() });
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    std::thread::sleep(Duration::from_secs(2));
    println!("memory at rest after the first push: {} KiB", memory(&controller, "VmRSS:"));

    let mut times: Vec<Duration> = (0..PUSHES).map(|n| time_one_push(&scene, n)).collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default();
    println!("push to enforced over {PUSHES} pushes: median {:?}, p99 {:?}, worst {:?}", at(50), at(99), at(100));
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "memory at rest after {PUSHES} pushes: {} KiB, at most {} KiB",
        memory(&controller, "VmRSS:"),
        memory(&controller, "VmHWM:")
    );

    polls(&scene, &mut controller);
    controller.stop();
}

fn time_one_push(scene: &Scene, n: u16) -> Duration {
    let before = scene.observe().epoch;
    let port = 6000 + n;
    let commit = scene.push_policy("moving", &format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        - protocol: TCP\n          port: {port}\n"
    ));
    let body = push_body(&commit);
    let signature = signature(WEBHOOK_SECRET, &body);
    let start = Instant::now();
    assert_eq!(deliver(&scene.sandbox, PORT, &format!("d-{n}"), &signature, &body), 202);
    while scene.observe().epoch == before {
        assert!(start.elapsed() < Duration::from_secs(20), "push {n} is not enforced");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

fn polls(scene: &Scene, controller: &mut Controller<'_>) {
    for n in 0..FILES {
        let text = policy(
            &format!("app-{n}"),
            &format!(
                "      unit: app-{n}\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.2.0/28\n      ports:\n        - protocol: TCP\n          port: 8443\n"
            ),
        );
        scene.repository.write(&format!("policies/apps/{n}.yaml"), &text).unwrap();
    }
    let commit = scene.repository.push("A thousand files").unwrap();
    let start = Instant::now();
    controller.wake();
    controller.wait_for(&commit, "in_force");
    println!("{FILES} more policy files in force after {:?}, asked every 30 ms", start.elapsed());
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "memory at rest with {FILES} files: {} KiB, at most {} KiB",
        memory(controller, "VmRSS:"),
        memory(controller, "VmHWM:")
    );
    let pause = Duration::from_millis(50);
    let quiet = cpu(controller);
    std::thread::sleep(pause * POLLS);
    let before = cpu(controller);
    for _ in 0..POLLS {
        controller.wake();
        std::thread::sleep(pause);
    }
    let after = cpu(controller);
    let (idle, busy) = ((before - quiet) * TICK_MS, (after - before) * TICK_MS);
    println!("{POLLS} polls without news: {busy} ms of CPU, of which about {idle} ms would have passed anyway");
}

/// A line of `/proc/<pid>/status`, in KiB.
fn memory(controller: &Controller<'_>, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", controller.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// CPU time so far in ticks: fields 14 and 15 of `/proc/<pid>/stat`, counted behind the name, which may hold spaces.
fn cpu(controller: &Controller<'_>) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", controller.pid())).unwrap();
    let fields = text.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}
