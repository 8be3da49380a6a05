//! Nanoseconds per packet; only on request, because a shared machine is too noisy to assert on.

use enforcer::{Direction, Enforcer, Table, Timed};

use crate::{
    lab::{Lab, TCP, cidr, service, table},
    packet::opening,
};

fn best(enforcer: &Enforcer, timed: Timed, packet: &[u8]) -> u32 {
    (0..11).map(|_| enforcer.time(timed, packet, 100_000).unwrap()).min().unwrap()
}

fn rules(count: u32) -> Table {
    let mut wanted = table(&[]);
    for n in 0..count {
        let [_, b, c, d] = n.to_be_bytes();
        let list = vec![service(TCP, 443, n % 16_000 + 1)];
        wanted.prefixes.push((Direction::In, cidr(&format!("10.{b}.{c}.{d}/32")), list));
    }
    wanted
}

const TCP_ACK: usize = 14 + 20 + 8;
const TCP_FLAGS: usize = 14 + 20 + 13;

/// The SYN+ACK, with sequence number 0, to an IPv4 SYN.
fn reply_to(syn: &[u8]) -> Vec<u8> {
    let mut reply = syn.to_vec();
    reply[26..30].copy_from_slice(&syn[30..34]);
    reply[30..34].copy_from_slice(&syn[26..30]);
    reply[34..36].copy_from_slice(&syn[36..38]);
    reply[36..38].copy_from_slice(&syn[34..36]);
    reply[38..42].fill(0);
    reply[TCP_FLAGS] = 0x12;
    reply
}

#[test]
#[ignore = "measures; run with --ignored --nocapture"]
fn nanoseconds_per_packet() {
    let Some(lab) = Lab::new("measuring") else { return };
    let mut enforcer = lab.open();
    for count in [10, 1_000, 100_000] {
        let started = std::time::Instant::now();
        enforcer.install(&rules(count), [1; 32], 0).unwrap();
        println!("{count} rules installed in {:?}", started.elapsed());
        let mut syn = opening(true, "10.0.0.5".parse().unwrap(), 0x06_01BB);
        let refused = opening(true, "10.0.0.5".parse().unwrap(), 0x06_0016);
        let udp = opening(true, "10.0.0.5".parse().unwrap(), 0x11_01BB);
        let empty = best(&enforcer, Timed::Empty, &syn);
        let check = best(&enforcer, Timed::Check(Direction::In), &syn);
        let drop = best(&enforcer, Timed::Enforcing(Direction::In), &refused);
        let drop_udp = best(&enforcer, Timed::Enforcing(Direction::In), &udp);
        let opened = best(&enforcer, Timed::Enforcing(Direction::In), &syn);
        let reply = reply_to(&syn);
        enforcer.time(Timed::Enforcing(Direction::Out), &reply, 1).unwrap();
        // The acknowledgement that proves the reply was seen.
        (syn[TCP_FLAGS], syn[TCP_ACK + 3]) = (0x10, 1);
        let established = best(&enforcer, Timed::Enforcing(Direction::In), &syn);
        println!(
            "{count} rules: empty {empty}, decision {check}, refused {drop}/{drop_udp}, half-open {opened}, established {established} ns"
        );
    }
}
