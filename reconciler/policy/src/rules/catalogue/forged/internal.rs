//! PCI-1.4.3-002: what faces the Internet takes no internal sources but those of declared, trusted networks.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::net::{AddressSet, Direction, Family};
use crate::rules::audience::service_of;
use crate::rules::facts::Facts;
use crate::rules::found::Found;
use crate::rules::group::Group;

pub(super) const INTERNAL: Item = Item {
    id: "PCI-1.4.3-002",
    requirements: &["1.4.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::G,
    condition: "an endpoint with `publicServices` admits its own addresses, or private ones, that no trusted zone holds; not private ones of another zone with an approved flow to the endpoint's",
    remediation: "Name the zone's prefix; the rest is a forged internal source.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: dmz, tier: web}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: dmz, tier: web}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16]}}],\n",
        "    ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory"],
    wants: &["DataFlows"],
    check: Check::Set(internal),
};

fn internal(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for family in Family::BOTH {
        let trusted = facts.zones.addresses(family, |zone| zone.is_some_and(|zone| zone.trusted));
        let private = facts.private(family).minus(&trusted);
        let mut approved: BTreeMap<Option<&str>, AddressSet> = BTreeMap::new();
        for group in facts.everybody.iter().filter(|group| !group.public_services.is_empty()) {
            let approved = approved.entry(group.zone.map(|zone| &*zone.name)).or_insert_with(|| approved_of(facts, group, family));
            let forged = AddressSet::union(family, [&private.minus(approved), &own(facts, group, &trusted)]);
            let sources = group.sources(Direction::Ingress, family);
            if !facts.spend(sources.iter().map(|source| source.weight).sum::<usize>() + forged.spans().len()) {
                return;
            }
            for source in &sources {
                if let Some(address) = source.addresses.first_shared(&forged) {
                    let (service, who, peer) = (service_of(source), group.whereabouts(), source.text());
                    let message = format!(
                        "{who} is public and admits {address} on {service}, by {peer}: an internal address that no trusted zone holds, and no approved flow leads from there"
                    );
                    found.add(item.about_peer(facts, source, group, (address, service), message));
                }
            }
        }
    }
}

/// The addresses of zones from which a flow to the group's zone is approved: somebody decided that these sources are expected.
fn approved_of(facts: &Facts<'_>, group: &Group<'_>, family: Family) -> AddressSet {
    let own = group.zone.map(|zone| &zone.name);
    let to_own = facts.set.flows.iter().filter(|flow| Some(&flow.to) == own);
    let from: BTreeSet<&str> = to_own.map(|flow| &*flow.from).collect();
    facts.zones.addresses(family, |zone| zone.is_some_and(|zone| from.contains(&*zone.name)))
}

/// The group's own addresses outside trusted zones.
fn own(facts: &Facts<'_>, group: &Group<'_>, trusted: &AddressSet) -> AddressSet {
    let known = group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number));
    let own = known.flat_map(|known| known.member.addresses.iter().map(|(cidr, _)| *cidr));
    AddressSet::of(trusted.family(), own).minus(trusted)
}
