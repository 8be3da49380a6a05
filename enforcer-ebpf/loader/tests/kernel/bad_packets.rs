//! What nobody should send, sent over a real cable.

use std::net::UdpSocket;

use enforcer::{Direction, Enforcer, Interval, Table};
use rustix::net::eth;

use crate::{
    frames::{Ip, Wire, ethernet, expect_packets, packets, wires},
    lab::{HOST4, HOST6, Lab, PEER4, PEER6, TCP, UDP, answers, connect, ip, service, table},
};

const ALLOWED: u16 = 8080;
/// A port of the peer that the host may ask.
const ASKED: u16 = 7000;
/// Nobody's addresses, in prefixes the rules name: nothing answers for them.
const STRANGER4: &str = "10.7.0.3";
const STRANGER6: &str = "fd07::3";
const NOBODY4: &str = "10.7.0.99";

const PASS: &str = "pass";
const DROP: &str = "drop";

fn rules() -> Table {
    let echo = |service| Interval { lo: service, hi: service, rule: 3, audit: false };
    let open4 = [echo(0x01_0800), service(TCP, ALLOWED, 1), service(UDP, ALLOWED, 2)];
    let open6 = [service(TCP, ALLOWED, 1), service(UDP, ALLOWED, 2), echo(0x3A_8000)];
    let ask = [service(UDP, ASKED, 4)];
    let (inbound, outbound) = (Direction::In, Direction::Out);
    table(&[
        (inbound, "10.7.0.0/24", &open4),
        (inbound, "fd07::/64", &open6),
        (outbound, "10.7.0.0/24", &ask),
        (outbound, "fd07::/64", &ask),
    ])
}

/// A filtered host with a connection that must outlive what `test` does.
fn with_a_flow_alive(test: impl FnOnce(&Lab, &Enforcer)) {
    let Some(lab) = Lab::new("bad packets") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, ALLOWED);
    lab.attach(&mut enforcer);
    enforcer.install(&rules(), [1; 32], 0).unwrap();
    let mut stream = lab.on_peer(|| connect(HOST4, ALLOWED)).unwrap();
    assert!(answers(&mut stream));
    test(&lab, &enforcer);
    assert!(answers(&mut stream), "an established flow goes on");
}

#[test]
fn a_frame_cut_at_any_length_never_reaches_the_stack() {
    with_a_flow_alive(|lab, enforcer| {
        const WHOLE: usize = 80;
        let ((host4, peer4), (host6, _peer6)) = (wires(lab, eth::IP), wires(lab, eth::IPV6));
        let mark = [0xA5; 4];
        for (v6, source, destination) in [(false, STRANGER4, HOST4), (true, STRANGER6, HOST6)] {
            let own = Ip::new(host4.mac(), source, destination);
            let filled = |size: usize| [0xA5].repeat(WHOLE - size - if v6 { 54 } else { 34 });
            let segment = own.tcp(5000, ALLOWED, 2, &filled(20));
            let datagram = own.udp(5000, ALLOWED, &filled(8));
            let query = own.icmp(if v6 { 128 } else { 8 }, 0, 1, &filled(8));
            let listener = if v6 { &host6 } else { &host4 };
            for (proto, payload) in [(6, segment), (17, datagram), (if v6 { 58 } else { 1 }, query)] {
                let frame = own.frame(proto, &payload);
                assert_eq!(frame.len(), WHOLE);
                let refused = || packets(enforcer, "tc_in", DROP, "truncated") + packets(enforcer, "tc_in", DROP, "malformed");
                let before = refused();
                // The kernel sends nothing without a whole Ethernet header.
                let sent = (0..WHOLE).filter(|length| peer4.send(&frame[..*length])).count();
                assert_eq!(sent, WHOLE - 14);
                expect_packets(enforcer, "the whole one", 1, ("tc_in", PASS, "new"), || assert!(peer4.send(&frame)));
                assert_eq!(refused() - before, sent as u64, "protocol {proto}");
                assert_eq!(listener.heard(&mark), 1, "protocol {proto}: only the whole one is heard");
            }
        }
    });
}

#[test]
fn what_carries_ip_around_the_filter_is_refused_by_its_own_reason() {
    with_a_flow_alive(|lab, enforcer| {
        let (host, peer) = wires(lab, eth::IP);
        let (to, own) = (host.mac(), Ip::new(host.mac(), STRANGER4, HOST4));
        let open = own.frame(17, &own.udp(5001, ALLOWED, b"mark"));
        let tagged = |tags: &[u16], frame: &[u8]| {
            let tags: Vec<u8> = tags.iter().flat_map(|kind| [kind.to_be_bytes(), [0, 5]].concat()).collect();
            [&frame[..12], &tags, &frame[12..]].concat()
        };
        let says = |source: &str, text| {
            let own = Ip::new(to, source, HOST4);
            own.frame(17, &own.udp(5002, ALLOWED, text))
        };
        let from = |source: &str| says(source, b"mark");
        let mut options = own.packet(17, &own.udp(5003, ALLOWED, b"mark"));
        options.splice(20..20, [0x83, 7, 4, 10, 7, 0, 1, 0]);
        (options[0], options[3]) = (0x47, options[3] + 8);
        let snap = [&[0xAA, 0xAA, 3, 0, 0, 0, 8, 0], &open[14..]].concat();
        let cases = [
            ("MPLS", ethernet(to, 0x8847, &open[14..]), DROP, "ethertype"),
            ("PPPoE", ethernet(to, 0x8864, &open[14..]), DROP, "ethertype"),
            ("the first number that is a type", ethernet(to, 0x0600, &open[14..]), DROP, "ethertype"),
            ("LLC with SNAP", ethernet(to, u16::try_from(snap.len()).unwrap(), &snap), DROP, "ethertype"),
            ("LLC of spanning tree", ethernet([1, 0x80, 0xC2, 0, 0, 0], 38, &[0x42, 0x42, 3, 0, 0]), DROP, "ethertype"),
            ("LLDP", ethernet([1, 0x80, 0xC2, 0, 0, 0x0E], 0x88CC, &[2, 7, 4, 1, 2]), PASS, "not_ip"),
            ("EAPOL", ethernet([1, 0x80, 0xC2, 0, 0, 3], 0x888E, &[1, 1, 0, 0]), PASS, "not_ip"),
            ("a slow protocol", ethernet([1, 0x80, 0xC2, 0, 0, 2], 0x8809, &[1, 1]), PASS, "not_ip"),
            ("one VLAN tag", tagged(&[0x8100], &says(STRANGER4, b"good")), PASS, "new"),
            ("two VLAN tags", tagged(&[0x88A8, 0x8100], &says("10.7.0.4", b"good")), PASS, "new"),
            ("three VLAN tags", tagged(&[0x88A8, 0x8100, 0x8100], &open), DROP, "malformed"),
            ("a type that is none behind a tag", tagged(&[0x8100], &ethernet(to, 0x8847, &open[14..])), DROP, "ethertype"),
            ("loose source routing", ethernet(to, 0x0800, &options), DROP, "ip_options"),
            ("a source of loopback", from("127.0.0.1"), DROP, "spoofed"),
            ("a source of a group", from("224.0.0.1"), DROP, "spoofed"),
            ("the source of everybody", from("255.255.255.255"), DROP, "spoofed"),
            ("a source of this network", from("0.0.0.7"), DROP, "spoofed"),
        ];
        for (what, frame, verdict, reason) in cases {
            expect_packets(enforcer, what, 1, ("tc_in", verdict, reason), || assert!(peer.send(&frame), "{what}"));
        }
        assert_eq!(host.heard(b"mark"), 0, "no refused one is heard");
    });
}

#[test]
fn of_all_tcp_flags_only_those_of_a_connection_make_state() {
    with_a_flow_alive(|lab, enforcer| {
        const VALID: [u8; 9] = [0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x22, 0x30, 0x31];
        const PUSH: u8 = 0x08;
        let (host, peer) = wires(lab, eth::IP);
        // Nobody's address: the stack answers nothing that would make state.
        let own = Ip::new(host.mac(), STRANGER4, NOBODY4);
        let reply = Ip::new(peer.mac(), NOBODY4, STRANGER4);
        let mut opened = 0;
        for flags in 0..64_u8 {
            let end = match flags & !PUSH {
                0x12 | 0x04 | 0x14 => (DROP, "midflow"),
                valid if VALID.contains(&valid) => (PASS, "new"),
                _ => (DROP, "tcp_flags"),
            };
            opened += usize::from(end.0 == PASS);
            let port = 6000 + u16::from(flags);
            let frame = own.frame(6, &own.tcp(port, ALLOWED, flags, b"mark"));
            let what = format!("flags {flags:#04x}");
            expect_packets(enforcer, &what, 1, ("tc_in", end.0, end.1), || assert!(peer.send(&frame)));
            let answered = if end.0 == PASS { (PASS, "flow") } else { (DROP, "midflow") };
            let answer = reply.frame(6, &reply.tcp(ALLOWED, port, 0x12, b"mark"));
            expect_packets(enforcer, &what, 1, ("tc_out", answered.0, answered.1), || {
                // A sender is told of what is dropped on its way out.
                assert_eq!(host.send(&answer), answered.0 == PASS);
            });
        }
        assert_eq!(opened, 12, "six combinations, with and without PSH");
        assert_eq!((host.heard(b"mark"), peer.heard(b"mark")), (opened, opened));
    });
}

/// An ICMP error of `kind` from a router, about `quoted`.
fn error(host: &Wire, v6: bool, kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    let (router, to) = if v6 { (STRANGER6, HOST6) } else { (STRANGER4, HOST4) };
    let own = Ip::new(host.mac(), router, to);
    own.frame(if v6 { 58 } else { 1 }, &own.icmp(kind, code, word, quoted))
}

#[test]
fn icmp_errors_pass_about_flows_there_are_and_about_no_others() {
    with_a_flow_alive(|lab, enforcer| {
        let (host, peer) = wires(lab, eth::IP);
        for (v6, own, to, too_big) in [(false, HOST4, PEER4, (3, 4)), (true, HOST6, PEER6, (2, 0))] {
            let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
            let socket = lab.on_host(|| UdpSocket::bind(any).unwrap());
            socket.connect((to, ASKED)).unwrap();
            expect_packets(enforcer, "a flow", 1, ("tc_out", PASS, "new"), || assert!(socket.send(b"asked").is_ok()));
            let port = socket.local_addr().unwrap().port();
            let sent = Ip::new(peer.mac(), own, to);
            let quote = |port| sent.packet(17, &sent.udp(port, ASKED, b"asked"));
            let kinds: &[(u8, u8)] = if v6 { &[(1, 0), (2, 0), (3, 0), (4, 1)] } else { &[(3, 1), (3, 4), (11, 0), (12, 0)] };
            for (kind, code) in kinds {
                let what = format!("type {kind} code {code}");
                let known = error(&host, v6, *kind, *code, 1300, &quote(port));
                expect_packets(enforcer, &what, 1, ("tc_in", PASS, "related"), || assert!(peer.send(&known)));
                let unknown = error(&host, v6, *kind, *code, 1300, &quote(port ^ 1));
                expect_packets(enforcer, &what, 1, ("tc_in", DROP, "no_flow"), || assert!(peer.send(&unknown)));
                let cut = error(&host, v6, *kind, *code, 1300, &quote(port)[..12]);
                expect_packets(enforcer, &what, 1, ("tc_in", DROP, "no_flow"), || assert!(peer.send(&cut)));
            }
            // The stack has heard of the smaller MTU.
            let route = format!("-n {} route get {to}", lab.host);
            let learnt = std::process::Command::new("ip").args(route.split_whitespace()).output().unwrap();
            assert!(String::from_utf8_lossy(&learnt.stdout).contains("mtu 1300"), "{too_big:?}: {learnt:?}");
            ip(&format!("-n {} -{} route flush cache", lab.host, if v6 { 6 } else { 4 }));
        }
    });
}
