//! The rules: what PCI DSS v4.0.1, and the house, allow.
//!
//! Each rule is one item of the [`catalogue()`]: number, requirement, severity, basis, condition, remediation, an example that breaks
//! it and the same example mended, and the function that finds it. The functions share `facts`: which policies are about the CDE
//! and which cover which. At one place one rule wins and the others stand beside it (`one_place`).
//!
//! Deliberately absent: the text of the standard. Numbers and our own words only.

mod annotation;
pub mod catalogue;
mod facts;
mod found;
mod isolation;
mod numbers;
mod one_place;
mod open;
mod ports;
mod selectors;
mod width;

#[cfg(test)]
pub(crate) mod tests;

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::admit::{Circumstances, NotRun};
use crate::finding::Finding;
use crate::lower::Unsupported;
use crate::model::{Place, PolicySet, Profile, Spot};
use crate::read::Problem;

pub use catalogue::{Item, catalogue};

use catalogue::{Check, LATER, item};
use facts::Facts;
use found::{Found, More};

/// A problem of the text as a finding: an error that no Waiver covers (PCI DSS v4.0.1 1.2.8).
#[must_use]
pub fn from_problem(problem: &Problem) -> Finding {
    let item = item(problem.code.rule_id());
    Finding {
        code: Some(problem.code.name()),
        policy: problem.policy.clone(),
        path: problem.path.clone(),
        related: problem.related.clone(),
        did_you_mean: problem.did_you_mean.clone(),
        ..item.finding(problem.place.clone(), problem.message.clone())
    }
}

/// What a backend cannot say, as a finding (PCI-1.2.8-008).
#[must_use]
pub fn from_unsupported(unsupported: &Unsupported) -> Finding {
    let place = unsupported.place.clone().unwrap_or(Place { file: ".".into(), spot: Spot::START });
    let message = alloc::format!("{}: {}", unsupported.backend, unsupported.message);
    Finding {
        policy: unsupported.policy.clone(),
        path: unsupported.rule.as_ref().map(ToString::to_string),
        ..item("PCI-1.2.8-008").finding(place, message)
    }
}

/// Runs every rule that can run; at each place one of them is listed. Beyond a limit findings are only counted.
pub(crate) fn judge(set: &PolicySet, profile: Profile, circumstances: &Circumstances) -> (Vec<Finding>, More) {
    let facts = Facts::new(set, profile, circumstances);
    let mut found = Found::default();
    for item in catalogue() {
        if let Check::Set(check) = item.check {
            check(item, &facts, &mut found);
        }
    }
    if facts.overfull {
        found.add(overfull(set));
    }
    let (list, more) = found.finish();
    (one_place::winners(list), more)
}

/// More policies cover one another than are ever looked at: nothing is said of the rest, so nothing is admitted.
fn overfull(set: &PolicySet) -> Finding {
    let place = set.policies.first().map(|policy| policy.place(policy.at));
    let place = place.unwrap_or(Place { file: ".".into(), spot: Spot::START });
    let message = "too many policies select the same endpoints; not all of them were judged";
    item("PCI-1.2.8-001").finding(place, message.to_string())
}

/// By file, line, column, rule, code.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (&a.place, a.rule_id, a.code, &a.path).cmp(&(&b.place, b.rule_id, b.code, &b.path)));
}

/// The rules that were not asked, and what they lack.
pub(crate) fn not_run() -> Vec<NotRun> {
    let mut rules: Vec<NotRun> = LATER.iter().map(|(rule_id, needs)| NotRun { rule_id, needs }).collect();
    rules
        .extend(catalogue().filter(|i| matches!(i.check, Check::Backends)).map(|i| NotRun { rule_id: i.id, needs: &["backends"] }));
    rules.sort_by_key(|rule| rule.rule_id);
    rules
}
