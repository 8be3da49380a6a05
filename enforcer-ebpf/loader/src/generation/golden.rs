//! Golden packets: before a generation is turned to, the loaded programs judge packets by it, and each verdict must be the one
//! that the table means.
//!
//! Mistakes sit at edges, so that is where the packets are: first and last address of a prefix and the ones beside them, first and
//! last service of an interval and the ones beside them. Of a change all that changed is tried, of a whole table an even sample.

use std::net::IpAddr;

use enforcer_abi::SERVICE_MAX;

use super::packet::{judged_by_rules, opening, seen};
use crate::{
    api::Checked,
    error::Error,
    table::{Cidr, Direction, Interval, Meaning, Meant, Table},
    test_run::Checker,
};

/// Packets tried on one generation; about 10 ms.
pub(crate) const PACKETS_MAX: usize = 4_096;

/// HTTPS: tried on every prefix, those without services too.
const ALWAYS: u32 = 0x06_01BB;

/// Where lists for every peer are tried: addresses for documentation (RFC 5737, RFC 3849).
const STRANGERS: [&str; 2] = ["198.51.100.77", "2001:db8:77::77"];

/// A prefix to try, with the lists of services whose bounds are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot<'a> {
    pub(crate) direction: Direction,
    pub(crate) cidr: Cidr,
    /// What it has; what it had before.
    pub(crate) lists: [&'a [Interval]; 2],
}

/// One packet to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) direction: Direction,
    pub(crate) peer: IpAddr,
    pub(crate) service: u32,
}

/// Every prefix of `table`.
pub(crate) fn spots(table: &Table) -> Vec<Spot<'_>> {
    table.prefixes.iter().map(|(direction, cidr, list)| Spot { direction: *direction, cidr: *cidr, lists: [list, &[]] }).collect()
}

/// The packets to try: those of strangers, and those around `spots`.
pub(crate) fn probes(table: &Table, spots: &[Spot<'_>]) -> Vec<Probe> {
    let strangers = STRANGERS.iter().filter_map(|addr| addr.parse().ok());
    let everybody = strangers.flat_map(|addr| Direction::ALL.map(|direction| (direction, Cidr::host(addr))));
    // In the order of `any`: IPv4 in, IPv4 out, IPv6 in, IPv6 out.
    let everybody = everybody.zip(&table.any);
    let everybody = everybody.map(|((direction, cidr), list)| Spot { direction, cidr, lists: [list, &[]] });
    let all: Vec<Spot<'_>> = everybody.chain(spots.iter().cloned()).collect();
    let count = all.len().min(PACKETS_MAX);
    let each = PACKETS_MAX / count.max(1);
    let mut probes = Vec::with_capacity(PACKETS_MAX);
    for turn in 0..count {
        if let Some(spot) = all.get(turn * all.len() / count) {
            probes.extend(around(spot, each, turn));
        }
    }
    probes.retain(|probe| judged_by_rules(probe.direction, probe.peer, probe.service));
    probes
}

/// At most `most` packets around `spot`, evenly out of all; which ones differs from `turn` to `turn`.
fn around(spot: &Spot<'_>, most: usize, turn: usize) -> impl Iterator<Item = Probe> {
    let addresses = edges(spot.cidr);
    let [now, before] = spot.lists.map(<[Interval]>::len);
    let services = 4 * (now + before) + 1;
    let all = addresses.len() * services;
    let count = all.min(most);
    (0..count).filter_map(move |step| {
        // Addresses take turns by themselves: even steps through all might meet only one of them.
        let peer = *addresses.get((step + turn) % addresses.len())?;
        let edge = (step * all / count / addresses.len() + turn) % services;
        Some(Probe { direction: spot.direction, peer, service: service(spot, edge) })
    })
}

/// The service at one of the four edges of one of the intervals; [`ALWAYS`] after the last.
fn service(spot: &Spot<'_>, edge: usize) -> u32 {
    let [now, before] = spot.lists;
    let Some(own) = now.iter().chain(before).nth(edge / 4) else { return ALWAYS };
    match edge % 4 {
        0 => own.lo.saturating_sub(1),
        1 => own.lo,
        2 => own.hi,
        _ => (own.hi + 1).min(SERVICE_MAX),
    }
}

/// First and last address of `cidr`, and the ones beside them.
fn edges(cidr: Cidr) -> [IpAddr; 4] {
    match cidr.addr() {
        IpAddr::V4(first) => {
            let first = first.to_bits();
            let last = first | u32::MAX.checked_shr(cidr.prefix_len().into()).unwrap_or(0);
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|addr| IpAddr::V4(addr.into()))
        }
        IpAddr::V6(first) => {
            let first = first.to_bits();
            let last = first | u128::MAX.checked_shr(cidr.prefix_len().into()).unwrap_or(0);
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(|addr| IpAddr::V6(addr.into()))
        }
    }
}

/// Has the programs judge `probes` by `slot`, and compares.
pub(crate) fn try_out(checker: &Checker, slot: u32, meaning: &Meaning<'_>, probes: &[Probe]) -> Result<(), Error> {
    for Probe { direction, peer, service } in probes.iter().copied() {
        let Checked { passes, would_drop, rule, reason } = checker.check(direction, slot, &opening(direction, peer, service))?;
        let expected = meaning.verdict(direction, peer, seen(peer, service));
        let found = Meant { passes, would_drop, rule };
        if found != expected {
            return Err(Error::Misjudged {
                direction: direction.label(),
                peer,
                service,
                expected: expected.to_string(),
                found: format!("{found} ({reason})"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::{prelude::*, sample::Index};

    use super::{PACKETS_MAX, Probe, probes, seen, spots};
    use crate::table::{Cidr, Direction, Interval, Meaning, Mode, Table};

    fn list(ports: &[(u16, u16)]) -> Vec<Interval> {
        let service = |port: u16| 0x06_0000 | u32::from(port);
        ports.iter().map(|(lo, hi)| Interval { lo: service(*lo), hi: service(*hi), rule: 3, audit: false }).collect()
    }

    /// Prefixes that do not nest, so that none hides a mistake about another.
    fn table(prefixes: impl IntoIterator<Item = (Direction, u32, Vec<Interval>)>) -> Table {
        let prefixes = prefixes.into_iter().map(|(direction, n, list)| {
            let (addr, len) = (IpAddr::V4((0x0A00_0000 | n << 8).into()), if n % 2 == 0 { 24 } else { 32 });
            (direction, Cidr::new(addr, len).unwrap(), list)
        });
        let (isolate_in, isolate_out) = (Some(Mode::Enforce), Some(Mode::Enforce));
        Table { isolate_in, isolate_out, prefixes: prefixes.collect(), ..Table::default() }.sorted()
    }

    fn notices(probes: &[Probe], one: &Table, other: &Table) -> bool {
        let [one, other] = [one, other].map(Meaning::of);
        probes.iter().any(|own| {
            let [one, other] = [&one, &other].map(|table| table.verdict(own.direction, own.peer, seen(own.peer, own.service)));
            one != other
        })
    }

    proptest! {
        #[test]
        fn any_single_mistake_in_a_small_table_is_noticed(
            ports in prop::collection::vec((2_u16..60_000, 0_u16..50), 1..6), which in any::<Index>(), mistake in 0..6
        ) {
            let lists = ports.iter().map(|(lo, width)| list(&[(*lo, *lo + *width)]));
            let directions = Direction::ALL.into_iter().cycle();
            let wanted = table((0..).zip(lists).zip(directions).map(|((n, list), direction)| (direction, n, list)));
            let mut wrong = wanted.clone();
            let at = which.index(wrong.prefixes.len());
            let (direction, cidr, list) = &mut wrong.prefixes[at];
            match mistake {
                0 => list[0].lo -= 1,
                1 => list[0].hi += 1,
                2 => list[0].rule += 1,
                3 => *cidr = Cidr::new(cidr.addr(), cidr.prefix_len() - 1).unwrap_or(Cidr::host("192.0.2.9".parse().unwrap())),
                4 => list.clear(),
                _ => *direction = if *direction == Direction::In { Direction::Out } else { Direction::In },
            }
            let probes = probes(&wanted, &spots(&wanted));
            prop_assert!(notices(&probes, &wanted, &wrong));
            prop_assert!(!notices(&probes, &wanted, &wanted));
        }

        #[test]
        fn there_are_never_more_packets_than_allowed_and_each_prefix_of_a_middling_table_has_some(count in 1_u32..9_000) {
            let ports: Vec<_> = (0..40_u16).map(|n| (n * 100 + 1, n * 100 + 9)).collect();
            let wanted = table((0..count).map(|n| (Direction::In, n, list(&ports))));
            let probes = probes(&wanted, &spots(&wanted));
            prop_assert!(probes.len() <= PACKETS_MAX);
            prop_assert!(probes.len() > PACKETS_MAX / 2 || count < 32, "{} packets", probes.len());
            if count < 1_000 {
                let inside = |cidr: Cidr| probes.iter().any(|own| cidr.contains(own.peer));
                prop_assert!(wanted.prefixes.iter().all(|(_, cidr, _)| inside(*cidr)));
            }
        }
    }

    #[test]
    fn services_open_to_everybody_are_tried_in_both_families_and_directions() {
        let mut wanted = table([]);
        wanted.any = [list(&[(10, 20)]), list(&[(30, 40)]), list(&[(50, 60)]), list(&[(70, 80)])];
        let probes = probes(&wanted, &[]);
        for at in 0..4 {
            let mut wrong = wanted.clone();
            wrong.any[at][0].hi += 1;
            assert!(notices(&probes, &wanted, &wrong), "{at}");
        }
    }
}
