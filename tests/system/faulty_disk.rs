//! Disks that are full, that return errors, and that are slow: the real binary on a real file system, with faults that `strace` injects
//! into its system calls.
//!
//! `PCI_SEGMENT_ALL_CALLS=1` tries every n-th call until one is not reached; otherwise a few.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pci_segment::sandbox::Repository;
use tests::{Controller, Measured, Options, WEBHOOK_SECRET, deliver_here, policy, push_body, root_or_left_out, write_template};
use webhook::{Receiver, Secrets};

use crate::crash::burst_rules;
use crate::ledger::Ledger;

/// The exit code that asks the service manager for another start.
const AGAIN: i32 = 75;

/// A file system in memory, as large as said.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, mib: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success());
        Self(at.to_owned())
    }

    /// Leaves no byte to anybody.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("somebody-elses")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("somebody-elses")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What is said on a port, and the whole answer.
fn exchange(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A repository and a controller that judges and enforces nothing.
struct Bench {
    repository: Repository,
    controller: Controller<'static>,
    ledger: Ledger,
    port: u16,
    disk: Option<Small>,
    folder: tempfile::TempDir,
    number: u16,
}

impl Bench {
    fn new(disk_mib: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk_mib.map(|mib| Small::mount(&folder.path().join("state"), mib));
        let repository = Repository::create(folder.path()).unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
        let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let controller = Controller::configure(folder.path(), None, &repository, &Options { extra, port, ..Options::default() });
        write_template(&repository);
        let ledger = Ledger::of(&folder.path().join("state/state.db"));
        Self { repository, controller, ledger, port, disk, folder, number: 30_000 }
    }

    fn push(&mut self) -> String {
        self.number += 1;
        self.repository.write("policies/change.yaml", &policy("change", &burst_rules(self.number, true))).unwrap();
        self.repository.push("Change").unwrap()
    }

    fn deliver(&self, id: &str, commit: &str) -> Option<u16> {
        let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
        deliver_here(self.port, &receiver, "push", id, &push_body(commit))
    }

    /// The whole answer to a delivery.
    fn answer_to(&self, id: &str, commit: &str) -> String {
        let (receiver, body) = (Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap()), push_body(commit));
        let mut request = format!(
            "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in &webhook::sign(&receiver, "push", id, body.as_bytes()).0 {
            request.push_str(&format!("{name}: {}\r\n", value.as_str()));
        }
        exchange(self.port, &format!("{request}\r\n{body}")).unwrap()
    }

    fn get(&self, path: &str) -> Option<String> {
        exchange(self.port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics")?;
        Measured::read(page.split_once("\r\n\r\n")?.1).ok()?.value(name)
    }

    fn wait_ready(&mut self, what: &str) {
        self.wait_answer("/readyz", "HTTP/1.1 200");
        assert!(self.controller.ended().is_none(), "{what}");
    }

    /// Waits for an answer with these words in it.
    fn wait_answer(&mut self, path: &str, words: &str) {
        let port = self.port;
        self.controller.wait(&format!("{path} to say {words}"), |_| {
            let answer = exchange(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))?;
            answer.contains(words).then_some(())
        });
    }

    /// Starts with a fault injected into the n-th call on a file of the database, and those after it.
    fn start_with_fault(&mut self, call: &str, fault: &str) {
        let state = std::fs::canonicalize(self.folder.path()).unwrap().join("state");
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{fault}"));
        let mut words = vec!["strace".to_owned(), "-D".into(), "-f".into(), "--seccomp-bpf".into(), "-qqq".into()];
        words.extend(["-o".into(), "/dev/null".into(), "-e".into(), trace, "-e".into(), inject]);
        for ending in ["", "-wal", "-shm"] {
            words.extend(["-P".to_owned(), format!("{}{ending}", state.join("state.db").display())]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.controller.start_under(&words, &[]);
    }

    fn assert_all_kept(&self, kept: &[String]) {
        let inbox = self.ledger.texts("SELECT delivery_id FROM inbox");
        let lost: Vec<_> = kept.iter().filter(|id| !inbox.contains(id)).collect();
        assert!(lost.is_empty(), "answered with 202 and not there: {lost:?}");
        let (exit, message) = self.ledger.verify();
        assert_eq!(exit, 0, "{message}");
    }
}

#[test]
fn d03_a_full_disk_stops_changes_says_so_and_everything_goes_on_by_itself_when_there_is_room() {
    if !root_or_left_out("d03_a_full_disk_stops_changes_says_so_and_everything_goes_on_by_itself_when_there_is_room") {
        return;
    }
    let mut bench = Bench::new(Some(24));
    let first = bench.push();
    bench.controller.start();
    bench.controller.wait_for(&first, "in_force");
    bench.wait_ready("readiness");
    let reserve = bench.folder.path().join("state/state.db.reserve");
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 4 << 20, "room is kept back");
    let mut kept = Vec::new();
    bench.disk.as_ref().unwrap().fill();
    // What is allocated already may still take some.
    let refused = (0..500).find_map(|n| {
        let id = format!("full-{n}");
        match bench.deliver(&id, &first) {
            Some(202) => {
                kept.push(id);
                None
            }
            answer => Some(answer),
        }
    });
    assert_eq!(refused, Some(Some(503)));
    let answer = bench.answer_to("again", &first);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.to_ascii_lowercase().contains("\r\nretry-after: "), "{answer}");
    let ready = bench.get("/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("disk of the database is full"), "{ready}");
    assert_eq!(bench.metric("pci_segment_store_disk_full"), Some(1.0));
    bench.controller.wait("what was kept back to be given up", |_| (!reserve.exists()).then_some(()));
    let said = "SELECT count(*) FROM audit_log WHERE kind = 'store.error' AND instr(leaf, CAST('disk full' AS BLOB)) > 0";
    let ledger = &bench.ledger;
    bench.controller.wait("the row about it", |_| (ledger.number(said) == Some(1)).then_some(()));
    let (_, status, _) = bench.controller.ask(&["status"]);
    assert!(status.contains("disk space FAILED"), "{status}");
    let second = bench.push();
    bench.controller.wake();
    let log = bench.controller.log().len();
    bench.controller.wait("the loop to try", |me| me.log()[log..].contains("disk of the database is full").then_some(()));
    assert!(bench.controller.rows("history").iter().all(|row| row["commit"] != second.as_str()), "nothing changes");

    bench.disk.as_ref().unwrap().make_room();
    bench.controller.wait_for(&second, "in_force");
    bench.wait_ready("readiness again");
    assert_eq!(bench.metric("pci_segment_store_disk_full"), Some(0.0));
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 4 << 20, "room is kept back again");
    assert_eq!(bench.deliver("after", &second), Some(202));
    kept.push("after".to_owned());
    let ended = bench.ledger.texts("SELECT control || ': ' || remediation FROM failures WHERE ended IS NOT NULL");
    assert_eq!(ended, ["disk space: there is room again"]);
    bench.controller.stop();
    bench.assert_all_kept(&kept);
}

#[test]
fn d03_a_start_on_a_full_disk_gives_up_what_was_kept_back_and_waits_for_room() {
    if !root_or_left_out("d03_a_start_on_a_full_disk_gives_up_what_was_kept_back_and_waits_for_room") {
        return;
    }
    let mut bench = Bench::new(Some(24));
    let first = bench.push();
    bench.controller.start();
    bench.controller.wait_for(&first, "in_force");
    bench.controller.stop();
    let reserve = bench.folder.path().join("state/state.db.reserve");
    assert!(reserve.exists());
    bench.disk.as_ref().unwrap().fill();
    bench.controller.start();
    bench.wait_answer("/readyz", "disk of the database is full");
    assert!(bench.controller.ended().is_none() && !reserve.exists(), "{}", bench.controller.log());
    let (_, status, _) = bench.controller.ask(&["status"]);
    assert!(status.contains("disk space FAILED"), "{status}");

    bench.disk.as_ref().unwrap().make_room();
    bench.wait_ready("readiness again");
    assert!(reserve.exists(), "room is kept back again");
    let second = bench.push();
    bench.controller.wake();
    bench.controller.wait_for(&second, "in_force");
    bench.controller.stop();
    bench.assert_all_kept(&[]);
}

/// Runs with one fault until the process ends, or it is clear that the fault was never reached; the exit code.
fn run_to_the_fault(bench: &mut Bench, call: &str, n: u32, kept: &mut Vec<String>) -> Option<i32> {
    bench.start_with_fault(call, &format!("error=EIO:when={n}"));
    let start = Instant::now();
    let mut sent = 0;
    loop {
        if let Some(code) = bench.controller.ended() {
            return Some(code);
        }
        // The idle moment in which the write-ahead log is emptied is among what is tried.
        if start.elapsed() > Duration::from_secs(8) {
            bench.controller.stop();
            return None;
        }
        let id = format!("{call}-{n}-{sent}");
        sent += 1;
        if sent <= 20 && bench.deliver(&id, "0000") == Some(202) {
            kept.push(id);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn d02_an_error_of_the_disk_ends_the_process_with_75_and_the_next_start_has_everything() {
    let all = std::env::var_os("PCI_SEGMENT_ALL_CALLS").is_some();
    let cases: &[(&str, &[u32])] = &[("fsync", &[1, 6]), ("pwrite64", &[3, 20]), ("openat", &[2])];
    for (call, some) in cases {
        let mut reached = true;
        for n in if all { (1..=200).collect::<Vec<_>>() } else { some.to_vec() } {
            if !reached {
                break;
            }
            let mut bench = Bench::new(None);
            let mut kept = Vec::new();
            let commit = bench.push();
            bench.controller.start();
            bench.controller.wait_for(&commit, "in_force");
            bench.controller.stop();
            let commit = bench.push();
            let ended = run_to_the_fault(&mut bench, call, n, &mut kept);
            reached = ended.is_some();
            assert!(ended.is_none_or(|code| code == AGAIN), "{call} {n}: {ended:?}\n{}", bench.controller.log());
            assert!(all || reached, "{call} {n} was not reached\n{}", bench.controller.log());
            bench.controller.start();
            bench.controller.wait_for(&commit, "in_force");
            bench.wait_ready("readiness after the fault");
            bench.controller.stop();
            bench.assert_all_kept(&kept);
            if reached {
                let rows = bench.ledger.number("SELECT count(*) FROM audit_log WHERE kind = 'store.error'");
                assert_eq!(rows, Some(1), "{call} {n}: on record, once");
            }
        }
    }
}

#[test]
fn d02_two_errors_of_the_disk_within_ten_minutes_hold_changes_until_somebody_resumes() {
    let mut bench = Bench::new(None);
    let first = bench.push();
    bench.controller.start();
    bench.controller.wait_for(&first, "in_force");
    bench.controller.stop();
    for n in [2, 3] {
        assert_eq!(run_to_the_fault(&mut bench, "fsync", n, &mut Vec::new()), Some(AGAIN), "{}", bench.controller.log());
    }
    let second = bench.push();
    for _ in 0..2 {
        // And so does every start after it.
        bench.controller.start();
        bench.controller.wait_for(&second, "held");
        // The rows may be those of the start before.
        bench.wait_answer("/readyz", "changes are held");
        assert_eq!(bench.metric("pci_segment_store_held"), Some(1.0));
        let (_, status, _) = bench.controller.ask(&["status"]);
        assert!(status.contains("database FAILED") && status.contains("pci-segment resume"), "{status}");
        bench.controller.kill();
    }
    bench.controller.start();
    bench.wait_answer("/readyz", "changes are held");
    let (code, said, error) = bench.controller.ask(&["resume", "--reason", "the cable was replaced"]);
    assert_eq!((code, said.trim()), (0, "the hold after errors of the disk is over"), "{error}");
    bench.controller.wait_for(&second, "in_force");
    bench.wait_ready("readiness");
    bench.controller.stop();
    let ended = bench.ledger.texts("SELECT control || ': ' || remediation || ' by ' || who FROM failures WHERE ended IS NOT NULL");
    let by_me = format!("database: the cable was replaced by uid:{}", rustix::process::getuid().as_raw());
    assert!(ended.len() == 1 && ended[0].starts_with(&by_me), "{ended:?}");
    bench.controller.start();
    bench.wait_ready("readiness after the hold");
    let third = bench.push();
    bench.controller.wake();
    bench.controller.wait_for(&third, "in_force");
    bench.controller.stop();
    bench.assert_all_kept(&[]);
}

/// Kilobytes of memory that a process has.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn d11_a_disk_that_takes_a_second_for_each_flush_is_back_pressure_and_no_growth() {
    let mut bench = Bench::new(None);
    let commit = bench.push();
    bench.controller.start();
    bench.controller.wait_for(&commit, "in_force");
    bench.controller.stop();
    bench.start_with_fault("fsync", "delay_enter=1000000");
    bench.wait_ready("readiness");
    let before = resident_kib(bench.controller.pid());
    let mut kept = Vec::new();
    std::thread::scope(|scope| {
        let bench = &bench;
        let commit = commit.as_str();
        let senders: Vec<_> = (0..30)
            .map(|sender| {
                scope.spawn(move || {
                    (0..3).map(|n| format!("slow-{sender}-{n}")).map(|id| (bench.deliver(&id, commit), id)).collect::<Vec<_>>()
                })
            })
            .collect();
        for (answer, id) in senders.into_iter().flat_map(|sender| sender.join().unwrap()) {
            match answer {
                Some(202) => kept.push(id),
                // Whoever is told nothing, or to come again, will.
                Some(503) | None => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(!kept.is_empty(), "it is slow, not dead");
    let grown = resident_kib(bench.controller.pid()).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
    bench.controller.kill();
    bench.assert_all_kept(&kept);
}
