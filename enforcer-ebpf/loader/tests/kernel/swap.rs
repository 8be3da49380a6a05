//! Generations are switched under traffic: what both allow loses nothing, what only one allows is judged by one of them.
//!
//! `PCI_SEGMENT_SWAPS` says how often; 60 times if it is not set.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use enforcer::{Built, Direction, Enforcer, Interval, Table};

use crate::lab::{HOST4, HOST6, Lab, TCP, UDP, cidr, connect, service, table};

/// Allowed by every generation.
const COMMON: u16 = 7000;
/// Generation n allows this port plus n modulo [`TURNS`].
const TURN: u16 = 8000;
const TURNS: u64 = 4;
/// Longer than any packet is on its way.
const SETTLED: Duration = Duration::from_millis(25);
/// Exchanges of one flow for each one of a new flow, and the pause after them.
const EXCHANGES: usize = 20;
const PAUSE: Duration = Duration::from_millis(8);
/// More than this and a flow that is allowed has stalled.
const STALLED: Duration = Duration::from_secs(10);

fn generation(n: u64) -> Table {
    let turn = TURN + u16::try_from(n % TURNS).unwrap();
    let open = [service(TCP, COMMON, 1), service(UDP, COMMON, 2), service(UDP, turn, 3)];
    // The kernel's own solicitations and reports are not what is counted here.
    let icmp6 = vec![Interval { lo: 0x3A_0000, hi: 0x3A_FFFF, rule: 4, audit: false }];
    let mut wanted = table(&[(Direction::In, "10.7.0.0/24", &open), (Direction::In, "fd07::2/128", &open)]);
    (wanted.any[2], wanted.any[3]) = (icmp6.clone(), icmp6);
    // Every seventh is too different for a change in place.
    let padding = if n.is_multiple_of(7) { 5 } else { 6 };
    let pad = |i: u32| (Direction::Out, cidr(&format!("10.8.{}.{}/32", i / 200, i % 200)), vec![service(TCP, 443, padding)]);
    wanted.prefixes.extend((0..600).map(pad));
    wanted.sorted()
}

/// How far the switching has come: generations begun, and generations known to be in force.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    in_force: AtomicU64,
    over: AtomicBool,
}

/// One datagram to a port whose turn it may or may not be: in force when it was sent, begun when it had been judged.
struct Sent {
    number: u64,
    turn: u64,
    from: u64,
    to: u64,
}

#[test]
fn h05_traffic_that_both_generations_allow_loses_nothing_and_all_other_is_judged_by_one_of_them() {
    let Some(lab) = Lab::new("switching under traffic") else { return };
    let swaps: u64 = std::env::var("PCI_SEGMENT_SWAPS").map_or(60, |swaps| swaps.parse().unwrap());
    let mut enforcer = lab.open();
    lab.serve(true, COMMON);
    let arrived = arrivals(&lab);
    enforcer.install(&generation(0), [0; 32], 0).unwrap();
    lab.attach(&mut enforcer);
    let before = drops(&enforcer);
    let progress = Progress::default();
    let (patched, streams, datagrams, sent) = thread::scope(|scope| {
        let ended = Ended(&progress);
        let streams = [HOST4, HOST6].map(|address| scope.spawn(|| lab.on_peer(|| stream(address, &progress))));
        let openings = [HOST4, HOST6].map(|address| scope.spawn(|| lab.on_peer(|| openings(address, &progress))));
        let datagrams = [HOST4, HOST6].map(|address| scope.spawn(|| lab.on_peer(|| datagrams(address, &progress))));
        let sent = scope.spawn(|| lab.on_peer(|| turns(&progress)));
        let patched = switch(&mut enforcer, &progress, swaps);
        drop(ended);
        println!("dropped: {}", drops(&enforcer).1);
        let join = |counts: [thread::ScopedJoinHandle<'_, u64>; 2]| counts.map(|own| own.join().unwrap());
        (patched, join(streams).into_iter().chain(join(openings)).sum::<u64>(), join(datagrams), sent.join().unwrap())
    });
    thread::sleep(SETTLED);
    let arrived = arrived.lock().unwrap();
    let (mut must, mut must_not) = (0_u64, 0_u64);
    for own in &sent {
        let allowing = (own.from..=own.to).filter(|n| n % TURNS == own.turn).count();
        let judging = usize::try_from(own.to - own.from + 1).unwrap();
        let passed = arrived.contains(&own.number);
        let verdict = format!("datagram {} of turn {} under generations {} to {}", own.number, own.turn, own.from, own.to);
        if allowing == judging {
            assert!(passed, "lost: {verdict}");
            must += 1;
        } else if allowing == 0 {
            assert!(!passed, "passed: {verdict}");
            must_not += 1;
        }
    }
    let lost = sent.iter().filter(|own| !arrived.contains(&own.number)).count() as u64;
    let (dropped, why) = drops(&enforcer);
    assert_eq!(dropped - before.0, lost, "nothing was dropped but datagrams whose turn it was not: {why}");
    assert!(must > 0 && must_not > 0 && patched > 0 && patched < swaps, "{must} {must_not} {patched}");
    println!(
        "{swaps} swaps, {patched} in place; {streams} exchanges over TCP, {datagrams:?} over UDP, none lost; {} datagrams by turns, {must} \
         had to pass, {must_not} had not to, {lost} dropped",
        sent.len()
    );
}

/// Tells the others, even if switching panics.
struct Ended<'a>(&'a Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}

fn switch(enforcer: &mut Enforcer, progress: &Progress, swaps: u64) -> u64 {
    let mut patched = 0;
    for n in 1..=swaps {
        progress.begun.store(n, SeqCst);
        let installed = enforcer.install(&generation(n), [0; 32], 0).unwrap();
        progress.in_force.store(n, SeqCst);
        patched += u64::from(matches!(installed.how, Built::Patched { .. }));
        // Sometimes long enough for a packet to meet one generation only.
        thread::sleep(if n % 5 == 0 { SETTLED * 3 } else { Duration::from_millis(n % 4 * 3) });
    }
    patched
}

/// Dropped packets, and where and why in words; but for what systems report of the groups they listen to, from no address.
fn drops(enforcer: &Enforcer) -> (u64, String) {
    let counts = enforcer.counts().unwrap();
    let dropped = || counts.iter().filter(|own| own.verdict == "drop" && (own.reason != "spoofed" || !own.ipv6));
    let why = dropped().map(|own| format!("{} v6={} {}: {}", own.hook, own.ipv6, own.reason, own.packets));
    (dropped().map(|own| own.packets).sum(), why.collect::<Vec<_>>().join(", "))
}

/// One connection through all generations, each exchange numbered.
fn stream(address: &str, progress: &Progress) -> u64 {
    let mut stream = connect(address, COMMON).unwrap();
    stream.set_read_timeout(Some(STALLED)).unwrap();
    let mut count = 0_u64;
    while !progress.over.load(SeqCst) {
        count += 1;
        exchange(&mut stream, count);
    }
    count
}

fn exchange(stream: &mut std::net::TcpStream, number: u64) {
    let mut answer = [0; 8];
    stream.write_all(&number.to_be_bytes()).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(u64::from_be_bytes(answer), number);
}

/// One connection after the other.
fn openings(address: &str, progress: &Progress) -> u64 {
    let mut count = 0_u64;
    while !progress.over.load(SeqCst) {
        count += 1;
        let to = SocketAddr::new(address.parse().unwrap(), COMMON);
        let mut stream = std::net::TcpStream::connect_timeout(&to, STALLED).unwrap();
        stream.set_read_timeout(Some(STALLED)).unwrap();
        exchange(&mut stream, count);
        thread::sleep(Duration::from_millis(1));
    }
    count
}

fn socket(address: &str, port: u16) -> UdpSocket {
    let to = SocketAddr::new(address.parse().unwrap(), port);
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.set_read_timeout(Some(STALLED)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Datagrams that are answered, one after the other: one that is lost ends the test. Flows stay fewer than their table holds, as one
/// that is full forgets some, which is not what is looked at here.
fn datagrams(address: &str, progress: &Progress) -> u64 {
    let kept = socket(address, COMMON);
    let mut count = 0_u64;
    while !progress.over.load(SeqCst) {
        count += 1;
        let fresh = socket(address, COMMON);
        for socket in std::iter::repeat_n(&kept, EXCHANGES).chain([&fresh]) {
            let mut answer = [0; 8];
            socket.send(&count.to_be_bytes()).unwrap();
            assert_eq!(socket.recv(&mut answer).expect("an answer came"), 8);
            assert_eq!(u64::from_be_bytes(answer), count);
        }
        thread::sleep(PAUSE);
    }
    count * (EXCHANGES as u64 + 1)
}

/// Datagrams to every turn's port, of old flows and of new ones.
fn turns(progress: &Progress) -> Vec<Sent> {
    let ports = || (0..TURNS).flat_map(|turn| [HOST4, HOST6].map(|address| (turn, address)));
    let open = || ports().map(|(turn, address)| (turn, socket(address, TURN + u16::try_from(turn).unwrap()))).collect::<Vec<_>>();
    let kept = open();
    let (mut sent, mut fresh) = (Vec::new(), Vec::new());
    for round in 0_u32.. {
        if progress.over.load(SeqCst) {
            break;
        }
        if round % 8 == 0 {
            fresh = open();
        }
        let first = sent.len();
        for (turn, socket) in kept.iter().chain(&fresh) {
            let (number, from) = (sent.len() as u64, progress.in_force.load(SeqCst));
            socket.send(&number.to_be_bytes()).unwrap();
            sent.push(Sent { number, turn: *turn, from, to: u64::MAX });
        }
        thread::sleep(SETTLED);
        let to = progress.begun.load(SeqCst);
        sent[first..].iter_mut().for_each(|own| own.to = to);
    }
    sent
}

/// What arrives at the turns' ports, by number.
fn arrivals(lab: &Lab) -> Arc<Mutex<BTreeSet<u64>>> {
    let arrived = Arc::new(Mutex::new(BTreeSet::new()));
    lab.on_host(|| {
        for (address, turn) in [HOST4, HOST6].into_iter().flat_map(|address| (0..4).map(move |turn| (address, turn))) {
            let socket = UdpSocket::bind(SocketAddr::new(address.parse().unwrap(), TURN + turn)).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(socket.as_fd(), 1 << 20).unwrap();
            let arrived = Arc::clone(&arrived);
            thread::spawn(move || {
                let mut number = [0; 8];
                while socket.recv(&mut number).is_ok() {
                    arrived.lock().unwrap().insert(u64::from_be_bytes(number));
                }
            });
        }
    });
    arrived
}
