//! PCI-1.2.3-001: a block that no zone declares, and that no diagram shows.

use alloc::format;

use super::super::super::facts::Facts;
use super::super::super::found::{Found, Here, with_severity};
use super::super::super::members::Once;
use super::super::super::open::is_open;
use super::super::super::reach::spans;
use super::super::example::zones;
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::Part;
use crate::net::{AddressSet, Family};

pub(super) const ITEM: Item = Item {
    id: "PCI-1.2.3-001",
    requirements: &["1.2.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::G,
    condition: "a block, or a prefix of a selected endpoint, that is not wholly inside declared zones, and is not open; outside the CDE a warning",
    remediation: "Declare its zone, so that it shows on the diagram.",
    violating: concat!(
        zones!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 192.168.7.7/32}}], ports: [{protocol: TCP, port: 8443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.9.7/32}}], ports: [{protocol: TCP, port: 8443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones"],
    wants: &[],
    check: Check::Set(undeclared),
};

fn undeclared(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let [v4, v6] = Family::BOTH.map(|family| facts.zones.addresses(family, |zone| zone.is_some()));
    let outside = |part: Part<'_>| {
        let family = part.cidr.family();
        let outside = first_outside(part, if family == Family::V4 { &v4 } else { &v6 })?;
        (!is_open(facts, &part.addresses(family))).then(|| family.address(outside))
    };
    let mut once = Once::default();
    for (policy, cde) in facts.policies() {
        for here in Here::all(policy) {
            for (number, peer) in here.rule.peers.iter().enumerate() {
                let Some((part, outside)) = once.worst(facts, peer, outside, |_, _| false) else { continue };
                let message = format!("{} is not inside declared zones: none holds {outside}", part.cidr);
                let below = format!("/{}/{number}{}", here.direction.peers(), peer.pointer());
                let witness = here.witness(facts, Some(outside), None);
                let finding = Finding { witness, ..item.about_rule(&here, part.at, &below, message) };
                found.add(with_severity(finding, if cde { Severity::Error } else { Severity::Warning }));
            }
        }
    }
}

/// The lowest address of a prefix that is not in a set.
fn first_outside(part: Part<'_>, declared: &AddressSet) -> Option<u128> {
    let span = spans(part).into_iter().find(|(first, last)| !declared.holds(*first, *last))?;
    let gap = AddressSet::from_spans(declared.family(), [span].into()).minus(declared);
    gap.spans().first().map(|(first, _)| *first)
}
