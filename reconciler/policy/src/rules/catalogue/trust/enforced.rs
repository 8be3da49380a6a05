//! PCI-1.4.1-001: a control stands at every endpoint of a trusted network.

use alloc::format;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::net::Direction;
use crate::rules::facts::Facts;
use crate::rules::found::Found;
use crate::rules::zones::ZoneMap;

pub(super) const ENFORCED: Item = Item {
    id: "PCI-1.4.1-001",
    requirements: &["1.4.1"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "an endpoint in a trusted zone that nobody enforces (`enforcedBy: []`), or that no policy isolates in one of the directions",
    remediation: "Extend a policy; name its backend.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: new}, spec: {workloads: [\n",
        "  {name: app-02, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.12], zone: cde-app, function: \"Payment API\"}]}}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: new}, spec: {workloads: [\n",
        "  {name: app-02, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.12], zone: cde-app, function: \"Payment API\",\n",
        "    enforcedBy: [aws], identity: {aws: {networkInterfaceId: eni-0123456789abcdef1}}}]}}\n"
    ),
    profile: Column::Facts,
    needs: &["Zones", "Inventory"],
    wants: &[],
    check: Check::Set(enforced),
};

fn enforced(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for known in &facts.endpoints {
        let Some(zone) = known.zone.filter(|zone| zone.trusted) else { continue };
        let (name, zone) = (&known.member.name, ZoneMap::name(Some(zone)));
        if known.member.enforced_by.is_empty() {
            let message = format!("nobody enforces the policies of {name} in {zone}, which is trusted");
            found.add(item.about_endpoint(known.member, "enforcedBy", message));
        } else if let Some(open) = Direction::BOTH.into_iter().find(|direction| !known.is_isolated(*direction)) {
            let message = format!("no policy isolates {name} in {zone}, which is trusted, for {}", open.name());
            let related = known.policies.iter().take(RELATED_MAX).map(|policy| policy.place(policy.selector_at)).collect();
            found.add(Finding { related, ..item.about_endpoint(known.member, "labels", message) });
        }
    }
}

/// Other places listed with a finding.
const RELATED_MAX: usize = 32;
