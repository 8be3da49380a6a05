//! PCI-1.3.2-007: names and time come from the designated servers.

use alloc::format;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::flows::ServiceClass;
use crate::net::service::{TCP, UDP};
use crate::net::{AddressSet, Direction, Family, ServiceRange, ServiceSet};
use crate::rules::audience::{Reach, Whose, first_of, may_use};
use crate::rules::facts::Facts;
use crate::rules::found::Found;

pub(super) const SERVERS: Item = Item {
    id: "PCI-1.3.2-007",
    requirements: &["1.3.2", "10.6.2"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::H,
    condition: "CDE egress on 53 or 853 to more than the servers of `dns` services, on UDP 123 to more than those of `time` services",
    remediation: "Point at the designated servers.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Egress],\n",
        "  egress: [{to: [{ipBlock: {cidr: 10.0.9.0/24}}], ports: [{protocol: UDP, port: 53}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Egress],\n",
        "  egress: [{to: [{ipBlock: {cidr: 10.0.9.53/32}}], ports: [{protocol: UDP, port: 53}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Services"],
    wants: &[],
    check: Check::Set(beyond),
};

/// What is asked, where, and of whom.
struct Asked {
    what: &'static str,
    services: ServiceSet,
    servers: [AddressSet; 2],
}

fn beyond(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let port = |protocol, port| ServiceRange::ports(protocol, port, port);
    let names = ServiceSet::of([port(UDP, 53), port(TCP, 53), port(UDP, 853), port(TCP, 853)]);
    let asked = [
        Asked { what: "names", services: names, servers: servers(facts, ServiceClass::Dns) },
        Asked { what: "the time", services: ServiceSet::of([port(UDP, 123)]), servers: servers(facts, ServiceClass::Time) },
    ];
    for one in &asked {
        for reach in facts.reaches(Whose::Cde, Direction::Egress, |rule| may_use(rule, &one.services)) {
            of_rule(item, facts, found, &reach, one);
        }
    }
}

fn of_rule(item: &Item, facts: &Facts<'_>, found: &mut Found, reach: &Reach<'_, '_>, asked: &Asked) {
    let Some(group) = reach.groups.first() else { return };
    for source in &reach.sources {
        let Some(service) = first_of(source, &asked.services) else { continue };
        let others = asked.servers.iter().find(|set| set.family() == source.addresses.family()).map(|set| {
            facts.spend(set.spans().len());
            source.addresses.minus(set)
        });
        if let Some(address) = others.and_then(|others| others.lowest()) {
            let (who, what, peer) = (&group.name, asked.what, source.text());
            let message = format!("{who} can ask {address} for {what} on {service}, by {peer}; that is no designated server");
            found.add(item.about_peer(facts, source, group, (address, service), message));
        }
    }
}

fn servers(facts: &Facts<'_>, class: ServiceClass) -> [AddressSet; 2] {
    let blocks =
        || facts.approved_services().filter(|service| service.is(class)).flat_map(|service| service.servers.iter().copied());
    Family::BOTH.map(|family| AddressSet::of(family, blocks()))
}
