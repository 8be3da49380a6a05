//! Waivers: findings accepted for a while, by somebody independent.
//!
//! A Waiver covers what it names and nothing else: one rule, and a policy, a named rule, an endpoint or the set. What it covers stays in
//! every output. One that has expired covers what it covered in the enforced set, the calendar never un-admitting what is enforced, and
//! nothing that was not there then. A Waiver is not a compensating control: those need the worksheet of PCI DSS v4.0.1 Appendix C and the assessor's
//! agreement.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::approval::is_approver;
use super::catalogue::{Item, item};
use super::facts::Facts;
use super::filler::says_something;
use super::found::{Found, with_severity};
use crate::admit::Circumstances;
use crate::digest::Digest;
use crate::finding::{Finding, Severity, Waived};
use crate::model::records::Waiver;
use crate::model::{PolicySet, Profile};

/// The rule id, the policy, its rule and the endpoint that a finding is about.
type Subject<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// Waivers that cover nothing because of what they say, and those that have expired (PCI-1.2.7-004).
pub(super) fn invalid(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for waiver in &facts.set.waivers {
        for (field, message) in defects(facts, waiver) {
            found.add(about(item, waiver, field, message));
        }
        if !in_time(facts, waiver) {
            // A warning still: a finding it does not cover, because it is new, is an error of its own.
            let holds = holds_though_expired(facts, waiver);
            let severity = if holds { Severity::Warning } else { Severity::Error };
            let still = if holds { "; it covers what is enforced and has not changed, nothing new" } else { ": it covers nothing" };
            let message = format!("the Waiver {} expired on {}{still}", waiver.name, waiver.expires_at);
            found.add(with_severity(about(item, waiver, "expiresAt", message), severity));
        }
    }
}

/// Marks what waivers cover. Returns a warning for each good one that covers nothing.
///
/// `asked` says whether a rule was asked, and wholly: of another nobody knows what it would have found.
pub(super) fn apply(facts: &Facts<'_>, findings: &mut [Finding], asked: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut by_subject: BTreeMap<Subject<'_>, usize> = BTreeMap::new();
    let mut same: Vec<Same<'_>> = Vec::new();
    for waiver in facts.set.waivers.iter().filter(|waiver| holds(facts, waiver)) {
        let number = *by_subject.entry(subject_of_waiver(waiver)).or_insert(same.len());
        match same.get_mut(number) {
            Some(known) => known.waivers.push(waiver),
            None => same.push(Same { waivers: [waiver].into(), used: false }),
        }
    }
    let expired = same.iter().any(|same| same.waivers.iter().any(|waiver| !in_time(facts, waiver)));
    let old = if expired { enforced(facts) } else { BTreeSet::new() };
    for finding in findings.iter_mut().filter(|finding| finding.waivable && finding.severity != Severity::Info) {
        let number = subject(finding).and_then(|subject| by_subject.get(&subject).copied());
        if let Some(same) = number.and_then(|number| same.get_mut(number)) {
            same.used = true;
            let covers =
                |waiver: &Waiver| in_time(facts, waiver) || old.contains(&(finding.fingerprint(), finding.message.clone()));
            finding.waiver = same.shown(covers);
        }
    }
    let idle = same.iter().filter(|same| !same.used).flat_map(|same| same.waivers.iter().copied());
    idle.filter(|waiver| in_time(facts, waiver) && asked(&waiver.rule)).map(covers_nothing).collect()
}

/// Waivers that name the same.
struct Same<'a> {
    waivers: Vec<&'a Waiver>,
    used: bool,
}

impl Same<'_> {
    /// Of those that cover a finding, the one that lasts longest.
    fn shown(&self, covers: impl Fn(&Waiver) -> bool) -> Option<Waived> {
        let waiver = self.waivers.iter().filter(|waiver| covers(waiver)).max_by_key(|waiver| waiver.expires_at)?;
        let Waiver { name, reason, approved_by, expires_at, .. } = waiver;
        let (name, reason, approved_by) = (name.clone(), reason.clone(), approved_by.clone());
        Some(Waived { name, reason, approved_by, expires_at: *expires_at })
    }
}

/// What is wrong today with the enforced set, were there no Waiver: its fingerprint, and what is said of it.
fn enforced(facts: &Facts<'_>) -> BTreeSet<(Digest, String)> {
    let Some(enforced) = &facts.circumstances.enforced else { return BTreeSet::new() };
    // Without an enforced set of its own it is judged once and no deeper.
    let then = PolicySet { waivers: Vec::new(), ..PolicySet::clone(enforced) };
    let circumstances = Circumstances { enforced: None, ..facts.circumstances.clone() };
    let (found, _) = super::ask(&Facts::new(&then, facts.profile, &circumstances));
    found.finish().0.into_iter().map(|finding| (finding.fingerprint(), finding.message)).collect()
}

fn in_time(facts: &Facts<'_>, waiver: &Waiver) -> bool {
    waiver.expires_at >= facts.circumstances.today
}

fn covers_nothing(waiver: &Waiver) -> Finding {
    let message = format!("the Waiver {} covers nothing: no finding of {} is about {}", waiver.name, waiver.rule, whom(waiver));
    let finding = with_severity(about(item("PCI-1.2.7-008"), waiver, "rule", message), Severity::Warning);
    Finding { remediation: "Delete the Waiver: what it accepted is gone, or is not what it names.".into(), ..finding }
}

/// A finding about a Waiver, which no Waiver covers.
fn about(item: &Item, waiver: &Waiver, field: &str, message: String) -> Finding {
    let remediation = "Delete the Waiver, or have it approved again within the limits.".to_string();
    Finding {
        waivable: false,
        policy: waiver.policy.clone(),
        rule: waiver.rule_name.clone(),
        endpoint: waiver.endpoint.clone().filter(|_| waiver.policy.is_none()),
        remediation,
        ..item.about_item(&waiver.origin, field, message)
    }
}

fn whom(waiver: &Waiver) -> String {
    match subject_of_waiver(waiver) {
        (_, Some(policy), Some(rule), _) => format!("{rule} of {policy}"),
        (_, Some(name), None, _) | (_, None, _, Some(name)) => name.into(),
        (_, None, _, None) => "the set".into(),
    }
}

/// Whether it covers anything at all.
fn holds(facts: &Facts<'_>, waiver: &Waiver) -> bool {
    if in_time(facts, waiver) { defects(facts, waiver).is_empty() } else { holds_though_expired(facts, waiver) }
}

/// The calendar never un-admits what is enforced.
fn holds_though_expired(facts: &Facts<'_>, waiver: &Waiver) -> bool {
    !facts.since.touches_waiver(waiver) && defects(facts, waiver).is_empty()
}

/// What is wrong with it whatever the day: a field, and why. That two people sign it is the reader's business.
fn defects(facts: &Facts<'_>, waiver: &Waiver) -> Vec<(&'static str, String)> {
    let Waiver { name, approved_by, approved_at, expires_at, .. } = waiver;
    let mut defects = Vec::new();
    for (field, text) in [("reason", &waiver.reason), ("riskAcceptance", &waiver.risk_acceptance)] {
        if !says_something(Some(text.as_str())) {
            defects.push((field, format!("the {field} of the Waiver {name} says nothing")));
        }
    }
    if facts.profile == Profile::PciDss401 && !is_approver(facts, approved_by) {
        defects.push(("approvedBy", format!("the Waiver {name} is approved by {approved_by}, who is not in approvers")));
    }
    if *approved_at > facts.circumstances.today {
        defects.push(("approvedAt", format!("the Waiver {name} is approved on {approved_at}, which has not come yet")));
    }
    let (days, max) = (expires_at.days_since(*approved_at), facts.thresholds().waiver_max_days);
    if days > max {
        defects.push(("expiresAt", format!("the Waiver {name} lasts {days} days; at most {max}")));
    }
    defects
}

fn subject_of_waiver(waiver: &Waiver) -> Subject<'_> {
    let policy = waiver.policy.as_deref();
    let rule = waiver.rule_name.as_deref().filter(|_| policy.is_some());
    (&waiver.rule, policy, rule, waiver.endpoint.as_deref().filter(|_| policy.is_none()))
}

/// What a Waiver has to name to cover a finding. Nothing can for one at a rule without a name.
fn subject(finding: &Finding) -> Option<Subject<'_>> {
    let (policy, rule) = (finding.policy.as_deref(), finding.rule.as_deref());
    if policy.is_some() && rule.is_none() && is_below_a_rule(finding.path.as_deref().unwrap_or("")) {
        return None;
    }
    let endpoint = finding.endpoint.as_deref().filter(|_| policy.is_none());
    Some((finding.rule_id, policy, rule.filter(|_| policy.is_some()), endpoint))
}

/// `/spec/ingress/0` and below.
fn is_below_a_rule(path: &str) -> bool {
    let lists = ["/spec/ingress/", "/spec/egress/"];
    lists.iter().any(|list| path.starts_with(list))
}

#[cfg(test)]
mod tests;
