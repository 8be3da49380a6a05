//! PCI-1.4.1-002: IPv6 is no way around the controls on IPv4.
//!
//! Numbers of addresses of the two families cannot be compared, but what people would be asked about can: a port's sources are
//! narrow, wide or too wide by the thresholds of PCI-1.3.1-008, or open. "Wider" is a higher step.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::{NetworkPolicy, Peer};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{AddressSet, Direction, Family, ServiceRange, ServiceSet};
use crate::rules::facts::Facts;
use crate::rules::found::{Found, sample};
use crate::rules::group::{Group, Source};
use crate::rules::open::is_open;

pub(super) const IPV6: Item = Item {
    id: "PCI-1.4.1-002",
    requirements: &["1.4.1"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::H,
    condition: "an endpoint with IPv6 whose backends do not enforce IPv6; or one with both families and a port open wider on IPv6 than on IPv4, by the steps of PCI-1.3.1-008 and -004",
    remediation: "Close IPv6 or remove the address.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.1\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress], ingress: [\n",
        "  {from: [{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: \"fd00::/16\"}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.1\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress], ingress: [\n",
        "  {from: [{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: \"fd00:1::/64\"}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Inventory"],
    wants: &[],
    check: Check::Set(ipv6),
};

/// How wide some addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Narrow,
    Wide,
    TooWide,
    Open,
}

fn ipv6(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for known in &facts.endpoints {
        let has_v6 = known.member.addresses.iter().any(|(cidr, _)| cidr.family() == Family::V6);
        for backend in known.member.enforced_by.iter().filter(|backend| has_v6 && !backend.enforces_ipv6()) {
            let message = format!("{} has IPv6 addresses, and {} does not enforce IPv6", known.member.name, backend.name());
            found.add(item.about_endpoint(known.member, "addresses", message));
        }
    }
    for direction in Direction::BOTH {
        let mut sizes: BTreeMap<*const NetworkPolicy, u128> = BTreeMap::new();
        for group in facts.everybody.iter().filter(|group| has_both(facts, group)) {
            let of = |policy: &NetworkPolicy| *sizes.entry(core::ptr::from_ref(policy)).or_insert_with(|| size(policy, direction));
            let most = group.standing.iter().copied().map(of).fold(0, u128::saturating_add);
            // Most groups end here: all their IPv6 together is narrow.
            if step_of(most, 128, facts.thresholds().v6_prefix_warn, facts.thresholds().v6_prefix_error) > Step::Narrow {
                compare(item, facts, found, group, direction);
            }
        }
    }
}

/// Whether one of them has addresses of both families.
fn has_both(facts: &Facts<'_>, group: &Group<'_>) -> bool {
    facts.spend(group.standing.len());
    group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number)).any(|known| {
        let has = |family| known.member.addresses.iter().any(|(cidr, _)| cidr.family() == family);
        Family::BOTH.into_iter().all(has)
    })
}

/// IPv6 addresses that a policy's rules hold at most, counted as if none met another.
fn size(policy: &NetworkPolicy, direction: Direction) -> u128 {
    let rules = policy.live_rules(direction).iter();
    let of = |rule: &crate::model::Rule| match rule.peers.is_empty() {
        true => u128::MAX,
        false => {
            let parts = rule.peers.iter().flat_map(Peer::parts).filter(|part| part.cidr.family() == Family::V6);
            parts.map(|part| part.cidr.bounds()).fold(0_u128, |sum, (lo, hi)| sum.saturating_add(hi - lo).saturating_add(1))
        }
    };
    rules.map(of).fold(0, u128::saturating_add)
}

/// Walks the axis of services; between two cuts the same sources apply.
fn compare(item: &Item, facts: &Facts<'_>, found: &mut Found, group: &Group<'_>, direction: Direction) {
    let [v4, v6] = Family::BOTH.map(|family| group.sources(direction, family));
    let cuts = v4.iter().chain(&v6).flat_map(ranges).flat_map(|range| [range.lo(), range.hi() + 1]);
    let cuts: BTreeSet<u32> = cuts.collect();
    let pieces = cuts.iter().zip(cuts.iter().skip(1)).filter_map(|(lo, next)| ServiceRange::from_numbers(*lo, next - 1));
    for piece in pieces {
        if !facts.spend(v4.iter().chain(&v6).map(|source| source.weight + source.services.len()).sum()) {
            return;
        }
        let (active4, active6) = (active(&v4, piece), active(&v6, piece));
        let [of_v4, of_v6] = [(Family::V4, &active4), (Family::V6, &active6)]
            .map(|(family, sources)| AddressSet::union(family, sources.iter().map(|source| &source.addresses)));
        let Some(widest) = active6.iter().rev().max_by_key(|source| source.addresses.size()) else { continue };
        if step(facts, &of_v6) > step(facts, &of_v4)
            && let Some(address) = of_v6.lowest()
        {
            let service = sample(piece);
            let is = if direction == Direction::Ingress { "is open on" } else { "may use" };
            let (who, peer) = (&group.name, widest.text());
            let message = format!("{who} {is} {service} much wider on IPv6 than on IPv4, by {peer}");
            found.add(item.about_peer(facts, widest, group, (address, service), message));
        }
    }
}

/// Its services but ICMP, which each family has for itself.
fn ranges(source: &Source<'_>) -> Vec<ServiceRange> {
    let icmp = ServiceSet::of([ServiceRange::protocol(ICMP), ServiceRange::protocol(ICMPV6)]);
    ServiceSet::of(source.services.iter().copied()).minus(&icmp).ranges().to_vec()
}

/// The sources that may use a piece of the axis.
fn active<'s, 'a>(sources: &'s [Source<'a>], piece: ServiceRange) -> Vec<&'s Source<'a>> {
    sources.iter().filter(|source| ranges(source).iter().any(|range| range.covers(piece))).collect()
}

fn step(facts: &Facts<'_>, addresses: &AddressSet) -> Step {
    let limits = facts.thresholds();
    if is_open(facts, addresses) {
        return Step::Open;
    }
    match addresses.family() {
        Family::V6 => step_of(addresses.size(), 128, limits.v6_prefix_warn, limits.v6_prefix_error),
        Family::V4 => {
            let private = addresses.intersection(&facts.private(Family::V4)).size();
            let others = addresses.size() - private;
            let private = step_of(private, 32, limits.private_v4_prefix_warn, limits.private_v4_prefix_error);
            private.max(step_of(others, 32, limits.public_v4_prefix_warn, limits.public_v4_prefix_error))
        }
    }
}

/// By the prefix lengths beyond which people are asked, and beyond which they are refused.
fn step_of(size: u128, bits: u8, warn: u8, error: u8) -> Step {
    let beyond = |length: u8| 1_u128.checked_shl(u32::from(bits.saturating_sub(length))).is_some_and(|most| size > most);
    match (beyond(error), beyond(warn)) {
        (true, _) => Step::TooWide,
        (false, true) => Step::Wide,
        (false, false) => Step::Narrow,
    }
}
