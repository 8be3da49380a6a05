//! Packets in pieces, and packets larger than a frame.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use enforcer::Direction;
use rustix::net::eth;

use crate::{
    frames::{Ip, expect_packets, wires},
    lab::{HOST4, HOST6, Lab, TCP, UDP, service, table},
};

const PASS: &str = "pass";
const DROP: &str = "drop";
const ALLOWED: u16 = 8080;

fn lab() -> Option<(Lab, enforcer::Enforcer)> {
    let lab = Lab::new("fragments")?;
    let mut enforcer = lab.open();
    lab.attach(&mut enforcer);
    let open = [service(TCP, ALLOWED, 1), service(UDP, ALLOWED, 2)];
    let prefixes = ["10.7.0.0/24", "fd07::/64"].map(|prefix| (Direction::In, prefix, open.as_slice()));
    enforcer.install(&table(&prefixes), [1; 32], 0).unwrap();
    Some((lab, enforcer))
}

#[test]
fn fragments_pass_after_their_first_and_cannot_rewrite_it() {
    let Some((lab, enforcer)) = lab() else { return };
    let (host, peer) = wires(&lab, eth::ALL);
    let tell = |what: &str, (verdict, reason), frame: &[u8]| {
        expect_packets(&enforcer, what, 1, ("tc_in", verdict, reason), || assert!(peer.send(frame)));
    };
    for (source, destination) in [("10.7.0.3", HOST4), ("fd07::3", HOST6)] {
        let own = Ip::new(host.mac(), source, destination);
        let at = SocketAddr::new(destination.parse().unwrap(), ALLOWED);
        let socket = lab.on_host(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let heard = || socket.recv(&mut [0; 64]).ok();
        let datagram = own.udp(5000, ALLOWED, &[7; 40]);
        let (first, last) = datagram.split_at(24);
        let (first, last) = (own.fragment(17, 1, 0, true, first), own.fragment(17, 1, 24, false, last));
        tell("a later one comes first", (DROP, "fragment"), &last);
        tell("the first", (PASS, "new"), &first);
        assert_eq!(heard(), None, "the one that came first is lost");
        tell("the later one again", (PASS, "fragment"), &last);
        assert_eq!(heard(), Some(40));

        let other = own.udp(5001, 9090, &[7; 40]);
        tell("the first of a datagram for another port", (DROP, "no_rule"), &own.fragment(17, 2, 0, true, &other[..24]));
        tell("what follows it", (DROP, "fragment"), &own.fragment(17, 2, 24, false, &other[24..]));

        let segment = own.tcp(5002, ALLOWED, 2, &[7; 12]);
        tell("TCP cut off before its flags", (DROP, "truncated"), &own.fragment(6, 3, 0, true, &segment[..8]));
        tell("what follows it", (DROP, "fragment"), &own.fragment(6, 3, 8, false, &segment[8..]));
        tell("a first with a whole header", (PASS, "new"), &own.fragment(6, 4, 0, true, &segment[..24]));
        tell("one that would rewrite the flags", (DROP, "fragment"), &own.fragment(6, 4, 8, true, &segment[8..24]));
        tell("one that leaves them alone", (PASS, "fragment"), &own.fragment(6, 4, 24, false, &segment[24..]));
    }
}

#[test]
fn segments_larger_than_a_frame_pass_whole() {
    const BYTES: usize = 4 << 20;
    let Some((lab, enforcer)) = lab() else { return };
    for destination in [HOST4, HOST6] {
        let at = SocketAddr::new(destination.parse().unwrap(), ALLOWED);
        let listener = lab.on_host(|| TcpListener::bind(at).unwrap());
        let client = lab.on_peer(|| TcpStream::connect(at).unwrap());
        let (server, _) = listener.accept().unwrap();
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            let sent: Vec<u8> = (0..BYTES).map(|n| n.to_le_bytes()[n % 3]).collect();
            let mut received = vec![0; BYTES];
            thread::scope(|scope| {
                scope.spawn(|| from.write_all(&sent).unwrap());
                to.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                to.read_exact(&mut received).unwrap();
            });
            assert!(sent == received, "{destination}");
        }
    }
    let counts = enforcer.counts().unwrap();
    assert_eq!(counts.iter().filter(|own| own.verdict == DROP).collect::<Vec<_>>(), Vec::<&enforcer::Counted>::new());
    for hook in ["tc_in", "tc_out"] {
        for ipv6 in [false, true] {
            let flow = counts.iter().find(|own| (own.hook, own.ipv6, own.reason) == (hook, ipv6, "flow")).unwrap();
            assert!(flow.bytes / flow.packets > 1514, "{hook} saw them in frames: {flow:?}");
        }
    }
}
