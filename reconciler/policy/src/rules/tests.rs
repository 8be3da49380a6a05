//! Every rule: its example breaks it, the twin does not, and the witness passes.

mod crossing;
mod crossing_kinds;
mod forged;
mod gaps;
mod network;
mod trust;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::catalogue;
use crate::admit::{Circumstances, Judgement, admit};
use crate::compile::{Endpoint, Flow, Ruleset};
use crate::date::Date;
use crate::finding::{Finding, Severity, Side};
use crate::model::{PolicySet, Profile};
use crate::net::Direction;
use crate::read::read;
use crate::snapshot::{Entry, Snapshot};

pub(crate) fn snapshot(text: &str) -> Snapshot {
    Snapshot { entries: [("p.yaml".to_string(), Entry::File(text.as_bytes().to_vec()))].into() }
}

/// The day on which tests judge.
pub(crate) fn day() -> Date {
    Date::new(2026, 2, 1).unwrap()
}

pub(crate) fn circumstances() -> Circumstances {
    Circumstances::on(day())
}

pub(crate) fn judge(text: &str) -> Judgement {
    admit(read(&snapshot(text)), &circumstances())
}

/// Policies of the CDE with these `spec` fields besides the selector.
fn cde(specs: &[&str]) -> String {
    let documents = specs.iter().enumerate().map(|(i, spec)| {
        alloc::format!(
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p{i}}}\nspec: {{podSelector: {{matchLabels: {{pci-env: cde}}}}, {spec}}}\n"
        )
    });
    documents.collect::<Vec<_>>().join("---\n")
}

fn from(blocks: &[&str], ports: &str) -> String {
    let blocks: Vec<String> = blocks.iter().map(|b| alloc::format!("{{ipBlock: {{cidr: \"{b}\"}}}}")).collect();
    alloc::format!("{{from: [{}], ports: [{ports}]}}", blocks.join(", "))
}

fn ids(judgement: &Judgement) -> Vec<&'static str> {
    judgement.findings.iter().flat_map(|f| core::iter::once(f.rule_id).chain(f.also.iter().copied())).collect()
}

fn is_open(text: &str) -> bool {
    ids(&judge(text)).contains(&"PCI-1.3.1-004")
}

fn ingress(rules: &[String]) -> String {
    alloc::format!("ingress: [{}]", rules.join(", "))
}

/// The witness of a finding is a flow that the set allows, on the side of whom the finding is about.
pub(crate) fn assert_witness(set: &PolicySet, finding: &Finding) {
    let Some(witness) = &finding.witness else {
        return;
    };
    let (direction, own, other) = match (&witness.source, &witness.destination) {
        (Side::Address { address, .. }, own) => (Direction::Ingress, own, *address),
        (own, Side::Address { address, .. }) => (Direction::Egress, own, *address),
        other => panic!("{other:?}"),
    };
    let ruleset = Ruleset::of(set, day());
    let endpoint = match own {
        Side::Endpoint { name, .. } => ruleset.members().iter().find(|member| member.name == *name).unwrap().into(),
        Side::Selected(selected) => {
            let policy = set.policies.iter().find(|p| p.selector.to_string() == *selected).unwrap();
            let example = |value| policy.selector.example("pci-env", value);
            Endpoint::host(example("cde").or_else(|| example("dmz")).unwrap())
        }
        Side::Address { .. } => panic!("{finding:?}"),
    };
    assert!(ruleset.verdict(&Flow { endpoint, direction, peer: other, service: witness.service }).allow, "{finding:?}");
}

#[test]
fn every_example_breaks_its_rule_and_its_twin_does_not() {
    for item in catalogue().filter(|i| !i.violating.is_empty()) {
        let (bad, good) = (judge(item.violating), judge(item.repaired));
        assert!(ids(&bad).contains(&item.id), "{}: {:?}", item.id, bad.findings);
        assert!(!ids(&good).contains(&item.id), "{}: {:?}", item.id, good.findings);
        assert_eq!(good.counts().error, 0, "{}: {:?}", item.id, good.findings);
        if item.severity == Severity::Error {
            assert!(bad.admitted.is_none(), "{}", item.id);
        }
    }
}

#[test]
fn every_witness_is_a_flow_that_verdict_allows() {
    let mut seen = 0;
    for item in catalogue() {
        let set = read(&snapshot(item.violating)).set;
        for finding in judge(item.violating).findings {
            seen += usize::from(finding.witness.is_some());
            assert_witness(&set, &finding);
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn halves_of_the_internet_are_open_wherever_they_stand() {
    let (low, high) = (from(&["0.0.0.0/1"], "{port: 443}"), from(&["128.0.0.0/1"], "{port: 443}"));
    assert!(is_open(&cde(&[&ingress(&[from(&["0.0.0.0/1", "128.0.0.0/1"], "{port: 443}")])])));
    assert!(is_open(&cde(&[&ingress(&[low.clone(), high.clone()])])));
    assert!(is_open(&cde(&[&ingress(&[low]), &ingress(&[high])])));
}

#[test]
fn what_is_open_is_decided_on_sets() {
    let sixteen: Vec<String> = (0..16).map(|i| alloc::format!("{}.0.0.0/4", i * 16)).collect();
    let sixteen: Vec<&str> = sixteen.iter().map(String::as_str).collect();
    for blocks in [&["0.0.0.0/0"][..], &["::/0"], &["2000::/3"], &["::0/0"], &["10.0.0.0/0"], &sixteen] {
        let text = cde(&[&ingress(&[from(blocks, "{port: 443}")])]);
        assert!(is_open(&text), "{blocks:?}");
        let set = read(&snapshot(&text)).set;
        judge(&text).findings.iter().for_each(|finding| assert_witness(&set, finding));
    }
    for blocks in [&["10.0.0.0/8"][..], &["fd00::/8"]] {
        assert!(!is_open(&cde(&[&ingress(&[from(blocks, "{port: 443}")])])), "{blocks:?}");
    }
}

#[test]
fn everything_but_private_blocks_is_open() {
    let rule = "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]}}], ports: [{port: 443}]}]";
    assert!(is_open(&cde(&[rule])));
}

fn public_sixteens(from_: u32, count: u32) -> Vec<String> {
    (from_..from_ + count).map(|i| alloc::format!("{}.{}.0.0/16", 20 + i / 256, i % 256)).collect()
}

#[test]
fn two_to_the_twenty_four_public_addresses_are_open_and_one_block_less_is_not() {
    for (count, open) in [(256, true), (255, false)] {
        let blocks = public_sixteens(0, count);
        let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
        assert_eq!(is_open(&cde(&[&ingress(&[from(&blocks, "{port: 443}")])])), open, "{count}");
    }
}

#[test]
fn a_union_is_taken_per_service() {
    let (a, b) = (public_sixteens(0, 128), public_sixteens(128, 128));
    let text = |blocks: &[String], ports: &str| from(&blocks.iter().map(String::as_str).collect::<Vec<_>>(), ports);
    let overlapping = cde(&[&ingress(&[text(&a, "{port: 8001, endPort: 8100}"), text(&b, "{port: 8050, endPort: 8200}")])]);
    let judged = judge(&overlapping);
    let open = judged.findings.iter().find(|f| f.rule_id == "PCI-1.3.1-004").unwrap();
    assert_eq!(open.witness.as_ref().unwrap().service.port(), 8050);
    assert!(!is_open(&cde(&[&ingress(&[text(&a, "{protocol: TCP, port: 443}"), text(&b, "{protocol: UDP, port: 443}")])])));
}

#[test]
fn a_policy_that_covers_the_cde_opens_it_too() {
    let wide = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: all}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 128.0.0.0/1}}], ports: [{port: 443}]}]}\n";
    let text = alloc::format!("{}---\n{wide}", cde(&[&ingress(&[from(&["0.0.0.0/1"], "{port: 443}")])]));
    assert!(is_open(&text));
}

#[test]
fn a_policy_of_another_zone_may_be_open() {
    let text = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: dmz}\nspec: {podSelector: {matchLabels: {pci-env: dmz}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}\n";
    let judged = judge(text);
    assert!(judged.compliant(), "{:?}", judged.findings);
}

#[test]
fn at_one_place_one_rule_wins_and_the_others_stand_beside_it() {
    let judged = judge(&cde(&[&ingress(&[from(&["0.0.0.0/0"], "{port: 443}")])]));
    let open: Vec<&Finding> = judged.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((open[0].rule_id, &open[0].also[..]), ("PCI-1.3.1-004", &["PCI-1.3.1-008"][..]));
    assert_eq!(open[0].path.as_deref(), Some("/spec/ingress/0/from/0/ipBlock/cidr"));
}

#[test]
fn a_repaired_block_is_a_problem_and_is_judged() {
    let judged = judge(&cde(&[&ingress(&[from(&["10.0.0.0/0"], "{port: 443}")])]));
    assert!(ids(&judged).contains(&"PCI-1.2.8-004") && ids(&judged).contains(&"PCI-1.3.1-004"));
}

#[test]
fn an_audited_policy_never_isolates_but_counts_for_what_it_allows() {
    let audited = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: trial, annotations: {pci-segment/mode: audit}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}\n";
    assert!(ids(&judge(audited)).contains(&"PCI-1.3.1-001"));
    let text = alloc::format!("{}---\n{audited}", cde(&["ingress: []"]));
    let judged = ids(&judge(&text));
    assert!(!judged.contains(&"PCI-1.3.1-001") && judged.contains(&"PCI-1.3.1-004"));
}

#[test]
fn a_pinned_profile_refuses_a_weaker_set() {
    let pinned = Circumstances { pinned_profile: Some(Profile::PciDss401), ..circumstances() };
    let judged = admit(read(&snapshot(&cde(&["egress: []"]))), &pinned);
    assert!(ids(&judged).contains(&"PCI-1.2.1-002") && judged.admitted.is_none());
}

#[test]
fn an_empty_set_is_never_compliant() {
    assert!(!admit(read(&Snapshot::default()), &circumstances()).compliant());
}

#[test]
fn rules_that_did_not_run_are_listed() {
    let judged = judge(&cde(&["egress: []"]));
    let listed: Vec<&str> = judged.not_run.iter().map(|rule| rule.rule_id).collect();
    let needy: Vec<&str> = catalogue().filter(|i| !i.needs.is_empty() || i.profile == super::Column::Pci).map(|i| i.id).collect();
    assert!(listed.is_sorted() && needy.iter().all(|id| listed.contains(id)), "{listed:?}");
}

#[test]
fn the_output_has_the_promised_fields() {
    let json = serde_json::to_value(judge(&cde(&[&ingress(&[from(&["0.0.0.0/0"], "{port: 443}")])]))).unwrap();
    assert_eq!(json["compliant"], false);
    assert_eq!((&json["files"], &json["policies"], &json["profile"]), (&1.into(), &1.into(), &"baseline".into()));
    let finding = json["findings"].as_array().unwrap().iter().find(|f| f["severity"] == "error").unwrap();
    for field in ["rule_id", "requirements", "policy", "file", "line", "column", "path", "message", "remediation", "fingerprint"] {
        assert!(!finding[field].is_null(), "{field}: {finding}");
    }
    assert_eq!(finding["witness"]["destination"], "pci-env=cde");
    assert_eq!((&finding["witness"]["protocol"], &finding["witness"]["port"]), (&"TCP".into(), &443.into()));
}

#[test]
fn information_without_end_is_counted_and_refuses_nothing() {
    use alloc::collections::BTreeMap;
    let document = |i: usize| {
        alloc::format!(
            "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p{i}}}, spec: {{podSelector: {{matchLabels: {{app: a{i}}}}}}}}}\n"
        )
    };
    let file = |f: usize| (0..1_000).map(|i| document(f * 1_000 + i)).collect::<Vec<_>>().join("---\n").into_bytes();
    let entries: BTreeMap<String, Entry> = (0..6).map(|f| (alloc::format!("{f}.yaml"), Entry::File(file(f)))).collect();
    // 6,000 policies without annotation, each closed where Kubernetes would be open.
    let judged = admit(read(&Snapshot { entries }), &circumstances());
    assert_eq!((judged.counts().error, judged.findings.len(), judged.more_findings), (0, 10_000, 2_000));
    assert!(judged.compliant());
}
