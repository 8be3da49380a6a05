//! Real packets between two namespaces.

use enforcer::{Direction, FailsafeEntry, Interval, Mode, Table};

use crate::lab::{
    HOST4, HOST6, Lab, PEER4, PEER6, TCP, UDP, answers, cidr, connect, ip, ping, ping_with, service, table, tcp, udp,
};

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;

#[test]
fn a_host_without_a_generation_passes_everything() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    assert!(lab.on_peer(|| tcp(HOST4, 8080) && udp(HOST6, 8080) && ping(HOST4) && ping(HOST6)));
}

#[test]
fn only_the_allowed_port_answers_inbound() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.serve(true, 9090);
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1), service(UDP, 8080, 2)];
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &open), (IN, "fd07::2/128", &open)]), [1; 32], 0).unwrap();
    lab.on_peer(|| {
        for address in [HOST4, HOST6] {
            assert!(tcp(address, 8080), "{address}");
            assert!(udp(address, 8080), "{address}");
            assert!(!tcp(address, 9090), "{address}");
            assert!(!udp(address, 9090), "{address}");
            assert!(!ping(address), "{address}");
        }
    });
    assert!(!lab.on_host(|| tcp(PEER4, 8080) || ping(PEER6)));
}

#[test]
fn only_the_allowed_port_answers_outbound() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(false, 8080);
    lab.serve(false, 9090);
    lab.attach(&mut enforcer);
    let open = [Interval { lo: 0x01_0800, hi: 0x01_0800, rule: 3, audit: false }, service(TCP, 8080, 1), service(UDP, 8080, 2)];
    let open6 = [service(TCP, 8080, 1), service(UDP, 8080, 2), Interval { lo: 0x3A_8000, hi: 0x3A_8000, rule: 3, audit: false }];
    enforcer.install(&table(&[(OUT, "10.7.0.2/32", &open), (OUT, "fd07::/64", &open6)]), [1; 32], 0).unwrap();
    lab.on_host(|| {
        for address in [PEER4, PEER6] {
            assert!(tcp(address, 8080), "{address}");
            assert!(udp(address, 8080), "{address}");
            assert!(ping(address), "{address}");
            assert!(!tcp(address, 9090), "{address}");
            assert!(!udp(address, 9090), "{address}");
        }
    });
    assert!(!lab.on_peer(|| ping(HOST4) || ping(HOST6)));
}

#[test]
fn an_isolated_direction_leaves_the_other_open() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.serve(false, 8080);
    lab.attach(&mut enforcer);
    let inbound = Table { isolate_in: Some(Mode::Enforce), ..Table::default() };
    enforcer.install(&inbound, [1; 32], 0).unwrap();
    assert!(lab.on_host(|| tcp(PEER4, 8080) && udp(PEER6, 8080)));
    assert!(!lab.on_peer(|| tcp(HOST4, 8080)));
}

#[test]
fn a_connection_survives_rules_that_still_allow_it_and_is_cut_by_those_that_do_not() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1)];
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &open)]), [1; 32], 0).unwrap();
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    assert!(answers(&mut stream));
    let wider = [service(TCP, 8080, 9), service(TCP, 9090, 1)];
    enforcer.install(&table(&[(IN, "10.0.0.0/8", &wider)]), [2; 32], 0).unwrap();
    assert!(answers(&mut stream), "the new rules still allow it");
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &[service(TCP, 9090, 1)])]), [3; 32], 0).unwrap();
    assert!(!answers(&mut stream), "the new rules do not allow it");
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &open)]), [4; 32], 0).unwrap();
    assert!(lab.on_peer(|| tcp(HOST4, 8080)), "a new connection is allowed again");
}

#[test]
fn a_live_connection_that_the_first_generation_allows_survives_it() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    lab.attach(&mut enforcer);
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &[service(TCP, 8080, 1)])]), [1; 32], 0).unwrap();
    assert!(answers(&mut stream));
}

#[test]
fn neighbours_are_found_from_a_cold_cache() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1)];
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &open), (IN, "fd07::/64", &open)]), [1; 32], 0).unwrap();
    for (namespace, link) in [(&lab.host, "h0"), (&lab.peer, "p0")] {
        ip(&format!("-n {namespace} neigh flush dev {link}"));
    }
    assert!(lab.on_peer(|| tcp(HOST4, 8080) && tcp(HOST6, 8080)));
}

#[test]
fn fragments_follow_their_first() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let echo = [Interval { lo: 0x01_0800, hi: 0x01_0800, rule: 3, audit: false }];
    let big = || ping_with(HOST4, 4000);
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &echo)]), [1; 32], 0).unwrap();
    assert!(lab.on_peer(big));
    enforcer.install(&table(&[]), [2; 32], 0).unwrap();
    assert!(!lab.on_peer(big));
}

#[test]
fn the_failsafe_holds_whatever_the_rules_say() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.serve(true, 9090);
    lab.serve(false, 8080);
    lab.attach(&mut enforcer);
    let entry = |id, direction, peer| FailsafeEntry { id, direction, proto: 6, port: 8080, peer: cidr(peer) };
    enforcer.set_failsafe(&[entry(1, IN, "10.7.0.2/32"), entry(2, OUT, "fd07::/64")]).unwrap();
    enforcer.install(&table(&[]), [1; 32], 0).unwrap();
    lab.on_peer(|| {
        assert!(tcp(HOST4, 8080), "inbound, IPv4");
        assert!(!tcp(HOST6, 8080), "inbound, IPv6");
        assert!(!tcp(HOST4, 9090), "another port");
    });
    lab.on_host(|| {
        assert!(tcp(PEER6, 8080), "outbound, IPv6");
        assert!(!tcp(PEER4, 8080), "outbound, IPv4");
    });
    enforcer.set_failsafe(&[]).unwrap();
    assert!(!lab.on_peer(|| tcp(HOST4, 8080)));
}

#[test]
fn a_failsafe_entry_for_everybody_is_refused() {
    let Some(lab) = Lab::new("the failsafe") else { return };
    let mut enforcer = lab.open();
    let entry = FailsafeEntry { id: 7, direction: IN, proto: 6, port: 22, peer: cidr("0.0.0.0/0") };
    assert!(matches!(enforcer.set_failsafe(&[entry]), Err(enforcer::Error::Failsafe { id: 7, .. })));
}

#[test]
fn audit_of_the_host_drops_nothing_and_leaving_it_cuts() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    enforcer.set_audit(true).unwrap();
    enforcer.install(&table(&[]), [1; 32], 0).unwrap();
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    assert!(answers(&mut stream));
    assert!(lab.on_peer(|| udp(HOST6, 8080)));
    enforcer.set_audit(false).unwrap();
    assert!(!answers(&mut stream));
    assert_eq!(enforcer.observe().unwrap().tampering, []);
}

#[test]
fn every_refusal_is_counted_with_its_reason() {
    let Some(lab) = Lab::new("real traffic") else { return };
    let mut enforcer = lab.open();
    lab.serve(true, 8080);
    lab.attach(&mut enforcer);
    enforcer.install(&table(&[(IN, "10.7.0.0/24", &[service(UDP, 8080, 2)])]), [1; 32], 0).unwrap();
    assert!(lab.on_peer(|| udp(HOST4, 8080) && !udp(HOST4, 9090) && !udp(HOST6, 8080)));
    let counts = enforcer.counts().unwrap();
    let packets = |hook, ipv6, verdict, reason| {
        let key = (hook, ipv6, verdict, reason);
        counts.iter().find(|own| (own.hook, own.ipv6, own.verdict, own.reason) == key).map_or(0, |own| own.packets)
    };
    assert_eq!(packets("tc_in", false, "pass", "new"), 1);
    assert_eq!(packets("tc_out", false, "pass", "flow"), 1);
    assert_eq!(packets("tc_in", false, "drop", "no_rule"), 1);
    // Router solicitations of the peer's kernel, perhaps, besides.
    assert!(packets("tc_in", true, "drop", "no_rule") >= 1);
}
