//! Default deny: is everything isolated that should be, and does every rule mean something?

#[cfg(test)]
mod tests;

use alloc::format;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, with_severity};
use crate::finding::{Finding, Severity};
use crate::model::{NetworkPolicy, Profile};
use crate::net::Direction;

pub(super) fn ingress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    not_isolated(item, facts, found, Direction::Ingress);
    no_floor(item, facts, found, Direction::Ingress);
}

pub(super) fn egress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    not_isolated(item, facts, found, Direction::Egress);
    no_floor(item, facts, found, Direction::Egress);
}

fn not_isolated(item: &Item, facts: &Facts<'_>, found: &mut Found, direction: Direction) {
    for group in facts.cde.iter().filter(|group| !group.is_isolated(direction)) {
        let message =
            |name: &str| format!("nothing isolates {name} for {}: every flow passes that no policy names", direction.name());
        if group.selector.is_some() {
            for policy in &group.members {
                found.add(item.about(policy, policy.selector_at, "/spec/podSelector", message(&group.name)));
            }
        }
        for known in group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number)) {
            let related = known.policies.iter().map(|policy| policy.place(policy.selector_at)).collect();
            let finding = item.about_endpoint(known.member, "labels", message(&known.member.name));
            found.add(Finding { related, ..finding });
        }
    }
}

/// Isolated only by policies that also allow something: whoever deletes one of those opens everything. A policy without rules in the
/// direction stays closed whatever happens to the others.
fn no_floor(item: &Item, facts: &Facts<'_>, found: &mut Found, direction: Direction) {
    if facts.profile != Profile::PciDss401 {
        return;
    }
    let is_floor = |policy: &&NetworkPolicy| policy.isolates(direction) && policy.rules(direction).list.is_empty();
    for group in facts.cde.iter().filter(|group| group.is_isolated(direction) && !group.standing.iter().any(is_floor)) {
        let name = &group.name;
        let message =
            format!("no policy without rules holds {name} closed for {}: only what also allows isolates it", direction.name());
        let known = group.endpoints.first().and_then(|number| facts.endpoints.get(*number));
        let finding = match (known, group.members.first()) {
            (Some(known), _) => item.about_endpoint(known.member, "labels", message),
            (None, Some(policy)) => item.about(policy, policy.selector_at, "/spec/podSelector", message),
            (None, None) => continue,
        };
        found.add(with_severity(finding, Severity::Warning));
    }
}

/// S9: rules in a direction that `policyTypes` leaves out.
pub(super) fn inert(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for policy in &facts.set.policies {
        for direction in Direction::BOTH.into_iter().filter(|d| !policy.speaks_of(*d)) {
            let rules = policy.rules(direction);
            if let (Some(at), false) = (rules.key_at, rules.list.is_empty()) {
                let message = format!("the {} rules do nothing: policyTypes leaves the direction out", direction.name());
                found.add(item.about(policy, at, &format!("/spec/{}", direction.name()), message));
            }
        }
    }
}

/// Closed here, open in Kubernetes.
pub(super) fn differs(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for policy in facts.set.policies.iter().filter(|p| !p.types.written && p.egress.list.is_empty()) {
        let (at, path) = policy.egress.key_at.map_or((policy.spec_at, "/spec"), |at| (at, "/spec/egress"));
        let message = "egress is closed here, since policyTypes is left out; in Kubernetes it would be open";
        found.add(item.about(policy, at, path, message.into()));
    }
}
