//! What the set expects of itself: each FlowTest is a question to the set, and its answer is the expected one or a finding.
//!
//! An endpoint stands for all its addresses, and every pair of one family must give the expected verdict. Of an endpoint's prefix the
//! first and the last address are asked about. A test that cannot be judged is a miss: silence is never success.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::facts::Facts;
use super::super::found::Found;
use super::{Check, Column, Item};
use crate::answers::{Answer, Answers, End, Passage};
use crate::compile::{Endpoint, Party};
use crate::finding::{Basis, Finding, Severity};
use crate::model::flow_test::{self, FlowTest};
use crate::net::{Direction, Family};

/// Flows asked about for all tests of a set. An honest set has a few thousand; what is beyond is a finding, not a pass.
const FLOWS_MAX: usize = 5_000_000;

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
    let mut asker = Asker {
        answers: Answers::new(facts.set, facts.circumstances.today),
        members: facts.set.members.iter().enumerate().rev().map(|(number, member)| (&*member.name, number)).collect(),
        facts,
        left: FLOWS_MAX,
    };
    for test in &facts.set.tests {
        if let Some(finding) = asker.judge(item, test) {
            found.add(finding);
        }
    }
}

struct Asker<'a> {
    answers: Answers,
    members: BTreeMap<&'a str, usize>,
    facts: &'a Facts<'a>,
    left: usize,
}

impl Asker<'_> {
    fn judge(&mut self, item: &Item, test: &FlowTest) -> Option<Finding> {
        let (from, to) = (self.ends(&test.from)?, self.ends(&test.to)?);
        let unjudged = |why: &str| Some(item.about_item(&test.origin, "", format!("{} could not be judged: {why}", words(test))));
        if from.iter().chain(&to).any(End::is_tangled) {
            return unjudged("too many rules meet at one of its ends");
        }
        let meets = |a: &End, b: &End| Family::of(a.address) == Family::of(b.address);
        let mut asked = false;
        for (source, destination) in from.iter().flat_map(|a| to.iter().map(move |b| (a, b))).filter(|(a, b)| meets(a, b)) {
            let Some(left) = self.left.checked_sub(1) else {
                return unjudged(&format!("the FlowTests of this set ask about more than {FLOWS_MAX} flows"));
            };
            (self.left, asked) = (left, true);
            let passage = self.answers.between(source, destination, test.service);
            if passage.allow() != test.allow {
                return Some(missed(item, test, (source, destination), &passage));
            }
        }
        if asked { None } else { unjudged("its ends have no addresses of one family") }
    }

    /// Every address to be asked about; nothing if there is no such endpoint, which reading says already.
    fn ends(&mut self, party: &flow_test::Party) -> Option<Vec<End>> {
        let one = |address, endpoint| Party { address, endpoint };
        let parties: Vec<Party> = match party {
            flow_test::Party::Address(address) => [one(*address, None)].into(),
            flow_test::Party::MadeUp { labels, namespace, address } => {
                let endpoint = Endpoint { namespace: namespace.to_string(), ..Endpoint::host(labels.clone()) };
                [one(*address, Some(endpoint))].into()
            }
            flow_test::Party::Endpoint(name) => {
                let member = self.facts.set.members.get(*self.members.get(&**name)?)?;
                let bounds = member.addresses.iter().flat_map(|(cidr, _)| [cidr.first(), cidr.last()]);
                let mut bounds: Vec<_> = bounds.collect();
                bounds.dedup();
                bounds.into_iter().map(|address| one(address, None)).collect()
            }
        };
        Some(parties.iter().map(|party| self.answers.end(party)).collect())
    }
}

fn missed(item: &Item, test: &FlowTest, (from, to): (&End, &End), passage: &Passage<'_>) -> Finding {
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

fn end_words(party: &flow_test::Party, end: &End) -> String {
    match party {
        flow_test::Party::Address(address) => address.to_string(),
        flow_test::Party::Endpoint(name) => format!("{name} ({})", end.address),
        flow_test::Party::MadeUp { labels, address, .. } => {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{address} ({})", labels.join(","))
        }
    }
}

#[cfg(test)]
mod cases {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use crate::finding::Finding;
    use crate::rules::tests::judge;

    const NETWORK: &str = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {workloads: [
  {name: db-01, labels: {tier: db}, addresses: [10.0.30.11, \"fd00:30::11\"]},
  {name: app-01, labels: {tier: app}, addresses: [10.0.1.0/30, 10.0.2.1, \"fd00:1::10\"]},
  {name: six-01, labels: {tier: app}, addresses: [\"fd00:6::1\"]}]}}
---
{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: database}, spec: {podSelector: {matchLabels: {tier: db}},
  ingress: [{name: from-app, from: [{ipBlock: {cidr: 10.0.1.0/24}}, {ipBlock: {cidr: \"fd00:1::/64\"}}], ports: [{port: 5432}]}]}}
---
";

    fn misses(flow: &str) -> Vec<Finding> {
        let text = format!(
            "{NETWORK}{{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {{name: t}}, spec: {{flows: [\n  {{{flow}}}]}}}}\n"
        );
        judge(&text).findings.into_iter().filter(|finding| finding.rule_id == "FLOWTEST-001").collect()
    }

    fn messages(flow: &str) -> Vec<String> {
        misses(flow).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn every_address_pair_of_one_family_must_give_the_expected_verdict() {
        // 10.0.2.1 is one of its addresses too, and is not allowed in.
        assert_eq!(
            messages("from: {endpoint: app-01}, to: {endpoint: db-01}, protocol: TCP, port: 5432, expect: allow"),
            [
                "app-01 (10.0.2.1) to db-01 (10.0.30.11) on TCP 5432: expected allow, got deny; database isolates ingress there, and no rule allows it"
            ]
        );
        assert_eq!(messages("from: {endpoint: app-01}, to: {endpoint: db-01}, protocol: TCP, port: 22, expect: deny"), vec![""; 0]);
    }

    #[test]
    fn a_miss_says_what_was_expected_and_which_rule_allows() {
        let flow = "from: {address: 10.0.1.3}, to: {endpoint: db-01}, protocol: TCP, port: 5432, expect: deny";
        let found = misses(flow);
        assert_eq!(
            found[0].message,
            "10.0.1.3 to db-01 (10.0.30.11) on TCP 5432: expected deny, got allow; no policy isolates egress at the source, and rule from-app of database allows it"
        );
        assert_eq!((found.len(), found[0].place.spot.line, found[0].path.as_deref()), (1, 10, Some("/spec/flows/0")));
        let related: Vec<(u32, bool)> = found[0].related.iter().map(|place| (place.spot.line, place.spot.column > 1)).collect();
        assert_eq!(related, [(7, true)]);
        assert!(!found[0].waivable);
    }

    #[test]
    fn an_address_of_an_endpoint_is_that_endpoint() {
        let flow = |expect: &str| {
            format!("from: {{address: 10.0.30.11}}, to: {{address: 8.8.8.8}}, protocol: TCP, port: 443, expect: {expect}")
        };
        assert_eq!((messages(&flow("deny")).len(), messages(&flow("allow")).len()), (0, 1));
    }

    #[test]
    fn a_made_up_endpoint_needs_no_inventory_entry() {
        let flow = |labels: &str, expect: &str| {
            format!(
                "from: {{address: 10.0.9.9}}, to: {{labels: {{tier: {labels}}}, address: 10.0.30.99}}, protocol: TCP, port: 5432, expect: {expect}"
            )
        };
        assert_eq!((messages(&flow("db", "deny")).len(), messages(&flow("db", "allow")).len()), (0, 1));
        assert_eq!((messages(&flow("web", "deny")).len(), messages(&flow("web", "allow")).len()), (1, 0));
    }

    #[test]
    fn an_endpoint_reaches_itself() {
        let flow = "from: {endpoint: db-01}, to: {endpoint: db-01}, protocol: TCP, port: 1, expect: allow";
        assert_eq!(messages(flow), vec![""; 0]);
    }

    #[test]
    fn ends_without_a_common_family_are_not_a_pass() {
        for expect in ["allow", "deny"] {
            let flow = format!("from: {{address: 10.0.1.3}}, to: {{endpoint: six-01}}, protocol: TCP, port: 1, expect: {expect}");
            let found = messages(&flow);
            assert_eq!(
                found,
                ["a flow of t could not be judged: its ends have no addresses of one family".to_string()],
                "{expect}"
            );
        }
    }
}
