//! One place, several rules: the winner is listed, the others stand beside it.

use alloc::vec::Vec;

use crate::finding::Finding;

/// Which requirement speaks first at one place; what is not listed comes after 1.4.1.
const ORDER: [&[&str]; 10] = [
    &["1.4.4"],
    &["1.3.1", "1.3.2"],
    &["1.4.2"],
    &["1.3.3"],
    &["2.2.7"],
    &["1.2.6"],
    &["6.5.3"],
    &["1.4.5"],
    &["1.4.3"],
    &["1.4.1"],
];

/// Per place the winner, with the others' numbers in its `also`. A waived finding hands its place to the next and stays a finding of its
/// own: what is accepted neither hides anything nor is hidden. What has a code is one of several parts of its rule, and stands alone too.
pub(super) fn winners(findings: Vec<Finding>) -> Vec<Finding> {
    let stands_alone = |finding: &Finding| finding.waiver.is_some() || finding.code.is_some();
    let (alone, mut findings): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(stands_alone);
    findings.sort_by(|a, b| (&a.place, rank(a)).cmp(&(&b.place, rank(b))));
    let mut winners: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        match winners.last_mut() {
            Some(winner) if winner.place == finding.place => winner.also.push(finding.rule_id),
            _ => winners.push(finding),
        }
    }
    winners.extend(alone);
    winners
}

/// Severity, waivable errors after the others; then the requirement; then the number.
fn rank(finding: &Finding) -> (crate::finding::Severity, bool, usize, &str) {
    let id = finding.rule_id;
    let requirement = id.strip_prefix("PCI-").and_then(|rest| rest.rsplit_once('-')).map_or("", |(requirement, _)| requirement);
    let place = ORDER.iter().position(|same| same.contains(&requirement));
    let late = match requirement.split('.').next() {
        Some("11") => ORDER.len() + 1,
        Some("12") => ORDER.len() + 2,
        _ => ORDER.len(),
    };
    let number = id.rsplit_once('-').map_or("", |(_, number)| number);
    (finding.severity, finding.waivable, place.unwrap_or(late), number)
}
