//! What a table needs, against what the maps hold; and when to give up counting.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::{HOSTS_MAX, INTERVALS_MAX, Interval, NETS_MAX, SLICE_INTERVALS_MAX};
use crate::lower::Unsupported;
use crate::model::NetworkPolicy;
use crate::net::{Cidr, Direction, Family};

/// Comparisons of rules and ports; an honest table of 100,000 prefixes needs a million.
const WORK_MAX: usize = 20_000_000;

/// What the table needs of the maps.
#[derive(Default)]
pub(super) struct Size {
    hosts: [usize; 2],
    nets: [usize; 2],
    intervals: usize,
    longest: usize,
    pub(super) work: usize,
}

impl Size {
    pub(super) fn prefix(&mut self, prefix: Cidr) {
        let map = if prefix.length() == prefix.family().bits() { &mut self.hosts } else { &mut self.nets };
        let [v4, v6] = map;
        *(if prefix.family() == Family::V4 { v4 } else { v6 }) += 1;
    }

    pub(super) fn slice(&mut self, slice: &[Interval]) {
        self.intervals += slice.len();
        self.longest = self.longest.max(slice.len());
    }

    /// So far over that counting on only costs time.
    pub(super) fn hopeless(&self) -> bool {
        self.intervals > 2 * INTERVALS_MAX || self.work > WORK_MAX
    }

    pub(super) fn refuse(&self, selecting: &[&NetworkPolicy]) -> Vec<Unsupported> {
        let ([hosts4, hosts6], [nets4, nets6]) = (self.hosts, self.nets);
        let needs = [
            ("IPv4 hosts", hosts4, HOSTS_MAX),
            ("IPv6 hosts", hosts6, HOSTS_MAX),
            ("IPv4 networks", nets4, NETS_MAX),
            ("IPv6 networks", nets6, NETS_MAX),
            ("intervals", self.intervals, INTERVALS_MAX),
            ("intervals for one address", self.longest, SLICE_INTERVALS_MAX),
            ("steps of flattening", self.work, WORK_MAX),
        ];
        let largest = selecting.iter().max_by_key(|p| weight(p));
        let over = needs.into_iter().filter(|(_, need, max)| need > max);
        over.map(|(what, need, max)| Unsupported {
            backend: "ebpf",
            policy: largest.map(|p| p.name.clone()),
            rule: None,
            place: largest.map(|p| p.place(p.at)),
            message: format!(
                "the rules need {need} {what}; this backend holds {max}{}",
                largest.map_or(String::new(), |p| contribution(p))
            ),
        })
        .collect()
    }
}

fn weight(policy: &NetworkPolicy) -> usize {
    let rules = Direction::BOTH.into_iter().flat_map(|d| policy.live_rules(d));
    rules.map(|r| r.peers.len().max(1).saturating_mul(r.ports.len().max(1))).sum()
}

fn contribution(policy: &NetworkPolicy) -> String {
    format!("; {} contributes most ({} combinations of peer and port)", policy.name, weight(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_too_entangled_to_be_flattened_is_unsupported() {
        let entangled = Size { work: WORK_MAX + 1, ..Size::default() };
        assert!(entangled.hopeless());
        assert!(entangled.refuse(&[])[0].message.contains("steps of flattening"));
        assert!(Size { work: WORK_MAX, ..Size::default() }.refuse(&[]).is_empty());
    }
}
