//! What a table means, slowly and obviously.

use std::net::IpAddr;

use enforcer::{Direction, Interval, Mode, Table};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) passes: bool,
    pub(crate) would_drop: bool,
    pub(crate) rule: u32,
}

/// The verdict about the first packet of a flow.
pub(crate) fn verdict(table: &Table, direction: Direction, peer: IpAddr, service: u32) -> Expected {
    let Some(mode) = table.isolation(direction) else { return Expected { passes: true, would_drop: false, rule: 0 } };
    let own = table
        .prefixes
        .iter()
        .filter(|(dir, cidr, _)| *dir == direction && cidr.contains(peer))
        .max_by_key(|(_, cidr, _)| cidr.prefix_len())
        .and_then(|(_, _, list)| covering(list, service));
    let family = if peer.is_ipv6() { 2 } else { 0 };
    let any = covering(&table.any[family + usize::from(direction == Direction::Out)], service);
    let enforced = [own, any].into_iter().flatten().find(|interval| !interval.audit);
    let audited = [own, any].into_iter().flatten().find(|interval| interval.audit);
    match (enforced, audited, mode) {
        (Some(interval), _, _) | (None, Some(interval), Mode::Audit) => {
            Expected { passes: true, would_drop: false, rule: interval.rule }
        }
        (None, _, Mode::Enforce) => Expected { passes: false, would_drop: false, rule: 0 },
        (None, None, Mode::Audit) => Expected { passes: true, would_drop: true, rule: 0 },
    }
}

fn covering(list: &[Interval], service: u32) -> Option<Interval> {
    list.iter().copied().find(|interval| (interval.lo..=interval.hi).contains(&service))
}
