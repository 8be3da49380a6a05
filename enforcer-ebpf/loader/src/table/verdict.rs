//! What a table says about the first packet of a flow: the meaning that everything in the kernel is an encoding of.

use std::net::IpAddr;

use enforcer_abi::{V4, V6, any_index};

use super::{Cidr, Direction, Interval, Mode, Table};

/// What happens to the first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) passes: bool,
    /// It passes only because its direction is audited.
    pub(crate) would_drop: bool,
    /// The rule that allows it, 0 for none.
    pub(crate) rule: u32,
}

impl std::fmt::Display for Meant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { passes: false, .. } => f.write_str("drop"),
            Self { would_drop: true, .. } => f.write_str("would drop"),
            Self { rule: 0, .. } => f.write_str("pass"),
            Self { rule, .. } => write!(f, "pass by rule {rule}"),
        }
    }
}

/// A table, with an order in which the longest prefix of a peer is found quickly.
#[derive(Debug)]
pub(crate) struct Meaning<'a> {
    table: &'a Table,
    sorted: Vec<&'a (Direction, Cidr, Vec<Interval>)>,
    /// Lengths that occur, the longest first; IPv4, then IPv6.
    lengths: [Vec<u8>; 2],
}

impl<'a> Meaning<'a> {
    pub(crate) fn of(table: &'a Table) -> Self {
        let mut sorted: Vec<_> = table.prefixes.iter().collect();
        sorted.sort_by_key(|(direction, cidr, _)| (*direction, *cidr));
        let mut occurs = [[false; 129]; 2];
        for (_, cidr, _) in &sorted {
            let of_family = occurs.get_mut(usize::from(family_of(cidr.addr())));
            if let Some(occurs) = of_family.and_then(|own| own.get_mut(usize::from(cidr.prefix_len()))) {
                *occurs = true;
            }
        }
        let lengths = occurs.map(|own| (0..=128).zip(own).filter_map(|(len, occurs)| occurs.then_some(len)).rev().collect());
        Self { table, sorted, lengths }
    }

    /// What the table says about a flow of `direction` with `peer` that uses `service`.
    pub(crate) fn verdict(&self, direction: Direction, peer: IpAddr, service: u32) -> Meant {
        let Some(mode) = self.table.isolation(direction) else {
            return Meant { passes: true, would_drop: false, rule: 0 };
        };
        let any = self.table.any.get(any_index(family_of(peer), direction.number())).map_or([].as_slice(), Vec::as_slice);
        let found = [self.longest(direction, peer), any].map(|list| covering(list, service));
        let by = |audit| found.into_iter().flatten().find(|own| own.audit == audit);
        match (by(false), by(true), mode) {
            (Some(own), _, _) | (None, Some(own), Mode::Audit) => Meant { passes: true, would_drop: false, rule: own.rule },
            (None, None, Mode::Audit) => Meant { passes: true, would_drop: true, rule: 0 },
            (None, _, Mode::Enforce) => Meant { passes: false, would_drop: false, rule: 0 },
        }
    }

    /// The services of the longest prefix that holds `peer`.
    fn longest(&self, direction: Direction, peer: IpAddr) -> &'a [Interval] {
        let lengths = self.lengths.get(usize::from(family_of(peer))).map_or([].as_slice(), Vec::as_slice);
        let found = lengths.iter().find_map(|len| {
            let wanted = (direction, peer.prefix(*len));
            let at = self.sorted.binary_search_by_key(&wanted, |(direction, cidr, _)| (*direction, *cidr)).ok()?;
            self.sorted.get(at)
        });
        found.map_or([].as_slice(), |(_, _, list)| list.as_slice())
    }
}

trait Prefix {
    /// The prefix of `len` bits that holds it; `len` is at most the family's.
    fn prefix(self, len: u8) -> Cidr;
}

impl Prefix for IpAddr {
    fn prefix(self, len: u8) -> Cidr {
        let addr = match self {
            Self::V4(addr) => {
                let kept = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(len))).unwrap_or(0);
                Self::V4((addr.to_bits() & kept).into())
            }
            Self::V6(addr) => {
                let kept = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(len))).unwrap_or(0);
                Self::V6((addr.to_bits() & kept).into())
            }
        };
        Cidr { addr, len }
    }
}

fn family_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { V4 } else { V6 }
}

/// Lists are sorted and disjoint.
fn covering(list: &[Interval], service: u32) -> Option<Interval> {
    let after = list.partition_point(|own| own.hi < service);
    list.get(after).copied().filter(|own| own.lo <= service)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use proptest::{prelude::*, sample::select};

    use super::{Direction, Interval, Meaning, Meant, Mode, Prefix as _, Table};

    /// The same, slowly and obviously.
    fn slowly(table: &Table, direction: Direction, peer: IpAddr, service: u32) -> Meant {
        let holding = table.prefixes.iter().filter(|(dir, cidr, _)| *dir == direction && cidr.contains(peer));
        let own = holding.max_by_key(|(_, cidr, _)| cidr.prefix_len()).map(|(_, _, list)| list);
        let any = match (peer, direction) {
            (IpAddr::V4(_), Direction::In) => &table.any[0],
            (IpAddr::V4(_), Direction::Out) => &table.any[1],
            (IpAddr::V6(_), Direction::In) => &table.any[2],
            (IpAddr::V6(_), Direction::Out) => &table.any[3],
        };
        let covering = own.into_iter().chain([any]).flatten().filter(|own| own.lo <= service && service <= own.hi);
        let covering: Vec<_> = covering.collect();
        let enforced = covering.iter().find(|own| !own.audit);
        let first = enforced.or(covering.first());
        let rule = first.map_or(0, |own| own.rule);
        match table.isolation(direction) {
            None => Meant { passes: true, would_drop: false, rule: 0 },
            Some(Mode::Enforce) => {
                Meant { passes: enforced.is_some(), would_drop: false, rule: enforced.map_or(0, |own| own.rule) }
            }
            Some(Mode::Audit) => Meant { passes: true, would_drop: first.is_none(), rule },
        }
    }

    fn list() -> impl Strategy<Value = Vec<Interval>> {
        prop::collection::vec((0_u32..12, 0_u32..3, 1_u32..9, any::<bool>()), 0..4).prop_map(|parts| {
            let mut from = 0;
            parts
                .into_iter()
                .map(|(gap, width, rule, audit)| {
                    let own = Interval { lo: from + gap, hi: from + gap + width, rule, audit };
                    from = own.hi + 1;
                    own
                })
                .collect()
        })
    }

    fn addr() -> impl Strategy<Value = IpAddr> {
        let near4 = select(vec![0_u32, 1, 2, 3, 0x8000_0000, 0x8000_0001, u32::MAX - 1, u32::MAX]);
        let near6 = select(vec![0_u128, 1, 2, 3, 1 << 64, (1 << 64) | 1, u128::MAX - 1, u128::MAX]);
        prop_oneof![near4.prop_map(|n| Ipv4Addr::from(n).into()), near6.prop_map(|n| Ipv6Addr::from(n).into())]
    }

    fn table() -> impl Strategy<Value = Table> {
        let mode = || select(vec![None, Some(Mode::Enforce), Some(Mode::Audit)]);
        let direction = select(Direction::ALL.to_vec());
        let cidr = (addr(), 0_u8..=128).prop_map(|(addr, len)| addr.prefix(if addr.is_ipv4() { len.min(32) } else { len }));
        let prefixes = prop::collection::vec(((direction, cidr), list()), 0..12);
        (mode(), mode(), [list(), list(), list(), list()], prefixes).prop_map(|(isolate_in, isolate_out, any, prefixes)| {
            let unique: BTreeMap<_, _> = prefixes.into_iter().collect();
            let prefixes = unique.into_iter().map(|((direction, cidr), list)| (direction, cidr, list)).rev().collect();
            Table { isolate_in, isolate_out, any, prefixes, no_dhcp: false }
        })
    }

    proptest! {
        #[test]
        fn the_quick_verdict_is_the_slow_one(table in table(), peers in prop::collection::vec(addr(), 1..6), service in 0_u32..40) {
            let meaning = Meaning::of(&table);
            for peer in peers {
                for direction in Direction::ALL {
                    prop_assert_eq!(
                        meaning.verdict(direction, peer, service),
                        slowly(&table, direction, peer, service),
                        "{:?} {} {}", direction, peer, service
                    );
                }
            }
        }
    }
}
