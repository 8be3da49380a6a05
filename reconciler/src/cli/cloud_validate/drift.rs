//! What differs from the policies, as findings beside the others: RT-1.2.8-001.

use std::fmt::Write as _;
use std::sync::Arc;

use policy::finding::{Basis, Finding, Severity};
use policy::model::{Place, Spot};
use policy::snapshot::Entry;

use crate::converge::{Class, Deviation, Difference, TargetPlan};
use crate::posture::{Posture, Subject};

/// Adds what a plan would change, and what others put where ours is.
pub(super) fn add_drift(posture: &mut Posture, plan: &TargetPlan) {
    if plan.differences.is_empty() {
        return;
    }
    let file: Arc<str> = plan.target.as_str().into();
    let mut text = format!("target {}", plan.target);
    for (index, difference) in plan.differences.iter().enumerate() {
        let line = format!(
            "{} {}",
            difference.key,
            if difference.observed.is_empty() { &difference.expected } else { &difference.observed }
        );
        let _ = write!(text, "\n{}", line.replace(['\n', '\r'], " "));
        posture.findings.push(finding(&file, index, difference));
    }
    posture.shown.entries.insert(file.to_string(), Entry::File(text.into_bytes()));
    let rules = plan.differences.iter().map(|difference| difference.key.clone()).collect();
    let subject = Subject { id: plan.target.clone(), name: plan.target.clone(), network: plan.target.clone(), rules };
    posture.groups.insert(file, subject);
}

fn finding(file: &Arc<str>, index: usize, difference: &Difference) -> Finding {
    let ours = difference.ours != Some(false);
    let severity = if ours && difference.class == Class::Flow { Severity::Error } else { Severity::Warning };
    let Difference { key, expected, observed, .. } = difference;
    let message = match difference.kind {
        Deviation::Missing => format!("{key} is missing; the policies say {expected}"),
        Deviation::Extra if ours => format!("{key} is in a group of ours and in no policy: {observed}"),
        Deviation::Extra => format!("{key} is beside ours and not ours: {observed}"),
        Deviation::Changed => format!("{key} is {observed}; the policies say {expected}"),
        Deviation::Detached => format!("{key} is not in place: {observed}"),
    };
    let remediation = if ours {
        "Look who changed it; cloud-sync or the controller brings it back to what the policies say."
    } else {
        "Find out who put it there; nothing of ours touches it."
    };
    Finding {
        rule_id: "RT-1.2.8-001",
        code: Some(kind(difference.kind)),
        severity,
        waivable: false,
        basis: Basis::D,
        requirements: &["1.2.8", "11.5.2"],
        also: Vec::new(),
        policy: None,
        rule: Some(key.as_str().into()),
        endpoint: None,
        document: Some(file.clone()),
        path: None,
        place: Place { file: file.clone(), spot: Spot::new(index + 2, 1) },
        related: Vec::new(),
        did_you_mean: None,
        message,
        remediation: remediation.to_owned(),
        witness: None,
        waiver: None,
    }
}

/// Its word, as in `drift`.
const fn kind(kind: Deviation) -> &'static str {
    match kind {
        Deviation::Missing => "missing",
        Deviation::Extra => "extra",
        Deviation::Changed => "changed",
        Deviation::Detached => "detached",
    }
}
