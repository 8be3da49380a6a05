//! What a rule really lets through: in Azure a deny of a lower number comes first.

use std::collections::BTreeMap;

use policy::net::{AddressSet, Cidr, Direction, Family, ServiceRange, ServiceSet};

use crate::backend::cloud::{FoundGroup, FoundRule, FoundSide};

/// Where Azure's own rules begin; those of people have lower numbers.
pub(super) const OWN_FROM: u16 = 65_000;
/// Addresses that are not the Internet's.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// Who has no addresses of their own, and the services they are left.
type Named = (Vec<FoundSide>, Vec<ServiceRange>);

/// What is left of a rule for some services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its index in the group.
    pub(super) rule: usize,
    /// For these services.
    pub(super) services: Vec<ServiceRange>,
    /// From or to these addresses.
    pub(super) addresses: Vec<Cidr>,
    /// And those who have no addresses of their own.
    pub(super) named: Vec<FoundSide>,
}

/// What each rule that allows lets through; nothing for one that lets nothing.
pub(super) fn pieces(group: &FoundGroup, direction: Direction) -> Vec<Piece> {
    let rules = || group.rules.iter().enumerate().filter(move |(_, rule)| rule.direction == direction);
    let before = |rule: &FoundRule| {
        let number = rule.priority;
        let first = move |other: &FoundRule| !other.allows && other.priority < number;
        rules().map(|(_, other)| other).filter(move |other| first(other)).collect::<Vec<_>>()
    };
    rules().filter(|(_, rule)| rule.allows).flat_map(|(index, rule)| left(index, rule, &before(rule))).collect()
}

/// What is left of a rule behind these denies.
fn left(index: usize, rule: &FoundRule, denies: &[&FoundRule]) -> Vec<Piece> {
    let (addresses, named) = sides(rule);
    let meets = |deny: &&&FoundRule| deny.services.iter().any(|a| rule.services.iter().any(|b| a.meets(*b)));
    let denies: Vec<&FoundRule> = denies.iter().filter(meets).copied().collect();
    if denies.is_empty() {
        return vec![Piece { rule: index, services: rule.services.clone(), addresses, named }];
    }
    let mut by_sides: BTreeMap<Vec<Cidr>, Vec<Named>> = BTreeMap::new();
    for range in rule.services.iter().flat_map(|range| cut(*range, &denies)) {
        let first: Vec<&FoundRule> =
            denies.iter().filter(|deny| ServiceSet::of(deny.services.iter().copied()).covers(range)).copied().collect();
        let (addresses, named) = behind(&addresses, &named, &first);
        let same = by_sides.entry(addresses).or_default();
        match same.iter_mut().find(|(other, _)| *other == named) {
            Some((_, services)) => services.push(range),
            None => same.push((named, vec![range])),
        }
    }
    let flat = by_sides.into_iter().flat_map(|(addresses, all)| all.into_iter().map(move |one| (addresses.clone(), one)));
    let piece = |(addresses, (named, services))| Piece { rule: index, services, addresses, named };
    flat.map(piece).filter(|piece| !piece.addresses.is_empty() || !piece.named.is_empty()).collect()
}

/// A range, cut where a deny begins or ends.
fn cut(range: ServiceRange, denies: &[&FoundRule]) -> Vec<ServiceRange> {
    let mut starts = vec![range.lo()];
    for deny in denies.iter().flat_map(|deny| &deny.services) {
        starts.extend([deny.lo(), deny.hi().saturating_add(1)].into_iter().filter(|at| (range.lo()..=range.hi()).contains(at)));
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([range.hi()]);
    starts.iter().zip(ends).filter_map(|(lo, hi)| ServiceRange::from_numbers(*lo, hi)).collect()
}

/// Who is left behind denies that all come first.
fn behind(addresses: &[Cidr], named: &[FoundSide], denies: &[&FoundRule]) -> (Vec<Cidr>, Vec<FoundSide>) {
    if denies.is_empty() {
        return (addresses.to_vec(), named.to_vec());
    }
    let mut left = Vec::new();
    let mut everybody = true;
    for family in Family::BOTH {
        let denied = AddressSet::of(family, denies.iter().flat_map(|deny| denied(deny)).filter(|cidr| cidr.family() == family));
        everybody &= denied.is_all();
        let own = AddressSet::of(family, addresses.iter().copied().filter(|cidr| cidr.family() == family));
        left.extend(own.minus(&denied).prefixes());
    }
    let is_denied = |side: &FoundSide| everybody || denies.iter().any(|deny| deny.sides.contains(side));
    (left, named.iter().filter(|side| !is_denied(side)).cloned().collect())
}

/// The addresses a rule allows, and who else. What may be everybody is everybody.
fn sides(rule: &FoundRule) -> (Vec<Cidr>, Vec<FoundSide>) {
    let (mut addresses, mut named) = (Vec::new(), Vec::new());
    for side in &rule.sides {
        match side {
            FoundSide::Prefix(cidr) => addresses.push(*cidr),
            FoundSide::PrefixList { entries: Some(entries), .. } => addresses.extend(entries),
            FoundSide::ServiceTag(tag) if is_everybody(tag) => addresses.extend(Family::BOTH.map(Cidr::all)),
            FoundSide::Group { .. } | FoundSide::PrefixList { entries: None, .. } | FoundSide::ServiceTag(_) => {
                named.push(side.clone());
            }
        }
    }
    (addresses, named)
}

/// The addresses a rule surely denies. What is not known is none.
fn denied(rule: &FoundRule) -> Vec<Cidr> {
    let of = |side: &FoundSide| match side {
        FoundSide::Prefix(cidr) => vec![*cidr],
        FoundSide::PrefixList { entries, .. } => entries.clone().unwrap_or_default(),
        FoundSide::ServiceTag(tag) if tag == "*" || tag.eq_ignore_ascii_case("any") => Family::BOTH.map(Cidr::all).into(),
        FoundSide::ServiceTag(tag) if is_everybody(tag) => internet(),
        FoundSide::ServiceTag(_) | FoundSide::Group { .. } => Vec::new(),
    };
    rule.sides.iter().flat_map(of).collect()
}

fn internet() -> Vec<Cidr> {
    let private: Vec<Cidr> = PRIVATE.iter().filter_map(|text| Cidr::parse(text).ok()).collect();
    let public = |family: Family| {
        let inside = AddressSet::of(family, private.iter().copied().filter(|cidr| cidr.family() == family));
        AddressSet::all(family).minus(&inside).prefixes()
    };
    Family::BOTH.into_iter().flat_map(public).collect()
}

/// Whether a service tag stands for the Internet.
pub(super) fn is_everybody(tag: &str) -> bool {
    tag == "*" || tag.eq_ignore_ascii_case("internet") || tag.eq_ignore_ascii_case("any")
}
