//! What is said of a commit, to forges and in records.

use policy::admit::Judgement;
use policy::finding::{Finding, Severity};
use policy::snapshot::CommitId;

use super::{CommitStatus, Settings, StatusState};

/// `3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)`.
pub(super) fn first_finding(judgement: &Judgement) -> String {
    let errors: Vec<&Finding> = judgement.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    let count = judgement.counts().error;
    let Some(first) = errors.first() else {
        return "no policy document found".to_owned();
    };
    let more = if count > 1 { format!(" (+{})", count - 1) } else { String::new() };
    let word = if count == 1 { "violation" } else { "violations" };
    format!("{count} {word}: {} {}:{}{more}", first.rule_id, first.place.file, first.place.spot.line)
}

/// The ids of the rules that are broken, each once, in order.
pub(super) fn broken_rules(judgement: &Judgement) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for finding in judgement.findings.iter().filter(|f| f.severity == Severity::Error) {
        for id in std::iter::once(&finding.rule_id).chain(&finding.also) {
            if !ids.iter().any(|known| known == id) {
                ids.push((*id).to_owned());
            }
        }
    }
    ids
}

impl Settings {
    pub(super) fn status(&self, commit: CommitId, state: StatusState, description: &str) -> CommitStatus {
        let link = self.public_url.as_ref().map(|url| format!("{}/commits/{commit}", url.trim_end_matches('/')));
        CommitStatus { commit, state, description: description.to_owned(), link, context: self.context.clone() }
    }
}
