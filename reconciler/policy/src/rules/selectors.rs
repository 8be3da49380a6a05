//! Whom a policy selects, and whom its peers mean.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::{Facts, names};
use super::found::{Found, Here, with_severity};
use crate::finding::{Finding, Severity};
use crate::model::{NetworkPolicy, Peer};
use crate::net::Direction;
use crate::select::Selector;

/// One policy for the CDE and for others widens both; so does a peer that means everybody.
pub(super) fn mixed(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let with_rules = |p: &&NetworkPolicy| Direction::BOTH.into_iter().any(|d| !p.live_rules(d).is_empty());
    for policy in facts.cde_policies().filter(with_rules) {
        if let Some((severity, message)) = mixture(facts, policy) {
            let finding = item.about(policy, policy.selector_at, "/spec/podSelector", message);
            found.add(with_severity(finding, severity));
        }
    }
    for here in facts.cde_policies().flat_map(Here::all) {
        for (number, peer) in here.rule.peers.iter().enumerate().filter(|(_, peer)| means_everybody(peer)) {
            let message = String::from("the peer means every endpoint, inside the CDE and outside");
            let finding = item.about_rule(&here, peer.at(), &format!("/{}/{number}", here.direction.peers()), message);
            found.add(Finding { witness: here.witness(facts, None, None), ..finding });
        }
    }
}

fn mixture(facts: &Facts<'_>, policy: &NetworkPolicy) -> Option<(Severity, String)> {
    let selector = &policy.selector;
    if selector.is_everything() {
        return Some((Severity::Error, "allow rules for every endpoint, inside the CDE and outside".into()));
    }
    if facts.has_endpoints() {
        let selected = || facts.endpoints.iter().filter(|known| known.policies.iter().any(|p| core::ptr::eq(*p, policy)));
        let inside = selected().find(|known| known.cde)?;
        let outside = selected().find(|known| !known.cde)?;
        let (inside, outside) = (&inside.member.name, &outside.member.name);
        return Some((Severity::Error, format!("{selector} selects {inside} in the CDE and {outside} outside")));
    }
    let labels = &facts.standard.cde_labels;
    let mentioned = labels.iter().filter(|(key, _)| selector.mentions(key));
    let Some((key, values)) = mentioned.clone().next() else {
        let keys: alloc::vec::Vec<&str> = labels.keys().map(String::as_str).collect();
        let message = format!("{selector} says nothing of {}: it may select the CDE and others", keys.join(", "));
        return Some((Severity::Warning, message));
    };
    let values: alloc::vec::Vec<&str> = values.iter().map(String::as_str).collect();
    let others = selector.can_match_other(key, &values);
    others.then(|| (Severity::Error, format!("{selector} selects the CDE and others")))
}

fn means_everybody(peer: &Peer) -> bool {
    let all = |selector: &Option<Selector>| selector.as_ref().is_some_and(Selector::is_everything);
    match peer {
        Peer::Selected(selected) => {
            let (pods, namespaces) = (all(&selected.pods), all(&selected.namespaces));
            (pods && (selected.namespaces.is_none() || namespaces)) || (namespaces && selected.pods.is_none())
        }
        Peer::Block(_) | Peer::Nobody { .. } => false,
    }
}

/// Whether a selector names a value that marks the CDE.
pub(super) fn names_cde(facts: &Facts<'_>, selector: &Selector) -> bool {
    let labels = facts.standard.cde_labels.iter();
    labels.into_iter().any(|(key, values)| values.iter().any(|value| names(selector, key, value)))
}
