//! A verdict is never lost: not when the process is killed between any two steps, and not when judging itself goes wrong.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use pci_segment::sandbox::Repository;
use tests::{Controller, ForgeStandIn, Options, WEBHOOK_SECRET, deliver_here, policy, push_body, request_body, write_template};
use webhook::{Receiver, Secrets};

/// Where the process is killed, in the order in which it gets there: `PLACE` of `PCI_SEGMENT_FAULT`.
const PLACES: [&str; 8] = ["read", "begun", "judging", "judged", "recorded", "sending", "taken", "noted"];

/// A repository, a forge that is told, and a controller that enforces nothing.
struct Desk {
    _folder: tempfile::TempDir,
    repository: Repository,
    forge: ForgeStandIn,
    controller: Controller<'static>,
    port: u16,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        let forge = ForgeStandIn::serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let secret = folder.path().join("secret");
        std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
        let hooks = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
        let extra = forge.configuration(folder.path()) + &hooks;
        // Free now, and nobody else asks for a certain one.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = Options { extra, port, ..Options::default() };
        let controller = Controller::configure(folder.path(), None, &repository, &options);
        write_template(&repository);
        Self { _folder: folder, repository, forge, controller, port }
    }

    /// A commit that opens one port to the application tier, or one to the world.
    fn commit(&self, port: usize, good: bool) -> String {
        let block = if good { "10.0.1.0/24" } else { "0.0.0.0/0" };
        let rules = format!(
            "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: {block}\n      ports:\n        - protocol: TCP\n          port: {port}\n"
        );
        self.repository.write("policies/change.yaml", &policy("change", &rules)).unwrap();
        self.repository.commit("Change").unwrap()
    }

    fn push(&self) {
        self.repository.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]).unwrap();
    }

    /// Starts with a fault for one commit.
    fn start_to_fail(&mut self, fault: &str, commit: &str) {
        self.controller.start_with(&[("PCI_SEGMENT_FAULT", &format!("{fault}:{commit}"))]);
    }

    fn wait_for_state(&mut self, commit: &str, state: &str) {
        let forge = self.forge.clone();
        self.controller.wait(&format!("{commit} to be {state} at the forge"), |_| {
            (forge.states(commit).last().map(String::as_str) == Some(state)).then_some(())
        });
    }

    /// States beside `pending`.
    fn final_states(&self, commit: &str) -> Vec<String> {
        self.forge.states(commit).into_iter().filter(|state| state != "pending").collect()
    }

    fn deliver(&self, event: &str, id: &str, body: &str) -> Option<u16> {
        let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
        deliver_here(self.port, &receiver, event, id, body)
    }

    fn wait_for_the_door(&mut self) {
        let port = self.port;
        self.controller.wait("the door to be open", |_| TcpStream::connect(("127.0.0.1", port)).ok());
    }
}

/// The controller's metrics.
fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok().map(|_| answer)
}

#[test]
fn f01_a_kill_between_any_two_steps_leaves_one_final_status_that_is_the_verdict() {
    let mut desk = Desk::new();
    let mut number = 6_000;
    for place in PLACES {
        for good in [false, true] {
            number += 1;
            let commit = desk.commit(number, good);
            desk.push();
            desk.start_to_fail(&format!("{place}=kill"), &commit);
            desk.controller.wait_for_its_end();
            desk.controller.start();
            let (state, outcome) = if good { ("success", "in_force") } else { ("failure", "rejected") };
            desk.controller.wait_for(&commit, outcome);
            desk.wait_for_state(&commit, state);
            desk.controller.stop();
            let said = desk.final_states(&commit);
            // What the forge took and we could not write down is said once more.
            let times = if place == "taken" { 1..=2 } else { 1..=1 };
            assert!(times.contains(&said.len()) && said.iter().all(|one| one == state), "killed at {place}: {said:?}");
        }
    }
    desk.controller.assert_log_verifies();
}

#[test]
fn f01_a_kill_while_the_head_of_a_request_is_judged_leaves_one_final_status() {
    let mut desk = Desk::new();
    let main = desk.repository.push("Segment").unwrap();
    for (n, place) in PLACES.into_iter().enumerate() {
        let commit = desk.commit(7_000 + n, n % 2 == 1);
        let request = format!("HEAD:refs/pull/{}/head", n + 1);
        desk.repository.git(&["push", "--quiet", "origin", &request]).unwrap();
        desk.repository.git(&["reset", "--quiet", "--hard", &main]).unwrap();
        desk.start_to_fail(&format!("{place}=kill"), &commit);
        desk.wait_for_the_door();
        let body = request_body("opened", n as u64 + 1, &commit);
        let answer = desk.deliver("pull_request", &format!("d-{n}"), &body);
        assert!(matches!(answer, Some(202) | None), "{answer:?}");
        desk.controller.wait_for_its_end();
        desk.controller.start();
        let state = if n % 2 == 1 { "success" } else { "failure" };
        desk.wait_for_state(&commit, state);
        desk.controller.stop();
        let said = desk.final_states(&commit);
        let times = if place == "taken" { 1..=2 } else { 1..=1 };
        assert!(times.contains(&said.len()) && said.iter().all(|one| one == state), "killed at {place}: {said:?}");
        assert!(desk.controller.rows("history").iter().all(|row| row["commit"] != commit.as_str()), "no request makes a pass");
    }
    desk.controller.assert_log_verifies();
}

#[test]
fn f01_a_delivery_that_is_kept_and_never_answered_is_looked_at_after_the_start() {
    let mut desk = Desk::new();
    let main = desk.repository.push("Segment").unwrap();
    desk.controller.start_with(&[("PCI_SEGMENT_FAULT", "kept=kill")]);
    desk.controller.wait_for(&main, "in_force");
    let commit = desk.commit(7_100, false);
    desk.repository.git(&["push", "--quiet", "origin", "HEAD:refs/pull/9/head"]).unwrap();
    assert_eq!(desk.deliver("pull_request", "d-1", &request_body("opened", 9, &commit)), None);
    desk.controller.wait_for_its_end();
    desk.controller.start();
    desk.wait_for_state(&commit, "failure");
    desk.controller.stop();
}

#[test]
fn f01_judging_that_panics_or_overruns_its_time_ends_in_error_and_other_commits_go_on() {
    let mut desk = Desk::new();
    for (fault, words, number) in
        [("panic", "the validator stopped on this commit", 6_200), ("hang", "the validator needs more than 10 s", 6_210)]
    {
        let bad = desk.commit(number, true);
        desk.push();
        desk.start_to_fail(&format!("judging={fault}"), &bad);
        desk.wait_for_state(&bad, "error");
        let said = desk.forge.posted(&bad).pop().unwrap();
        assert!(said.description.contains(words), "{}", said.description);
        let good = desk.commit(number + 1, true);
        desk.push();
        desk.controller.wake();
        desk.controller.wait_for(&good, "in_force");
        desk.wait_for_state(&good, "success");
        assert_eq!(desk.final_states(&bad), ["error"]);
        desk.controller.stop();
    }
}

#[test]
fn f02_a_commit_that_stops_the_process_each_time_is_an_error_at_the_third_start_and_others_go_on() {
    let mut desk = Desk::new();
    let bad = desk.commit(6_300, true);
    desk.push();
    for _ in 0..2 {
        desk.start_to_fail("judging=kill", &bad);
        desk.controller.wait_for_its_end();
        assert_eq!(desk.final_states(&bad), [] as [String; 0]);
    }
    desk.start_to_fail("judging=kill", &bad);
    desk.wait_for_state(&bad, "error");
    assert_eq!(desk.forge.posted(&bad).pop().unwrap().description, "validator stopped three times on this commit");
    let good = desk.commit(6_301, true);
    desk.push();
    desk.controller.wake();
    desk.controller.wait_for(&good, "in_force");
    desk.wait_for_state(&good, "success");
    desk.controller.stop();
    assert_eq!(desk.final_states(&bad), ["error"], "not judged again by the same program");
}

#[test]
fn f03_a_repository_that_does_not_answer_is_an_alarm_and_no_call_to_the_forge() {
    let mut desk = Desk::new();
    let commit = desk.repository.push("Segment").unwrap();
    let (here, away) = (desk.repository.remote().to_owned(), desk.repository.remote().with_extension("away"));
    std::fs::rename(&here, &away).unwrap();
    desk.controller.start();
    desk.controller.wait_for("-", "failed");
    let port = desk.port;
    desk.controller.wait("the alarm", |_| page(port).filter(|page| page.contains("pci_segment_source_error 1\n")));
    assert_eq!(desk.forge.calls(), 0, "there is no commit to speak of");
    std::fs::rename(&away, &here).unwrap();
    desk.controller.wake();
    desk.controller.wait_for(&commit, "in_force");
    desk.controller.wait("the end of the alarm", |_| page(port).filter(|page| page.contains("pci_segment_source_error 0\n")));
    desk.wait_for_state(&commit, "success");
    desk.controller.stop();
}

#[test]
fn w15_a_storm_of_pushes_is_a_few_passes_and_the_last_commit_wins() {
    // Ten thousand, where there is time for it.
    let pushes: usize = std::env::var("PCI_SEGMENT_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let mut desk = Desk::new();
    let first = desk.repository.push("Segment").unwrap();
    desk.controller.start();
    desk.controller.wait_for(&first, "in_force");
    // Commits of one tree, each with the one before as its parent.
    let mut stream = String::new();
    for n in 0..pushes {
        let from = if n == 0 { format!("from {first}\n") } else { String::new() };
        stream.push_str(&format!("commit refs/heads/storm\nmark :{}\ncommitter A <a@b> {n} +0000\ndata 1\nx\n{from}", n + 1));
    }
    let marks = desk.repository.remote().join("marks");
    let mut import = std::process::Command::new("git")
        .args(["fast-import", "--quiet", &format!("--export-marks={}", marks.display())])
        .current_dir(desk.repository.remote())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let mut commits: Vec<(usize, String)> = std::fs::read_to_string(&marks)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(mark, commit)| (mark.trim_start_matches(':').parse().unwrap(), commit.to_owned()))
        .collect();
    commits.sort_unstable();
    let start = std::time::Instant::now();
    for (n, commit) in &commits {
        // As Git does it: whoever reads meanwhile sees the one or the other.
        let branch = desk.repository.remote().join("refs/heads/main");
        std::fs::write(branch.with_extension("lock"), format!("{commit}\n")).unwrap();
        std::fs::rename(branch.with_extension("lock"), &branch).unwrap();
        assert_eq!(desk.deliver("push", &format!("d-{n}"), &push_body(commit)), Some(202));
    }
    let seconds = start.elapsed().as_secs();
    let last = &commits.last().unwrap().1;
    desk.controller.wait_for(last, "in_force");
    let port = desk.port;
    desk.controller.wait("the inbox to be empty", |_| page(port).filter(|page| page.contains("pci_segment_inbox_depth 0\n")));
    let passes = desk.controller.rows("history").len() - 1;
    // Three within ten seconds, and one for each ten seconds more.
    let most = 3 + usize::try_from(seconds / 10).unwrap();
    assert!(passes <= most, "{passes} passes for {pushes} pushes in {seconds} s");
    desk.controller.stop();
}
