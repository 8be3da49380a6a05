//! PCI-1.3.1-010 and PCI-1.3.2-005: every crossing of the CDE's border stands in an approved flow.

use alloc::collections::BTreeSet;
use alloc::format;

use super::super::example::{data_flows, floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::zones::Zone;
use crate::net::Direction;
use crate::rules::audience::{Touch, Whose, service_of, zone_names};
use crate::rules::facts::Facts;
use crate::rules::found::Found;
use crate::rules::group::{Group, Source};
use crate::rules::zones::ZoneMap;

pub(super) const INTO: Item = Item {
    id: "PCI-1.3.1-010",
    requirements: &["1.3.1", "12.5.2"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "ingress peers touch, even in part, another zone without an approved flow into the CDE endpoint's zone; traffic within one zone is no crossing",
    remediation: "Split to the approved zone, or approve a flow in its own commit.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.0.50.0/23}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.0.50.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory", "DataFlows"],
    wants: &[],
    check: Check::Set(into),
};

pub(super) const OUT_OF: Item = Item {
    id: "PCI-1.3.2-005",
    requirements: &["1.3.2"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "egress peers touch, even in part, another zone without an approved flow from the CDE endpoint's zone; traffic within one zone is no crossing",
    remediation: "Remove it, or approve a flow.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Egress],\n",
        "  egress: [{to: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        data_flows!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Egress],\n",
        "  egress: [{to: [{ipBlock: {cidr: 10.0.30.0/24}}], ports: [{protocol: TCP, port: 5432}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory", "DataFlows"],
    wants: &[],
    check: Check::Set(out_of),
};

fn into(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    unapproved(item, facts, found, Direction::Ingress);
}

fn out_of(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    unapproved(item, facts, found, Direction::Egress);
}

fn unapproved(item: &Item, facts: &Facts<'_>, found: &mut Found, direction: Direction) {
    let approved: BTreeSet<(&str, &str)> = facts.approved_flows().map(|flow| (&*flow.from, &*flow.to)).collect();
    let is_approved = |zone: Option<&Zone>, own: Option<&Zone>| {
        let (zone, own) = (ZoneMap::name(zone), ZoneMap::name(own));
        approved.contains(&if direction == Direction::Ingress { (&*zone, &*own) } else { (&*own, &*zone) })
    };
    for reach in facts.reaches(Whose::Cde, direction, |_| true) {
        for source in &reach.sources {
            for group in reach.groups.iter().filter(|group| !group.endpoints.is_empty()) {
                let mut touched = facts.elsewhere(group, &source.addresses);
                touched.retain(|(zone, _)| !is_approved(*zone, group.zone));
                if let Some((_, address)) = touched.first() {
                    let service = service_of(source);
                    let message = message(source, group, &touched, direction);
                    found.add(item.about_peer(facts, source, group, (*address, service), message));
                    break;
                }
            }
        }
    }
}

fn message(source: &Source<'_>, group: &Group<'_>, touched: &[Touch<'_>], direction: Direction) -> alloc::string::String {
    let (who, service, peer) = (group.whereabouts(), service_of(source), source.text());
    let (zones, own) = (zone_names(touched), ZoneMap::name(group.zone));
    let first = ZoneMap::name(touched.first().and_then(|(zone, _)| *zone));
    match direction {
        Direction::Ingress => {
            format!("{who} can be reached from {zones} on {service}, by {peer}; no approved flow leads from {first} to {own}")
        }
        Direction::Egress => {
            format!("{who} can reach {zones} on {service}, by {peer}; no approved flow leads from {own} to {first}")
        }
    }
}
