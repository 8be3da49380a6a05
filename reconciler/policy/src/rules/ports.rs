//! Rules that let in too much at once: everybody, every port, wide ranges.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, Here, with_severity};
use crate::finding::{Finding, Severity};
use crate::model::PortItem;
use crate::net::service::{SCTP, TCP, UDP};
use crate::net::{Direction, Family, Service, ServiceRange};

/// The widest range of ports that is not asked about (`portRangeMax`).
const PORT_RANGE_MAX: u32 = 16;

/// The house lists of insecure, administrative, datastore and discovery ports, all four together.
const SENSITIVE: [(u8, u16, u16); 54] = [
    (TCP, 20, 23),
    (TCP, 25, 25),
    (TCP, 79, 80),
    (TCP, 110, 111),
    (TCP, 135, 135),
    (TCP, 137, 139),
    (TCP, 143, 143),
    (TCP, 179, 179),
    (TCP, 389, 389),
    (TCP, 445, 445),
    (TCP, 512, 514),
    (TCP, 873, 873),
    (TCP, 1080, 1080),
    (TCP, 1433, 1434),
    (TCP, 1521, 1521),
    (TCP, 1723, 1723),
    (TCP, 1883, 1883),
    (TCP, 2049, 2049),
    (TCP, 2181, 2181),
    (TCP, 2375, 2376),
    (TCP, 2379, 2380),
    (TCP, 2483, 2484),
    (TCP, 3306, 3306),
    (TCP, 3389, 3389),
    (TCP, 4333, 4333),
    (TCP, 5432, 5432),
    (TCP, 5900, 5909),
    (TCP, 5984, 5986),
    (TCP, 6000, 6063),
    (TCP, 6379, 6379),
    (TCP, 6443, 6443),
    (TCP, 7199, 7199),
    (TCP, 9042, 9042),
    (TCP, 9092, 9092),
    (TCP, 9160, 9160),
    (TCP, 9200, 9200),
    (TCP, 9300, 9300),
    (TCP, 10250, 10250),
    (TCP, 11211, 11211),
    (TCP, 27017, 27018),
    (TCP, 50000, 50000),
    (UDP, 69, 69),
    (UDP, 111, 111),
    (UDP, 137, 138),
    (UDP, 161, 162),
    (UDP, 177, 177),
    (UDP, 514, 514),
    (UDP, 520, 521),
    (UDP, 1434, 1434),
    (UDP, 1900, 1900),
    (UDP, 2049, 2049),
    (UDP, 5353, 5353),
    (UDP, 5355, 5355),
    (UDP, 11211, 11211),
];

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
        found.add(Finding { witness: here.witness(None, None), ..finding });
    }
}

/// S11: every peer of a family, every protocol, every port.
pub(super) fn everything(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all).filter(|h| h.rule.ports.is_empty()) {
        if Family::BOTH.into_iter().any(|family| here.rule.addresses(family).is_all()) {
            let message = String::from("the rule allows every peer, every protocol and every port: it switches segmentation off");
            found.add(Finding { witness: here.witness(None, None), ..item.about_rule(&here, here.rule.at, "", message) });
        }
    }
}

/// S13, S26: no ports, or every port of TCP, UDP or SCTP.
pub(super) fn every_port(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all) {
        if here.rule.ports.is_empty() {
            let (at, below) = here.rule.ports_at.map_or((here.rule.at, ""), |at| (at, "/ports"));
            let message = String::from("without ports the rule is for every protocol and port");
            found.add(Finding { witness: here.witness(None, None), ..item.about_rule(&here, at, below, message) });
        }
        for (i, port, services) in port_items(&here).filter(|(_, _, services)| is_every_port(*services)) {
            let protocol = Service::from_number(services.lo()).map_or(String::new(), Service::protocol_name);
            let finding = item.about_rule(&here, port.at, &format!("/ports/{i}"), format!("every {protocol} port is allowed"));
            found.add(Finding { witness: here.witness(None, Some(services)), ..finding });
        }
    }
}

/// A range that hides what is used; an error if it hides a sensitive port.
pub(super) fn wide_range(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all) {
        for (i, port, services) in port_items(&here).filter(|(_, _, services)| has_ports(*services) && !is_every_port(*services)) {
            let width = services.hi() - services.lo() + 1;
            if width <= PORT_RANGE_MAX {
                continue;
            }
            let hidden = sensitive_in(services);
            let holds = hidden.map_or(String::new(), |service| format!(", {service} among them"));
            let message = format!("a range of {width} ports{holds}; at most {PORT_RANGE_MAX}");
            let finding = item.about_rule(&here, port.at, &format!("/ports/{i}"), message);
            let finding = Finding { witness: here.witness(None, Some(services)), ..finding };
            found.add(with_severity(finding, if hidden.is_some() { Severity::Error } else { Severity::Warning }));
        }
    }
}

fn port_items<'a>(here: &Here<'a>) -> impl Iterator<Item = (usize, &'a PortItem, ServiceRange)> {
    here.rule.ports.iter().enumerate().filter_map(|(i, port)| port.services.map(|services| (i, port, services)))
}

fn has_ports(services: ServiceRange) -> bool {
    Service::from_number(services.lo()).is_some_and(|s| matches!(s.protocol(), TCP | UDP | SCTP))
}

/// Port 0 is no port, so 1 to 65535 are all there are.
fn is_every_port(services: ServiceRange) -> bool {
    has_ports(services) && services.hi() - services.lo() >= 0xFFFE
}

fn sensitive_in(services: ServiceRange) -> Option<Service> {
    let ranges = SENSITIVE.iter().map(|(protocol, first, last)| ServiceRange::ports(*protocol, *first, *last));
    let held = ranges.filter(|r| r.lo() <= services.hi() && services.lo() <= r.hi());
    held.filter_map(|r| Service::from_number(r.lo().max(services.lo()))).min()
}
