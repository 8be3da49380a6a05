//! PCI-1.4.3-001: addresses that no host has, in a block or behind a selector.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::Part;
use crate::net::{AddressSet, Cidr, Direction};
use crate::rules::facts::{Facts, SPECIAL, parse};
use crate::rules::found::{Found, Here, with_severity};
use crate::rules::members::Once;
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
    condition: "a block, or a prefix of a selected endpoint, inside a special-purpose range, or holding one without being open; inside 100.64.0.0/10 a warning. Not 169.254.0.0/16 in egress (PCI-1.3.2-006), nor documentation ranges in fixtures",
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
        let (ranges, mut once) = (ranges(facts, direction), Once::default());
        for here in facts.set.policies.iter().flat_map(|policy| Here::of(policy, direction)) {
            for (number, peer) in here.rule.peers.iter().enumerate() {
                let of = |part: Part<'_>| {
                    let is_shared = shared.iter().any(|range| range.covers(part.cidr));
                    let (ranges, severity) = if is_shared { (&shared, Severity::Warning) } else { (&ranges, Severity::Error) };
                    touched(facts, part, ranges).map(|(range, address)| (severity, range, address))
                };
                let Some((part, touched)) = once.worst(facts, peer, of, |a, b| a.0 < b.0) else { continue };
                let below = format!("/{}/{number}{}", direction.peers(), peer.pointer());
                let witness = here.witness(facts, Some(touched.2), None);
                let finding = item.about_rule(&here, part.at, &below, message(part.cidr, touched, direction));
                found.add(with_severity(Finding { witness, ..finding }, touched.0));
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

/// How severe it is, the range, and the lowest address of it.
type Touched = (Severity, Cidr, IpAddr);

/// The range that a prefix touches without being open, and the lowest address they share.
fn touched(facts: &Facts<'_>, part: Part<'_>, ranges: &[Cidr]) -> Option<(Cidr, IpAddr)> {
    let cidr = part.cidr;
    let near: Vec<Cidr> = ranges.iter().copied().filter(|range| range.covers(cidr) || cidr.covers(*range)).collect();
    let first = near.first()?;
    let left = part.addresses(cidr.family());
    let address = left.first_shared(&AddressSet::of(cidr.family(), near.iter().copied()))?;
    let range = near.iter().find(|range| range.contains(address)).unwrap_or(first);
    (!is_open(facts, &left)).then_some((*range, address))
}

fn message(cidr: Cidr, (severity, range, _): Touched, direction: Direction) -> String {
    match (severity, direction) {
        (Severity::Error, Direction::Ingress) => {
            format!("{cidr} holds addresses of {range}, which no host of a network has: such a source can only be forged")
        }
        (Severity::Error, Direction::Egress) => format!("{cidr} holds addresses of {range}, which no host of a network has"),
        (Severity::Warning | Severity::Info, _) => {
            format!("{cidr} lies in {range}, which carriers share among their customers: others have these addresses too")
        }
    }
}
