//! What is added up and told of refused packets.

use enforcer_abi::{Control, Event, Generation, Hook, IN, OUT, Reason, Refusal, RefusalKey, V4, V6, Verdict, ticks};

use crate::{
    fake::{Bytes, HERE, Memory, THERE, between, ipv6, tcp, udp},
    judge,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const HTTP: u32 = 0x06_0050;

fn syn(port: u16) -> Bytes {
    between(IN, 6, &tcp(4000, port, SYN, 1, 0))
}

/// The one record written since the last call.
fn told(world: &Memory) -> Event {
    let events: Vec<Event> = world.events.borrow_mut().drain(..).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    events[0]
}

fn wide(addr: [u8; 4]) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&addr);
    octets
}

#[test]
fn a_refused_packet_is_told_with_all_that_is_known_of_it() {
    let world = Memory::new(&[]);
    assert!(!judge(&*world, &syn(22), IN));
    let event = told(&world);
    assert_eq!((event.epoch, event.ifindex, event.count, event.rule), (1, 7, 1, 0));
    assert_eq!((event.local, event.remote), (wide(HERE), wide(THERE)));
    assert_eq!((u16::from_be(event.local_port), u16::from_be(event.remote_port), event.proto), (22, 4000, 6));
    assert_eq!((event.verdict, event.reason), (Verdict::Drop as u8, Reason::NoRule as u8));
    assert_eq!(event.bits, Event::bits(IN, V4, Hook::TcOut));
    let key = RefusalKey { remote: wide(THERE), service: 0x06_0016, dir: IN, reason: Reason::NoRule as u8, family: V4, zero: 0 };
    let refusal = world.tallies.borrow()[&key].copy();
    assert_eq!((refusal.count, refusal.first, refusal.last, refusal.told_count), (1, 1000, 1000, 1));
}

#[test]
fn a_key_is_told_again_after_five_seconds_with_what_came_meanwhile() {
    let world = Memory::new(&[]);
    for _ in 0..10_000 {
        judge(&*world, &syn(22), IN);
    }
    assert_eq!(told(&world).count, 1);
    world.now.set(1000 + ticks(5) - 1);
    judge(&*world, &syn(22), IN);
    assert!(world.events.borrow().is_empty());
    world.now.set(1000 + ticks(5));
    judge(&*world, &syn(22), IN);
    assert_eq!(told(&world).count, 10_001);
    judge(&*world, &syn(23), IN);
    assert_eq!(told(&world).count, 1, "another service is another key");
}

#[test]
fn records_of_a_flood_are_bounded_by_the_bucket_and_the_rest_is_counted() {
    let world = Memory::new(&[]);
    let flood = || assert!((1..=5_000).all(|port| !judge(&*world, &syn(port), IN)));
    flood();
    assert_eq!((world.events.borrow().len(), world.purse.copy().suppressed), (2_000, 3_000));
    assert_eq!(world.wakes.get(), 2_000 / 64 + 1);
    world.now.set(1001 + ticks(5));
    flood();
    assert_eq!((world.events.borrow().len(), world.purse.copy().suppressed), (4_000, 6_000));
    let told: u64 = world.events.borrow().iter().map(|event| u64::from(event.count)).sum();
    let untold = |tally: Refusal| tally.count - u64::from(tally.told_count);
    let untold: u64 = world.tallies.borrow().values().map(|tally| untold(tally.copy())).sum();
    assert_eq!((told, untold), (4_000, 6_000), "what no record told is still in the table");
}

#[test]
fn a_second_brings_about_a_thousand_tokens() {
    let world = Memory::new(&[]);
    assert!((1..=2_000).all(|port| !judge(&*world, &syn(port), IN)));
    world.now.set(1000 + ticks(1));
    assert!((3_000..6_000).all(|port| !judge(&*world, &syn(port), IN)));
    let written = world.events.borrow().len() - 2_000;
    assert!((900..=1_000).contains(&written), "{written}");
}

#[test]
fn records_there_is_no_room_for_are_counted_as_lost_and_their_refusals_told_later() {
    let world = Memory::new(&[]);
    world.room.set(1);
    for port in 1..=10 {
        judge(&*world, &syn(port), IN);
    }
    assert_eq!((told(&world).count, world.purse.copy().lost, world.purse.copy().suppressed), (1, 9, 0));
    world.room.set(1);
    world.now.set(1000 + ticks(5));
    judge(&*world, &syn(10), IN);
    assert_eq!(told(&world).count, 2);
}

#[test]
fn a_refusal_the_table_takes_no_key_for_is_told_all_the_same() {
    let world = Memory::new(&[]);
    world.tallying.set(false);
    for _ in 0..3 {
        judge(&*world, &syn(22), IN);
    }
    let counts: Vec<u32> = world.events.borrow().iter().map(|event| event.count).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_revoked_flow_is_told_with_the_rule_that_opened_it_in_both_directions() {
    let world = Memory::new(&[(IN, HTTP)]);
    judge(&*world, &syn(80), IN);
    let reply = between(OUT, 6, &tcp(80, 4000, SYN_ACK, 900, 2));
    judge(&*world, &reply, OUT);
    judge(&*world, &between(IN, 6, &tcp(4000, 80, ACK, 2, 901)), IN);
    assert!(world.events.borrow().is_empty(), "nothing that passes is told");
    world.word.set(Control::new(1, 0));
    assert!(!judge(&*world, &between(IN, 6, &tcp(4000, 80, ACK, 2, 901)), IN));
    let event = told(&world);
    assert_eq!((event.reason, event.rule, event.epoch, event.count), (Reason::Revoked as u8, 5, 2, 1));
    assert!(!judge(&*world, &reply, OUT));
    assert!(world.events.borrow().is_empty(), "the same key: the same flow");
    let (key, tally) = world.tallies.borrow().iter().next().map(|(key, tally)| (*key, tally.copy())).unwrap();
    assert_eq!((key.dir, key.service, tally.count), (IN, HTTP, 2));
}

#[test]
fn audit_tells_what_would_be_dropped() {
    let world = Memory::new(&[]);
    world.word.set(Control::new(0, 0).with_audit(true));
    assert!(judge(&*world, &syn(22), IN));
    let event = told(&world);
    assert_eq!((event.verdict, event.reason), (Verdict::WouldDrop as u8, Reason::NoRule as u8));
    world.now.set(1000 + ticks(6));
    assert!(judge(&*world, &between(OUT, 6, &tcp(22, 4000, SYN_ACK, 900, 2)), OUT));
    let event = told(&world);
    assert_eq!((event.verdict, event.reason), (Verdict::WouldDrop as u8, Reason::Revoked as u8), "its flow is remembered");
}

#[test]
fn what_passes_because_its_direction_is_not_isolated_is_not_told() {
    let mut world = std::rc::Rc::into_inner(Memory::new(&[])).unwrap();
    world.generations[0].flags = Generation::ENFORCE_OUT;
    world.failsafe.push((OUT, 17, 53));
    assert!(judge(&world, &between(IN, 6, &tcp(4000, 80, 0, 1, 0)), IN));
    assert!(judge(&world, &between(OUT, 17, &udp(9, 53)), OUT), "the failsafe");
    assert!(world.events.borrow().is_empty() && world.tallies.borrow().is_empty());
}

#[test]
fn a_packet_that_cannot_be_read_is_told_without_addresses() {
    let mut world = std::rc::Rc::into_inner(Memory::new(&[])).unwrap();
    // An entry that would fit the zeros in place of what could not be read.
    world.failsafe.push((IN, 0, 0));
    let mut cut = syn(22);
    cut.bytes.truncate(30);
    assert!(!judge(&world, &cut, IN));
    let event = told(&world);
    assert_eq!((event.local, event.remote, event.proto), ([0; 16], [0; 16], 0));
    assert_eq!((event.reason, event.ifindex, event.count), (Reason::Truncated as u8, 7, 1));
}

#[test]
fn icmp_is_told_by_type_and_code_and_ipv6_in_full() {
    let world = Memory::new(&[]);
    let service = |world: &Memory| {
        let found = world.tallies.borrow_mut().drain().map(|(key, _)| (key.family, key.service)).next();
        world.events.borrow_mut().clear();
        found
    };
    assert!(!judge(&*world, &between(IN, 1, &[8, 0, 0, 0, 0x12, 0x34, 0, 1]), IN));
    assert_eq!(service(&world), Some((V4, 0x01_0800)));
    assert!(!judge(&*world, &between(IN, 1, &[0, 0, 0, 0, 0x12, 0x34, 0, 1]), IN));
    let event = world.events.borrow().first().copied();
    assert_eq!(event.map(|event| (event.local_port, event.remote_port)), Some((0, 0)));
    assert_eq!(service(&world), Some((V4, 0x01_0000)), "a stray reply is no service of its identifier");
    let (here, there) = ([0xFD; 16], [0xFC; 16]);
    assert!(!judge(&*world, &ipv6(here, there, 17, 64, &udp(9, 53)), OUT));
    let event = told(&world);
    assert_eq!((event.local, event.remote, event.bits), (here, there, Event::bits(OUT, V6, Hook::TcOut)));
}
