//! What people start from, judged: nothing fires on it, and each rule fires on its own smallest break of it.
//!
//! The template is read from its folder as a controller would read it, on a fixed day. A break is an edit of its text or another state
//! of the world; a table holds one or more for every rule of the catalogue, and says which rules answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod breaks;
mod harness;

use std::collections::BTreeSet;

use policy::finding::Finding;
use policy::rules::catalogue;

use breaks::{Break, all, unbreakable};
use harness::{broken, judge, template, today};

#[test]
fn nothing_fires_on_the_template() {
    let judgement = judge(&template(), &today());
    assert!(judgement.findings.is_empty(), "{:#?}", judgement.findings);
    assert!(judgement.compliant());
    assert_eq!(judgement.profile.name(), "pci-dss-4.0.1");
}

#[test]
fn every_rule_that_needs_only_documents_is_asked_about_the_template() {
    let judgement = judge(&template(), &today());
    let world = ["backends", "change", "enforced set"];
    for rule in &judgement.not_run {
        assert!(rule.needs.iter().all(|need| world.contains(need)), "{rule:?}");
    }
}

/// Where the table and the rules disagree about a break.
fn disagreement(case: &Break) -> Option<String> {
    let judgement = broken(case);
    let expected: BTreeSet<&str> = case.beside.iter().copied().chain([case.under.unwrap_or(case.rule)]).collect();
    let winners: BTreeSet<&str> = judgement.findings.iter().map(|finding| finding.rule_id).collect();
    let fired = judgement.findings.iter().any(|finding| finding.rule_id == case.rule || finding.also.contains(&case.rule));
    let line = |f: &Finding| format!("\n     {} {:?} {}:{} {}", f.rule_id, f.also, f.place.file, f.place.spot.line, f.message);
    let findings: String = judgement.findings.iter().map(line).collect();
    (expected != winners || !fired)
        .then(|| format!("{}: {}\n   expected {expected:?}\n   answered {winners:?}{findings}", case.rule, case.story))
}

#[test]
fn each_break_of_the_template_fires_its_rule_and_no_other() {
    let wrong: Vec<String> = all().filter_map(disagreement).collect();
    assert!(wrong.is_empty(), "{} of {} breaks:\n{}", wrong.len(), all().count(), wrong.join("\n"));
}

#[test]
fn every_rule_of_the_catalogue_is_broken_once_at_least() {
    let broken: BTreeSet<&str> = all().map(|case| case.rule).collect();
    let known: BTreeSet<&str> = catalogue().map(|item| item.id).collect();
    let excused: BTreeSet<&str> = unbreakable().iter().map(|(rule, _)| *rule).collect();
    let missing: Vec<&&str> = known.iter().filter(|id| !broken.contains(**id) && !excused.contains(**id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(broken.is_subset(&known), "{broken:?}");
    assert!(broken.is_disjoint(&excused), "{excused:?}");
    assert!(all().count() >= 60, "{}", all().count());
}
