//! What the set expects of itself: each FlowTest is a question to the set, and its answer is the expected one or a finding.
//!
//! An endpoint stands for all its addresses, and every pair of one family must give the expected verdict. A test that cannot be judged
//! is a miss: silence is never success. So is one that a rule's last day broke, but as a warning: nobody changed anything.

mod asker;
mod calendar;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::super::facts::Facts;
use super::super::found::{Found, with_severity};
use super::{Check, Column, Item};
use crate::answers::{Answer, Passage};
use crate::finding::{Basis, Finding, Severity};
use crate::model::flow_test::{self, FlowTest};
use crate::net::Direction;
use asker::{Asker, Told};
use calendar::Calendar;

pub(super) static ITEMS: [Item; 1] = [Item {
    id: "FLOWTEST-001",
    requirements: &["6.5.1"],
    severity: Severity::Error,
    waivable: false,
    basis: Basis::H,
    condition: "a FlowTest whose flow does not get the verdict it expects",
    remediation: "Change the policy, or the expectation if that is what was wrong.",
    violating: concat!(
        "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}},\n",
        "  spec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]}}\n",
        "---\n",
        "{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {name: example-test}, spec: {flows: [\n",
        "  {from: {address: 10.0.1.10}, to: {labels: {pci-env: cde}, address: 10.0.30.9}, protocol: TCP, port: 443, expect: deny}]}}\n",
    ),
    repaired: concat!(
        "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}},\n",
        "  spec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]}}\n",
        "---\n",
        "{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {name: example-test}, spec: {flows: [\n",
        "  {from: {address: 10.0.1.10}, to: {labels: {pci-env: cde}, address: 10.0.30.9}, protocol: TCP, port: 443, expect: allow}]}}\n",
    ),
    profile: Column::Facts,
    needs: &["FlowTest"],
    wants: &[],
    check: Check::Set(flow_tests),
}];

fn flow_tests(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if facts.set.tests.is_empty() {
        return;
    }
    let mut asker = Asker::new(facts.set, facts.circumstances.today);
    let mut calendar = Calendar::new(facts);
    for test in &facts.set.tests {
        match asker.judge(test) {
            Told::Met => {}
            Told::Unjudged(why) => {
                found.add(item.about_item(&test.origin, "", format!("{} could not be judged: {why}", words(test))));
            }
            Told::Missed(from, to, passage) => {
                let finding = missed(item, test, (from, to), &passage);
                found.add(if calendar.made(test) { by_the_calendar(finding) } else { finding });
            }
        }
    }
}

/// The calendar never un-admits what is enforced.
fn by_the_calendar(finding: Finding) -> Finding {
    let message = format!("{}; only because the last day of a rule is over, and that in what is enforced too", finding.message);
    with_severity(Finding { message, ..finding }, Severity::Warning)
}

fn missed(item: &Item, test: &FlowTest, (from, to): (IpAddr, IpAddr), passage: &Passage<'_>) -> Finding {
    let (expected, got) = if test.allow { ("allow", "deny") } else { ("deny", "allow") };
    let flow = format!("{} to {} on {}", end_words(&test.from, from), end_words(&test.to, to), test.service);
    let why = because(passage);
    let related = [passage.egress, passage.ingress].into_iter().flatten().filter(|side| test.allow != side.allow);
    Finding {
        related: related.filter_map(|side| side.place()).collect(),
        ..item.about_item(&test.origin, "", format!("{flow}: expected {expected}, got {got}; {why}"))
    }
}

/// Which side denies, or what allows on each.
fn because(passage: &Passage<'_>) -> String {
    let sides: Vec<Answer<'_>> = [passage.egress, passage.ingress].into_iter().flatten().collect();
    let denying: Vec<String> = sides.iter().filter(|side| !side.allow).map(side_words).collect();
    match (denying.is_empty(), sides.is_empty()) {
        (false, _) => denying.join(", and "),
        (true, true) => "no endpoint is at either end, or the same at both".to_string(),
        (true, false) => sides.iter().map(side_words).collect::<Vec<_>>().join(", and "),
    }
}

fn side_words(side: &Answer<'_>) -> String {
    let way = side.direction.name();
    match (side.policy, side.rule()) {
        (Some(policy), Some(rule)) => {
            let number = side.rule.unwrap_or_default();
            let name = rule.name.as_deref().map_or_else(|| format!("{way} rule {number}"), |name| format!("rule {name}"));
            format!("{name} of {} allows it", policy.name)
        }
        (Some(policy), None) => format!("{} isolates {way} there, and no rule allows it", policy.name),
        (None, _) => match side.direction {
            Direction::Ingress => "no policy isolates ingress at the destination".to_string(),
            Direction::Egress => "no policy isolates egress at the source".to_string(),
        },
    }
}

fn words(test: &FlowTest) -> String {
    test.name.as_ref().map_or_else(|| format!("a flow of {}", test.document), |name| format!("{name} of {}", test.document))
}

fn end_words(party: &flow_test::Party, address: IpAddr) -> String {
    match party {
        flow_test::Party::Address(address) => address.to_string(),
        flow_test::Party::Endpoint(name) => format!("{name} ({address})"),
        flow_test::Party::MadeUp { labels, address, .. } => {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{address} ({})", labels.join(","))
        }
    }
}

#[cfg(test)]
mod cases;
