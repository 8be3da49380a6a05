//! The same table in both firewalls, the same packets to both hosts: what arrives must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use enforcer::Enforcer;
use pci_segment::backend::ebpf;
use pci_segment::converge::Backend as _;
use pci_segment::sandbox::{APP4, INTERFACE};
use policy::digest::Digest;
use policy::host::HostIdentity;
use policy::lower::bpf::Table;
use policy::net::Direction;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::lab::{Lab, Wire, root_or_left_out};
use crate::packets::{self, Shape, Shot, build, edges, extended, shot};
use crate::tables::{closed, one, tables};

/// Random tables in one run; more with PCI_SEGMENT_DIFFERENTIAL.
const TABLES: usize = 12;
/// One after the other on the same hosts.
const TABLES_PER_PAIR: usize = 6;
/// Packets for each.
const SHOTS: usize = 500;
/// Packets of both directions that take turns.
const AT_ONCE: usize = 100;
/// Nothing that was sent is on its way for longer.
const QUIET: Duration = Duration::from_millis(150);

/// One host with one firewall, and both ends of its wire.
struct Side {
    lab: Lab,
    host: Wire,
    peers: Wire,
}

impl Side {
    fn build() -> Self {
        let lab = Lab::build();
        let (host, peers) = (Wire::open(&lab.sandbox.host), Wire::open(&lab.sandbox.peers));
        Self { lab, host, peers }
    }

    /// The tags of what has arrived at the other end.
    fn fire(&self, shots: &[Shot]) -> BTreeSet<u32> {
        self.host.arrived();
        self.peers.arrived();
        let (mut inbound, mut outbound) = (BTreeSet::new(), BTreeSet::new());
        // Packets that cross on their way would begin a flow in this direction on one host and in that direction on the other.
        let turns = shots.chunks(AT_ONCE).enumerate().flat_map(|(i, some)| {
            let order = if i % 2 == 0 { [Direction::Ingress, Direction::Egress] } else { [Direction::Egress, Direction::Ingress] };
            order.map(|direction| some.iter().filter(move |shot| shot.direction == direction))
        });
        for some in turns {
            for shot in some {
                let wire = if shot.direction == Direction::Ingress { &self.peers } else { &self.host };
                shot.parts.iter().for_each(|part| wire.send(shot.to, part));
            }
            let mut last = Instant::now();
            while last.elapsed() < QUIET {
                let (a, b) = (self.host.arrived(), self.peers.arrived());
                if !a.is_empty() || !b.is_empty() {
                    last = Instant::now();
                }
                inbound.extend(a);
                outbound.extend(b);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let here = |shot: &&Shot| if shot.direction == Direction::Ingress { &inbound } else { &outbound }.contains(&shot.tag);
        shots.iter().filter(here).map(|shot| shot.tag).collect()
    }
}

/// Both firewalls.
struct Pair {
    ebpf: Side,
    nft: Side,
}

impl Pair {
    fn build() -> Self {
        Self { ebpf: Side::build(), nft: Side::build() }
    }

    fn put(&self, table: &Table) {
        let pins = self.ebpf.lab.sandbox.pins().to_owned();
        self.ebpf.lab.on_host(|| {
            let setup = ebpf::Setup {
                pins: &pins,
                identity: HostIdentity::default(),
                interfaces: vec![INTERFACE.to_owned()],
                failsafe: Vec::new(),
                audit: false,
                dhcp: true,
                xdp: false,
            };
            let mut backend = ebpf::Ebpf::open(setup).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(backend.apply(table, Digest::of_table(table), None)).unwrap();
        });
        let firewall = self.nft.lab.firewall();
        self.nft.lab.on_host(|| firewall.apply(table, Digest::of_table(table), &[], None).unwrap());
    }

    /// What arrives at one host only: in the eBPF one's, in the nftables one's.
    fn differ(&self, shots: &[Shot]) -> (Vec<String>, Vec<String>, usize) {
        let (ebpf, nft) = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.nft.fire(shots));
            (self.ebpf.fire(shots), other.join().unwrap())
        });
        let says: BTreeMap<u32, &str> = shots.iter().map(|shot| (shot.tag, shot.says.as_str())).collect();
        let text = |tags: Vec<&u32>| tags.into_iter().map(|tag| says[tag].to_owned()).collect();
        (text(ebpf.difference(&nft).collect()), text(nft.difference(&ebpf).collect()), ebpf.len())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Ok(Some(kernel)) = Enforcer::open_existing(self.ebpf.lab.sandbox.pins()) {
            let _ = kernel.remove_all();
        }
    }
}

#[test]
fn both_firewalls_deliver_the_same_packets() {
    if !root_or_left_out("both_firewalls_deliver_the_same_packets") {
        return;
    }
    let mut pair = Pair::build();
    let tables_wanted = std::env::var("PCI_SEGMENT_DIFFERENTIAL").ok().and_then(|n| n.parse().ok()).unwrap_or(TABLES);
    let mut runner = TestRunner::default();
    let (mut sent, mut arrived, mut tag) = (0, 0, 1);
    let mut wrong = Vec::new();
    for round in 0..tables_wanted {
        if round > 0 && round % TABLES_PER_PAIR == 0 {
            pair = Pair::build();
        }
        let table = tables().new_tree(&mut runner).unwrap().current();
        let mut around = edges(&table);
        // All packets of a protocol without ports between two addresses are one flow, and a flow that another table has cut is
        // remembered by one firewall only, as is tested below.
        around.services.retain(|service| round % TABLES_PER_PAIR == 0 || ![47, 50, 89].contains(&(service >> 16)));
        let picks = (proptest::bool::ANY, (0_usize..10_000, 0_usize..10_000), packets::shapes());
        let shots: Vec<Shot> = (0..SHOTS)
            .map(|_| {
                let (inbound, pick, shape) = picks.new_tree(&mut runner).unwrap().current();
                tag += 1;
                shot(&around, if inbound { Direction::Ingress } else { Direction::Egress }, pick, shape, tag)
            })
            .collect();
        pair.put(&table);
        let (ebpf, nft, delivered) = pair.differ(&shots);
        sent += shots.len();
        arrived += delivered;
        wrong.extend(ebpf.into_iter().map(|says| format!("only eBPF delivers {says}")));
        wrong.extend(nft.into_iter().map(|says| format!("only nftables delivers {says}")));
        if !wrong.is_empty() {
            eprintln!("{table:#?}");
            break;
        }
    }
    eprintln!("{sent} packets sent, {arrived} delivered");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(arrived * 20 > sent, "only {arrived} of {sent} packets were delivered: the aim is bad");
}

/// Both families, both directions, every service.
fn open_to(direction: Direction, peer: &str) -> Table {
    one(direction, peer, 0, 0x00FF_FFFF)
}

#[test]
fn they_differ_where_they_are_said_to() {
    if !root_or_left_out("they_differ_where_they_are_said_to") {
        return;
    }
    let pair = Pair::build();
    let named = |text: &str| vec![text.to_owned()];

    pair.put(&one(Direction::Ingress, "10.0.1.10/32", 0x06_0016, 0x06_0016));
    let mut late = build(Direction::Ingress, APP4, 0x06_0016, Shape::Fragments, 7001);
    late.parts.reverse();
    late.says = "the last fragment first".to_owned();
    let (ebpf, nft, _) = pair.differ(&[late]);
    assert_eq!((ebpf, nft), (vec![], named("the last fragment first")), "fragments are put together before they are judged");

    pair.put(&open_to(Direction::Ingress, "fd00:1::10/128"));
    let peer = "fd00:1::10".parse().unwrap();
    let authentication = [17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let padding = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let seven: Vec<u8> = [60, 60, 60, 60, 60, 60, 17].into_iter().flat_map(padding).collect();
    let shots = [
        extended(peer, 51, &authentication, 7002, "an authentication header"),
        extended(peer, 60, &seven, 7003, "seven headers"),
        extended(peer, 60, &padding(17), 7004, "one header"),
    ];
    let (ebpf, nft, delivered) = pair.differ(&shots);
    assert_eq!((ebpf, nft), (named("an authentication header"), named("seven headers")));
    assert_eq!(delivered, 2);

    let esp = |direction, tag| build(direction, APP4, 0x32_0000, Shape::Opens, tag);
    pair.put(&open_to(Direction::Ingress, "10.0.1.10/32"));
    assert_eq!(pair.differ(&[esp(Direction::Ingress, 7005)]), (vec![], vec![], 1));
    pair.put(&open_to(Direction::Egress, "10.0.1.10/32").into_iter().chain(closed(Direction::Ingress)).collect());
    let (ebpf, nft, _) = pair.differ(&[esp(Direction::Egress, 7006)]);
    assert_eq!(ebpf, Vec::<String>::new());
    assert_eq!(nft.len(), 1, "a flow that was cut is forgotten, and the other side may open one of its own");
}
