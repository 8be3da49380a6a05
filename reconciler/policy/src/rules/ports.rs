//! Rules that let in too much at once: everybody, every port, wide ranges.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, Here, with_severity};
use crate::finding::{Finding, Severity};
use crate::model::PortItem;
use crate::net::service::{SCTP, TCP, UDP};
use crate::net::{Direction, Family, Service, ServiceRange, ServiceSet};

pub(super) fn from_everybody(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    everybody(item, facts, found, Direction::Ingress);
}

pub(super) fn to_everybody(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    everybody(item, facts, found, Direction::Egress);
}

/// S12: no peers are every peer.
fn everybody(item: &Item, facts: &Facts<'_>, found: &mut Found, direction: Direction) {
    for here in facts.cde_policies().flat_map(|p| Here::of(p, direction)).filter(|h| h.rule.peers.is_empty()) {
        let message = format!("without {} the rule is for everybody, IPv4 and IPv6", direction.peers());
        let finding = item.about_rule(&here, here.rule.at, "", message);
        found.add(Finding { witness: here.witness(facts, None, None), ..finding });
    }
}

/// S11: every peer of a family, every protocol, every port.
pub(super) fn everything(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all).filter(|h| h.rule.ports.is_empty()) {
        if Family::BOTH.into_iter().any(|family| here.rule.addresses(family).is_all()) {
            let message = String::from("the rule allows every peer, every protocol and every port: it switches segmentation off");
            found.add(Finding { witness: here.witness(facts, None, None), ..item.about_rule(&here, here.rule.at, "", message) });
        }
    }
}

/// S13, S26: no ports, or every port of TCP, UDP or SCTP.
pub(super) fn every_port(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all) {
        if here.rule.ports.is_empty() {
            let (at, below) = here.rule.ports_at.map_or((here.rule.at, ""), |at| (at, "/ports"));
            let message = String::from("without ports the rule is for every protocol and port");
            found.add(Finding { witness: here.witness(facts, None, None), ..item.about_rule(&here, at, below, message) });
        }
        for (i, port, services) in port_items(&here).filter(|(_, _, services)| is_every_port(*services)) {
            let protocol = Service::from_number(services.lo()).map_or(String::new(), Service::protocol_name);
            let finding = item.about_rule(&here, port.at, &format!("/ports/{i}"), format!("every {protocol} port is allowed"));
            found.add(Finding { witness: here.witness(facts, None, Some(services)), ..finding });
        }
        for protocol in every_port_together(&here) {
            let Some((i, port, services)) = port_items(&here).find(|(_, _, services)| services.is_of(protocol)) else { continue };
            let name = Service::new(protocol, 1).protocol_name();
            let message = format!("every {name} port is allowed, by this item and the others together");
            let finding = item.about_rule(&here, port.at, &format!("/ports/{i}"), message);
            found.add(Finding { witness: here.witness(facts, None, Some(services)), ..finding });
        }
    }
}

/// The protocols of which several items together hold every port, and none of them alone.
fn every_port_together(here: &Here<'_>) -> impl Iterator<Item = u8> {
    let all: Vec<ServiceRange> = port_items(here).map(|(_, _, services)| services).collect();
    let merged = ServiceSet::of(all.iter().copied());
    [TCP, UDP, SCTP].into_iter().filter(move |protocol| {
        let alone = all.iter().any(|services| services.is_of(*protocol) && is_every_port(*services));
        !alone && merged.covers(ServiceRange::ports(*protocol, 1, u16::MAX))
    })
}

/// A range that hides what is used; an error if it hides a sensitive port.
pub(super) fn wide_range(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all) {
        for (i, port, services) in port_items(&here).filter(|(_, _, services)| has_ports(*services) && !is_every_port(*services)) {
            let width = services.hi() - services.lo() + 1;
            let max = facts.thresholds().port_range_max;
            if width <= max {
                continue;
            }
            let hidden = facts.lists.sensitive.first_in(services);
            let holds = hidden.map_or(String::new(), |service| format!(", {service} among them"));
            let message = format!("a range of {width} ports{holds}; at most {max}");
            let finding = item.about_rule(&here, port.at, &format!("/ports/{i}"), message);
            let finding = Finding { witness: here.witness(facts, None, Some(services)), ..finding };
            found.add(with_severity(finding, if hidden.is_some() { Severity::Error } else { Severity::Warning }));
        }
    }
}

fn port_items<'a>(here: &Here<'a>) -> impl Iterator<Item = (usize, &'a PortItem, ServiceRange)> {
    here.rule.ports.iter().enumerate().filter_map(|(i, item)| item.port.numbers().map(|services| (i, item, services)))
}

fn has_ports(services: ServiceRange) -> bool {
    Service::from_number(services.lo()).is_some_and(|s| matches!(s.protocol(), TCP | UDP | SCTP))
}

/// Port 0 is no port, so 1 to 65535 are all there are.
fn is_every_port(services: ServiceRange) -> bool {
    has_ports(services) && services.hi() - services.lo() >= 0xFFFE
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use crate::rules::recorded::tests::{POLICY, breaks, of, today};

    #[test]
    fn every_port_in_several_items_is_every_port() {
        let id = "PCI-1.3.1-005";
        let judged = |ports: &str| today(&POLICY.replace("{protocol: TCP, port: 5432}", ports));
        for (first, second, hit) in [
            ("SCTP, port: 1, endPort: 65000", "SCTP, port: 65001, endPort: 65535", true),
            ("SCTP, port: 1, endPort: 65000", "SCTP, port: 65002, endPort: 65535", false),
            ("SCTP, port: 1, endPort: 65000", "UDP, port: 65001, endPort: 65535", false),
            ("TCP, port: 30000, endPort: 65535", "TCP, port: 1, endPort: 40000", true),
        ] {
            let judged = judged(&format!("{{protocol: {first}}}, {{protocol: {second}}}"));
            assert_eq!(breaks(&judged, id), hit, "{first} {second}: {:?}", judged.findings);
        }
        // Where one item holds them all, it is the one to point at.
        let judged = judged("{protocol: TCP, port: 443}, {protocol: TCP}");
        assert_eq!((of(&judged, id).len(), of(&judged, id)[0].path.as_deref()), (1, Some("/spec/ingress/0/ports/1")));
    }
}
