//! PCI-1.4.2-001: nobody administers the CDE from an untrusted network.

use alloc::format;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::net::Direction;
use crate::rules::audience::{Whose, first_of, may_use};
use crate::rules::facts::Facts;
use crate::rules::found::Found;

pub(super) const ADMIN: Item = Item {
    id: "PCI-1.4.2-001",
    requirements: &["1.4.2"],
    severity: Severity::Error,
    waivable: false,
    basis: Basis::D,
    condition: "CDE policy, an *admin* port that an untrusted address may reach: one in no zone or in an untrusted one; without Zones a public one",
    remediation: "Come through a bastion or VPN zone with MFA (8.4.2).",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.2\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 192.88.0.0/28}}], ports: [{protocol: TCP, port: 22}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.2\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.9.16/30}}], ports: [{protocol: TCP, port: 22}]}]}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &[],
    check: Check::Set(admin),
};

fn admin(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for reach in facts.reaches(Whose::Cde, Direction::Ingress, |rule| may_use(rule, &facts.lists.admin)) {
        let Some(group) = reach.groups.first() else { continue };
        for source in &reach.sources {
            let untrusted = source.addresses.first_shared(facts.untrusted(source.addresses.family()));
            if let (Some(address), Some(service)) = (untrusted, first_of(source, &facts.lists.admin)) {
                let from = facts.untrusted_name(address);
                let message = format!("{} can be administered from {from} on {service}, by {}", group.whereabouts(), source.text());
                found.add(item.about_peer(facts, source, group, (address, service), message));
            }
        }
    }
}
