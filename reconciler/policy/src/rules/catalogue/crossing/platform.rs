//! PCI-1.3.2-006: the addresses at which cloud platforms answer every machine.

use alloc::format;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::{Part, Peer, Rule};
use crate::net::{AddressSet, Cidr, Direction, Family};
use crate::rules::audience::{Whose, service_of};
use crate::rules::facts::{Facts, parse};
use crate::rules::filler::says_something;
use crate::rules::found::Found;

/// Link-local services of every cloud, and what two of them have besides.
const ADDRESSES: [&str; 3] = ["169.254.0.0/16", "fd00:ec2::254/128", "168.63.129.16/32"];

pub(super) const PLATFORM: Item = Item {
    id: "PCI-1.3.2-006",
    requirements: &["1.3.2"],
    severity: Severity::Warning,
    waivable: true,
    basis: Basis::H,
    condition: "CDE egress reaches 169.254.0.0/16, fd00:ec2::254 or 168.63.129.16, and the rule's record has no `accessReason` that says something",
    remediation: "Say why the platform service is needed, or remove it.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 169.254.169.254/32}}], ports: [{port: 8443}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.2\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: []}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &["RuleRecords"],
    check: Check::Set(platform),
};

fn platform(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let blocks = parse(&ADDRESSES);
    let sets = Family::BOTH.map(|family| AddressSet::of(family, blocks.iter().copied()));
    let near = |part: Part<'_>| blocks.iter().any(|block| meets(*block, part.cidr));
    let worth = |rule: &Rule| rule.peers.is_empty() || rule.peers.iter().flat_map(Peer::parts).any(near);
    for reach in facts.reaches(Whose::Cde, Direction::Egress, worth) {
        if facts.record(reach.here.policy, reach.here.rule).is_some_and(|record| says_something(record.access_reason.as_deref())) {
            continue;
        }
        for source in &reach.sources {
            let reached = sets.iter().find_map(|set| source.addresses.first_shared(set));
            if let (Some(address), Some(group)) = (reached, reach.groups.first()) {
                let service = service_of(source);
                let block = blocks
                    .iter()
                    .find(|block| block.contains(address))
                    .map_or_else(|| format!("{address}"), |block| format!("{block}"));
                let message =
                    format!("{} can reach {block} on {service}, where a cloud platform answers; nobody says why", group.name);
                found.add(item.about_peer(facts, source, group, (address, service), message));
            }
        }
    }
}

fn meets(a: Cidr, b: Cidr) -> bool {
    a.covers(b) || b.covers(a)
}
