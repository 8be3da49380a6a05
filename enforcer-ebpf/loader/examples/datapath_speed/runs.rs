//! One run of one program on one packet, the empty twin subtracted.

use enforcer::{Direction, Enforcer, Timed};

use crate::{
    frames::{ACK, SYN, SYN_ACK, segment},
    lab::Lab,
    policy::{OTHER_PORT, PORTS, Peers, nobody, peer, table as policy},
    statistics::{Rounds, ratio, words},
};

/// Runs a measurement is the mean of.
const REPEAT: u32 = 300_000;
const REMOTE_PORT: u16 = 40_000;

/// What one size, one kind of peers and one family cost.
struct Costs {
    established: Rounds,
    decision: Rounds,
    refused: Rounds,
    revoked: Rounds,
}

pub(crate) fn table(sizes: &[usize], rounds: usize) {
    println!(
        "One program run, ns over the empty twin (minimum of {rounds} rounds of {REPEAT} runs; new is the decision without its insert)\n"
    );
    println!("{:>9} {:>6} {:>5} {:>12} {:>8} {:>9} {:>9}", "rules", "peers", "IP", "established", "new", "refused", "revoked");
    let lab = Lab::build();
    let mut firewall = lab.firewall();
    let mut decisions = Vec::new();
    for peers in Peers::BOTH {
        for v6 in [false, true] {
            for count in sizes {
                let costs = measure(&mut firewall, *count, peers, v6, rounds);
                let family = if v6 { "v6" } else { "v4" };
                let Costs { established, decision, refused, revoked } = &costs;
                let [a, b, c, d] = [established, decision, refused, revoked].map(Rounds::min);
                println!("{count:>9} {:>6} {family:>5} {a:>12.0} {b:>8.0} {c:>9.0} {d:>9.0}", peers.label());
                decisions.push(costs.decision);
            }
            if let (Some(first), Some(last)) = (decisions.first(), decisions.last()) {
                let grown = words(ratio(last, first));
                println!("          new, {} rules ÷ {}: {grown}\n", sizes.last().unwrap(), sizes.first().unwrap());
            }
            decisions.clear();
        }
    }
}

fn measure(firewall: &mut Enforcer, count: usize, peers: Peers, v6: bool, rounds: usize) -> Costs {
    firewall.install(&policy(count, peers, v6), [1; 32], 0).unwrap();
    let remote = peer(count / 2, peers, v6);
    let frame = |port, flags, inbound| segment(remote, REMOTE_PORT, port, flags, inbound);
    let (syn, ack, other) = (frame(PORTS[0], SYN, true), frame(PORTS[0], ACK, true), frame(OTHER_PORT, SYN, true));
    let inbound = Timed::Enforcing(Direction::In);
    // A handshake: the peer proves that it sees our replies.
    let _ = firewall.time(inbound, &syn, 1).unwrap();
    let _ = firewall.time(Timed::Enforcing(Direction::Out), &frame(PORTS[0], SYN_ACK, false), 1).unwrap();
    let _ = firewall.time(inbound, &ack, 1).unwrap();
    let watched = [(Timed::Empty, &ack), (inbound, &ack), (Timed::Check(Direction::In), &syn), (inbound, &other)];
    let [empty, established, decision, refused] = interleaved(firewall, watched, rounds);
    firewall.install(&nobody(), [2; 32], 0).unwrap();
    let [empty_again, revoked] = interleaved(firewall, [(Timed::Empty, &ack), (inbound, &ack)], rounds);
    Costs {
        established: established.less(&empty),
        decision: decision.less(&empty),
        refused: refused.less(&empty),
        revoked: revoked.less(&empty_again),
    }
}

fn interleaved<const N: usize>(firewall: &Enforcer, watched: [(Timed, &Vec<u8>); N], rounds: usize) -> [Rounds; N] {
    let mut found = [const { Rounds(Vec::new()) }; N];
    for _ in 0..rounds {
        for (rounds, (timed, frame)) in found.iter_mut().zip(watched) {
            rounds.0.push(f64::from(firewall.time(timed, frame, REPEAT).unwrap()));
        }
    }
    found
}
