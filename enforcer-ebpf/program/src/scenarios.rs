//! Sequences of packets, and what becomes of each.

use std::rc::Rc;

use enforcer_abi::{Control, Generation, IN, OUT, Reason, Verdict, ticks};

use crate::{
    Place,
    check::check,
    fake::{Bytes, HERE, Memory, THERE, between, ipv4, ipv6, tcp, udp},
    judge,
    xdp::goes_on,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;
const HTTP: u32 = 0x06_0050;
const DNS: u32 = 0x11_0035;

fn sees(world: &Memory, dir: u8, packet: &Bytes) -> (bool, Reason) {
    let passes = judge(world, packet, dir);
    (passes, world.last().1)
}

/// A segment of the connection a peer opens to our port 80.
fn segment(dir: u8, flags: u8, seq: u32, ack: u32) -> Bytes {
    let (source, destination) = if dir == IN { (4000, 80) } else { (80, 4000) };
    between(dir, 6, &tcp(source, destination, flags, seq, ack))
}

fn established(world: &Memory) {
    assert_eq!(sees(world, IN, &segment(IN, SYN, 100, 0)), (true, Reason::New));
    assert_eq!(sees(world, OUT, &segment(OUT, SYN_ACK, 900, 101)), (true, Reason::Flow));
    assert_eq!(sees(world, IN, &segment(IN, ACK, 101, 901)), (true, Reason::Flow));
}

#[test]
fn a_handshake_is_half_open_until_the_opener_proves_that_it_sees_replies() {
    let world = Memory::new(&[(IN, HTTP)]);
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 100, 0)), (true, Reason::New));
    assert_eq!(sees(&world, OUT, &segment(OUT, SYN_ACK, 900, 101)), (true, Reason::Flow));
    assert_eq!(sees(&world, IN, &segment(IN, ACK, 101, 5_000_000)), (true, Reason::Flow));
    assert_eq!(world.places(), [Place::Half], "a guessed acknowledgement proves nothing");
    assert_eq!(sees(&world, IN, &segment(IN, ACK, 101, 901)), (true, Reason::Flow));
    assert_eq!(world.places(), [Place::Tcp]);
}

#[test]
fn what_no_rule_allows_is_refused_for_the_right_reason() {
    let world = Memory::new(&[(IN, HTTP)]);
    assert_eq!(sees(&world, OUT, &between(OUT, 6, &tcp(1, 80, SYN, 0, 0))), (false, Reason::NoRule));
    assert_eq!(sees(&world, OUT, &between(OUT, 6, &tcp(1, 80, ACK, 0, 0))), (false, Reason::Midflow));
    assert_eq!(sees(&world, IN, &segment(IN, SYN_ACK, 0, 0)), (false, Reason::Midflow));
    assert_eq!(sees(&world, IN, &segment(IN, RST, 0, 0)), (false, Reason::Midflow));
    assert_eq!(sees(&world, IN, &segment(IN, 0, 0, 0)), (false, Reason::TcpFlags));
    assert_eq!(sees(&world, IN, &between(IN, 17, &udp(53, 1))), (false, Reason::NoRule));
}

#[test]
fn a_peer_cannot_open_the_reverse_of_a_live_connection() {
    let world = Memory::new(&[(IN, HTTP)]);
    established(&world);
    assert_eq!(sees(&world, OUT, &segment(OUT, SYN, 0, 0)), (false, Reason::Midflow));
}

#[test]
fn rules_that_no_longer_allow_a_connection_cut_it_in_both_directions() {
    let world = Memory::new(&[(IN, HTTP)]);
    established(&world);
    world.word.set(Control::new(1, 0));
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 901, 101)), (false, Reason::Revoked));
    assert_eq!(sees(&world, IN, &segment(IN, ACK, 101, 901)), (false, Reason::Revoked));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 500, 0)), (false, Reason::NoRule));
    world.word.set(Control::new(0, 1));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 500, 0)), (true, Reason::New), "once allowed again, a new one opens");
}

#[test]
fn a_syn_after_both_fins_is_a_new_connection_and_needs_a_rule() {
    let world = Memory::new(&[(IN, HTTP)]);
    established(&world);
    assert_eq!(sees(&world, IN, &segment(IN, FIN_ACK, 101, 901)), (true, Reason::Flow));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 9, 0)), (true, Reason::Flow), "still open from our side");
    assert_eq!(sees(&world, OUT, &segment(OUT, FIN_ACK, 901, 102)), (true, Reason::Flow));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 700, 0)), (true, Reason::New));
    assert_eq!(sees(&world, OUT, &segment(OUT, SYN_ACK, 50, 701)), (true, Reason::Flow));
    assert_eq!(world.places(), [Place::Half]);
}

#[test]
fn idle_flows_are_forgotten_in_their_time() {
    let world = Memory::new(&[(IN, HTTP), (OUT, DNS)]);
    established(&world);
    world.now.set(1000 + ticks(8000));
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 901, 101)), (true, Reason::Flow));
    world.now.set(1000 + ticks(8000) + ticks(8101));
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 901, 101)), (false, Reason::Midflow));

    assert_eq!(sees(&world, OUT, &between(OUT, 17, &udp(9, 53))), (true, Reason::New));
    world.now.set(world.now.get() + ticks(61));
    assert_eq!(sees(&world, IN, &between(IN, 17, &udp(53, 9))), (false, Reason::NoRule));
}

#[test]
fn a_reply_to_an_echo_request_passes_and_a_stray_one_does_not() {
    let world = Memory::new(&[(OUT, 0x01_0800)]);
    let request = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
    assert_eq!(sees(&world, IN, &between(IN, 1, &[0, 0, 0, 0, 0x12, 0x34, 0, 1])), (false, Reason::NoFlow));
    assert_eq!(sees(&world, OUT, &between(OUT, 1, &request)), (true, Reason::New));
    assert_eq!(sees(&world, IN, &between(IN, 1, &[0, 0, 0, 0, 0x12, 0x34, 0, 1])), (true, Reason::Flow));
    assert_eq!(sees(&world, IN, &between(IN, 1, &[0, 0, 0, 0, 0x12, 0x35, 0, 1])), (false, Reason::NoFlow));
    assert_eq!(sees(&world, IN, &between(IN, 1, &request)), (false, Reason::NoRule));
}

#[test]
fn an_identifier_that_looks_like_a_type_lets_no_question_of_the_other_side_in() {
    for (question, answer) in [(8, 13), (13, 8)] {
        let world = Memory::new(&[(OUT, 0x01_0000 | question << 8)]);
        let [question, other] = [question, answer].map(|kind| kind as u8);
        let asks = [question, 0, 0, 0, other, 0, 0, 1];
        assert_eq!(sees(&world, OUT, &between(OUT, 1, &asks)), (true, Reason::New));
        for id in [question, other] {
            let (passes, _) = sees(&world, IN, &between(IN, 1, &[other, 0, 0, 0, id, 0, 0, 1]));
            assert!(!passes, "type {other} with identifier {id:#04x}00");
        }
        let world = Memory::new(&[(OUT, 0x01_0000 | u32::from(question) << 8)]);
        let own = [question, 0, 0, 0, question, 0, 0, 1];
        assert_eq!(sees(&world, OUT, &between(OUT, 1, &own)), (true, Reason::New));
        assert_eq!(sees(&world, IN, &between(IN, 1, &own)), (false, Reason::Midflow));
        assert_eq!(sees(&world, OUT, &between(OUT, 1, &own)), (true, Reason::Flow), "the opener goes on");
    }
}

#[test]
fn an_icmp_error_passes_only_about_an_approved_flow() {
    let world = Memory::new(&[(OUT, DNS)]);
    let sent = udp(9, 53);
    let error = |source, destination| {
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(&ipv4(source, destination, 17, &sent).bytes[14..]);
        ipv4([10, 0, 0, 99], HERE, 1, &payload)
    };
    assert_eq!(sees(&world, IN, &error(HERE, THERE)), (false, Reason::NoFlow));
    assert_eq!(sees(&world, OUT, &between(OUT, 17, &sent)), (true, Reason::New));
    assert_eq!(sees(&world, IN, &error(HERE, THERE)), (true, Reason::Related));
    assert_eq!(sees(&world, IN, &error(THERE, HERE)), (false, Reason::NoFlow), "not a packet we sent");
    world.word.set(Control::new(1, 0));
    assert_eq!(sees(&world, IN, &error(HERE, THERE)), (false, Reason::NoFlow), "not yet judged by these rules");
}

#[test]
fn an_expired_deadline_means_the_fallback() {
    let world = Memory::new(&[(IN, HTTP)]);
    world.word.set(Control::new(1, 0).with_deadline(1100));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 1, 0)), (false, Reason::NoRule));
    world.now.set(1100);
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 1, 0)), (true, Reason::New));
}

#[test]
fn audit_of_the_host_drops_nothing_and_remembers_what_it_would_have() {
    let world = Memory::new(&[]);
    world.word.set(Control::new(0, 0).with_audit(true));
    assert!(judge(&*world, &segment(IN, SYN, 1, 0), IN));
    assert_eq!(world.last(), (Verdict::WouldDrop, Reason::NoRule));
    assert!(judge(&*world, &segment(OUT, SYN_ACK, 1, 2), OUT));
    assert_eq!(world.last(), (Verdict::WouldDrop, Reason::Revoked));
    world.word.set(Control::new(0, 0));
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 1, 2)), (false, Reason::Revoked));
}

#[test]
fn learning_picks_up_midflow_tcp_in_either_origin() {
    let world = Memory::new(&[(IN, HTTP)]);
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 1, 2)), (false, Reason::Midflow));
    world.word.set(Control::new(0, 0).with_learning(true));
    assert_eq!(sees(&world, OUT, &segment(OUT, ACK, 1, 2)), (true, Reason::New));
    assert_eq!(sees(&world, IN, &segment(IN, ACK, 2, 1)), (true, Reason::Flow));
}

#[test]
fn the_failsafe_passes_both_directions_but_no_opening_on_the_reply_side() {
    let mut world = Rc::into_inner(Memory::new(&[])).unwrap();
    world.failsafe.push((IN, 6, 80));
    assert_eq!(sees(&world, IN, &segment(IN, SYN, 1, 0)), (true, Reason::Failsafe));
    assert_eq!(sees(&world, OUT, &segment(OUT, SYN_ACK, 1, 0)), (true, Reason::Failsafe));
    assert_eq!(sees(&world, OUT, &segment(OUT, SYN, 1, 0)), (false, Reason::NoRule));
}

#[test]
fn a_host_nobody_selects_passes_even_what_cannot_be_read() {
    let mut world = Rc::into_inner(Memory::new(&[])).unwrap();
    world.generations[0] = Generation::default();
    let garbage = Bytes { bytes: vec![0; 14], tags: 0, segmented: false };
    assert_eq!(sees(&world, IN, &garbage), (true, Reason::Unselected));
}

#[test]
fn later_fragments_follow_the_first() {
    let world = Memory::new(&[(IN, DNS)]);
    let mut first = between(IN, 17, &udp(9, 53));
    first.bytes[20] = 0x20;
    let mut later = between(IN, 17, &[0; 16]);
    later.bytes[21] = 2;
    assert_eq!(sees(&world, IN, &later), (false, Reason::Fragment));
    assert_eq!(sees(&world, IN, &first), (true, Reason::New));
    assert_eq!(sees(&world, IN, &later), (true, Reason::LaterFragment));
    assert_eq!(sees(&world, OUT, &later), (false, Reason::Fragment));
    world.word.set(Control::new(1, 0));
    assert_eq!(sees(&world, IN, &later), (false, Reason::Fragment), "other rules");
}

#[test]
fn the_link_keeps_working_without_a_rule() {
    let world = Memory::new(&[]);
    let arp = Bytes { bytes: [vec![0; 12], vec![8, 6], vec![0; 28]].concat(), tags: 0, segmented: false };
    assert_eq!(sees(&world, IN, &arp), (true, Reason::NotIp));
    let mut near = [0; 16];
    (near[0], near[1], near[15]) = (0xFE, 0x80, 9);
    let solicitation = |hops| ipv6(near, near, 58, hops, &[135, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sees(&world, IN, &solicitation(255)), (true, Reason::Neighbour));
    assert_eq!(sees(&world, IN, &solicitation(254)), (false, Reason::NoRule));
    let discover = ipv4([0; 4], [255; 4], 17, &udp(68, 67));
    assert_eq!(sees(&world, OUT, &discover), (true, Reason::Dhcp));
    assert_eq!(sees(&world, IN, &discover), (false, Reason::Spoofed));
}

#[test]
fn dhcp_is_left_to_the_rules_where_the_host_says_so() {
    let mut world = Rc::into_inner(Memory::new(&[(OUT, 0x11_0043)])).unwrap();
    world.generations[0].flags |= Generation::NO_DHCP;
    let renewal = |dir: u8| between(dir, 17, &if dir == OUT { udp(68, 67) } else { udp(67, 68) });
    assert_eq!(sees(&world, IN, &renewal(IN)), (false, Reason::NoRule));
    let discover = ipv4([0; 4], [255; 4], 17, &udp(68, 67));
    assert_eq!(sees(&world, OUT, &discover), (false, Reason::Spoofed), "no rule can name a host without an address");
    assert_eq!(sees(&world, OUT, &renewal(OUT)), (true, Reason::New));
    assert_eq!(sees(&world, IN, &renewal(IN)), (true, Reason::Flow));
    assert_eq!(check(&world, &renewal(IN), IN, 0) & 0xFF, Verdict::Drop as u32);
    world.generations[0].flags &= !Generation::NO_DHCP;
    assert_eq!(check(&world, &renewal(IN), IN, 0) & 0xFF, Verdict::Pass as u32);
}

#[test]
fn xdp_drops_a_stranger_and_nothing_that_tc_has_more_to_say_about() {
    let mut world = Rc::into_inner(Memory::new(&[(IN, HTTP)])).unwrap();
    world.failsafe.push((IN, 6, 22));
    let goes_on = |packet: &Bytes| goes_on(&world, packet);
    let to = |port| between(IN, 6, &tcp(4001, port, SYN, 1, 0));
    assert!(goes_on(&to(80)) && goes_on(&to(22)), "a rule, the failsafe");
    assert!(!goes_on(&to(23)));
    assert_eq!(world.last(), (Verdict::Drop, Reason::NoRule));
    assert!(!goes_on(&between(IN, 6, &tcp(4000, 23, ACK, 1, 0))));
    assert_eq!(world.last(), (Verdict::Drop, Reason::Midflow));
    assert!(goes_on(&between(IN, 6, &tcp(4000, 23, 0, 1, 0))), "flags no connection has");
    assert!(goes_on(&between(IN, 17, &udp(67, 68))), "DHCP");
    assert!(goes_on(&between(IN, 1, &[3, 3, 0, 0, 0, 0, 0, 0])), "an ICMP error");
    assert!(goes_on(&Bytes { bytes: vec![0; 20], tags: 0, segmented: false }), "no IP");
    let mut fragment = between(IN, 17, &udp(1, 2));
    assert!(!goes_on(&fragment));
    fragment.bytes[20] = 0x20;
    assert!(goes_on(&fragment), "a fragment");
    established(&world);
    world.word.set(Control::new(1, 0));
    assert!(goes_on(&segment(IN, ACK, 101, 901)), "of a flow that has no rule any more");
    assert!(!goes_on(&to(80)), "a new one has none");
    for word in [Control::new(1, 0).with_audit(true), Control::new(1, 0).with_learning(true)] {
        world.word.set(word);
        assert!(goes_on(&to(80)));
    }
}
