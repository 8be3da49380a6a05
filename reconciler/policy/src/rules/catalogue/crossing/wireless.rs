//! PCI-1.3.3-001: wireless networks reach the CDE only for an authorised business purpose.

use alloc::format;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::records::RuleRecord;
use crate::model::zones::Class;
use crate::net::Direction;
use crate::rules::audience::{Touch, Whose, service_of, zone_names};
use crate::rules::facts::Facts;
use crate::rules::filler::says_something;
use crate::rules::found::Found;

pub(super) const WIRELESS: Item = Item {
    id: "PCI-1.3.3-001",
    requirements: &["1.3.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "ingress peers of a CDE policy touch a `wireless` zone, and the rule's record lacks `wirelessPurpose`, `approvedBy` or `approvedAt`",
    remediation: "Remove it, or record the authorised business purpose.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.30.0.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{ipBlock: {cidr: 10.0.50.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones"],
    wants: &["RuleRecords"],
    check: Check::Set(wireless),
};

fn wireless(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if !facts.set.zones.iter().any(|zone| zone.is(Class::Wireless)) {
        return;
    }
    for reach in facts.reaches(Whose::Cde, Direction::Ingress, |_| true) {
        if facts.record(reach.here.policy, reach.here.rule).is_some_and(|record| is_authorised(facts, record)) {
            continue;
        }
        for source in &reach.sources {
            let touched = facts.touched(&source.addresses);
            let wireless = touched.iter().filter(|(zone, _)| zone.is_some_and(|zone| zone.is(Class::Wireless)));
            let wireless: alloc::vec::Vec<Touch<'_>> = wireless.copied().collect();
            if let (Some((_, address)), Some(group)) = (wireless.first(), reach.groups.first()) {
                let service = service_of(source);
                let (who, zones, peer) = (group.whereabouts(), zone_names(&wireless), source.text());
                let message =
                    format!("{who} can be reached from wireless {zones} on {service}, by {peer}, without an authorised purpose");
                found.add(item.about_peer(facts, source, group, (*address, service), message));
            }
        }
    }
}

/// A purpose, and somebody who approved it.
fn is_authorised(facts: &Facts<'_>, record: &RuleRecord) -> bool {
    let approval = record.approved_by.as_deref().zip(record.approved_at);
    says_something(record.wireless_purpose.as_deref()) && approval.is_some_and(|(by, at)| facts.is_approved(by, at))
}
