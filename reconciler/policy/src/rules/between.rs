//! Traffic between two zones that a rule allows a group of endpoints, peer by peer, and what is approved of it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::facts::Facts;
use super::found::Here;
use super::group::Group;
use super::zones::ZoneMap;
use crate::model::flows::DataFlow;
use crate::model::{Kind, Spot};
use crate::net::service::{ICMP, ICMPV6, TCP};
use crate::net::{Direction, Family, ServiceRange, ServiceSet};

/// What one peer of one rule allows between one zone and the zone of a group.
pub(super) struct Crossing<'a> {
    pub(super) here: Here<'a>,
    /// Where the peer stands.
    pub(super) at: Spot,
    /// The zone that initiates; `None` where nobody knows, because no endpoint is.
    pub(super) from: Option<Arc<str>>,
    /// The zone that answers.
    pub(super) to: Option<Arc<str>>,
    /// The lowest address of the peer in its zone.
    pub(super) address: IpAddr,
    /// What may be asked for.
    pub(super) services: ServiceSet,
}

impl Crossing<'_> {
    /// `from dmz to cde-app`; what nobody knows is left out.
    pub(super) fn way(&self) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!("from {from} to {to}"),
            (Some(from), None) => format!("from {from}"),
            (None, Some(to)) => format!("to {to}"),
            (None, None) => String::from("at all"),
        }
    }
}

/// Every crossing of a group, in both directions. A peer that touches several zones is one for each.
pub(super) fn crossings<'a>(facts: &Facts<'a>, group: &Group<'a>) -> impl Iterator<Item = Crossing<'a>> {
    let own = (!group.endpoints.is_empty()).then(|| ZoneMap::name(group.zone));
    let ways = Direction::BOTH.into_iter().flat_map(|direction| Family::BOTH.map(|family| (direction, family)));
    let sources = ways.flat_map(|(direction, family)| group.sources(direction, family).into_iter().map(move |s| (s, family)));
    sources.flat_map(move |(source, family)| {
        let services = possible(&source.services, family);
        let own = own.clone();
        let touched = if services.is_empty() { [].into() } else { facts.zones.touched(&source.addresses) };
        touched.into_iter().map(move |(zone, address)| {
            let other = Some(ZoneMap::name(zone));
            let (from, to) = match source.here.direction {
                Direction::Ingress => (other, own.clone()),
                Direction::Egress => (own.clone(), other),
            };
            Crossing { here: source.here, at: source.at, from, to, address, services: services.clone() }
        })
    })
}

/// Without the ICMP of the other family, of which no packet exists.
fn possible(services: &[ServiceRange], family: Family) -> ServiceSet {
    let other = if family == Family::V4 { ICMPV6 } else { ICMP };
    ServiceSet::of(services.iter().copied()).minus(&ServiceSet::of([ServiceRange::protocol(other)]))
}

/// Approved services by pair of zones, initiator first.
pub(super) struct Approved<'a> {
    by_zones: BTreeMap<(&'a str, &'a str), ServiceSet>,
}

impl<'a> Approved<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let mut ranges: BTreeMap<(&str, &str), Vec<ServiceRange>> = BTreeMap::new();
        for service in facts.approved_services() {
            for (from, to) in &service.zones {
                ranges.entry((from, to)).or_default().extend(&service.ports);
            }
        }
        Self { by_zones: ranges.into_iter().map(|(zones, ranges)| (zones, ServiceSet::of(ranges))).collect() }
    }

    /// What of some services is not approved between two zones.
    pub(super) fn lacking(&self, services: &ServiceSet, from: &str, to: &str) -> ServiceSet {
        self.by_zones.get(&(from, to)).map_or_else(|| services.clone(), |approved| services.minus(approved))
    }
}

/// The approved data flows, each with what its services may ask for.
pub(super) struct Flows<'a> {
    by_id: BTreeMap<&'a str, (&'a DataFlow, ServiceSet)>,
    zones: bool,
    services: bool,
}

impl<'a> Flows<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let ports: BTreeMap<&str, &Vec<ServiceRange>> =
            facts.approved_services().map(|service| (&*service.name, &service.ports)).collect();
        let of = |flow: &'a DataFlow| {
            let ranges = flow.services.iter().filter_map(|name| ports.get(&**name)).flat_map(|ports| ports.iter().copied());
            (&*flow.id, (flow, ServiceSet::of(ranges)))
        };
        let by_id = facts.approved_flows().map(of).collect();
        Self { by_id, zones: facts.has(Kind::Zones), services: facts.has(Kind::Services) }
    }

    /// What none of the cited flows holds. What is not known of zones or services is not asked.
    pub(super) fn lacking(&self, cited: &[Arc<str>], crossing: &Crossing<'_>) -> ServiceSet {
        let ends = |flow: &DataFlow| {
            let same = |zone: &Option<Arc<str>>, end: &Arc<str>| zone.as_ref().is_none_or(|zone| zone == end);
            !self.zones || (same(&crossing.from, &flow.from) && same(&crossing.to, &flow.to))
        };
        let holding: Vec<&ServiceSet> =
            cited.iter().filter_map(|id| self.by_id.get(&**id)).filter(|(flow, _)| ends(flow)).map(|(_, ports)| ports).collect();
        if !self.services && !holding.is_empty() {
            return ServiceSet::default();
        }
        holding.iter().fold(crossing.services.clone(), |left, ports| left.minus(ports))
    }
}

/// The range to name of several: of TCP if there is one.
pub(super) fn shown(services: &ServiceSet) -> Option<ServiceRange> {
    let tcp = services.intersection(&ServiceSet::of([ServiceRange::protocol(TCP)]));
    tcp.ranges().first().or_else(|| services.ranges().first()).copied()
}
