//! PCI-1.4.2-002: from untrusted networks only to what is registered as public.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::super::example::{data_flows, floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::zones::{Scope, Zone};
use crate::net::{Direction, Family, ServiceRange, ServiceSet};
use crate::rules::audience::{Touch, Whose, zone_names};
use crate::rules::facts::Facts;
use crate::rules::found::{Found, sample};
use crate::rules::group::{Group, Source};

pub(super) const PUBLIC: Item = Item {
    id: "PCI-1.4.2-002",
    requirements: &["1.4.2"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "an untrusted zone reaches an endpoint without `publicServices`, or a port outside them, by a rule or because nothing isolates it; not traffic within one zone, nor endpoints out of scope",
    remediation: "Put a registered DMZ service in front.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: dmz, tier: web}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 192.88.0.0/28}}], ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 8443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: dmz, tier: web}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 192.88.0.0/28}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory", "Services"],
    wants: &[],
    check: Check::Set(public),
};

fn public(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let ports: BTreeMap<&str, &[ServiceRange]> =
        facts.approved_services().map(|service| (&*service.name, &*service.ports)).collect();
    let registered = |group: &Group<'_>| {
        let names = group.public_services.iter().filter_map(|name| ports.get(&**name));
        ServiceSet::of(names.flat_map(|ranges| ranges.iter().copied()))
    };
    unisolated(item, facts, found);
    for reach in facts.reaches(Whose::Everybody, Direction::Ingress, |_| true) {
        for group in reach.groups.iter().filter(|group| group.cde || group.zone.is_none_or(|zone| zone.scope != Scope::Out)) {
            let registered = registered(group);
            for source in &reach.sources {
                let outside = ServiceSet::of(source.services.iter().copied()).minus(&registered);
                if let Some(range) = outside.ranges().first() {
                    of_source(item, facts, found, (source, group), *range);
                }
            }
        }
    }
}

/// Whoever nothing isolates is reached on every port, from everywhere. What is in no zone is somebody else's, unless it is of the CDE.
fn unisolated(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if Family::BOTH.into_iter().all(|family| facts.untrusted(family).is_empty()) {
        return;
    }
    let ours = |group: &&Group<'_>| group.cde || group.zone.is_some_and(|zone| zone.scope != Scope::Out);
    for group in facts.everybody.iter().filter(ours).filter(|group| !group.is_isolated(Direction::Ingress)) {
        for known in group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number)) {
            let name = &known.member.name;
            let message = format!("nothing isolates {name} for ingress: untrusted networks can reach it on every port");
            found.add(item.about_endpoint(known.member, "labels", message));
        }
    }
}

fn of_source(item: &Item, facts: &Facts<'_>, found: &mut Found, (source, group): (&Source<'_>, &Group<'_>), outside: ServiceRange) {
    let mut touched: Vec<Touch<'_>> = facts.elsewhere(group, &source.addresses);
    touched.retain(|(zone, _)| is_untrusted(*zone));
    let Some((_, address)) = touched.first() else { return };
    let service = sample(outside);
    let but = if group.public_services.is_empty() { "is not public" } else { "is public on other ports only" };
    let (who, zones, peer) = (group.whereabouts(), zone_names(&touched), source.text());
    let message = format!("{who} {but}, yet untrusted {zones} can reach it on {service}, by {peer}");
    found.add(item.about_peer(facts, source, group, (*address, service), message));
}

fn is_untrusted(zone: Option<&Zone>) -> bool {
    zone.is_none_or(|zone| !zone.trusted)
}
