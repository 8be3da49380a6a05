//! PCI-1.2.7-007: a policy that means to deny, which no policy can.
//!
//! "The same endpoints" are decided on selectors: a policy that covers another one selects whatever it selects. A default-deny beside
//! policies that each allow some of its endpoints something is no finding; it does what its name says.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::super::cover::Selection;
use super::super::super::facts::Facts;
use super::super::super::found::{Found, Here, with_severity};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::NetworkPolicy;
use crate::net::Direction;

/// Rules listed with a finding.
const RELATED_MAX: usize = 8;

pub(super) const ITEM: Item = Item {
    id: "PCI-1.2.7-007",
    requirements: &["1.2.7"],
    severity: Severity::Warning,
    waivable: true,
    basis: Basis::H,
    condition: "a policy is named or marked as a deny, yet a policy that selects the same endpoints allows in its direction; information: a written `[]` that another policy widens",
    remediation: "There is no deny: change the rule that allows.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: deny-corp, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.20.0.0/24}}], ports: [{port: 443}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: deny-corp, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: []}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &[],
    check: Check::Set(denies),
};

fn denies(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for selection in &facts.selections {
        for direction in Direction::BOTH {
            let widening = widening(selection, direction);
            if widening.is_empty() {
                continue;
            }
            let members = selection.members.iter().filter_map(|number| facts.set.policies.get(*number));
            for policy in members.filter(|policy| policy.speaks_of(direction)) {
                if let Some(finding) = judge(item, policy, direction, &widening) {
                    found.add(finding);
                }
            }
        }
    }
}

/// Some rules that apply to all of a selection: of two policies at least, where there are two, so that one is another's.
fn widening<'a>(selection: &Selection<'a>, direction: Direction) -> Vec<Here<'a>> {
    let with_rules = selection.standing.iter().filter(|policy| !policy.live_rules(direction).is_empty());
    with_rules.take(RELATED_MAX).filter_map(|policy| Here::of(policy, direction).next()).collect()
}

fn judge(item: &Item, policy: &NetworkPolicy, direction: Direction, widening: &[Here<'_>]) -> Option<Finding> {
    let first = widening.first()?;
    let related = widening.iter().map(|here| here.policy.place(here.rule.at)).collect();
    let what = |why: String| format!("{why}, yet {} allows {}; there is no deny", first.in_words(), direction.name());
    if let Some((path, why)) = means_deny(policy) {
        return Some(Finding { related, ..item.about(policy, policy.at, path, what(why)) });
    }
    let rules = policy.rules(direction);
    let at = rules.key_at.filter(|_| rules.list.is_empty())?;
    let name = direction.name();
    let why = format!("{name} of {} is written as empty", policy.name);
    let finding = item.about(policy, at, &format!("/spec/{name}"), what(why));
    Some(with_severity(Finding { related, ..finding }, Severity::Info))
}

/// Where and why a policy says that it denies.
fn means_deny(policy: &NetworkPolicy) -> Option<(&'static str, String)> {
    if policy.means_deny {
        return Some(("/metadata/name", format!("{} is marked as a deny", policy.name)));
    }
    policy.name.contains("deny").then(|| ("/metadata/name", format!("{} is named as a deny", policy.name)))
}
