//! What a table says of one flow: the same as the chains say, without a packet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family, cidr::number};

use super::super::ranges::{Piece, at, pieces};

#[derive(Debug, Default)]
struct Peers {
    any: Option<Arc<[Interval]>>,
    hosts: BTreeMap<u128, Arc<[Interval]>>,
    nets: Vec<Piece<Arc<[Interval]>>>,
}

/// A table, sorted for questions.
#[derive(Debug)]
pub(crate) struct Verdicts {
    isolation: [Option<Mode>; 2],
    /// By direction, then family.
    peers: [[Peers; 2]; 2],
}

impl Verdicts {
    pub(crate) fn of(table: &Table) -> Self {
        let isolation = Direction::BOTH.map(|direction| match table.get(&Key::Isolation { direction }) {
            Some(Rule::Isolation(mode)) => Some(*mode),
            Some(Rule::Services(_)) | None => None,
        });
        let peers = Direction::BOTH.map(|direction| Family::BOTH.map(|family| Peers::of(table, direction, family)));
        Self { isolation, peers }
    }

    /// Whether a flow may be.
    pub(crate) fn permits(&self, direction: Direction, peer: IpAddr, service: u32) -> bool {
        let ([inbound, outbound], [inbound_mode, outbound_mode]) = (&self.peers, self.isolation);
        let (side, mode) = if direction == Direction::Ingress { (inbound, inbound_mode) } else { (outbound, outbound_mode) };
        let [v4, v6] = side;
        let peers = if peer.is_ipv4() { v4 } else { v6 };
        mode != Some(Mode::Enforce) || peers.allow(number(peer), service)
    }
}

impl Peers {
    fn of(table: &Table, direction: Direction, family: Family) -> Self {
        let mut own = Self::default();
        let mut nets: BTreeMap<Cidr, Arc<[Interval]>> = BTreeMap::new();
        for (key, rule) in table {
            let Rule::Services(list) = rule else { continue };
            match *key {
                Key::Any { direction: d, family: f } if (d, f) == (direction, family) => own.any = Some(Arc::clone(list)),
                Key::Prefix { direction: d, prefix } if (d, prefix.family()) == (direction, family) => {
                    if prefix.length() == family.bits() {
                        own.hosts.insert(number(prefix.first()), Arc::clone(list));
                    } else {
                        nets.insert(prefix, Arc::clone(list));
                    }
                }
                Key::Isolation { .. } | Key::Any { .. } | Key::Prefix { .. } => {}
            }
        }
        own.nets = pieces(&nets).0;
        own
    }

    fn allow(&self, peer: u128, service: u32) -> bool {
        let own = self.hosts.get(&peer).or_else(|| at(&self.nets, peer));
        [own, self.any.as_ref()].into_iter().flatten().any(|list| {
            let after = list.partition_point(|interval| interval.lo <= service);
            let interval = after.checked_sub(1).and_then(|last| list.get(last));
            interval.is_some_and(|interval| service <= interval.hi && !interval.audit)
        })
    }
}
