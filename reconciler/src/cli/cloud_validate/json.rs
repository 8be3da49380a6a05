//! The JSON document: as `validate` has it, with groups where files were.

use policy::finding::Finding;
use policy::model::Place;
use serde_json::{Value, json};

use crate::cli::validate::Report;
use crate::converge::TargetPlan;
use crate::posture::Posture;

/// What of a finding is about files.
const OF_FILES: [&str; 6] = ["file", "line", "column", "policy", "endpoint", "rule"];

pub(super) fn document(report: &Report<'_>, posture: &Posture, plans: &[TargetPlan], provider: &str) -> Value {
    let judgement = report.judgement;
    let of = |plan: &TargetPlan| {
        let target = plan.target.clone();
        plan.differences
            .iter()
            .map(move |one| json!({ "target": target, "key": one.key, "kind": one.kind, "expected": one.expected, "observed": one.observed }))
            .collect::<Vec<_>>()
    };
    json!({
        "compliant": report.passes(),
        "provider": provider,
        "groups": judgement.files,
        "judged": judgement.policies,
        "standard": policy::admit::STANDARD,
        "catalogue": policy::admit::CATALOGUE,
        "date": judgement.date,
        "counts": judgement.counts(),
        "not_run": judgement.not_run,
        "drift": plans.iter().flat_map(of).collect::<Vec<_>>(),
        "findings": judgement.findings.iter().map(|finding| one(posture, finding)).collect::<Vec<_>>(),
    })
}

fn one(posture: &Posture, finding: &Finding) -> Value {
    let mut value = serde_json::to_value(finding).unwrap_or_default();
    let Some(fields) = value.as_object_mut() else { return value };
    OF_FILES.iter().for_each(|name| drop(fields.remove(*name)));
    let group = posture.groups.get(&finding.place.file);
    fields.insert("group".to_owned(), json!(group.map(|group| &group.id)));
    fields.insert("group_name".to_owned(), json!(group.map(|group| &group.name)));
    fields.insert("network".to_owned(), json!(group.map(|group| &group.network)));
    fields.insert("group_rule".to_owned(), rule(posture, &finding.place));
    fields.insert("related".to_owned(), finding.related.iter().map(|place| rule(posture, place)).collect());
    value
}

fn rule(posture: &Posture, place: &Place) -> Value {
    json!(posture.groups.get(&place.file).and_then(|group| group.rule(place.spot)))
}
