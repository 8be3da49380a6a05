//! How many deliveries a second become durable, how long each waits for its answer, and what a flood of bad signatures does to that.
//!
//! `cargo run --release -p tests --example webhook_load [SECONDS]`. It runs the real controller without a target on loopback. Valid
//! deliveries come over a few kept connections; bad ones from ever new loopback addresses, so that the block of an address does not
//! make them cheap.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking and prints what it found")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pci_segment::sandbox::Repository;
use socket2::{Domain, Socket, Type};
use tests::{Controller, Options, WEBHOOK_SECRET, write_template};
use webhook::{Receiver, Secrets};

const PORT: u16 = 18_088;
/// Kept connections with valid deliveries.
const SENDERS: u32 = 16;
/// Threads that send bad signatures.
const FLOODERS: u32 = 8;
/// Bad signatures from one address, fewer than block it.
const BAD_OF_ONE: u32 = 19;
const BODY: &str = r#"{"ref":"refs/heads/other","commits":[]}"#;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let mut controller =
        Controller::configure(folder.path(), None, &repository, &Options { extra, port: PORT, ..Options::default() });
    write_template(&repository);
    let commit = repository.push("Segment").unwrap();
    controller.start();
    controller.wait_for(&commit, "in_force");

    let time = Duration::from_secs(seconds);
    say("alone", measure(time, false));
    say("under bad signatures", measure(time, true));
    controller.stop();
}

struct Found {
    waits: Vec<Duration>,
    bad: u64,
    took: Duration,
}

fn say(what: &str, found: Found) {
    let Found { mut waits, bad, took } = found;
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).or(waits.last()).copied().unwrap_or_default();
    let a_second = |number: u64| u128::from(number) * 1_000 / took.as_millis().max(1);
    println!(
        "{what}: {} durable deliveries a second, median {:?}, p99 {:?}, worst {:?}; {} bad ones a second",
        a_second(u64::try_from(waits.len()).unwrap()),
        at(50),
        at(99),
        at(100),
        a_second(bad)
    );
}

fn measure(time: Duration, flood: bool) -> Found {
    static RUN: AtomicU32 = AtomicU32::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let (over, bad, began) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let over = &over;
                    move || valid(run * SENDERS + sender, over)
                })
            })
            .collect();
        if flood {
            for flooder in 0..FLOODERS {
                let (over, bad) = (&over, &bad);
                scope.spawn(move || bad_ones(flooder, over, bad));
            }
        }
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        let waits = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        Found { waits, bad: bad.load(Ordering::Relaxed), took: began.elapsed() }
    })
}

/// Sends valid deliveries, one after the other; how long each waited.
fn valid(sender: u32, over: &AtomicBool) -> Vec<Duration> {
    let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    let (mut stream, mut waits) = (TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap(), Vec::new());
    stream.set_nodelay(true).unwrap();
    for number in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let signed = webhook::sign(&receiver, "push", &format!("load-{sender}-{number}"), BODY.as_bytes());
        let headers: String = signed.0.iter().map(|(name, value)| format!("{name}: {}\r\n", value.as_str())).collect();
        let began = Instant::now();
        assert_eq!(ask(&mut stream, &headers), Some(202));
        waits.push(began.elapsed());
    }
    waits
}

/// Sends bad signatures from one address after the other.
fn bad_ones(flooder: u32, over: &AtomicBool, bad: &AtomicU64) {
    let headers = format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", "0".repeat(64));
    for turn in 0_u32.. {
        // 127.1.0.0 and up; each flooder has addresses of its own.
        let address = Ipv4Addr::from_bits(0x7f01_0000 + (turn * FLOODERS + flooder) % 0x00fe_0000);
        let Some(mut stream) = connect_from(address) else { continue };
        for _ in 0..BAD_OF_ONE {
            if over.load(Ordering::Relaxed) {
                return;
            }
            match ask(&mut stream, &headers) {
                Some(code) => assert_eq!(code, 401),
                None => break,
            }
            bad.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn connect_from(address: Ipv4Addr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((address, 0)).into()).ok()?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into()).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// One request on a kept connection; the answer's status code, if there is a whole one.
fn ask(stream: &mut TcpStream, headers: &str) -> Option<u16> {
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(buffer.get(..read)?);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
        if body.len() >= length {
            return head.split_whitespace().nth(1)?.parse().ok();
        }
    }
}
