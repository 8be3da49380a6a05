//! Blocks wider than what people can have meant. PCI DSS sets no prefix length; these numbers are house numbers.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, Here, with_severity};
use crate::finding::{Finding, Severity};
use crate::model::Block;
use crate::net::Family;

/// With exceptions, this short or shorter is a warning: allow what is needed instead.
const EXCEPT_FROM: u8 = 8;

pub(super) fn wide(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for here in facts.cde_policies().flat_map(Here::all) {
        let blocks = here.rule.peers.iter().enumerate().filter_map(|(i, peer)| Some((i, peer.block()?)));
        for (i, block) in blocks {
            if let Some((severity, message)) = judge(facts, block) {
                let below = format!("/{}/{i}/ipBlock/cidr", here.direction.peers());
                let finding = item.about_rule(&here, block.at, &below, message);
                let witness = here.witness(facts, block.addresses(block.cidr.family()).lowest(), None);
                found.add(with_severity(Finding { witness, ..finding }, severity));
            }
        }
    }
}

fn judge(facts: &Facts<'_>, block: &Block) -> Option<(Severity, String)> {
    let limits = facts.thresholds();
    let (kind, (warn, error)) = match block.cidr.family() {
        Family::V6 => ("IPv6", (limits.v6_prefix_warn, limits.v6_prefix_error)),
        Family::V4 if facts.is_private(block.cidr) => {
            ("private IPv4", (limits.private_v4_prefix_warn, limits.private_v4_prefix_error))
        }
        Family::V4 => ("IPv4", (limits.public_v4_prefix_warn, limits.public_v4_prefix_error)),
    };
    let (cidr, length) = (block.cidr, block.cidr.length());
    if length < error {
        return Some((Severity::Error, format!("{cidr} is wider than /{error}, the limit for {kind}")));
    }
    if length < warn {
        return Some((Severity::Warning, format!("{cidr} is wider than /{warn}, which is asked about for {kind}")));
    }
    let excepts = !block.except.is_empty() && length <= EXCEPT_FROM;
    excepts.then(|| (Severity::Warning, format!("{cidr} with exceptions: everything else is allowed")))
}
