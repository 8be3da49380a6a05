//! Ethernet frames of TCP segments towards this host, with correct header checksums, and their replies.

use std::net::IpAddr;

use crate::lab::{HOST6, NOBODY4};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const SYN_ACK: u8 = 0x12;
pub(crate) const ACK: u8 = 0x10;

/// Sequence number of every reply's SYN; its successor is what proves that a peer saw it.
const REPLY_SEQ: u32 = 1_000;

/// A segment from `remote` towards this host, or the other way round.
pub(crate) fn segment(remote: IpAddr, remote_port: u16, local_port: u16, flags: u8, inbound: bool) -> Vec<u8> {
    let local = if remote.is_ipv4() { NOBODY4 } else { HOST6 };
    let (from, to) = if inbound { (remote, local) } else { (local, remote) };
    let (from_port, to_port) = if inbound { (remote_port, local_port) } else { (local_port, remote_port) };
    let mut tcp = Vec::with_capacity(32);
    tcp.extend(from_port.to_be_bytes());
    tcp.extend(to_port.to_be_bytes());
    let (seq, ack) = match flags {
        SYN => (1, 0),
        SYN_ACK => (REPLY_SEQ, 2),
        _ => (2, REPLY_SEQ + 1),
    };
    tcp.extend(u32::to_be_bytes(seq));
    tcp.extend(u32::to_be_bytes(ack));
    tcp.extend([0x50, flags, 0x40, 0, 0, 0, 0, 0]);
    tcp.extend([0; 32]);
    let mut frame = vec![2; 12];
    frame.extend(header(from, to, tcp.len() as u16));
    frame.extend(tcp);
    frame
}

/// EtherType and IP header.
fn header(from: IpAddr, to: IpAddr, bytes: u16) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = vec![0x45, 0];
            ip.extend((20 + bytes).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            let sum = ip.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [vec![8, 0], ip].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut ip = vec![0x86, 0xDD, 0x60, 0, 0, 0];
            ip.extend(bytes.to_be_bytes());
            ip.extend([6, 64]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            ip
        }
        _ => panic!("both ends have one family"),
    }
}
