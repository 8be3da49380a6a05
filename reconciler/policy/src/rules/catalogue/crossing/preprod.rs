//! PCI-6.5.3-001: test and production are apart.

use alloc::format;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::zones::Class;
use crate::net::Direction;
use crate::rules::audience::{Whose, service_of, zone_names};
use crate::rules::facts::Facts;
use crate::rules::found::Found;

pub(super) const PREPROD: Item = Item {
    id: "PCI-6.5.3-001",
    requirements: &["6.5.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "any flow, in either direction, between a CDE endpoint and a `preprod` zone that is not its own",
    remediation: "Cut the path.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 6.5.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.40.0.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 6.5.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.0.50.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory"],
    wants: &[],
    check: Check::Set(preprod),
};

fn preprod(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if !facts.set.zones.iter().any(|zone| zone.is(Class::Preprod)) {
        return;
    }
    for direction in Direction::BOTH {
        for reach in facts.reaches(Whose::Cde, direction, |_| true) {
            for source in &reach.sources {
                for group in reach.groups.iter().filter(|group| !group.endpoints.is_empty()) {
                    let mut touched = facts.elsewhere(group, &source.addresses);
                    touched.retain(|(zone, _)| zone.is_some_and(|zone| zone.is(Class::Preprod)));
                    if let Some((_, address)) = touched.first() {
                        let service = service_of(source);
                        let can = if direction == Direction::Ingress { "can be reached from" } else { "can reach" };
                        let (who, zones, peer) = (group.whereabouts(), zone_names(&touched), source.text());
                        let message = format!("{who} {can} {zones}, which is not production, on {service}, by {peer}");
                        found.add(item.about_peer(facts, source, group, (*address, service), message));
                        break;
                    }
                }
            }
        }
    }
}
