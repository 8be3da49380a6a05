//! The XDP program drops nothing that TC ingress would let pass, on packets that are on no wire and on real ones.

use std::{cell::RefCell, net::IpAddr};

use enforcer::{Direction, FailsafeEntry, Table, XdpState};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};

use crate::{
    lab::{HOST4, Lab, TCP, UDP, answers, connect, service, table as only},
    packet::opening,
    pins::under_fire,
    rules,
    upgrade::allowed_packets,
};

/// What may be wrong with a packet: where a byte is changed, and to what.
fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let bytes = select(vec![0_u8, 1, 2, 3, 4, 5, 6, 0x10, 0x11, 0x12, 0x14, 0x20, 0x40, 0x45, 0x46, 0x50, 0x60, 0x7F, 0xE0, 0xFF]);
    prop::collection::vec((12_usize..68, bytes), 0..3)
}

#[test]
fn whatever_xdp_drops_tc_would_drop() {
    let Some(lab) = Lab::new("comparing XDP with TC") else { return };
    let enforcer = RefCell::new(lab.open());
    let peer: IpAddr = "10.7.0.2".parse().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() });
    let dropped = std::cell::Cell::new(0_u32);
    let outcome =
        runner.run(&(rules::table(), prop::collection::vec(damage(), 1..8), any::<bool>()), |(table, damages, guarded)| {
            let guard = FailsafeEntry { id: 1, direction: Direction::In, proto: 6, port: 22, peer: crate::lab::cidr("10.0.0.0/8") };
            let failsafe = if guarded { vec![guard] } else { vec![] };
            enforcer.borrow_mut().set_failsafe(&failsafe).unwrap();
            enforcer.borrow_mut().install(&table, [0; 32], 0).unwrap();
            let enforcer = enforcer.borrow();
            for peer in rules::peers(&table).into_iter().chain([peer]).take(12) {
                for service in rules::services(&table).into_iter().take(12) {
                    for damage in &damages {
                        let mut packet = opening(true, peer, service);
                        for (at, byte) in damage {
                            if let Some(own) = packet.get_mut(*at) {
                                *own = *byte;
                            }
                        }
                        // Before TC, which remembers what it lets pass.
                        let early = enforcer.passes_early(&packet).unwrap();
                        let late = enforcer.passes(Direction::In, &packet).unwrap();
                        prop_assert!(early || !late, "{:02x?}", packet);
                        prop_assert!(!late || enforcer.passes_early(&packet).unwrap(), "of a flow: {:02x?}", packet);
                        dropped.set(dropped.get() + u32::from(!early));
                    }
                }
            }
            Ok(())
        });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(dropped.get() > 0, "the comparison saw XDP drop nothing");
    println!("{} packets dropped early", dropped.get());
    // A peer that has no flows from before.
    plain(&enforcer, "10.7.0.77".parse().unwrap());
}

/// What nobody asked for is dropped, and counted at its hook; nothing is while a host is audited or learns.
fn plain(enforcer: &RefCell<enforcer::Enforcer>, peer: IpAddr) {
    let allowed: Table = only(&[(Direction::In, "10.7.0.0/24", &[service(TCP, 443, 1)])]);
    let mut enforcer = enforcer.borrow_mut();
    enforcer.set_failsafe(&[]).unwrap();
    enforcer.install(&allowed, [0; 32], 0).unwrap();
    let early = |enforcer: &enforcer::Enforcer, service| enforcer.passes_early(&opening(true, peer, service)).unwrap();
    let before = counted(&enforcer);
    assert_eq!([0x06_01BB, 0x06_0016, 0x11_01BB].map(|service| early(&enforcer, service)), [true, false, false]);
    assert_eq!(counted(&enforcer) - before, 2);
    enforcer.set_audit(true).unwrap();
    assert!(early(&enforcer, 0x06_0016), "audited");
    enforcer.set_audit(false).unwrap();
    enforcer.set_learning(true).unwrap();
    assert!(early(&enforcer, 0x06_0016), "learning");
    enforcer.set_learning(false).unwrap();
    assert!(!early(&enforcer, 0x06_0016));
}

fn counted(enforcer: &enforcer::Enforcer) -> u64 {
    enforcer.counts().unwrap().iter().filter(|own| own.hook == "xdp" && own.reason == "no_rule").map(|own| own.packets).sum()
}

#[test]
fn xdp_that_comes_and_goes_under_traffic_changes_no_verdict() {
    let Some(lab) = Lab::new("XDP under traffic") else { return };
    lab.serve(true, 8080);
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let open = [service(TCP, 8080, 1), service(UDP, 7070, 2)];
    enforcer.install(&only(&[(Direction::In, "10.7.0.0/24", &open)]), [1; 32], 0).unwrap();
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    let mut packets = (0, 0);
    let passed = under_fire(&lab, || {
        packets = allowed_packets(&lab, 7070, || {
            for on in [true, false, true, false, true] {
                let expected = if on { XdpState::Native } else { XdpState::Off };
                assert_eq!(lab.on_host(|| enforcer.set_xdp("h0", on)).unwrap(), expected);
                assert_eq!(lab.on_host(|| enforcer.set_xdp("h0", on)).unwrap(), expected, "idempotent");
                assert!(answers(&mut stream));
                let seen = lab.on_host(|| enforcer.observe()).unwrap();
                assert_eq!((seen.tampering, &seen.xdp[0].state, seen.xdp[0].wanted), (vec![], &expected, on));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
    });
    assert_eq!(passed, 0, "forbidden packets");
    // The driver empties its queue when it changes to XDP or back: what stands in it at that moment may be lost, a wrong verdict would
    // be far more.
    let (sent, arrived) = packets;
    assert!(arrived <= sent && sent - arrived <= sent / 1_000, "allowed packets: {sent} sent, {arrived} arrived");
    let dropped = |counted: &enforcer::Counted| counted.hook == "xdp" && counted.verdict == "drop" && counted.packets > 0;
    assert!(enforcer.counts().unwrap().iter().any(dropped), "it did drop");
    // Another process finds it, and detaching ends it.
    let again = lab.open();
    assert_eq!(lab.on_host(|| again.observe()).unwrap().xdp[0].state, XdpState::Native);
    lab.on_host(|| enforcer.detach("h0")).unwrap();
    assert_eq!(lab.on_host(|| enforcer.observe()).unwrap().xdp, []);
}
