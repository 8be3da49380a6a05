//! PCI-1.4.5-001: internal addresses and routes are not told to others.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::net::IpAddr;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::zones::Zone;
use crate::model::{Port, PortItem};
use crate::net::{Direction, Service, ServiceSet};
use crate::rules::audience::{Reach, Whose, may_use};
use crate::rules::facts::Facts;
use crate::rules::found::{Found, with_severity};
use crate::rules::group::{Group, Source};
use crate::rules::zones::ZoneMap;

pub(super) const DISCOVERY: Item = Item {
    id: "PCI-1.4.5-001",
    requirements: &["1.4.5"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::H,
    condition: "CDE policy, *discovery* ports to or from another zone; a warning if that zone is trusted. Without Zones only public addresses are surely another zone",
    remediation: "Remove it: it tells others our addresses and routes.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.5\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], egress: [{to: [{ipBlock: {cidr: 192.88.0.5/32}}], ports: [{protocol: UDP, port: 5353}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.5\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], egress: []}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &["Zones", "Inventory"],
    check: Check::Set(discovery),
};

fn discovery(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for direction in Direction::BOTH {
        for reach in facts.reaches(Whose::Cde, direction, |rule| may_use(rule, &facts.lists.discovery)) {
            of_rule(item, facts, found, &reach);
        }
    }
}

/// One finding for each item of `ports`: the worst.
fn of_rule(item: &Item, facts: &Facts<'_>, found: &mut Found, reach: &Reach<'_, '_>) {
    let mut worst: BTreeMap<Option<usize>, Finding> = BTreeMap::new();
    for source in &reach.sources {
        let told = ServiceSet::of(source.services.iter().copied()).intersection(&facts.lists.discovery);
        for group in reach.groups.iter().filter(|_| !told.is_empty()) {
            let elsewhere = facts.elsewhere(group, &source.addresses);
            let untrusted = elsewhere.iter().find(|(zone, _)| is_untrusted(*zone));
            let severity = if untrusted.is_some() { Severity::Error } else { Severity::Warning };
            let Some((zone, address)) = untrusted.or(elsewhere.first()) else { continue };
            for (number, service) in items(reach, &told) {
                if worst.get(&number).is_none_or(|known| severity < known.severity) {
                    let finding = finding(item, facts, (source, group, number), (*zone, *address), service);
                    worst.insert(number, with_severity(finding, severity));
                }
            }
        }
    }
    worst.into_values().for_each(|finding| found.add(finding));
}

fn is_untrusted(zone: Option<&Zone>) -> bool {
    zone.is_none_or(|zone| !zone.trusted)
}

/// The items of `ports` that hold some services, each with the lowest of them; the rule itself where it has none.
fn items(reach: &Reach<'_, '_>, told: &ServiceSet) -> impl Iterator<Item = (Option<usize>, Service)> {
    let ports = &reach.here.rule.ports;
    let whole = told.ranges().first().and_then(|range| Service::from_number(range.lo())).filter(|_| ports.is_empty());
    let first = |item: &PortItem| item.port.services().find_map(|range| told.first_in(range));
    let each = ports.iter().enumerate().filter_map(move |(number, item)| Some((Some(number), first(item)?)));
    whole.map(|service| (None, service)).into_iter().chain(each)
}

fn finding(
    item: &Item,
    facts: &Facts<'_>,
    (source, group, number): (&Source<'_>, &Group<'_>, Option<usize>),
    (zone, address): (Option<&Zone>, IpAddr),
    service: Service,
) -> Finding {
    let here = source.here;
    let (who, zone) = (group.whereabouts(), ZoneMap::name(zone));
    let name = number.and_then(|number| here.rule.ports.get(number)).and_then(|port| match &port.port {
        Port::Named(named) => Some(format!(" ({})", named.name)),
        Port::Numbers(_) | Port::Unreadable => None,
    });
    let (name, peer) = (name.unwrap_or_default(), source.text());
    let message = match here.direction {
        Direction::Ingress => format!("{zone} can ask {who} for addresses or routes on {service}{name}, by {peer}"),
        Direction::Egress => format!("{who} can tell {zone} addresses or routes on {service}{name}, by {peer}"),
    };
    let port = number.and_then(|number| Some((here.rule.ports.get(number)?.at, format!("/ports/{number}"))));
    let list = || here.rule.ports_at.map_or((here.rule.at, String::new()), |at| (at, String::from("/ports")));
    let (at, below) = port.unwrap_or_else(list);
    Finding { witness: facts.packet(group, &here, address, service), ..item.about_rule(&here, at, &below, message) }
}
