//! What the groups of a cloud let pass, judged by the rules that judge policies: the same ids, the same limits, the same witnesses.
//!
//! Each group that is judged becomes a policy of its own, read by the reader of policies and asked by the same catalogue; findings then
//! point at the group's rules. What only clouds have is asked here: defaults that nobody wrote, groups that nobody uses, members that
//! reach each other, lists and tags whose addresses somebody else keeps. Of Azure what counts is what is really let through: an allow
//! below a deny of a lower number opens nothing.
//!
//! Pure: groups in, findings out. Groups are judged one by one, never together: what two groups of one interface open together is not
//! seen here.

mod clouds;
mod document;
mod effective;

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::admit::{Circumstances, NotRun, admit};
use policy::date::Date;
use policy::finding::{Finding, Side};
use policy::model::standard::Standard;
use policy::model::{Place, Profile, Spot};
use policy::net::Direction;
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};

use self::document::Document;
use crate::backend::cloud::{FoundGroup, MARK};

/// Rules of the text of a document and of what is known beside it: a group has neither.
const OF_TEXT: [&str; 4] = ["PCI-1.2.1-001", "PCI-1.2.1-002", "PCI-1.3.2-002", "PCI-1.3.1-009"];
/// The line of a group's first rule in what is shown of it.
const FIRST_RULE_LINE: usize = 2;

/// Which groups are judged as the CDE's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Ours, and those whose tags the Standard names as the CDE's.
    Marked,
    /// All.
    All,
}

/// What was found.
#[derive(Debug)]
pub struct Posture {
    /// Findings, in order of their groups; a place is a group's name and the line of a rule in [`Posture::shown`].
    pub findings: Vec<Finding>,
    /// Each group as text, a line a rule, under the name that places have.
    pub shown: Snapshot,
    /// Which group a name of a place is.
    pub groups: BTreeMap<Arc<str>, Subject>,
    /// Groups whose rules were judged.
    pub judged: usize,
    /// Rules that were not asked, because a group does not hold what they need.
    pub not_run: Vec<NotRun>,
}

/// A group, as findings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `sg-…`, or an Azure resource id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The network or resource group it is in.
    pub network: String,
    /// What its rules are called, in their order.
    pub rules: Vec<String>,
}

/// Judges groups by a Standard.
#[must_use]
pub fn judge(groups: &[FoundGroup], standard: &Standard, scope: Scope, today: Date) -> Posture {
    let mut posture =
        Posture { findings: Vec::new(), shown: Snapshot::default(), groups: BTreeMap::new(), judged: 0, not_run: Vec::new() };
    let standard = Standard { origin: None, profile: Profile::Baseline, ..standard.clone() };
    for group in groups {
        let file: Arc<str> = place_name(group).into();
        let judged = is_judged(group, &standard, scope);
        let mut findings = clouds::findings(group, &file, judged);
        if judged {
            posture.judged += 1;
            findings.extend(of_catalogue(group, &file, &standard, today, &mut posture.not_run));
        }
        findings.sort_by(|a, b| (a.place.spot, a.rule_id, a.code).cmp(&(b.place.spot, b.rule_id, b.code)));
        posture.findings.extend(findings);
        posture.shown.entries.insert(file.to_string(), Entry::File(shown(group).into_bytes()));
        posture.groups.insert(file, subject(group));
    }
    posture
}

/// Whether a group is judged as the CDE's.
fn is_judged(group: &FoundGroup, standard: &Standard, scope: Scope) -> bool {
    scope == Scope::All || group.ours || group.tags.contains_key(MARK) || standard.marks_cde(&group.tags)
}

/// What the catalogue says of a group's rules.
fn of_catalogue(group: &FoundGroup, file: &Arc<str>, standard: &Standard, today: Date, not_run: &mut Vec<NotRun>) -> Vec<Finding> {
    let document = Document::of(group, standard);
    let entries = [("group.yaml".to_owned(), Entry::File(document.text.clone().into_bytes()))].into();
    let mut reading = read(&Snapshot { entries });
    reading.set.standard = standard.clone();
    let judgement = admit(reading, &Circumstances::on(today));
    if not_run.is_empty() {
        not_run.clone_from(&judgement.not_run);
    }
    let of_rules = judgement.findings.into_iter().filter(|finding| !OF_TEXT.contains(&finding.rule_id));
    of_rules.map(|finding| placed(finding, group, file, &document)).collect()
}

/// A finding about a document as one about the group it was made of.
fn placed(finding: Finding, group: &FoundGroup, file: &Arc<str>, document: &Document) -> Finding {
    let rule_at = |line: u32| document.rule_at(usize::try_from(line).unwrap_or(usize::MAX));
    let place = |line: u32| place(file, rule_at(line));
    let mut related: Vec<Place> = finding.related.iter().map(|other| place(other.spot.line)).collect();
    let own = place(finding.place.spot.line);
    related.sort_unstable();
    related.dedup();
    related.retain(|other| *other != own);
    let index = rule_at(finding.place.spot.line);
    let witness = finding.witness.map(|mut witness| {
        for side in [&mut witness.source, &mut witness.destination] {
            *side = match side {
                Side::Selected(_) => Side::Selected(group.name.clone()),
                Side::Address { address, .. } | Side::Endpoint { address, .. } => match document.stand_in(*address) {
                    Some(name) => Side::Selected(name.to_owned()),
                    None => Side::Address { address: *address, zone: None },
                },
            };
        }
        witness
    });
    Finding {
        policy: None,
        rule: index.and_then(|index| rule_name(group, index)).map(Into::into),
        document: Some(file.clone()),
        path: index.and_then(|index| pointer(group, index)),
        place: own,
        related,
        message: document.in_names(&finding.message),
        remediation: finding.remediation,
        witness,
        ..finding
    }
}

/// `/ingress/0`: which rule of a direction it is.
fn pointer(group: &FoundGroup, index: usize) -> Option<String> {
    let direction = group.rules.get(index)?.direction;
    let before = group.rules.iter().take(index).filter(|rule| rule.direction == direction).count();
    Some(format!("/{}/{before}", direction.name()))
}

/// What a rule is called: by the provider, else by what it says.
fn rule_name(group: &FoundGroup, index: usize) -> Option<String> {
    let rule = group.rules.get(index)?;
    Some(rule.id.clone().unwrap_or_else(|| rule.text.clone()))
}

/// The place of a rule, or of the group itself.
fn place(file: &Arc<str>, rule: Option<usize>) -> Place {
    Place { file: file.clone(), spot: Spot::new(rule.map_or(1, |index| index + FIRST_RULE_LINE), 1) }
}

/// `vpc-1/sg-1`; an Azure id names its resource group already.
fn place_name(group: &FoundGroup) -> String {
    if group.id.contains('/') { group.id.clone() } else { format!("{}/{}", group.network, group.id) }
}

/// A group as text: its name, then a line for each rule.
fn shown(group: &FoundGroup) -> String {
    let line = |text: &str| text.replace(['\n', '\r'], " ");
    let mut text = line(&format!("group {} ({}) in {}", group.name, group.id, group.network));
    for rule in &group.rules {
        text.push('\n');
        let priority = rule.priority.map(|priority| format!("{priority} ")).unwrap_or_default();
        let (direction, verb) = (rule.direction.name(), if rule.allows { "allow" } else { "deny" });
        text.push_str(&line(&format!("{direction} {priority}{verb} {}", rule.text)));
    }
    text
}

fn subject(group: &FoundGroup) -> Subject {
    Subject {
        id: group.id.clone(),
        name: group.name.clone(),
        network: group.network.clone(),
        rules: (0..group.rules.len()).filter_map(|index| rule_name(group, index)).collect(),
    }
}

impl Subject {
    /// What the rule at a place is called; `None` for the group itself.
    #[must_use]
    pub fn rule(&self, spot: Spot) -> Option<&str> {
        let line = usize::try_from(spot.line).ok()?;
        self.rules.get(line.checked_sub(FIRST_RULE_LINE)?).map(String::as_str)
    }
}

/// Which requirement is about a direction.
const fn requirement(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::Ingress => &["1.3.1"],
        Direction::Egress => &["1.3.2"],
    }
}

#[cfg(test)]
mod tests;
