//! PCI-1.4.3-001: blocks of addresses that no host has.

use alloc::format;
use alloc::vec::Vec;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::Block;
use crate::net::{AddressSet, Cidr, Direction};
use crate::rules::facts::{Facts, SPECIAL, parse};
use crate::rules::found::{Found, Here, with_severity};
use crate::rules::open::is_open;

/// Addresses for documentation; they pass in sets that are fixtures.
const DOCUMENTATION: [&str; 5] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"];
/// Link-local services of cloud platforms, which PCI-1.3.2-006 asks about.
const PLATFORM: &str = "169.254.0.0/16";
/// Addresses shared by a carrier's customers (RFC 6598): not forged, but not anybody's own either.
const SHARED: &str = "100.64.0.0/10";

pub(super) const SPECIAL_BLOCK: Item = Item {
    id: "PCI-1.4.3-001",
    requirements: &["1.4.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "a block inside a special-purpose range, or holding one without being open; inside 100.64.0.0/10 a warning. Not 169.254.0.0/16 in egress (PCI-1.3.2-006), nor documentation ranges in fixtures",
    remediation: "Use real addresses: such a source can only be forged.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 127.0.0.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 443}]}]}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &[],
    check: Check::Set(special),
};

fn special(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let shared = parse(&[SHARED]);
    for direction in Direction::BOTH {
        let ranges = ranges(facts, direction);
        for here in facts.set.policies.iter().flat_map(|policy| Here::of(policy, direction)) {
            let blocks = here.rule.peers.iter().enumerate().filter_map(|(number, peer)| Some((number, peer.block()?)));
            for (number, block) in blocks {
                let is_shared = shared.iter().any(|range| range.covers(block.cidr));
                let (ranges, severity) = if is_shared { (&shared, Severity::Warning) } else { (&ranges, Severity::Error) };
                if let Some(finding) = of_block(item, facts, (&here, number, block), ranges, severity) {
                    found.add(with_severity(finding, severity));
                }
            }
        }
    }
}

/// The ranges that a block of this direction must not touch.
fn ranges(facts: &Facts<'_>, direction: Direction) -> Vec<Cidr> {
    let documentation = || DOCUMENTATION.iter().filter(|_| facts.standard.fixtures);
    let platform = || [PLATFORM].into_iter().filter(|_| direction == Direction::Egress);
    let passes = |range: &&str| documentation().any(|pass| pass == range) || platform().any(|pass| pass == *range);
    parse(&SPECIAL.iter().filter(|range| !passes(range)).copied().collect::<Vec<_>>())
}

fn of_block(
    item: &Item,
    facts: &Facts<'_>,
    (here, number, block): (&Here<'_>, usize, &Block),
    ranges: &[Cidr],
    severity: Severity,
) -> Option<Finding> {
    let cidr = block.cidr;
    let near: Vec<Cidr> = ranges.iter().copied().filter(|range| range.covers(cidr) || cidr.covers(*range)).collect();
    let first = near.first()?;
    let left = block.addresses(cidr.family());
    let address = left.first_shared(&AddressSet::of(cidr.family(), near.iter().copied()))?;
    if is_open(facts, &left) {
        return None;
    }
    let range = near.iter().find(|range| range.contains(address)).unwrap_or(first);
    let message = match (severity, here.direction) {
        (Severity::Error, Direction::Ingress) => {
            format!("{cidr} holds addresses of {range}, which no host of a network has: such a source can only be forged")
        }
        (Severity::Error, Direction::Egress) => format!("{cidr} holds addresses of {range}, which no host of a network has"),
        (Severity::Warning | Severity::Info, _) => {
            format!("{cidr} lies in {range}, which carriers share among their customers: others have these addresses too")
        }
    };
    let witness = here.witness(facts, Some(address), None);
    let below = format!("/{}/{number}/ipBlock/cidr", here.direction.peers());
    Some(Finding { witness, ..item.about_rule(here, block.at, &below, message) })
}
