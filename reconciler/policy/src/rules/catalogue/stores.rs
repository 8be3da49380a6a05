//! Where account data is stored (PCI DSS v4.0.1 1.4.4).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::example::{data_flows, floor, inventory, services, zones};
use super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::flows::ServiceClass;
use crate::net::{Direction, ServiceRange, ServiceSet};
use crate::rules::audience::{Reach, Whose, may_use, service_of};
use crate::rules::facts::Facts;
use crate::rules::found::Found;
use crate::rules::group::{Group, Source};
use crate::rules::zones::ZoneMap;

pub(super) static ITEMS: [Item; 2] = [
    Item {
        id: "PCI-1.4.4-001",
        requirements: &["1.4.4"],
        severity: Severity::Error,
        waivable: false,
        basis: Basis::D,
        condition: "a `storesChd` endpoint that an untrusted address may reach, on any port: one in no zone or in an untrusted one; without Zones a public one",
        remediation: "Allow only the trusted application zone.",
        violating: concat!(
            zones!(),
            inventory!(),
            services!(),
            floor!(),
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.4\"}}\n",
            "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress],\n",
            "  ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
        ),
        repaired: concat!(
            zones!(),
            inventory!(),
            services!(),
            floor!(),
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.4\"}}\n",
            "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress],\n",
            "  ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
        ),
        profile: Column::Facts,
        needs: &["Inventory"],
        wants: &[],
        check: Check::Set(untrusted),
    },
    Item {
        id: "PCI-1.4.4-002",
        requirements: &["1.4.4"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::G,
        condition: "a *datastore* port of an endpoint that is in the CDE or stores account data is open to another zone, and no approved flow from there names a `datastore` service with that port",
        remediation: "Limit it to the application tier.",
        violating: concat!(
            zones!(),
            inventory!(),
            services!(),
            data_flows!(),
            floor!(),
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.4\"}}\n",
            "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress],\n",
            "  ingress: [{from: [{ipBlock: {cidr: 10.0.9.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
        ),
        repaired: concat!(
            zones!(),
            inventory!(),
            services!(),
            data_flows!(),
            floor!(),
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.4\"}}\n",
            "spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, policyTypes: [Ingress],\n",
            "  ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
        ),
        profile: Column::Facts,
        needs: &["Zones", "Inventory", "DataFlows", "Services"],
        wants: &[],
        check: Check::Set(datastore),
    },
];

fn untrusted(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if !facts.endpoints.iter().any(|known| known.member.stores_chd) {
        return;
    }
    for reach in facts.reaches(Whose::Everybody, Direction::Ingress, |_| true) {
        let Some(group) = reach.groups.iter().find(|group| group.stores_chd) else { continue };
        for source in &reach.sources {
            let untrusted = facts.untrusted(source.addresses.family());
            let Some(address) = source.addresses.first_shared(untrusted) else { continue };
            let service = service_of(source);
            let from = match facts.set.zones.is_empty() {
                true => String::from("the Internet"),
                false => format!("{}, which is untrusted,", ZoneMap::name(facts.zones.at(address))),
            };
            let (who, peer) = (&group.name, source.text());
            let message = format!("{who} stores account data and can be reached from {from} on {service}, by {peer}");
            found.add(item.about_peer(facts, source, group, (address, service), message));
        }
    }
}

/// Per pair of zones, initiator first, the ports of stores that approved flows name.
type Approved<'a> = BTreeMap<(&'a str, &'a str), ServiceSet>;

fn datastore(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let approved = approved(facts);
    for reach in facts.reaches(Whose::Everybody, Direction::Ingress, |rule| may_use(rule, &facts.lists.datastore)) {
        for group in reach.groups.iter().filter(|group| group.cde || group.stores_chd) {
            of_group(item, facts, found, &approved, (&reach, group));
        }
    }
}

fn of_group(
    item: &Item,
    facts: &Facts<'_>,
    found: &mut Found,
    approved: &Approved<'_>,
    (reach, group): (&Reach<'_, '_>, &Group<'_>),
) {
    let own = ZoneMap::name(group.zone);
    for source in &reach.sources {
        let open = stores(facts, source);
        for (zone, address) in facts.elsewhere(group, &source.addresses) {
            let from = ZoneMap::name(zone);
            let left = match approved.get(&(&*from, &*own)) {
                Some(ports) => open.minus(ports),
                None => open.clone(),
            };
            if let Some(service) = left.ranges().first().and_then(|range| crate::net::Service::from_number(range.lo())) {
                let (who, peer) = (group.whereabouts(), source.text());
                let message = format!(
                    "{who} opens {service}, a port of data stores, to {from}, by {peer}; no approved flow from {from} names such a service"
                );
                found.add(item.about_peer(facts, source, group, (address, service), message));
                break;
            }
        }
    }
}

/// The ports of stores among what a peer may use.
fn stores(facts: &Facts<'_>, source: &Source<'_>) -> ServiceSet {
    ServiceSet::of(source.services.iter().copied()).intersection(&facts.lists.datastore)
}

fn approved<'a>(facts: &Facts<'a>) -> Approved<'a> {
    let stores = facts.approved_services().filter(|service| service.is(ServiceClass::Datastore));
    let stores: BTreeMap<&str, &[ServiceRange]> = stores.map(|service| (&*service.name, &*service.ports)).collect();
    let mut ports: BTreeMap<(&str, &str), alloc::vec::Vec<ServiceRange>> = BTreeMap::new();
    for flow in facts.approved_flows() {
        let named = flow.services.iter().filter_map(|name| stores.get(&**name)).flat_map(|ranges| ranges.iter().copied());
        ports.entry((&flow.from, &flow.to)).or_default().extend(named);
    }
    ports.into_iter().map(|(zones, ranges)| (zones, ServiceSet::of(ranges))).collect()
}
