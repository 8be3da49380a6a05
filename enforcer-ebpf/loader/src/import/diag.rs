//! The sockets of the calling thread's network namespace, as the kernel lists them (`sock_diag(7)`).
//!
//! Only what a flow can come of is asked for: TCP after its handshake, connected UDP, and what listens. A socket of IPv6 that talks
//! IPv4 is answered as IPv4, because that is what its packets are.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_CLOSING, TCP_LISTEN},
    constants::{TCP_CLOSE_WAIT, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

/// The kernel fills at most 32 KiB at a time.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// TCP after its handshake. `TIME_WAIT` is left out: nothing but a repeated acknowledgement can follow.
const ALIVE: StateFlags = StateFlags::ESTABLISHED
    .union(StateFlags::FIN_WAIT1)
    .union(StateFlags::FIN_WAIT2)
    .union(StateFlags::CLOSE_WAIT)
    .union(StateFlags::LAST_ACK)
    .union(StateFlags::CLOSING);

/// One socket with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Talk {
    pub(crate) proto: u8,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The peer has sent its FIN.
    pub(crate) fin_in: bool,
    /// This host has.
    pub(crate) fin_out: bool,
    /// What its descriptors refer to; 0 if no process has one any more.
    pub(crate) inode: u32,
}

/// Everything listed: what talks, and what waits to be talked to.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) talks: Vec<Talk>,
    pub(crate) listeners: HashSet<(u8, SocketAddr)>,
}

/// Lists the sockets of the calling thread's network namespace.
pub(crate) fn sockets() -> io::Result<Sockets> {
    let mut found = Sockets::default();
    for family in [AF_INET, AF_INET6] {
        // Listeners last: a connection accepted meanwhile has one among them.
        list(family, IPPROTO_TCP, ALIVE, &mut found)?;
        list(family, IPPROTO_TCP, StateFlags::LISTEN, &mut found)?;
        // What UDP calls closed is a socket without a peer.
        list(family, IPPROTO_UDP, StateFlags::ESTABLISHED.union(StateFlags::CLOSE), &mut found)?;
    }
    Ok(found)
}

fn list(family: u8, proto: u8, states: StateFlags, found: &mut Sockets) -> io::Result<()> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest { family, protocol: proto, extensions: ExtensionFlags::empty(), states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    loop {
        answer.clear();
        // With this flag the kernel tells the length even of what it had to cut.
        if socket.recv(&mut answer, libc::MSG_TRUNC)? > answer.len() {
            return Err(io::Error::other("the kernel's list of sockets came in larger pieces than expected"));
        }
        if read(&answer, proto, found)? {
            return Ok(());
        }
    }
}

/// Reads one piece of an answer; whether it was the last.
#[expect(clippy::wildcard_enum_match_arm, reason = "what a dependency may add to its messages is not ours to list")]
fn read(answer: &[u8], proto: u8, found: &mut Sockets) -> io::Result<bool> {
    let mut rest = answer;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => note(proto, &response.header, found),
            NetlinkPayload::Overrun(_) => return Err(io::Error::other("the kernel lost a part of its list of sockets")),
            _ => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(false)
}

fn note(proto: u8, header: &InetResponseHeader, found: &mut Sockets) {
    let id = &header.socket_id;
    let end = |addr: IpAddr, port| SocketAddr::new(addr.to_canonical(), port);
    let (local, remote) = (end(id.source_address, id.source_port), end(id.destination_address, id.destination_port));
    if matches!(header.state, TCP_LISTEN | TCP_CLOSE) {
        found.listeners.insert((proto, local));
        return;
    }
    if remote.port() == 0 || remote.ip().is_unspecified() {
        return;
    }
    let (fin_in, fin_out) = match header.state {
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => (false, true),
        TCP_CLOSE_WAIT => (true, false),
        TCP_LAST_ACK | TCP_CLOSING => (true, true),
        _ => (false, false),
    };
    found.talks.push(Talk { proto, local, remote, fin_in, fin_out, inode: header.inode });
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::{IPPROTO_TCP, IPPROTO_UDP, sockets};

    #[test]
    fn a_connection_is_listed_from_both_ends_and_its_listener_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let from = client.local_addr().unwrap();
        let (_server, _) = listener.accept().unwrap();
        let found = sockets().unwrap();
        let ends = |local, remote| {
            found.talks.iter().filter(|own| (own.proto, own.local, own.remote) == (IPPROTO_TCP, local, remote)).count()
        };
        assert_eq!((ends(from, at), ends(at, from)), (1, 1));
        assert!(found.listeners.contains(&(IPPROTO_TCP, at)));
    }

    #[test]
    fn ipv4_on_a_socket_of_ipv6_is_listed_as_ipv4() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let from = client.local_addr().unwrap();
        let (_server, _) = listener.accept().unwrap();
        let found = sockets().unwrap();
        assert!(found.talks.iter().any(|own| own.remote == from && own.local.ip() == from.ip() && own.local.port() == port));
    }

    #[test]
    fn half_closed_connections_say_who_has_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let from = client.local_addr().unwrap();
        let (_server, _) = listener.accept().unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let found = sockets().unwrap();
        let marks = |local| found.talks.iter().find(|own| own.local == local).map(|own| (own.fin_in, own.fin_out));
        assert_eq!((marks(from), marks(at)), (Some((false, true)), Some((true, false))));
    }

    #[test]
    fn udp_without_a_peer_listens_and_with_one_talks() {
        let waits = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = waits.local_addr().unwrap();
        let talks = UdpSocket::bind("127.0.0.1:0").unwrap();
        talks.connect(at).unwrap();
        let found = sockets().unwrap();
        assert!(found.listeners.contains(&(IPPROTO_UDP, at)));
        let own = found.talks.iter().find(|own| own.local == talks.local_addr().unwrap()).unwrap();
        assert_eq!((own.proto, own.remote), (IPPROTO_UDP, at));
    }
}
