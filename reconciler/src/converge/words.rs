//! What is said of a commit, to forges and in records.

use policy::admit::Judgement;
use policy::finding::Severity;
use policy::snapshot::CommitId;
use serde_json::Value;

use super::{CommitStatus, Posture, Settings, StatusState, TargetPlan};

/// Under which id a refused signature is kept among findings.
pub(super) const SIGNATURE: &str = "signature";

/// `3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)`, from the findings as they are stored.
pub(super) fn first_finding(findings: &Value) -> String {
    let errors: Vec<&Value> = errors(findings).collect();
    let Some(first) = errors.first() else { return "no policy document found".to_owned() };
    let text = |key: &str| first.get(key).and_then(Value::as_str).unwrap_or("?");
    if text("rule_id") == SIGNATURE {
        return text("message").to_owned();
    }
    let line = first.get("line").and_then(Value::as_u64).unwrap_or(1);
    let more = if errors.len() > 1 { format!(" (+{})", errors.len() - 1) } else { String::new() };
    let word = if errors.len() == 1 { "violation" } else { "violations" };
    format!("{} {word}: {} {}:{line}{more}", errors.len(), text("rule_id"), text("file"))
}

/// The findings that reject a commit, as they are stored. One that is rejected without any has no policy document.
pub(super) fn errors(findings: &Value) -> impl Iterator<Item = &Value> {
    let waived = |finding: &Value| finding.get("waiver").is_some_and(|waiver| !waiver.is_null());
    let is_error = move |finding: &&Value| finding.get("severity").and_then(Value::as_str) == Some("error") && !waived(finding);
    findings.as_array().into_iter().flatten().filter(is_error)
}

/// The ids of the rules that are broken, each once, in order.
pub(super) fn broken_rules(judgement: &Judgement) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for finding in judgement.findings.iter().filter(|f| f.severity == Severity::Error && f.waiver.is_none()) {
        for id in std::iter::once(&finding.rule_id).chain(&finding.also) {
            if !ids.iter().any(|known| known == id) {
                ids.push((*id).to_owned());
            }
        }
    }
    ids
}

/// `; not guarded before it appears: hook eth1 in, …`, or nothing.
pub(super) fn unguarded(plans: &[TargetPlan]) -> String {
    let keys: Vec<&str> = plans.iter().flat_map(|plan| &plan.absent).map(|one| one.key.as_str()).collect();
    if keys.is_empty() { String::new() } else { format!("not guarded before it appears: {}", keys.join(", ")) }
}

impl Settings {
    pub(super) fn status(&self, commit: CommitId, state: StatusState, description: &str) -> CommitStatus {
        let link = self.public_url.as_ref().map(|url| format!("{}/commits/{commit}", url.trim_end_matches('/')));
        let (context, git_ref) = (self.context.clone(), Some(self.git_ref.clone()));
        CommitStatus { commit, state, description: description.to_owned(), link, context, git_ref }
    }
}

impl Posture {
    /// What a compliant head has come to.
    pub(super) fn sentence(self, changes: usize) -> String {
        match self {
            Self::Enforced => format!("compliant, in force ({changes} changes)"),
            Self::Audited => format!("compliant, audited: nothing is dropped ({changes} changes)"),
            Self::JudgedOnly => "compliant; this controller enforces nothing".to_owned(),
        }
    }
}
