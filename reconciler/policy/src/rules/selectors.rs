//! Whom a policy selects.

use alloc::format;

use super::catalogue::Item;
use super::facts::{CDE_LABEL, CDE_VALUES, Facts};
use super::found::{Found, with_severity};
use crate::finding::Severity;
use crate::model::NetworkPolicy;
use crate::net::Direction;
use crate::select::Term;

/// One policy for the CDE and for others widens both.
pub(super) fn mixed(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let with_rules = |p: &&NetworkPolicy| Direction::BOTH.into_iter().any(|d| !p.live_rules(d).is_empty());
    for policy in facts.cde_policies().filter(with_rules) {
        let selector = &policy.selector;
        let finding = |message| item.about(policy, policy.selector_at, "/spec/podSelector", message);
        if selector.is_everything() {
            found.add(finding("allow rules for every endpoint, inside the CDE and outside".into()));
        } else if !selector.mentions(CDE_LABEL) {
            let message = format!("{selector} says nothing of {CDE_LABEL}: it may select the CDE and others");
            found.add(with_severity(finding(message), Severity::Warning));
        } else if selector.can_match_other(CDE_LABEL, &CDE_VALUES) {
            found.add(finding(format!("{selector} selects the CDE and others")));
        }
    }
}

/// S5: a selector that nothing can satisfy.
pub(super) fn impossible(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for policy in facts.set.policies.iter().filter(|p| p.selector.is_impossible()) {
        let names_cde = policy.selector.terms().iter().any(|term| match term {
            Term::In(key, values) => key == CDE_LABEL && values.iter().any(|v| CDE_VALUES.contains(&v.as_str())),
            Term::NotIn(..) | Term::Exists(_) | Term::DoesNotExist(_) => false,
        });
        let message = format!("{} contradicts itself: it selects nobody", policy.selector);
        let finding = item.about(policy, policy.selector_at, "/spec/podSelector", message);
        found.add(with_severity(finding, if names_cde { Severity::Error } else { Severity::Warning }));
    }
}
