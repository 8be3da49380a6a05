//! PCI-1.2.7-008: a selector that matches nobody.
//!
//! A selector that contradicts itself is found without an Inventory; who is selected at all, only with one.

use alloc::format;
use alloc::string::String;

use super::super::super::facts::Facts;
use super::super::super::found::{Found, Here, with_severity};
use super::super::super::group::peer_text;
use super::super::super::selectors::names_cde;
use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::{Kind, NetworkPolicy, Peer};

pub(super) const ITEM: Item = Item {
    id: "PCI-1.2.7-008",
    requirements: &["1.2.7"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::G,
    condition: "a selector or a peer that matches nothing, or contradicts itself; a Waiver that covers nothing; outside the CDE a warning",
    remediation: "Correct the label; delete what is stale.",
    violating: concat!(
        zones!(),
        services!(),
        inventory!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde, tier: databsae}}, ingress: [{from: [{podSelector: {matchLabels: {tier: app}}}], ports: [{port: 5432}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        services!(),
        inventory!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, ingress: [{from: [{podSelector: {matchLabels: {tier: app}}}], ports: [{port: 5432}]}]}\n"
    ),
    profile: Column::Baseline,
    needs: &[],
    wants: &["Inventory"],
    check: Check::Set(nobody),
};

fn nobody(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let known = facts.has(Kind::Inventory);
    let mut selects = alloc::vec![false; facts.set.policies.len()];
    for number in facts.endpoints.iter().flat_map(|endpoint| endpoint.numbers.iter()) {
        if let Some(selects) = selects.get_mut(*number) {
            *selects = true;
        }
    }
    for ((policy, cde), selects) in facts.policies().zip(selects) {
        let severity = if cde || names_cde(facts, &policy.selector) { Severity::Error } else { Severity::Warning };
        if let Some(message) = says_nothing(policy, known && !selects) {
            let finding = item.about(policy, policy.selector_at, "/spec/podSelector", message);
            found.add(with_severity(finding, severity));
        }
        for here in Here::all(policy).filter(|_| known) {
            for (number, peer) in here.rule.peers.iter().enumerate().filter(|(_, peer)| matches_nobody(peer)) {
                let message = format!("{} matches no endpoint of the Inventory", peer_text(peer));
                let finding = item.about_rule(&here, peer.at(), &format!("/{}/{number}", here.direction.peers()), message);
                found.add(with_severity(finding, severity));
            }
        }
    }
}

fn says_nothing(policy: &NetworkPolicy, selects_nobody: bool) -> Option<String> {
    let selector = &policy.selector;
    if selector.is_impossible() {
        return Some(format!("{selector} contradicts itself: it selects nobody"));
    }
    selects_nobody.then(|| format!("{selector} selects no endpoint of the Inventory in namespace {}", policy.namespace))
}

fn matches_nobody(peer: &Peer) -> bool {
    match peer {
        Peer::Selected(selected) => selected.members.is_empty(),
        Peer::Block(_) | Peer::Nobody { .. } => false,
    }
}
