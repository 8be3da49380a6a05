//! The rules: what PCI DSS v4.0.1, and the house, allow.
//!
//! Each rule is one item of the [`catalogue()`]: number, requirement, severity, basis, condition, remediation, an example that breaks
//! it and the same example mended, and the function that finds it. The functions share `facts`: which policies are about the CDE
//! and which cover which. At one place one rule wins and the others stand beside it (`one_place`).
//!
//! Deliberately absent: the text of the standard. Numbers and our own words only.

mod allowed;
mod annotation;
mod approval;
mod audience;
mod between;
pub mod catalogue;
mod cover;
mod digest;
mod facts;
mod filler;
mod found;
mod group;
mod isolation;
mod lists;
mod lost;
mod members;
mod numbers;
mod one_place;
mod open;
mod patches;
mod people;
mod ports;
mod reach;
mod recorded;
mod same;
mod selectors;
mod severities;
pub(crate) mod since;
mod waivers;
mod width;
mod witness;
pub(crate) mod zones;

#[cfg(test)]
pub(crate) mod tests;

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::admit::{Circumstances, NotRun};
use crate::finding::Finding;
use crate::lower::Unsupported;
use crate::model::{Place, PolicySet, Profile, Spot};
use crate::read::Problem;

pub use catalogue::{Column, Item, catalogue};
pub use digest::{RuleDigest, digest, digests};

use catalogue::{Check, item};
pub(crate) use facts::public;

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

/// What the rules say of a set.
pub(crate) struct Judged {
    pub(crate) findings: Vec<Finding>,
    /// Findings beyond a limit, counted and not listed.
    pub(crate) more: More,
    /// Rules that were not asked, or not wholly.
    pub(crate) not_run: Vec<NotRun>,
}

/// Runs every rule that can run; at each place one of them is listed.
pub(crate) fn judge(set: &PolicySet, profile: Profile, circumstances: &Circumstances) -> Judged {
    let facts = Facts::new(set, profile, circumstances);
    let (found, not_run) = ask(&facts);
    let (mut list, more) = found.finish();
    let complete = more == More::default();
    let asked = |id: &str| complete && not_run.iter().all(|rule| rule.rule_id != id);
    let idle = waivers::apply(&facts, &mut list, asked);
    list.extend(idle);
    Judged { findings: one_place::winners(list), more, not_run }
}

/// Asks every rule that can run. Returns the others, and what was found before any Waiver is looked at.
fn ask(facts: &Facts<'_>) -> (Found, Vec<NotRun>) {
    let mut found = Found::under(facts.standard);
    let mut not_run = Vec::new();
    for item in catalogue() {
        let lacks = |needs: &[&'static str]| needs.iter().copied().filter(|need| !knows(facts, need)).collect::<Vec<_>>();
        let mut missing = lacks(item.needs);
        if item.profile == Column::Pci && facts.profile != Profile::PciDss401 {
            missing.push("profile pci-dss-4.0.1");
        }
        missing.extend(lost::lost(item, facts.set));
        if missing.is_empty()
            && let Check::Set(check) = item.check
        {
            check(item, facts, &mut found);
        }
        missing.extend(lacks(item.wants));
        if !missing.is_empty() {
            not_run.push(NotRun { rule_id: item.id, needs: missing });
        }
    }
    if facts.overfull || facts.is_spent() {
        found.add(overfull(facts.set));
    }
    not_run.sort_by_key(|rule| rule.rule_id);
    (found, not_run)
}

/// Whether there is a document of this kind, or this is known of the circumstances.
fn knows(facts: &Facts<'_>, need: &str) -> bool {
    match need {
        "backends" => facts.circumstances.backends.is_some(),
        "enforced set" => facts.circumstances.enforced.is_some(),
        "change" => facts.circumstances.change.is_some(),
        kind => facts.set.kinds.iter().any(|known| known.name() == kind),
    }
}

/// More policies cover one another than are ever looked at: nothing is said of the rest, so nothing is admitted.
fn overfull(set: &PolicySet) -> Finding {
    let place = set.policies.first().map(|policy| policy.place(policy.at));
    let place = place.unwrap_or(Place { file: ".".into(), spot: Spot::START });
    let message = "too many policies select the same endpoints, or too many endpoints, peers or zones; not all of them were judged";
    item("PCI-1.2.8-001").finding(place, message.to_string())
}

/// By file, line, column, rule, code.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (&a.place, a.rule_id, a.code, &a.path).cmp(&(&b.place, b.rule_id, b.code, &b.path)));
}
