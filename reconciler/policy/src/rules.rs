//! The rules: what PCI DSS v4.0.1, and the house, allow.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::admit::{Circumstances, NotRun};
use crate::finding::{Basis, Finding, Severity};
use crate::model::{PolicySet, Profile};
use crate::read::Problem;

pub(crate) fn from_problem(problem: &Problem) -> Finding {
    Finding {
        rule_id: problem.code.rule_id(),
        code: Some(problem.code.name()),
        severity: Severity::Error,
        waivable: false,
        basis: Basis::H,
        requirements: &["1.2.8"],
        also: Vec::new(),
        policy: problem.policy.clone(),
        rule: None,
        path: problem.path.clone(),
        place: problem.place.clone(),
        related: problem.related.clone(),
        did_you_mean: problem.did_you_mean.clone(),
        message: problem.message.clone(),
        remediation: "Correct the text.".to_string(),
        witness: None,
    }
}

pub(crate) fn judge(
    _set: &PolicySet,
    _profile: Profile,
    _circumstances: &Circumstances,
) -> Vec<Finding> {
    Vec::new()
}

pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (&a.place, a.rule_id, a.code).cmp(&(&b.place, b.rule_id, b.code)));
}

pub(crate) fn not_run(_profile: Profile) -> Vec<NotRun> {
    Vec::new()
}
