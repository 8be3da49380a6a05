//! How many deliveries a second become durable, how long each waits for its answer, what those who mean ill do to that, and what
//! memory all of it takes.
//!
//! `cargo run --release -p tests --example webhook_load [SECONDS]`, `SECONDS` for each phase. It runs the real controller without a
//! target on loopback. Valid deliveries come over a few kept connections, each as soon as the one before is answered; beside them, in
//! phases of their own:
//!
//! - bad signatures, 10,000 a second, from ever new loopback addresses, so that the block of an address does not make them cheap;
//! - 1 GiB of bodies in chunks without an end, spread over the phase, each of which is cut at the limit;
//! - 1,000 connections that drip: half of them their headers, half their bodies, one byte a second. Who is cut off comes again.
//!
//! Memory is the controller's largest resident size in the phase.
//!
//! The goals are 500 deliveries a second with p99 up to 100 ms alone and 250 ms beside 10,000 bad signatures a second, in less than
//! 256 MiB. Found with 25 s a phase, on a virtual machine with two cores that also ran this load and other builds:
//!
//! | beside | durable deliveries a second | median | p99 | worst | memory |
//! |---|---|---|---|---|---|
//! | nothing | 9,262 | 1.6 ms | 3.5 ms | 15 ms | 30 MiB |
//! | 9,999 bad signatures a second | 6,236 | 2.0 ms | 8.8 ms | 19 ms | 32 MiB |
//! | 1,046 MiB of bodies, 179 of them, all cut | 5,903 | 1.7 ms | 12.3 ms | 47 ms | 57 MiB |
//! | 1,000 that drip, each cut off once | 5,281 | 1.9 ms | 16.8 ms | 112 ms | 72 MiB |

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking and prints what it found")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
/// Of all flooders together.
const BAD_A_SECOND: u32 = 10_000;
/// Threads that send bodies without an end.
const STREAMERS: u32 = 8;
/// All their bodies together.
const STREAMED_BYTES: u64 = 1 << 30;
/// A body that is not cut before is a fault: the limit is 3 MiB, and some more lies in the buffers of both ends.
const UNCUT_BYTES: u64 = 32 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// Connections that drip.
const DRIPPERS: u32 = 1_000;
/// From one address; the door takes 32.
const DRIPPERS_OF_ONE: u32 = 25;
const BODY: &str = r#"{"ref":"refs/heads/other","commits":[]}"#;
const BEGINNING: &str = "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

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
    for beside in [Beside::Nothing, Beside::BadSignatures, Beside::Bodies, Beside::Drips] {
        // "5" forgets the largest size so far; see proc_pid_clear_refs(5).
        std::fs::write(format!("/proc/{}/clear_refs", controller.pid()), "5").unwrap();
        say(beside, measure(time, beside), memory_mib(&controller));
    }
    controller.stop();
}

/// Who else is at the door.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    BadSignatures,
    Bodies,
    Drips,
}

/// What the others count; the meaning is theirs.
#[derive(Default)]
struct Others {
    done: AtomicU64,
    cut: AtomicU64,
}

struct Found {
    waits: Vec<Duration>,
    others: Others,
    took: Duration,
}

fn say(beside: Beside, found: Found, memory: u64) {
    let Found { mut waits, others, took } = found;
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).or(waits.last()).copied().unwrap_or_default();
    let a_second = |number: u64| u128::from(number) * 1_000 / took.as_millis().max(1);
    let (done, cut) = (others.done.into_inner(), others.cut.into_inner());
    let what = match beside {
        Beside::Nothing => "alone".to_owned(),
        Beside::BadSignatures => format!("beside {} bad signatures a second", a_second(done)),
        Beside::Bodies => format!("beside {} MiB of bodies, {cut} of them cut", done >> 20),
        Beside::Drips => format!("beside {DRIPPERS} that drip, of which {cut} were cut off and came again"),
    };
    println!(
        "{what}: {} durable deliveries a second, median {:?}, p99 {:?}, worst {:?}; memory at most {memory} MiB",
        a_second(u64::try_from(waits.len()).unwrap()),
        at(50),
        at(99),
        at(100),
    );
}

/// Largest resident size since it was forgotten.
fn memory_mib(controller: &Controller<'_>) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", controller.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap().div_ceil(1024)
}

fn measure(time: Duration, beside: Beside) -> Found {
    let (over, others, began) = (AtomicBool::new(false), Others::default(), Instant::now());
    let waits = std::thread::scope(|scope| {
        let (over, others) = (&over, &others);
        match beside {
            Beside::Nothing => {}
            Beside::BadSignatures => {
                (0..FLOODERS).for_each(|flooder| drop(scope.spawn(move || bad_ones(flooder, over, others))));
            }
            Beside::Bodies => (0..STREAMERS).for_each(|streamer| drop(scope.spawn(move || bodies(streamer, time, over, others)))),
            Beside::Drips => drop(scope.spawn(move || drips(over, others))),
        }
        let senders: Vec<_> =
            (0..SENDERS).map(|sender| scope.spawn(move || valid(&format!("{}-{sender}", beside as u8), over))).collect();
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    Found { waits, others, took: began.elapsed() }
}

/// Sends valid deliveries, one after the other; how long each waited.
fn valid(name: &str, over: &AtomicBool) -> Vec<Duration> {
    let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    let (mut stream, mut waits) = (connect_from(Ipv4Addr::LOCALHOST).unwrap(), Vec::new());
    for number in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let signed = webhook::sign(&receiver, "push", &format!("load-{name}-{number}"), BODY.as_bytes());
        let headers: String = signed.0.iter().map(|(name, value)| format!("{name}: {}\r\n", value.as_str())).collect();
        let began = Instant::now();
        assert_eq!(ask(&mut stream, &headers), Some(202));
        waits.push(began.elapsed());
    }
    waits
}

/// Sends bad signatures from one address after the other, at its share of the pace.
fn bad_ones(flooder: u32, over: &AtomicBool, others: &Others) {
    let headers = format!("X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={}\r\n", "0".repeat(64));
    let began = Instant::now();
    for turn in 0_u32.. {
        until(began + Duration::from_secs(1) * (turn * BAD_OF_ONE * FLOODERS) / BAD_A_SECOND);
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
            others.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends its share of bodies without an end, evenly over the time.
fn bodies(streamer: u32, time: Duration, over: &AtomicBool, others: &Others) {
    let mut chunk = format!("{CHUNK_BYTES:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + CHUNK_BYTES, b' ');
    chunk.extend_from_slice(b"\r\n");
    let (began, share, mut sent) = (Instant::now(), STREAMED_BYTES / u64::from(STREAMERS), 0);
    while sent < share && !over.load(Ordering::Relaxed) {
        until(began + time.mul_f64(sent as f64 / share as f64));
        let Some(mut stream) = connect_from(Ipv4Addr::from_bits(0x7f00_0100 + streamer)) else { continue };
        let (header, mut of_this) = (format!("{BEGINNING}Transfer-Encoding: chunked\r\n\r\n"), 0);
        if stream.write_all(header.as_bytes()).is_err() {
            continue;
        }
        while stream.write_all(&chunk).is_ok() {
            of_this += CHUNK_BYTES as u64;
            assert!(of_this < UNCUT_BYTES, "a body without an end is not cut");
        }
        sent += of_this;
        others.done.fetch_add(of_this, Ordering::Relaxed);
        others.cut.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps connections open that say next to nothing.
fn drips(over: &AtomicBool, others: &Others) {
    let mut streams: Vec<Option<TcpStream>> = (0..DRIPPERS).map(begin_to_drip).collect();
    while !over.load(Ordering::Relaxed) {
        for (stream, number) in streams.iter_mut().zip(0..) {
            if stream.as_mut().is_none_or(|stream| !drip(stream)) {
                others.cut.fetch_add(1, Ordering::Relaxed);
                *stream = begin_to_drip(number);
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn begin_to_drip(number: u32) -> Option<TcpStream> {
    let mut stream = connect_from(Ipv4Addr::from_bits(0x7f00_0200 + number / DRIPPERS_OF_ONE))?;
    let rest = if number.is_multiple_of(2) { "X-Drip: " } else { "Content-Length: 1000\r\n\r\n" };
    stream.write_all(format!("{BEGINNING}{rest}").as_bytes()).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

/// One byte more; whether there is still somebody to hear it.
fn drip(stream: &mut TcpStream) -> bool {
    let waits = stream.read(&mut [0; 1024]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    waits && stream.write_all(b"x").is_ok()
}

fn until(then: Instant) {
    std::thread::sleep(then.saturating_duration_since(Instant::now()));
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
    let request = format!("{BEGINNING}{headers}Content-Length: {}\r\n\r\n{BODY}", BODY.len());
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
