//! Connections that are older than enforcement.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    time::Duration,
};

use enforcer::{Direction, Enforcer, Interval, LiveFlow, Table};

use crate::lab::{HOST4, HOST6, Lab, PEER4, PEER6, TCP, UDP, service, table, tcp};

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;
const ALLOWED: u16 = 8080;
const FORBIDDEN: u16 = 9090;
const PATIENCE: Duration = Duration::from_millis(700);

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Both ends of a TCP connection: the host's, the peer's. The listener lives on where it is kept.
fn connection(lab: &Lab, origin: Direction, address: &str, port: u16) -> (TcpStream, TcpStream, TcpListener) {
    let inbound = origin == IN;
    let listen = || TcpListener::bind(at(address, port)).unwrap();
    let listener = if inbound { lab.on_host(listen) } else { lab.on_peer(listen) };
    let connect = || TcpStream::connect(at(address, port)).unwrap();
    let client = if inbound { lab.on_peer(connect) } else { lab.on_host(connect) };
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    if inbound { (server, client, listener) } else { (client, server, listener) }
}

/// Whether what one end writes reaches the other, both ways; the one that did not open the connection speaks first.
fn alive(origin: Direction, host: &mut TcpStream, peer: &mut TcpStream) -> bool {
    let (first, second) = if origin == IN { (host, peer) } else { (peer, host) };
    let crosses = |from: &mut TcpStream, to: &mut TcpStream| from.write_all(b"ping").is_ok() && to.read_exact(&mut [0; 4]).is_ok();
    crosses(first, second) && crosses(second, first)
}

/// Connected UDP sockets: the host's, the peer's, and one that waits at the host's port where the peer is the one that opens.
fn exchange(lab: &Lab, origin: Direction, v6: bool, port: u16) -> (UdpSocket, UdpSocket, Option<UdpSocket>) {
    let (host, peer) = if v6 { (HOST6, PEER6) } else { (HOST4, PEER4) };
    let (host_port, peer_port) = if origin == IN { (port, 40_000 + port % 1000) } else { (41_000 + port % 1000, port) };
    let shared = |address: &str, port| {
        use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt::set_socket_reuseport};
        let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket(family, SocketType::DGRAM, None).unwrap();
        set_socket_reuseport(&socket, true).unwrap();
        bind(socket.as_fd(), &at(address, port)).unwrap();
        UdpSocket::from(socket)
    };
    let joined = |own: &str, own_port, other: &str, other_port| {
        let socket = shared(own, own_port);
        socket.connect(at(other, other_port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let waits = (origin == IN).then(|| lab.on_host(|| shared(host, host_port)));
    let host_end = lab.on_host(|| joined(host, host_port, peer, peer_port));
    (host_end, lab.on_peer(|| joined(peer, peer_port, host, host_port)), waits)
}

fn heard(from: &UdpSocket, to: &UdpSocket) -> bool {
    from.send(b"ping").is_ok() && to.recv(&mut [0; 4]).is_ok()
}

/// The one service that is allowed, in `direction`, to the addresses of both families.
fn rules(directions: &[Direction]) -> Table {
    let open: [Interval; 2] = [service(TCP, ALLOWED, 1), service(UDP, ALLOWED, 2)];
    let prefixes: Vec<(Direction, &str, &[Interval])> = directions
        .iter()
        .flat_map(|direction| ["10.7.0.0/24", "fd07::/64"].map(|prefix| (*direction, prefix, open.as_slice())))
        .collect();
    table(&prefixes)
}

fn import(lab: &Lab, enforcer: &mut Enforcer) -> Vec<LiveFlow> {
    lab.on_host(|| enforcer.import()).unwrap()
}

fn named(flows: &[LiveFlow], local: SocketAddr, remote: SocketAddr) -> &LiveFlow {
    let found: Vec<_> = flows.iter().filter(|flow| (flow.local, flow.remote) == (local, remote)).collect();
    assert_eq!(found.len(), 1, "{local} {remote} is not listed once: {flows:?}");
    found[0]
}

#[test]
fn live_connections_survive_the_first_enforcement_and_forbidden_ones_are_named_and_then_cut() {
    let Some(lab) = Lab::new("live connections") else { return };
    let mut streams = Vec::new();
    for (origin, v4, v6) in [(IN, HOST4, HOST6), (OUT, PEER4, PEER6)] {
        for address in [v4, v6] {
            for port in [ALLOWED, FORBIDDEN] {
                streams.push((origin, port, connection(&lab, origin, address, port)));
            }
        }
    }
    let mut sockets = Vec::new();
    for (origin, v6, port) in [(IN, false, ALLOWED), (OUT, true, ALLOWED), (IN, true, FORBIDDEN), (OUT, false, FORBIDDEN)] {
        sockets.push((origin, port, exchange(&lab, origin, v6, port)));
    }
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.set_audit(true).unwrap();
    enforcer.install(&rules(&[IN, OUT]), [1; 32], 0).unwrap();
    // An answer that comes before the import makes an entry of the wrong origin, which must not count.
    for (_, _, (host, peer, _)) in &sockets {
        assert!(heard(peer, host));
    }
    let flows = import(&lab, &mut enforcer);
    assert_eq!(flows.len(), streams.len() + sockets.len(), "{flows:?}");
    let own = format!(" ({})", std::process::id());
    for (origin, port, (host, ..)) in &streams {
        let flow = named(&flows, host.local_addr().unwrap(), host.peer_addr().unwrap());
        assert_eq!((flow.proto, flow.origin, flow.allowed), (6, *origin, *port == ALLOWED), "{flow:?}");
        assert!(flow.process.as_ref().is_some_and(|name| name.ends_with(&own)), "{flow:?}");
    }
    for (origin, port, (host, ..)) in &sockets {
        let flow = named(&flows, host.local_addr().unwrap(), host.peer_addr().unwrap());
        assert_eq!((flow.proto, flow.origin, flow.allowed), (17, *origin, *port == ALLOWED), "{flow:?}");
    }
    assert_eq!(import(&lab, &mut enforcer), flows, "nothing changes when it is repeated");
    enforcer.set_audit(false).unwrap();
    for (origin, port, (host, peer, _)) in &mut streams {
        assert_eq!(alive(*origin, host, peer), *port == ALLOWED, "{origin:?} {}", host.peer_addr().unwrap());
    }
    for (origin, port, (host, peer, _)) in &sockets {
        let (first, second) = if *origin == IN { (host, peer) } else { (peer, host) };
        assert_eq!(heard(first, second) && heard(second, first), *port == ALLOWED, "{origin:?} {}", host.peer_addr().unwrap());
    }
    // What was imported is judged again like anything else.
    enforcer.install(&rules(&[OUT]), [2; 32], 0).unwrap();
    for (origin, port, (host, peer, _)) in streams.iter_mut().filter(|(_, port, _)| *port == ALLOWED) {
        assert_eq!(alive(*origin, host, peer), *origin == OUT, "{origin:?} {port}");
    }
}

#[test]
fn an_imported_flow_opens_nothing_else_to_its_peer() {
    let Some(lab) = Lab::new("live connections") else { return };
    lab.serve(true, FORBIDDEN);
    let (mut host, mut peer, _listener) = connection(&lab, OUT, PEER4, ALLOWED);
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&rules(&[OUT]), [1; 32], 0).unwrap();
    assert!(import(&lab, &mut enforcer).iter().any(|flow| flow.allowed));
    assert!(alive(OUT, &mut host, &mut peer));
    let from = host.local_addr().unwrap().port();
    lab.on_peer(|| {
        assert!(!tcp(HOST4, FORBIDDEN), "another port of the host");
        assert!(!tcp(HOST4, from), "the flow's port, from elsewhere");
    });
}

#[test]
fn tcp_in_mid_flow_is_learnt_in_either_origin_only_while_learning_is_on() {
    let Some(lab) = Lab::new("live connections") else { return };
    let mut early: Vec<_> = [(IN, HOST4), (OUT, PEER6)].map(|(origin, to)| (origin, connection(&lab, origin, to, ALLOWED))).into();
    let mut late: Vec<_> = [(IN, HOST6), (OUT, PEER4)].map(|(origin, to)| (origin, connection(&lab, origin, to, ALLOWED))).into();
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.set_learning(true).unwrap();
    enforcer.install(&rules(&[IN, OUT]), [1; 32], 0).unwrap();
    for (origin, (host, peer, _)) in &mut early {
        assert!(alive(*origin, host, peer), "{origin:?}");
    }
    enforcer.set_learning(false).unwrap();
    for (origin, (host, peer, _)) in &mut early {
        assert!(alive(*origin, host, peer), "{origin:?}: what was learnt stays");
    }
    for (origin, (host, peer, _)) in &mut late {
        assert!(!alive(*origin, host, peer), "{origin:?}: a first packet of the end that answers");
    }
}

#[test]
fn a_thousand_connections_are_imported_at_once() {
    const COUNT: usize = 1_000;
    let Some(lab) = Lab::new("live connections") else { return };
    // Each connection takes two descriptors.
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: hard, maximum: hard })
        .unwrap();
    let listener = lab.on_host(|| TcpListener::bind(at(HOST4, ALLOWED)).unwrap());
    let clients = lab.on_peer(|| {
        let connect = |_| TcpStream::connect(at(HOST4, ALLOWED)).unwrap();
        (0..COUNT).map(|n| (connect(n), listener.accept().unwrap().0)).collect::<Vec<_>>()
    });
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    enforcer.install(&rules(&[IN]), [1; 32], 0).unwrap();
    let flows = import(&lab, &mut enforcer);
    assert_eq!(flows.iter().filter(|flow| flow.origin == IN && flow.allowed).count(), COUNT);
    for (mut client, mut server) in clients {
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        assert!(alive(IN, &mut server, &mut client));
    }
}
