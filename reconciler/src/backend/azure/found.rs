//! Groups as they are, whoever made them, for questions about posture.

use policy::lower::network_security_group::Traffic;
use policy::model::inventory::Enforcer;
use policy::net::{Cidr, ServiceRange};

use super::models::{Group, Rule};
use super::observe::way;
use super::words::protocol;
use crate::backend::cloud::{FoundGroup, FoundRule, FoundSide, MARK};

pub(super) fn found(group: &Group, network: &str, installation: &str) -> FoundGroup {
    let own = group.properties.security_rules.iter().map(|rule| found_rule(rule, false));
    let built_in = group.properties.default_security_rules.iter().map(|rule| found_rule(rule, true));
    let mut rules: Vec<FoundRule> = own.chain(built_in).collect();
    rules.sort_by_key(|rule| (rule.direction, rule.priority));
    FoundGroup {
        cloud: Enforcer::Azure,
        id: group.id.clone(),
        name: group.name.clone(),
        network: network.to_owned(),
        ours: group.tags.get(MARK).is_some_and(|mark| mark == installation),
        default: false,
        attached: Some(group.properties.attached().map(str::to_owned).collect()),
        tags: group.tags.clone(),
        rules,
    }
}

fn found_rule(rule: &Rule, built_in: bool) -> FoundRule {
    let properties = &rule.properties;
    let sides = if properties.inbound() { properties.sources() } else { properties.destinations() };
    let groups = if properties.inbound() {
        &properties.source_application_security_groups
    } else {
        &properties.destination_application_security_groups
    };
    let members = groups.iter().filter_map(|group| group.get("id")?.as_str()).map(|id| FoundSide::Group { id: id.to_owned() });
    let mark = if built_in { " (of the provider)" } else { "" };
    FoundRule {
        id: Some(rule.name.clone()),
        direction: way(rule),
        allows: properties.allows(),
        priority: Some(properties.priority),
        services: services(&properties.protocol, &properties.destination_ports()),
        sides: sides.iter().flat_map(|side| side_of(side)).chain(members).collect(),
        text: format!("{} {}{mark}", rule.name, properties.text()),
        description: properties.description.clone().unwrap_or_default(),
    }
}

/// `*` is every address of both families; what is no address is a name for addresses that the provider keeps.
fn side_of(side: &str) -> Vec<FoundSide> {
    if side == "*" || side.eq_ignore_ascii_case("any") {
        return ["0.0.0.0/0", "::/0"].iter().filter_map(|all| Cidr::parse(all).ok()).map(FoundSide::Prefix).collect();
    }
    match (Cidr::parse(side), side.parse::<std::net::IpAddr>()) {
        (Ok(cidr), _) => vec![FoundSide::Prefix(cidr)],
        (Err(_), Ok(address)) => {
            let length = if address.is_ipv4() { 32 } else { 128 };
            Cidr::new(address, length).map(FoundSide::Prefix).into_iter().collect()
        }
        (Err(_), Err(_)) => range(side).unwrap_or_else(|| vec![FoundSide::ServiceTag(side.to_owned())]),
    }
}

/// `10.0.0.1-10.0.0.9`
fn range(side: &str) -> Option<Vec<FoundSide>> {
    let (first, last) = side.split_once('-')?;
    let (first, last): (std::net::IpAddr, std::net::IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let family = policy::net::Family::of(first);
    if family != policy::net::Family::of(last) {
        return None;
    }
    let host = |address| Cidr::new(address, family.bits()).map(|cidr| cidr.bounds().0);
    let set = policy::net::AddressSet::from_spans(family, vec![(host(first)?, host(last)?)]);
    Some(set.prefixes().into_iter().map(FoundSide::Prefix).collect())
}

fn services(word: &str, ports: &[String]) -> Vec<ServiceRange> {
    let all_ports = ports.iter().any(|port| port == "*");
    let of = |protocol: u8| -> Vec<ServiceRange> {
        let one = |port: &String| {
            let (first, last) = port.split_once('-').unwrap_or((port, port));
            Some(ServiceRange::ports(protocol, first.trim().parse().ok()?, last.trim().parse().ok()?))
        };
        ports.iter().filter_map(one).collect()
    };
    match protocol(word) {
        Some(number) if all_ports || !matches!(number, 6 | 17) => vec![Traffic::Protocol(number).services()],
        Some(number) => of(number),
        None if all_ports => vec![ServiceRange::ALL],
        None => [6, 17].into_iter().flat_map(of).collect(),
    }
}
