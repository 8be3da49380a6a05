//! What the Standard and the Zones say of a rule (PCI DSS v4.0.1 1.2.1, 1.2.3).

mod declared;
mod forbidden;
#[cfg(test)]
mod tests;

use alloc::format;

use super::super::facts::Facts;
use super::super::found::Found;
use super::example::zones;
use super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::{Kind, Profile};

pub(super) static ITEMS: [Item; 2] = [STANDARD, declared::ITEM];

/// The kinds of documents that `pci-dss-4.0.1` cannot do without, what is in them, and whether nothing is.
fn required(facts: &Facts<'_>) -> [(Kind, &'static str, bool); 5] {
    let set = facts.set;
    [
        (Kind::Zones, "zone", set.zones.is_empty()),
        (Kind::Inventory, "endpoint", set.members.is_empty()),
        (Kind::DataFlows, "flow", set.flows.is_empty()),
        (Kind::Services, "service", set.services.is_empty()),
        (Kind::RuleRecords, "record", set.records.is_empty()),
    ]
}

const STANDARD: Item = Item {
    id: "PCI-1.2.1-002",
    requirements: &["1.2.1"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "a flow that the Standard forbids, by a rule or because nothing isolates the endpoint; never waivable: a kind of document that the profile requires is missing or empty, no endpoint is in the CDE, or the profile is weaker than the one the controller is pinned to",
    remediation: "Remove the flow, or change the Standard in its own commit; add the missing document; ask for the pinned profile.",
    violating: concat!(
        zones!(),
        "{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: standard}, spec: {profile: baseline, version: \"1\",\n",
        "  forbidden: [{from: \"class:cde\", to: \"class:corporate\"}]}}\n---\n",
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 10.20.3.0/24}}], ports: [{protocol: TCP, port: 8443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        "{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: standard}, spec: {profile: baseline, version: \"1\",\n",
        "  forbidden: [{from: \"class:cde\", to: \"class:corporate\"}]}}\n---\n",
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 10.0.9.0/24}}], ports: [{protocol: TCP, port: 8443}]}]}\n"
    ),
    profile: Column::Baseline,
    needs: &[],
    wants: &["Zones"],
    check: Check::Set(standard),
};

fn standard(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    forbidden::flows(item, facts, found);
    missing(item, facts, found);
    weaker(item, facts, found);
}

/// Each kind that is required and not there, or without a single item: an empty document says no more than none.
fn missing(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if facts.profile != Profile::PciDss401 {
        return;
    }
    let profile = facts.profile.name();
    let mut add = |code, message| found.add(Finding { waivable: false, ..item.whole_set(facts, code, message) });
    // What could not be read is told where it stands, and refuses the set.
    for (kind, entry, is_empty) in required(facts).into_iter().filter(|(kind, ..)| !facts.set.lost.contains(kind)) {
        let name = kind.name();
        if !facts.has(kind) {
            add(name, format!("there is no {name} document, and profile {profile} requires one"));
        } else if is_empty {
            add(name, format!("the {name} document has no {entry}, and profile {profile} requires one"));
        }
    }
    let whole = !facts.set.lost.contains(&Kind::Inventory);
    if whole && facts.has_endpoints() && !facts.endpoints.iter().any(|known| known.cde) {
        add("cde", format!("no endpoint of the Inventory is in the CDE, so profile {profile} has nothing to protect"));
    }
}

/// The controller insists on more than the set asks for.
fn weaker(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let pinned = facts.circumstances.pinned_profile.unwrap_or(Profile::Baseline);
    if facts.profile < pinned {
        let message = format!("the set asks for profile {}, the controller is pinned to {}", facts.profile.name(), pinned.name());
        found.add(Finding { waivable: false, ..item.whole_set(facts, "profile", message) });
    }
}
