//! Random worlds: what the groups of both clouds let pass is what the policies mean.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::compile::Flow;
use crate::compile::tests::generate::{addresses, services, world};
use crate::compile::tests::naive::Asked;
use crate::compile::tests::property::{endpoint, service, set, stranger};
use crate::compile::tests::world::{Someone, World};
use crate::lower::network_security_group as azure;
use crate::lower::security_group as aws;
use crate::net::Service;
use crate::net::service::{ICMP, ICMPV6};
use crate::rules::tests::day;

fn everybody(world: &World) -> Vec<Found> {
    let found = |someone: &Someone| Found {
        id: someone.name.as_str().into(),
        endpoint: endpoint(someone),
        addresses: someone.addresses.iter().map(ToString::to_string).filter_map(|text| host(&text)).collect(),
    };
    world.members.iter().flatten().map(found).chain([found(&stranger())]).collect()
}

fn host(text: &str) -> Option<Cidr> {
    if let Ok(cidr) = Cidr::parse(text) {
        return Some(cidr);
    }
    let address: IpAddr = text.parse().ok()?;
    Cidr::new(address, Family::of(address).bits())
}

/// Each family has an ICMP of its own; a packet of the other one does not exist.
fn exists(peer: IpAddr, service: Service) -> bool {
    match service.protocol() {
        ICMP => Family::of(peer) == Family::V4,
        ICMPV6 => Family::of(peer) == Family::V6,
        _ => true,
    }
}

/// What AWS does: any rule of any group.
fn aws_allows(table: &aws::Table, subjects: &[Subject], group: &str, direction: Direction, peer: IpAddr, service: Service) -> bool {
    table.keys().any(|key| {
        let aws::Key::Rule { group: own, direction: way, traffic, side } = key else { return false };
        let reaches = match side {
            aws::Side::Prefix(cidr) => cidr.contains(peer),
            aws::Side::Group(name) => {
                subjects.iter().any(|subject| subject.name == *name && subject.addresses.iter().any(|cidr| cidr.contains(peer)))
            }
            aws::Side::Other(name) => panic!("nobody asked for {name}"),
        };
        &**own == group && *way == direction && reaches && traffic.services().contains(service)
    })
}

fn azure_allows(table: &azure::Table, group: &str, direction: Direction, peer: IpAddr, service: Service) -> bool {
    table.rules.iter().any(|(key, rule)| {
        let azure::Key::Allow { group: own, direction: way, traffic, .. } = key else { return false };
        let reaches = rule.prefixes.iter().any(|cidr| cidr.contains(peer));
        &**own == group && *way == direction && reaches && traffic.services().contains(service)
    })
}

fn check(world: &World, name_groups: bool) -> Result<(), TestCaseError> {
    let ruleset = Ruleset::of(&set(world), day());
    let found = everybody(world);
    let subjects = subjects(&ruleset, &found);
    let limits = aws::Limits { rules_per_group: usize::MAX, name_groups };
    let (aws, azure) = (aws::lower(&ruleset, &subjects, limits), azure::lower(&ruleset, &subjects));
    let (peers, services) = (addresses(world, 24), services(world, 12));
    for one in &found {
        let group = &subjects.iter().find(|subject| subject.ids.contains(&one.id)).unwrap().name;
        let flows = peers.iter().flat_map(|peer| services.iter().map(move |asked: &Asked| (*peer, service(*asked))));
        for (peer, service) in flows.filter(|(peer, service)| exists(*peer, *service)) {
            for direction in Direction::BOTH {
                let flow = Flow { endpoint: one.endpoint.clone(), direction, peer, service };
                let expected = ruleset.verdict(&flow).allow;
                let words = || format!("{} {} {peer} {service}\n{}", one.id, direction.name(), world.text());
                if let Ok(table) = &aws {
                    prop_assert_eq!(aws_allows(table, &subjects, group, direction, peer, service), expected, "aws: {}", words());
                }
                if let Ok(table) = &azure {
                    prop_assert_eq!(azure_allows(table, group, direction, peer, service), expected, "azure: {}", words());
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn groups_let_pass_what_the_policies_mean(world in world()) {
        check(&world, false)?;
    }

    #[test]
    fn groups_that_name_groups_let_pass_what_the_policies_mean(world in world()) {
        check(&world, true)?;
    }

    #[test]
    fn the_fewest_prefixes_hold_the_addresses_and_no_other(spans in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..6)) {
        let base = 0x0A00_0000_u128;
        let spans = spans.into_iter().map(|(a, b)| (base + u128::from(a.min(b)), base + u128::from(a.max(b)))).collect();
        let set = AddressSet::from_spans(Family::V4, spans);
        let prefixes = set.prefixes();
        prop_assert_eq!(&AddressSet::of(Family::V4, prefixes.iter().copied()), &set);
        for (one, next) in prefixes.iter().zip(prefixes.iter().skip(1)) {
            prop_assert!(one.bounds().1 < next.bounds().0, "sorted and apart");
        }
        // No two neighbours of one size make a larger prefix.
        let joins = |one: &Cidr, next: &Cidr| one.length() == next.length() && one.bounds().1 + 1 == next.bounds().0
            && Cidr::new(one.first(), one.length() - 1).unwrap().covers(*next);
        prop_assert!(!prefixes.iter().zip(prefixes.iter().skip(1)).any(|(one, next)| joins(one, next)));
    }
}

#[test]
fn all_addresses_of_a_family_are_one_prefix() {
    for family in Family::BOTH {
        assert_eq!(AddressSet::all(family).prefixes(), [Cidr::all(family)]);
        assert!(AddressSet::empty(family).prefixes().is_empty());
    }
}
