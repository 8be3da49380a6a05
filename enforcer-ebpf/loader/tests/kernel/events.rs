//! What is told of refused packets, and that it adds up.

use std::{net::IpAddr, process::Command, time::Duration};

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use enforcer::{Direction, DropEvent, Enforcer, Events, Losses, Refused, Timed};

use crate::{
    lab::{HOST4, HOST6, Lab, PEER4, PEER6, TCP, UDP, ping, service, table, tcp, udp},
    packet::opening,
};

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;
const SYN_TO_22: u32 = 0x06_0016;

/// Whether systems say this on a link by themselves: what they solicit from their own address on it, and where they report the
/// groups they listen to before they have one.
fn chatter(event: &DropEvent) -> bool {
    let reports_groups = event.remote.is_unspecified() && (event.proto, event.port()) == (58, 143 << 8);
    reports_groups || event.remote.is_multicast() || event.remote.to_string().starts_with("fe80")
}

/// Everything that was written so far, but for what systems say on a link by themselves.
fn all(events: &mut Events) -> Vec<DropEvent> {
    let mut found = Vec::new();
    loop {
        let more = events.wait(Duration::from_millis(150)).unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more.into_iter().filter(|event| !chatter(event)));
    }
}

fn peer(n: u32) -> IpAddr {
    IpAddr::from((0x0A80_0000 + n).to_be_bytes())
}

/// Runs a packet past the enforcing program, as if it had come in.
fn refuse(enforcer: &Enforcer, from: IpAddr, service: u32, times: u32) {
    enforcer.time(Timed::Enforcing(IN), &opening(true, from, service), times).unwrap();
}

fn index_of_h0(lab: &Lab) -> u32 {
    let run = Command::new("ip").args(["-n", &lab.host, "-o", "link", "show", "h0"]).output().unwrap();
    String::from_utf8(run.stdout).unwrap().split(':').next().unwrap().trim().parse().unwrap()
}

/// What a test looks at of one record.
fn told(event: &DropEvent) -> (&'static str, Direction, String, u8, u16, &'static str) {
    (event.reason, event.direction, event.remote.to_string(), event.proto, event.port(), event.hook)
}

#[test]
fn each_kind_of_refusal_is_told_with_what_is_known_of_it_and_nothing_else_is() {
    let Some(lab) = Lab::new("events") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1), service(UDP, 8080, 2)];
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &open)]), [1; 32], 0).unwrap();
    let mut events = enforcer.events().unwrap();
    assert!(matches!(enforcer.events(), Err(enforcer::Error::EventsTaken)), "the buffer has one reader");

    let link = index_of_h0(&lab);
    assert!(lab.on_peer(|| tcp(HOST4, 8080) && udp(HOST4, 8080)));
    assert_eq!(all(&mut events), [], "what passes is not told");

    assert!(!lab.on_peer(|| tcp(HOST4, 22) || tcp(HOST6, 23) || ping(HOST4)));
    assert!(!lab.on_host(|| udp(PEER4, 53) || tcp(PEER6, 80) || ping(PEER6)));
    let seen = all(&mut events);
    assert!(seen.iter().all(|event| (event.ifindex, event.verdict, event.count, event.rule) == (link, "drop", 1, 0)), "{seen:?}");
    assert!(seen.iter().all(|event| [HOST4, HOST6].contains(&event.local.to_string().as_str()) && event.epoch == 1), "{seen:?}");
    let expected = [
        ("no_rule", IN, PEER4.to_owned(), 6, 22, "tc_in"),
        ("no_rule", IN, PEER6.to_owned(), 6, 23, "tc_in"),
        ("no_rule", IN, PEER4.to_owned(), 1, 0x0800, "tc_in"),
        ("no_rule", OUT, PEER4.to_owned(), 17, 53, "tc_out"),
        ("no_rule", OUT, PEER6.to_owned(), 6, 80, "tc_out"),
        ("no_rule", OUT, PEER6.to_owned(), 58, 0x8000, "tc_out"),
    ];
    assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), expected);
    let age = seen[0].at.elapsed().unwrap();
    assert!(age < Duration::from_secs(30), "{age:?}");

    let cut = &opening(true, peer(1), SYN_TO_22)[..40];
    enforcer.time(Timed::Enforcing(IN), cut, 1).unwrap();
    let unreadable = told(&all(&mut events)[0]);
    assert_eq!(unreadable, ("malformed", IN, "0.0.0.0".to_owned(), 0, 0, "tc_in"));

    let mut stream = lab.on_peer(|| crate::lab::connect(HOST4, 8080)).unwrap();
    assert!(crate::lab::answers(&mut stream));
    enforcer.install(&table(&[]), [2; 32], 0).unwrap();
    assert!(!crate::lab::answers(&mut stream));
    let revoked = all(&mut events);
    assert_eq!((revoked[0].reason, revoked[0].rule, revoked[0].epoch, revoked[0].port()), ("revoked", 1, 2, 8080));

    enforcer.set_audit(true).unwrap();
    refuse(&enforcer, peer(2), SYN_TO_22, 1);
    let audited: Vec<_> = all(&mut events).into_iter().filter(|event| event.remote == peer(2)).collect();
    assert_eq!((audited[0].verdict, audited[0].reason, audited.len()), ("would_drop", "no_rule", 1));

    assert_eq!(enforcer.rule_flows().unwrap(), [(1, 2), (2, 1)]);
    assert_eq!(enforcer.event_losses().unwrap(), Losses::default());
}

fn tokens(lab: &Lab) -> PerCpuArray<MapData, [u64; 3]> {
    let map = MapData::from_pin(lab.pins().join("maps/bucket")).unwrap();
    PerCpuArray::try_from(Map::PerCpuArray(map)).unwrap()
}

/// Gives every CPU as many tokens as it may hold, as two seconds of silence would.
fn refill(bucket: &mut PerCpuArray<MapData, [u64; 3]>) {
    let filled: Vec<_> = bucket.get(&0, 0).unwrap().iter().map(|[word, a, b]| [word >> 32 << 32 | 2_000, *a, *b]).collect();
    bucket.set(0, PerCpuValues::try_from(filled).unwrap(), 0).unwrap();
}

fn of(refusals: &[Refused], remote: IpAddr) -> Refused {
    *refusals.iter().find(|refused| refused.remote == remote).unwrap()
}

#[test]
fn however_many_packets_are_refused_what_is_told_adds_up_and_nothing_waits_for_the_reader() {
    const FLOOD: u32 = 12_000;
    const WAVES: u32 = 8;
    const WAVE: u32 = 2_000;
    let Some(lab) = Lab::new("floods") else { return };
    let mut enforcer = lab.open();
    enforcer.install(&table(&[]), [1; 32], 0).unwrap();
    let mut events = enforcer.events().unwrap();

    refuse(&enforcer, peer(0), SYN_TO_22, 10_000);
    let same = all(&mut events);
    assert!((1..=3).contains(&same.len()), "{same:?}");
    let sum = of(&enforcer.refusals().unwrap(), peer(0));
    assert_eq!((sum.count, sum.reason, sum.direction, sum.proto, sum.port), (10_000, "no_rule", IN, 6, 22));
    assert_eq!(same.iter().map(|event| event.count).sum::<u32>() + sum.untold, 10_000);
    assert!(sum.first <= sum.last);

    // The reader sleeps while each peer knocks once; the buffer takes some 14,500 records.
    let mut bucket = tokens(&lab);
    (1..=FLOOD).for_each(|n| refuse(&enforcer, peer(n), SYN_TO_22, 1));
    for wave in 0..WAVES {
        refill(&mut bucket);
        let first = FLOOD + wave * WAVE;
        (first + 1..=first + WAVE).for_each(|n| refuse(&enforcer, peer(n), SYN_TO_22, 1));
    }
    let losses = enforcer.event_losses().unwrap();
    assert!(losses.suppressed > 0 && losses.lost > 0, "{losses:?}");
    let written = all(&mut events);
    assert!(written.iter().all(|event| event.count == 1));
    let sent = u64::from(FLOOD + WAVES * WAVE);
    assert_eq!(u64::try_from(written.len()).unwrap() + losses.suppressed + losses.lost, sent, "{losses:?}");
    let dropped: u64 = enforcer.counts().unwrap().iter().filter(|own| own.verdict == "drop").map(|own| own.packets).sum();
    assert_eq!(dropped, 10_000 + sent);
    let kept = enforcer.refusals().unwrap();
    assert!(kept.len() <= 16_384 && kept.len() > 10_000, "{}", kept.len());

    refill(&mut bucket);
    refuse(&enforcer, peer(60_000), SYN_TO_22, 1);
    assert_eq!(all(&mut events).len(), 1, "there is room again");
    drop(events);
    assert!(enforcer.events().is_ok(), "the next reader may come");
}
