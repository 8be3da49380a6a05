//! Addresses over the whole set: no prefix in two zones, no address on two endpoints, and endpoints in the zone they name.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::names::{Names, Noun};
use super::problem::{Code, Problem, Problems};
use super::scalar::shown;
use crate::model::inventory::Member;
use crate::model::zones::INTERNET;
use crate::model::{Kind, Origin, Place, PolicySet, Spot};
use crate::net::Cidr;
use crate::rules::zones::ZoneMap;

/// Reports prefixes and addresses that are written twice, and endpoints whose zone is not that of their addresses.
pub(super) fn check(set: &PolicySet, names: &Names, problems: &mut Problems) {
    let zones: Vec<Written<'_>> =
        set.zones.iter().enumerate().flat_map(|(i, zone)| written(i, &zone.origin, "cidrs", &zone.cidrs)).collect();
    same_prefix(zones, problems);
    let members = set.members.iter().enumerate();
    overlaps(members.flat_map(|(i, m)| written(i, &m.origin, "addresses", &m.addresses)).collect(), &set.members, problems);
    // What a zone that could not be read holds is not known.
    if set.kinds.contains(&Kind::Zones) && !names.lost.contains(&Noun::Zone) {
        let zones = ZoneMap::new(&set.zones);
        let known: BTreeSet<&str> = set.zones.iter().map(|zone| &*zone.name).chain([INTERNET]).collect();
        // A zone that does not exist has been told.
        let placed = set.members.iter().filter(|member| member.zone.as_deref().is_none_or(|zone| known.contains(zone)));
        placed.for_each(|member| in_one_zone(member, &zones, problems));
    }
}

/// A prefix, whose it is, and where it stands.
#[derive(Clone, Copy)]
struct Written<'a> {
    cidr: Cidr,
    owner: usize,
    origin: &'a Origin,
    field: &'static str,
    number: usize,
    at: Spot,
}

fn written<'a>(
    owner: usize,
    origin: &'a Origin,
    field: &'static str,
    cidrs: &'a [(Cidr, Spot)],
) -> impl Iterator<Item = Written<'a>> {
    cidrs.iter().enumerate().map(move |(number, (cidr, at))| Written { cidr: *cidr, owner, origin, field, number, at: *at })
}

impl Written<'_> {
    fn place(&self) -> Place {
        Place { file: self.origin.place.file.clone(), spot: self.at }
    }

    fn path(&self) -> String {
        format!("{}/{}/{}", self.origin.path, self.field, self.number)
    }

    fn order(&self) -> (Cidr, &str, Spot) {
        (self.cidr, &self.origin.place.file, self.at)
    }
}

/// A second definition points at itself, the first stands beside it.
fn twice(one: &Written<'_>, other: &Written<'_>, what: &str, problems: &mut Problems) {
    let later = |a: &Written<'_>, b: &Written<'_>| (&a.origin.place.file, a.at) > (&b.origin.place.file, b.at);
    let (first, second) = if later(one, other) { (other, one) } else { (one, other) };
    let place = first.place();
    // Zones are written as prefixes, endpoints have addresses.
    let cidr = if second.field == "cidrs" { second.cidr.to_string() } else { shortest(second.cidr) };
    let message = format!("{cidr} {what} at {}:{}:{}", shown(&place.file), place.spot.line, place.spot.column);
    problems.push(Problem {
        code: Code::DuplicateName,
        place: second.place(),
        path: Some(second.path()),
        policy: None,
        message,
        did_you_mean: None,
        related: [place].into(),
    });
}

/// A single address stands without the length of its prefix.
fn shortest(cidr: Cidr) -> String {
    let (first, last) = cidr.bounds();
    if first == last { cidr.first().to_string() } else { cidr.to_string() }
}

/// The same prefix twice, in one zone or in two.
fn same_prefix(mut prefixes: Vec<Written<'_>>, problems: &mut Problems) {
    prefixes.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    for same in prefixes.chunk_by(|a, b| a.cidr == b.cidr) {
        let [first, later @ ..] = same else { continue };
        later.iter().for_each(|other| twice(first, other, "is also written", problems));
    }
}

/// Addresses on two endpoints. Prefixes nest or are apart, and each stands directly before those inside it: one walk with a stack of
/// the prefixes around the current one finds every overlap.
fn overlaps(mut addresses: Vec<Written<'_>>, members: &[Member], problems: &mut Problems) {
    addresses.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    let mut around: Vec<Written<'_>> = Vec::new();
    for current in addresses {
        while around.pop_if(|outer| !outer.cidr.covers(current.cidr)).is_some() {}
        // An endpoint has few addresses, so another's is near the top.
        if let Some(other) = around.iter().rev().find(|outer| outer.owner != current.owner) {
            let name = |written: &Written<'_>| members.get(written.owner).map_or("", |member| &member.name);
            let what = format!("of {} overlaps {} of {}", name(&current), shortest(other.cidr), name(other));
            twice(other, &current, &what, problems);
        }
        around.push(current);
    }
}

/// An endpoint is in the zone it names; if it names none, its addresses agree on one.
fn in_one_zone(member: &Member, zones: &ZoneMap<'_>, problems: &mut Problems) {
    let mut expected = member.zone.clone();
    for (number, (cidr, at)) in member.addresses.iter().enumerate() {
        let named = expected.get_or_insert_with(|| ZoneMap::name(zones.at(cidr.first())));
        let Some(other) = another_zone(*cidr, named, zones) else { continue };
        let (said, field) = match (&member.zone, number) {
            (Some(_), _) => ("but its zone is", "zone"),
            // The first block of addresses lies in two zones.
            (None, 0) => ("and in zone", "addresses"),
            (None, _) => ("but its other addresses are in zone", "addresses"),
        };
        problems.push(Problem {
            code: Code::Contradiction,
            place: Place { file: member.origin.place.file.clone(), spot: *at },
            path: Some(format!("{}/addresses/{number}", member.origin.path)),
            policy: None,
            message: format!("{} of {} is in zone {other}, {said} {named}", shortest(*cidr), member.name),
            did_you_mean: None,
            related: [member.origin.field(field)].into(),
        });
    }
}

/// A zone besides this one that holds addresses of a block.
fn another_zone(cidr: Cidr, named: &str, zones: &ZoneMap<'_>) -> Option<Arc<str>> {
    let first = ZoneMap::name(zones.at(cidr.first()));
    if *first != *named {
        return Some(first);
    }
    // Stretches of one zone never touch, so what follows this one is another zone's.
    let (_, last) = cidr.bounds();
    let next = zones.end(cidr.first()).checked_add(1).filter(|next| *next <= last)?;
    Some(ZoneMap::name(zones.at(cidr.family().address(next))))
}
