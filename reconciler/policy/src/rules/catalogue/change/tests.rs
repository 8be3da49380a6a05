use alloc::string::String;
use alloc::vec::Vec;

use crate::admit::{Change, Circumstances};
use crate::model::{PolicySet, Profile};
use crate::rules::judge;
use crate::rules::tests::{circumstances, day};

const ID: &str = "PCI-1.2.2-001";

fn whole() -> Change {
    let some = |text: &str| Some(String::from(text));
    Change {
        author: "ada".into(),
        signed: true,
        approved_by: ["grace".into()].into(),
        ticket: some("CHG-1041"),
        reason: some("The vault moves."),
        impact: some("none: the old address stays"),
        back_out: some("Revert the commit."),
    }
}

/// What the rule says of a change, under a Standard that lists one approver.
fn messages(change: Change) -> Vec<String> {
    let mut set = PolicySet::default();
    set.standard.profile = Profile::PciDss401;
    set.standard.approvers = ["grace".into()].into();
    let circumstances = Circumstances { change: Some(change), ..circumstances() };
    let found = judge(&set, Profile::PciDss401, &circumstances).findings;
    found.into_iter().filter(|finding| finding.rule_id == ID).map(|finding| finding.message).collect()
}

#[test]
fn a_whole_change_passes() {
    assert_eq!(messages(whole()), Vec::<String>::new());
}

#[test]
fn one_finding_names_everything_that_lacks() {
    let all = messages(Change::default());
    assert_eq!(all.len(), 1);
    for part in ["signature", "approval", "ticket", "reason", "impact", "back-out"] {
        assert!(all[0].contains(part), "{all:?}");
    }
}

/// Takes one part away.
type Take = fn(&mut Change);

#[test]
fn each_part_is_asked_for_by_itself() {
    let parts: [(&str, Take); 7] = [
        ("signature", |change| change.signed = false),
        ("approval", |change| change.approved_by.clear()),
        ("ticket", |change| change.ticket = None),
        ("reason", |change| change.reason = Some("TBD".into())),
        ("impact", |change| change.impact = Some("n/a".into())),
        ("back-out", |change| change.back_out = Some("  ".into())),
        ("approval", |change| change.author = "grace".into()),
    ];
    for (part, take) in parts {
        let mut change = whole();
        take(&mut change);
        let said = messages(change);
        assert!(said.len() == 1 && said[0].starts_with("the change has no ") && said[0].contains(part), "{part}: {said:?}");
        assert!(!said[0].contains(','), "{said:?}");
    }
}

#[test]
fn only_approvers_approve() {
    let by = |who: &[&str]| messages(Change { approved_by: who.iter().map(|w| String::from(*w)).collect(), ..whole() }).is_empty();
    assert!(by(&["grace"]) && by(&["linus", "grace"]));
    assert!(!by(&["linus"]) && !by(&["Grace"]) && !by(&["grace "]));
}

#[test]
fn without_a_known_change_the_rule_is_listed_as_not_run() {
    let mut set = PolicySet::default();
    set.standard.profile = Profile::PciDss401;
    let judged = judge(&set, Profile::PciDss401, &Circumstances::on(day()));
    let needs = judged.not_run.iter().find(|rule| rule.rule_id == ID).map(|rule| rule.needs.clone());
    assert_eq!(needs, Some(["change"].into()));
}
