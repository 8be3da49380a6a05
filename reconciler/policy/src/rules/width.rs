//! Prefixes wider than what people can have meant, written as a block or as the address of an endpoint that a peer selects. PCI DSS
//! sets no prefix length; these numbers are house numbers.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, Here, with_severity};
use super::members::Once;
use crate::finding::{Finding, Severity};
use crate::model::Part;
use crate::net::Family;

/// With exceptions, this short or shorter is a warning: allow what is needed instead.
const EXCEPT_FROM: u8 = 8;

pub(super) fn wide(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let mut once = Once::default();
    for here in facts.cde_policies().flat_map(Here::all) {
        for (i, peer) in here.rule.peers.iter().enumerate() {
            let worse = |a: &(Severity, String), b: &(Severity, String)| a.0 < b.0;
            let Some((part, (severity, message))) = once.worst(facts, peer, |part| judge(facts, part), worse) else { continue };
            let below = format!("/{}/{i}{}", here.direction.peers(), peer.pointer());
            let finding = item.about_rule(&here, part.at, &below, message);
            let witness = here.witness(facts, part.addresses(part.cidr.family()).lowest(), None);
            found.add(with_severity(Finding { witness, ..finding }, severity));
        }
    }
}

fn judge(facts: &Facts<'_>, part: Part<'_>) -> Option<(Severity, String)> {
    let limits = facts.thresholds();
    let (kind, (warn, error)) = match part.cidr.family() {
        Family::V6 => ("IPv6", (limits.v6_prefix_warn, limits.v6_prefix_error)),
        Family::V4 if facts.is_private(part.cidr) => {
            ("private IPv4", (limits.private_v4_prefix_warn, limits.private_v4_prefix_error))
        }
        Family::V4 => ("IPv4", (limits.public_v4_prefix_warn, limits.public_v4_prefix_error)),
    };
    let (cidr, length) = (part.cidr, part.cidr.length());
    if length < error {
        return Some((Severity::Error, format!("{cidr} is wider than /{error}, the limit for {kind}")));
    }
    if length < warn {
        return Some((Severity::Warning, format!("{cidr} is wider than /{warn}, which is asked about for {kind}")));
    }
    let excepts = !part.except.is_empty() && length <= EXCEPT_FROM;
    excepts.then(|| (Severity::Warning, format!("{cidr} with exceptions: everything else is allowed")))
}
