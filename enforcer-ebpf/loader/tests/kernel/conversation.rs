//! Packets that meet again and again in few flows, so that what is remembered of one matters to the next.

use std::net::IpAddr;

use enforcer::{Direction, Interval, Mode, Table};
use proptest::{prelude::*, sample::select};

use crate::{
    conntrack::{Ends, Packet, SCTP, TCP, UDP, What},
    frames::Ip,
    lab::{HOST4, HOST6, PEER4, PEER6, cidr},
};

const GRE: u8 = 47;
/// Who asks has this as its port.
const IDENTIFIER: u16 = 7;
/// The host's port and the peer's; either may be a service.
const PORTS: [(u8, u16, u16); 4] = [(TCP, 80, 4000), (UDP, 53, 4053), (SCTP, 90, 4090), (GRE, 0, 0)];

const SYN: u8 = 2;
const ACK: u8 = 16;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Packet(Packet),
    /// Seconds pass.
    Wait(u64),
    Install(Table),
    Audit(bool),
    Learn(bool),
}

/// Type and code of a question and of its answer.
fn question(v6: bool) -> (u8, u16, u16) {
    if v6 { (58, 0x8000, 0x8100) } else { (1, 0x0800, 0) }
}

/// Another ICMP message, which belongs to no flow.
fn notice(v6: bool) -> u16 {
    if v6 { 0x8A00 } else { 0x0A00 }
}

/// Everything a rule can name here.
fn services(dir: Direction, v6: bool) -> Vec<u32> {
    let port = |(proto, local, remote)| u32::from(proto) << 16 | u32::from(if dir == Direction::In { local } else { remote });
    let (icmp, asks, answers) = question(v6);
    let icmp = [asks, answers, notice(v6)].map(|own| u32::from(icmp) << 16 | u32::from(own));
    let mut all: Vec<u32> = PORTS.into_iter().map(port).chain(icmp).collect();
    all.sort_unstable();
    all
}

fn list(dir: Direction, v6: bool) -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((0..4_u8, 1..100_u32), 7).prop_map(move |draws| {
        let chosen = services(dir, v6).into_iter().zip(draws).filter(|(_, (draw, _))| *draw > 0);
        chosen.map(|(own, (draw, rule))| Interval { lo: own, hi: own, rule, audit: draw == 1 }).collect()
    })
}

pub(crate) fn table() -> impl Strategy<Value = Table> {
    let mode = || select(vec![None, Some(Mode::Enforce), Some(Mode::Enforce), Some(Mode::Enforce), Some(Mode::Audit)]);
    let each = || [(Direction::In, false), (Direction::Out, false), (Direction::In, true), (Direction::Out, true)];
    let any = each().map(|(dir, v6)| prop_oneof![Just(Vec::new()), list(dir, v6)]);
    let prefixes = each().map(|(dir, v6)| {
        let prefix = cidr(if v6 { "fd07::2/128" } else { "10.7.0.0/24" });
        list(dir, v6).prop_map(move |list| (dir, prefix, list))
    });
    (mode(), mode(), any, prefixes).prop_map(|(isolate_in, isolate_out, any, prefixes)| {
        Table { isolate_in, isolate_out, any, prefixes: prefixes.to_vec(), no_dhcp: false }.sorted()
    })
}

fn tcp() -> impl Strategy<Value = What> {
    let flags = select(vec![SYN, SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK | 8, ACK | 1, ACK | 1, 4, 4 | ACK, 0, SYN | 1, 0x29]);
    let ack = select(vec![901_u32, 901, 900, 900 + (1 << 20), 901 + (1 << 20)]);
    (flags, ack).prop_map(|(flags, ack)| What::Tcp { flags, seq: 900, ack })
}

fn packet(peer: IpAddr) -> impl Strategy<Value = Packet> {
    let v6 = peer.is_ipv6();
    let (icmp, asks, answers) = question(v6);
    let direction = || select(Direction::ALL.to_vec());
    let ends = move |(proto, local_port, remote_port)| Ends { peer, proto, local_port, remote_port };
    let asked = move |asker| match asker {
        Direction::Out => ends((icmp, IDENTIFIER, asks)),
        Direction::In => ends((icmp, asks, IDENTIFIER)),
    };
    let segment = (direction(), tcp()).prop_map(move |(dir, what)| Packet { dir, ends: ends(PORTS[0]), what });
    let plain = (direction(), select(PORTS[1..].to_vec()));
    let plain = plain.prop_map(move |(dir, own)| Packet { dir, ends: ends(own), what: What::Plain });
    let query = (direction(), direction()).prop_map(move |(dir, asker)| {
        let what = if dir == asker { What::Query } else { What::Reply(answers) };
        Packet { dir, ends: asked(asker), what }
    });
    let notice = direction().prop_map(move |dir| {
        let (local_port, remote_port) = if dir == Direction::In { (notice(v6), 0) } else { (0, notice(v6)) };
        Packet { dir, ends: ends((icmp, local_port, remote_port)), what: What::Notice(notice(v6)) }
    });
    let about = prop_oneof![select(PORTS.to_vec()).prop_map(ends), direction().prop_map(asked)];
    let error = (direction(), about).prop_map(|(dir, ends)| Packet { dir, ends, what: What::Error });
    prop_oneof![8 => segment, 4 => plain, 3 => query, 1 => notice, 2 => error]
}

/// A connection that either end opens, as far as `count` of its three packets.
fn handshake(peer: IpAddr) -> impl Strategy<Value = Vec<Step>> {
    let (proto, local_port, remote_port) = PORTS[0];
    let ends = Ends { peer, proto, local_port, remote_port };
    (select(Direction::ALL.to_vec()), 1..=3_usize).prop_map(move |(opens, count)| {
        let answers = if opens == Direction::In { Direction::Out } else { Direction::In };
        let all = [(opens, SYN, 0), (answers, SYN | ACK, 1), (opens, ACK, 901)];
        let packet = |(dir, flags, ack)| Step::Packet(Packet { dir, ends, what: What::Tcp { flags, seq: 900, ack } });
        all.into_iter().take(count).map(packet).collect()
    })
}

/// One peer, and everything that happens to what passes between it and the host.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    select(vec![PEER4, PEER6]).prop_flat_map(|peer| {
        let peer: IpAddr = peer.parse().unwrap();
        let wait = select(vec![6_u64, 14, 25, 50, 110, 190, 400, 1000, 2000, 7900, 8200]);
        let other = prop_oneof![
            30 => packet(peer).prop_map(Step::Packet),
            4 => wait.prop_map(Step::Wait),
            1 => table().prop_map(Step::Install),
            1 => any::<bool>().prop_map(Step::Audit),
            1 => any::<bool>().prop_map(Step::Learn),
        ];
        let part = prop_oneof![8 => other.prop_map(|own| vec![own]), 1 => handshake(peer)];
        prop::collection::vec(part, 20..80).prop_map(|parts| parts.into_iter().flatten().collect())
    })
}

/// The packet on a wire.
pub(crate) fn frame(packet: &Packet) -> Vec<u8> {
    let Packet { dir, ends, what } = *packet;
    let (peer, host) = (ends.peer.to_string(), if ends.peer.is_ipv6() { HOST6 } else { HOST4 });
    let toward = |dir| if dir == Direction::In { Ip::new([2; 6], &peer, host) } else { Ip::new([2; 6], host, &peer) };
    let own = toward(dir);
    let icmp = if ends.peer.is_ipv6() { 58 } else { 1 };
    if what == What::Error {
        let other = if dir == Direction::In { Direction::Out } else { Direction::In };
        let quoted = toward(other);
        let quoted = quoted.packet(ends.proto, &payload(&quoted, other, ends, None));
        let kind = if ends.peer.is_ipv6() { 1 } else { 3 };
        return own.frame(icmp, &own.icmp(kind, 1, 0, &quoted));
    }
    own.frame(ends.proto, &payload(&own, dir, ends, Some(what)))
}

fn payload(own: &Ip, dir: Direction, ends: Ends, what: Option<What>) -> Vec<u8> {
    let (from, to) = match dir {
        Direction::In => (ends.remote_port, ends.local_port),
        Direction::Out => (ends.local_port, ends.remote_port),
    };
    let (flags, seq, ack) = if let Some(What::Tcp { flags, seq, ack }) = what { (flags, seq, ack) } else { (ACK, 1, 1) };
    match ends.proto {
        TCP => {
            let mut segment = own.tcp(from, to, flags, &[]);
            segment[4..8].copy_from_slice(&seq.to_be_bytes());
            segment[8..12].copy_from_slice(&ack.to_be_bytes());
            segment
        }
        UDP => own.udp(from, to, b"mark"),
        SCTP => [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8]].concat(),
        GRE => vec![0; 16],
        _ => {
            let (_, asks, answers) = question(ends.peer.is_ipv6());
            // Who has the identifier as its port has asked.
            let (code, id) = match what {
                Some(What::Notice(own)) => (own, 0),
                _ if from == IDENTIFIER => (asks, from),
                _ => (answers, to),
            };
            let [kind, code] = code.to_be_bytes();
            own.icmp(kind, code, u32::from(id) << 16, &[0; 8])
        }
    }
}
