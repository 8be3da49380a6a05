//! Declared data flows that begin at this host: what must go on working when its rules change.
//!
//! A flow is declared between zones (PCI DSS v4.0.1 1.2.4). Which of its connections exist in fact nobody has written down, so these
//! are candidates: whoever uses them tries first which of them connect.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::HostIdentity;
use crate::compile::{Endpoint, Flow, Ruleset};
use crate::model::PolicySet;
use crate::model::inventory::Member;
use crate::net::service::TCP;
use crate::net::{Direction, Service};
use crate::rules::zones::ZoneMap;

/// Connections answered for one host; zones of thousands of endpoints are not all tried.
pub const DECLARED_MAX: usize = 32;

/// One connection that a declared flow stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// Where to.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// The flow's id, `DF-12`.
    pub id: Arc<str>,
    /// The endpoint's name.
    pub peer: Arc<str>,
    /// Whether the policies allow it from this host.
    pub allowed: bool,
}

impl HostIdentity {
    /// The TCP connections that declared flows from this host's zone stand for, at most [`DECLARED_MAX`]; none for a host that the
    /// Inventory does not know.
    #[must_use]
    pub fn declared_flows(&self, set: &PolicySet, ruleset: &Ruleset) -> Vec<Declared> {
        let Ok(me) = self.find(&set.members) else { return Vec::new() };
        let zones = ZoneMap::new(&set.zones);
        let mine = zones_of(me, &zones);
        let endpoint = Endpoint::from(me);
        let mut found = BTreeSet::new();
        for flow in set.flows.iter().filter(|flow| mine.contains(&flow.from)) {
            let ports: BTreeSet<u16> = flow.services.iter().flat_map(|name| ports(set, name)).collect();
            let others =
                set.members.iter().filter(|other| !core::ptr::eq(*other, me) && zones_of(other, &zones).contains(&flow.to));
            for (peer, address) in others.flat_map(|other| hosts(other).map(move |address| (other.name.clone(), address))) {
                for &port in &ports {
                    if found.len() == DECLARED_MAX {
                        return found.into_iter().collect();
                    }
                    let service = Service::new(TCP, port);
                    let asked = Flow { endpoint: endpoint.clone(), direction: Direction::Egress, peer: address, service };
                    let allowed = ruleset.verdict(&asked).allow;
                    found.insert(Declared { address, port, id: flow.id.clone(), peer: peer.clone(), allowed });
                }
            }
        }
        found.into_iter().collect()
    }
}

/// The zone as written, else those of the addresses.
fn zones_of(member: &Member, zones: &ZoneMap<'_>) -> BTreeSet<Arc<str>> {
    match &member.zone {
        Some(zone) => [zone.clone()].into(),
        None => member.addresses.iter().map(|(cidr, _)| ZoneMap::name(zones.at(cidr.first()))).collect(),
    }
}

/// Addresses of single hosts; a block is nobody to connect to.
fn hosts(member: &Member) -> impl Iterator<Item = IpAddr> {
    member.addresses.iter().map(|(cidr, _)| *cidr).filter(|cidr| cidr.first() == cidr.last()).map(crate::net::Cidr::first)
}

/// The first TCP port of each range of a service.
fn ports(set: &PolicySet, name: &str) -> Vec<u16> {
    let ranges = set.services.iter().filter(|service| &*service.name == name).flat_map(|service| &service.ports);
    let first = ranges.filter(|range| range.is_of(TCP)).filter_map(|range| Service::from_number(range.lo()));
    first.map(Service::port).filter(|port| *port != 0).collect()
}
