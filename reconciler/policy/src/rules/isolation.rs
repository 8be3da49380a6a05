//! Default deny: is everything isolated that should be, and does every rule mean something?

use alloc::format;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::Found;
use crate::finding::Finding;
use crate::model::Profile;
use crate::net::Direction;

pub(super) fn ingress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    not_isolated(item, facts, found, Direction::Ingress);
}

pub(super) fn egress(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    not_isolated(item, facts, found, Direction::Egress);
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

/// The controller insists on more than the set asks for.
pub(super) fn weaker(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let pinned = facts.circumstances.pinned_profile.unwrap_or(Profile::Baseline);
    if facts.profile < pinned {
        let message = format!("the set asks for profile {}, the controller is pinned to {}", facts.profile.name(), pinned.name());
        let place = facts.set.policies.first().map(|p| p.place(crate::model::Spot::START));
        let nowhere = || crate::model::Place { file: ".".into(), spot: crate::model::Spot::START };
        found.add(item.finding(place.unwrap_or_else(nowhere), message));
    }
}
