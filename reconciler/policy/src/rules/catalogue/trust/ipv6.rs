//! PCI-1.4.1-002: IPv6 is no way around the controls on IPv4.
//!
//! Numbers of addresses of the two families cannot be compared, but what people would be asked about can: a port's sources are
//! narrow, wide or too wide by the widest of their prefixes and the thresholds of PCI-1.3.1-008, or open together. "Wider" is a higher
//! step. Two networks written in both families are as wide in one as in the other, wherever they lie.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::{NetworkPolicy, Peer};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{AddressSet, Cidr, Direction, Family, ServiceRange, ServiceSet};
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
            let of = |policy: &NetworkPolicy| {
                *sizes.entry(core::ptr::from_ref(policy)).or_insert_with(|| size(facts, policy, direction))
            };
            let most = group.standing.iter().copied().map(of).fold(0, u128::saturating_add);
            // Most groups end here: all their IPv6 together is narrow.
            let narrow = 1_u128.checked_shl(128 - u32::from(facts.thresholds().v6_prefix_warn)).unwrap_or(u128::MAX);
            if most > narrow {
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

/// IPv6 addresses that a policy's rules hold at most, counted as if none met another. Few of those behind a translator are open.
fn size(facts: &Facts<'_>, policy: &NetworkPolicy, direction: Direction) -> u128 {
    let rules = policy.live_rules(direction).iter();
    let of = |rule: &crate::model::Rule| match rule.peers.is_empty() {
        true => u128::MAX,
        false => {
            let parts = rule.peers.iter().flat_map(Peer::parts).filter(|part| part.cidr.family() == Family::V6);
            let size = |cidr: Cidr| {
                let (lo, hi) = if facts.meets_nat64(cidr) { (0, u128::MAX) } else { cidr.bounds() };
                (hi - lo).saturating_add(1)
            };
            parts.map(|part| size(part.cidr)).fold(0_u128, u128::saturating_add)
        }
    };
    rules.map(of).fold(0, u128::saturating_add)
}

/// Walks the axis of services; between two cuts the same sources apply.
fn compare(item: &Item, facts: &Facts<'_>, found: &mut Found, group: &Group<'_>, direction: Direction) {
    let [mut v4, mut v6] = Family::BOTH.map(|family| Axis::new(facts, group, direction, family));
    let mut edges: Vec<Edge> = [&v4, &v6].into_iter().flat_map(Axis::edges).collect();
    edges.sort_unstable();
    if !facts.spend(edges.len()) {
        return;
    }
    let ends = edges.chunk_by(|a, b| a.0 == b.0).skip(1).filter_map(|piece| piece.first());
    let pieces = edges.chunk_by(|a, b| a.0 == b.0).zip(ends.map(|edge| edge.0 - 1));
    for (piece, last) in pieces {
        for (_, begins, family, number) in piece {
            if *family == Family::V4 { &mut v4 } else { &mut v6 }.turn(*begins, *number);
        }
        let from = piece.first().map_or(0, |edge| edge.0);
        let Some(piece) = ServiceRange::from_numbers(from, last) else { continue };
        let Some((widest, address)) = v6.widest().filter(|_| is_wider(facts, &v6, &v4)) else { continue };
        let service = sample(piece);
        let is = if direction == Direction::Ingress { "is open on" } else { "may use" };
        let (who, peer) = (&group.name, widest.text());
        let message = format!("{who} {is} {service} much wider on IPv6 than on IPv4, by {peer}");
        found.add(item.about_peer(facts, widest, group, (address, service), message));
    }
}

/// Sets are made only where they can decide.
fn is_wider(facts: &Facts<'_>, v6: &Axis<'_>, v4: &Axis<'_>) -> bool {
    let narrow = v4.by_prefix();
    (v6.may_open || v6.by_prefix() > narrow) && {
        let wide = v6.step(facts);
        wide > narrow && wide > v4.step(facts)
    }
}

/// A service at which a source of a family begins or ends to apply.
type Edge = (u32, bool, Family, usize);
/// How wide a source's widest prefix is, how many addresses it has, and its number; the first among equals is the highest.
type Rank = (Step, u128, Reverse<usize>);

/// The sources of one family, and which of them apply where a walk has come to.
struct Axis<'a> {
    family: Family,
    sources: Vec<Source<'a>>,
    ranks: Vec<Rank>,
    active: BTreeSet<Rank>,
    /// All sources together are open.
    may_open: bool,
}

impl<'a> Axis<'a> {
    fn new(facts: &Facts<'_>, group: &Group<'a>, direction: Direction, family: Family) -> Self {
        let sources = group.sources(direction, family);
        facts.spend(sources.iter().map(|source| source.weight + source.services.len()).sum());
        let ranks = sources.iter().enumerate().map(|(number, source)| {
            let step = prefixes(source, family).map(|cidr| step_of_prefix(facts, cidr)).max();
            (step.unwrap_or(Step::Narrow), source.addresses.size(), Reverse(number))
        });
        let may_open = is_open(facts, &AddressSet::union(family, sources.iter().map(|source| &source.addresses)));
        Self { family, ranks: ranks.collect(), active: BTreeSet::new(), may_open, sources }
    }

    fn edges(&self) -> impl Iterator<Item = Edge> {
        let family = self.family;
        self.sources.iter().enumerate().flat_map(move |(number, source)| {
            ranges(source)
                .into_iter()
                .flat_map(move |range| [(range.lo(), true, family, number), (range.hi() + 1, false, family, number)])
        })
    }

    fn turn(&mut self, on: bool, number: usize) {
        let Some(rank) = self.ranks.get(number) else { return };
        if on {
            self.active.insert(*rank)
        } else {
            self.active.remove(rank)
        };
    }

    /// The step of the widest prefix that applies.
    fn by_prefix(&self) -> Step {
        self.active.last().map_or(Step::Narrow, |rank| rank.0)
    }

    /// The same, or open where all that applies together is.
    fn step(&self, facts: &Facts<'_>) -> Step {
        if !self.may_open {
            return self.by_prefix();
        }
        let active = || self.active.iter().filter_map(|(.., number)| self.sources.get(number.0));
        let within = facts.spend(active().map(|source| source.weight).sum());
        let open = within && is_open(facts, &AddressSet::union(self.family, active().map(|source| &source.addresses)));
        if open { Step::Open } else { self.by_prefix() }
    }

    /// The source with the widest prefix of those that apply, and its lowest address.
    fn widest(&self) -> Option<(&Source<'a>, IpAddr)> {
        let source = self.sources.get(self.active.last()?.2.0)?;
        Some((source, source.addresses.lowest()?))
    }
}

/// The prefixes that a source was made from.
fn prefixes<'s>(source: &'s Source<'_>, family: Family) -> impl Iterator<Item = Cidr> + 's {
    let rule = source.here.rule;
    let peer = source.peer.and_then(|number| rule.peers.get(number));
    let everybody = rule.peers.is_empty().then(|| Cidr::all(family));
    let named = rule.ports.iter().filter(move |_| peer.is_none()).filter_map(|item| item.port.name());
    let members = named.flat_map(|named| named.found.iter()).flat_map(|(_, members)| members.iter().copied());
    let own = peer.into_iter().flat_map(Peer::parts).map(|part| part.cidr);
    own.chain(everybody).chain(members).filter(move |cidr| cidr.family() == family)
}

/// Its services but ICMP, which each family has for itself.
fn ranges(source: &Source<'_>) -> Vec<ServiceRange> {
    let icmp = ServiceSet::of([ServiceRange::protocol(ICMP), ServiceRange::protocol(ICMPV6)]);
    ServiceSet::of(source.services.iter().copied()).minus(&icmp).ranges().to_vec()
}

fn step_of_prefix(facts: &Facts<'_>, cidr: Cidr) -> Step {
    let limits = facts.thresholds();
    let (warn, error) = match cidr.family() {
        Family::V6 => (limits.v6_prefix_warn, limits.v6_prefix_error),
        Family::V4 if facts.is_private(cidr) => (limits.private_v4_prefix_warn, limits.private_v4_prefix_error),
        Family::V4 => (limits.public_v4_prefix_warn, limits.public_v4_prefix_error),
    };
    match (cidr.length() < error, cidr.length() < warn) {
        (true, _) => Step::TooWide,
        (false, true) => Step::Wide,
        (false, false) => Step::Narrow,
    }
}
