//! A flood of handshakes nobody completes.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use enforcer::{Direction, Enforcer, Timed};

use crate::{
    frames::packets,
    lab::{HOST4, Lab, TCP, service, table},
    packet::opening,
};

const FLOWS: usize = 1_000;
const ALLOWED: u16 = 8080;
/// Sources of the flood unless `PCI_SEGMENT_FLOOD` says otherwise: more than the table of half-open connections holds.
const SOURCES: u32 = 50_000;

/// Entries of a pinned table of IPv4 flows, and how many it may have.
fn entries(lab: &Lab, name: &str) -> (usize, usize) {
    let map = MapData::from_pin(lab.pins().join("maps").join(name)).unwrap();
    let room = map.info().unwrap().max_entries() as usize;
    let map = HashMap::<_, [u8; 16], [u8; 28]>::try_from(Map::LruHashMap(map)).unwrap();
    (map.keys().count(), room)
}

fn flood(enforcer: &Enforcer, sources: std::ops::Range<u32>) {
    for n in sources {
        let source = std::net::Ipv4Addr::from(0x0B00_0000 + n);
        enforcer.time(Timed::Enforcing(Direction::In), &opening(true, source.into(), 0x06_0000 | u32::from(ALLOWED)), 1).unwrap();
    }
}

#[test]
fn a_flood_of_handshakes_costs_established_connections_nothing() {
    let Some(lab) = Lab::new("a flood") else { return };
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: hard, maximum: hard })
        .unwrap();
    let sources = std::env::var("PCI_SEGMENT_FLOOD").map_or(SOURCES, |count| count.parse().unwrap());
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let open = [service(TCP, ALLOWED, 1)];
    enforcer.install(&table(&[(Direction::In, "10.0.0.0/7", &open)]), [1; 32], 0).unwrap();
    let at = SocketAddr::new(HOST4.parse().unwrap(), ALLOWED);
    let listener = lab.on_host(|| TcpListener::bind(at).unwrap());
    let connections = lab.on_peer(|| {
        let connect = |_| (TcpStream::connect(at).unwrap(), listener.accept().unwrap().0);
        (0..FLOWS).map(connect).collect::<Vec<_>>()
    });
    let crosses = || {
        for (client, server) in &connections {
            for (mut from, mut to) in [(client, server), (server, client)] {
                to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                from.write_all(b"ping").unwrap();
                to.read_exact(&mut [0; 4]).unwrap();
            }
        }
    };
    crosses();
    assert_eq!(entries(&lab, "tcp4").0, FLOWS);
    for step in 0..10 {
        flood(&enforcer, sources / 10 * step..sources / 10 * (step + 1));
        crosses();
    }
    assert_eq!(entries(&lab, "tcp4").0, FLOWS, "none was evicted, and no source of the flood got in");
    let (half, room) = entries(&lab, "half4");
    assert!(half <= room && half > room / 2, "{half} of {room}");
    let refused: Vec<_> = enforcer.counts().unwrap().into_iter().filter(|own| !own.ipv6 && own.verdict == "drop").collect();
    assert_eq!(refused, [], "nothing of the established ones was refused");
    assert!(packets(&enforcer, "tc_in", "pass", "new") >= u64::from(sources / 10 * 10));
}
