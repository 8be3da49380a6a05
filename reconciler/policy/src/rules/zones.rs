//! Which zone an address belongs to: the one with the longest matching prefix, else the Internet.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::model::zones::{INTERNET, Zone};
use crate::net::{AddressSet, Cidr, Family};

/// Zones as disjoint stretches of addresses.
pub(crate) struct ZoneMap<'a> {
    zones: &'a [Zone],
    /// Per family, sorted and disjoint: first and last address, and whose they are. Two of one zone never touch.
    stretches: [Vec<(u128, u128, usize)>; 2],
}

impl<'a> ZoneMap<'a> {
    pub(crate) fn new(zones: &'a [Zone]) -> Self {
        Self { zones, stretches: Family::BOTH.map(|family| stretches(zones, family)) }
    }

    fn of(&self, family: Family) -> &[(u128, u128, usize)] {
        let [v4, v6] = &self.stretches;
        if family == Family::V4 { v4 } else { v6 }
    }

    /// The zone of an address; `None` is the Internet.
    pub(crate) fn at(&self, address: IpAddr) -> Option<&'a Zone> {
        let number = crate::net::cidr::number(address);
        let list = self.of(Family::of(address));
        let stretch = list.get(list.partition_point(|(_, last, _)| *last < number)).filter(|(first, ..)| *first <= number);
        stretch.and_then(|(.., zone)| self.zones.get(*zone))
    }

    /// The highest address up to which every address from this one on belongs to the same zone.
    pub(crate) fn end(&self, address: IpAddr) -> u128 {
        let number = crate::net::cidr::number(address);
        let list = self.of(Family::of(address));
        match list.get(list.partition_point(|(_, last, _)| *last < number)) {
            Some((first, last, _)) if *first <= number => *last,
            Some((first, ..)) => first.saturating_sub(1),
            None => Family::of(address).last(),
        }
    }

    /// The zone with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&'a Zone> {
        self.zones.iter().find(|zone| &*zone.name == name)
    }

    /// The zone's name, or that of the Internet.
    pub(crate) fn name(zone: Option<&Zone>) -> Arc<str> {
        zone.map_or_else(|| INTERNET.into(), |zone| zone.name.clone())
    }

    /// Every zone that some addresses touch, each with the lowest address in it; `None` is the Internet.
    #[cfg(test)]
    pub(crate) fn touched(&self, addresses: &AddressSet) -> Vec<(Option<&'a Zone>, IpAddr)> {
        self.touched_numbers(addresses).into_iter().map(|(zone, lowest)| (self.numbered(zone), lowest)).collect()
    }

    /// The zone with this number; `None` is the Internet.
    pub(crate) fn numbered(&self, number: Option<usize>) -> Option<&'a Zone> {
        number.and_then(|number| self.zones.get(number))
    }

    /// The same by the zones' numbers.
    pub(crate) fn touched_numbers(&self, addresses: &AddressSet) -> Vec<(Option<usize>, IpAddr)> {
        let family = addresses.family();
        let list = self.of(family);
        let mut found: BTreeMap<Option<usize>, u128> = BTreeMap::new();
        for &(first, last) in addresses.spans() {
            let mut at = Some(first);
            let begin = list.partition_point(|(_, end, _)| *end < first);
            for &(from, to, zone) in list.iter().skip(begin).take_while(|(from, ..)| *from <= last) {
                if let Some(gap) = at.filter(|at| *at < from) {
                    found.entry(None).or_insert(gap);
                }
                found.entry(Some(zone)).or_insert(from.max(first));
                at = to.checked_add(1);
            }
            if let Some(gap) = at.filter(|at| *at <= last) {
                found.entry(None).or_insert(gap);
            }
        }
        found.into_iter().map(|(zone, lowest)| (zone, family.address(lowest))).collect()
    }

    /// How many stretches of zones some addresses meet.
    pub(crate) fn met(&self, addresses: &AddressSet) -> usize {
        let list = self.of(addresses.family());
        let of = |&(first, last): &(u128, u128)| {
            list.partition_point(|(from, ..)| *from <= last).saturating_sub(list.partition_point(|(_, end, _)| *end < first))
        };
        addresses.spans().iter().map(of).sum()
    }

    /// Every address of the zones that satisfy a condition; `None` is the Internet.
    pub(crate) fn addresses(&self, family: Family, wanted: impl Fn(Option<&Zone>) -> bool) -> AddressSet {
        let of = |keep: bool| {
            let list = self.of(family).iter().filter(|(.., zone)| self.zones.get(*zone).is_some_and(|z| wanted(Some(z)) == keep));
            AddressSet::from_spans(family, list.map(|(first, last, _)| (*first, *last)).collect())
        };
        // What no zone holds is wanted or not as a whole.
        if wanted(None) { AddressSet::all(family).minus(&of(false)) } else { of(true) }
    }
}

/// One walk over all prefixes, sorted so that each stands directly before those inside it.
fn stretches(zones: &[Zone], family: Family) -> Vec<(u128, u128, usize)> {
    let each = zones.iter().enumerate().flat_map(|(number, zone)| zone.cidrs.iter().map(move |(cidr, _)| (*cidr, number)));
    let mut prefixes: Vec<(Cidr, usize)> = each.filter(|(cidr, _)| cidr.family() == family).collect();
    prefixes.sort_unstable();
    prefixes.dedup_by_key(|(cidr, _)| *cidr);
    let mut out: Vec<(u128, u128, usize)> = Vec::with_capacity(prefixes.len());
    let mut open: Vec<(u128, usize)> = Vec::new();
    let mut from = 0_u128;
    let mut done = false;
    let close = |out: &mut Vec<_>, from: &mut u128, done: &mut bool, (last, zone): (u128, usize)| {
        if !*done && *from <= last {
            out.push((*from, last, zone));
            match last.checked_add(1) {
                Some(next) => *from = next,
                None => *done = true,
            }
        }
    };
    for (cidr, zone) in prefixes {
        let (first, last) = cidr.bounds();
        while let Some(outer) = open.pop_if(|(end, _)| *end < first) {
            close(&mut out, &mut from, &mut done, outer);
        }
        if let Some(&(_, outer)) = open.last()
            && from < first
        {
            out.push((from, first - 1, outer));
        }
        from = first;
        open.push((last, zone));
    }
    while let Some(outer) = open.pop() {
        close(&mut out, &mut from, &mut done, outer);
    }
    out.dedup_by(|next, stretch| {
        let touches = next.2 == stretch.2 && stretch.1.checked_add(1) == Some(next.0);
        if touches {
            stretch.1 = next.1;
        }
        touches
    });
    out
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};
    use alloc::vec;

    use super::*;
    use crate::model::zones::Scope;
    use crate::model::{Origin, Place, Spot};

    fn zone(name: &str, cidrs: &[&str]) -> Zone {
        let place = Place { file: "z.yaml".into(), spot: Spot::START };
        Zone {
            origin: Origin { place, document: "z".into(), path: String::new(), fields: [].into() },
            name: name.into(),
            cidrs: cidrs.iter().map(|text| (Cidr::parse(text).unwrap(), Spot::START)).collect(),
            classes: vec![],
            trusted: true,
            scope: Scope::In,
            out_of_scope_reason: None,
        }
    }

    fn names(map: &ZoneMap<'_>, cidrs: &[&str]) -> Vec<(String, String)> {
        use alloc::string::ToString;
        let set = AddressSet::of(Family::V4, cidrs.iter().map(|c| Cidr::parse(c).unwrap()));
        map.touched(&set).into_iter().map(|(z, a)| (ZoneMap::name(z).to_string(), a.to_string())).collect()
    }

    #[test]
    fn the_longest_match_says_whose_an_address_is() {
        let zones =
            [zone("wide", &["10.0.0.0/8"]), zone("inner", &["10.1.0.0/16"]), zone("host", &["10.1.2.3/32", "255.255.255.255/32"])];
        let map = ZoneMap::new(&zones);
        for (address, expected) in [
            ("10.0.0.0", "wide"),
            ("10.0.255.255", "wide"),
            ("10.1.0.0", "inner"),
            ("10.1.2.2", "inner"),
            ("10.1.2.3", "host"),
            ("10.1.2.4", "inner"),
            ("10.2.0.0", "wide"),
            ("10.255.255.255", "wide"),
            ("11.0.0.0", "internet"),
            ("9.255.255.255", "internet"),
            ("255.255.255.255", "host"),
            ("fd00::1", "internet"),
        ] {
            assert_eq!(&*ZoneMap::name(map.at(address.parse().unwrap())), expected, "{address}");
        }
    }

    #[test]
    fn stretches_of_one_zone_that_touch_are_one() {
        let zones = [zone("a", &["10.0.0.0/17", "10.0.128.0/17"]), zone("b", &["10.1.0.0/16"])];
        let map = ZoneMap::new(&zones);
        let end = |address: &str| Family::V4.address(map.end(address.parse().unwrap()));
        for (address, last) in [
            ("10.0.0.1", "10.0.255.255"),
            ("10.1.0.0", "10.1.255.255"),
            ("9.0.0.0", "9.255.255.255"),
            ("10.2.0.0", "255.255.255.255"),
        ] {
            assert_eq!(end(address).to_string(), last, "{address}");
        }
    }

    #[test]
    fn a_block_touches_every_zone_it_meets_and_the_gaps_between_them() {
        let zones = [zone("a", &["10.0.0.0/24"]), zone("b", &["10.0.2.0/24"])];
        let map = ZoneMap::new(&zones);
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect::<Vec<(String, String)>>();
        assert_eq!(names(&map, &["10.0.0.128/25"]), own(&[("a", "10.0.0.128")]));
        assert_eq!(names(&map, &["10.0.0.0/22"]), own(&[("internet", "10.0.1.0"), ("a", "10.0.0.0"), ("b", "10.0.2.0")]));
        assert_eq!(names(&map, &["192.0.2.0/24"]), own(&[("internet", "192.0.2.0")]));
    }

    #[test]
    fn the_addresses_of_some_zones_and_of_the_rest_are_everything() {
        let zones = [zone("a", &["10.0.0.0/8"]), zone("b", &["10.1.0.0/16", "10.3.0.0/16"])];
        let map = ZoneMap::new(&zones);
        let a = map.addresses(Family::V4, |z| z.is_some_and(|z| &*z.name == "a"));
        let rest = map.addresses(Family::V4, |z| z.is_none_or(|z| &*z.name != "a"));
        assert_eq!(a.size(), (1 << 24) - (2 << 16));
        assert!(a.intersection(&rest).is_empty() && AddressSet::union(Family::V4, [&a, &rest]).is_all());
    }
}
