//! A newer version takes over what an older one left, under traffic.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use enforcer::{Attached, Direction, Enforcer};

use crate::{
    lab::{HOST4, Lab, TCP, UDP, answers, connect, newer_object, object, service, table},
    pins::under_fire,
};

/// How often the program is exchanged; more in long runs.
fn rounds() -> usize {
    std::env::var("PCI_SEGMENT_UPGRADES").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Sends allowed packets one after the other while `work` runs; answers how many were sent and how many arrived.
pub(crate) fn allowed_packets(lab: &Lab, port: u16, work: impl FnOnce()) -> (usize, usize) {
    let to = SocketAddr::new(HOST4.parse().unwrap(), port);
    let target = lab.on_host(|| UdpSocket::bind(to)).unwrap();
    target.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let source = lab.on_peer(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counted = scope.spawn(|| {
            let (mut sent, mut arrived) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                sent += source.send_to(b"allowed", to).map_or(0, |_| 1);
                arrived += target.recv(&mut [0; 16]).map_or(0, |_| 1);
            }
            (sent, arrived)
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        counted.join().unwrap()
    })
}

#[test]
fn programs_are_exchanged_in_place_and_no_packet_is_lost_or_wrongly_passed() {
    let Some(lab) = Lab::new("upgrading") else { return };
    lab.serve(true, 8080);
    {
        let mut enforcer = lab.open();
        lab.attach(&mut enforcer);
        let open = [service(TCP, 8080, 1), service(UDP, 7070, 2)];
        enforcer.install(&table(&[(Direction::In, "10.7.0.0/24", &open)]), [1; 32], 0).unwrap();
    }
    let mut stream = lab.on_peer(|| connect(HOST4, 8080)).unwrap();
    let mut packets = (0, 0);
    let passed = under_fire(&lab, || {
        packets = allowed_packets(&lab, 7070, || {
            for round in 0..rounds() {
                let version = if round % 2 == 0 { newer_object() } else { object() };
                let before = lab.on_host(|| Enforcer::open_existing(&lab.root)).unwrap().unwrap();
                let before = lab.on_host(|| before.observe()).unwrap();
                let mut upgraded = lab.on_host(|| Enforcer::open_with_object(&lab.root, &version)).unwrap();
                let after = lab.on_host(|| upgraded.observe()).unwrap();
                assert_eq!(after, before, "hooks run the new program already, and nothing else changed");
                assert_eq!(lab.on_host(|| upgraded.attach("h0")).unwrap(), Attached::Already);
                assert!(answers(&mut stream), "round {round}");
            }
        });
    });
    assert_eq!(passed, 0, "forbidden packets");
    assert_eq!(packets.0, packets.1, "allowed packets sent and arrived");
    assert!(packets.0 > 100, "{packets:?}");
}
