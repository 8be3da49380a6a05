//! What reads, and what every kind of mistake says.

mod bad_input;
mod batches;
mod inventory;
mod kinds;
mod limits;
mod lost;
mod nothing;
mod resolution;
mod standard;
mod whole;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Code, Reading, read};
use crate::rules::tests::{judge, snapshot};

const SEED: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-isolation, annotations: {pci-dss: "Req 1.2, Req 1.3"}}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  egress:
    - to: [{ipBlock: {cidr: 10.0.10.0/24}}]
      ports: [{protocol: TCP, port: 443}]
  ingress:
    - from: [{ipBlock: {cidr: 10.0.20.0/24}}]
      ports: [{protocol: TCP, port: 9090}]
---
apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-database}
spec:
  podSelector: {matchLabels: {pci-env: cde, tier: database}}
  ingress: [{name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]
  egress: []
"#;

const OPEN: &str = r"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-open}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]
";

pub(super) fn reading(text: &str) -> Reading {
    read(&snapshot(text))
}

/// Code, line and column of every problem.
pub(super) fn problems(text: &str) -> Vec<(&'static str, u32, u32)> {
    reading(text).problems.iter().map(|p| (p.code.name(), p.place.spot.line, p.place.spot.column)).collect()
}

fn codes(text: &str) -> Vec<&'static str> {
    problems(text).into_iter().map(|(code, _, _)| code).collect()
}

fn spec(rest: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec:\n  podSelector: {{matchLabels: {{pci-env: cde}}}}\n{rest}\n"
    )
}

fn ingress_ports(ports: &str) -> String {
    spec(&format!("  ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/24}}}}], ports: {ports}}}]"))
}

fn ingress_from(from: &str) -> String {
    spec(&format!("  ingress: [{{from: {from}, ports: [{{port: 443}}]}}]"))
}

#[test]
fn the_two_good_examples_are_admitted() {
    let judged = judge(SEED);
    assert!(judged.compliant(), "{:#?}", judged.findings);
    assert_eq!((judged.files, judged.policies, judged.counts().error, judged.counts().warning), (1, 2, 0, 0));
}

#[test]
fn the_open_example_is_rejected_at_its_block() {
    let judged = judge(&format!("{SEED}---\n{OPEN}"));
    let errors: Vec<_> = judged.findings.iter().filter(|f| f.severity == crate::finding::Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].rule_id, errors[0].requirements), ("PCI-1.3.1-004", &["1.3.1"][..]));
    assert_eq!((errors[0].place.spot.line, errors[0].place.spot.column), (26, 38));
}

#[test]
fn problems_are_collected_and_none_hides_the_next() {
    let text = spec("  ingres: []\n  policyTypes: [ingress]\n  egress: [{to: [{}], ports: [{port: 0}, {protocol: tcp}]}]");
    assert_eq!(codes(&text), ["unknown-field", "bad-value", "bad-peer", "bad-port", "bad-port"]);
}

#[test]
fn a_typing_mistake_is_met_with_a_suggestion() {
    let found = reading(&spec("  ingres: []"));
    assert_eq!(found.problems[0].did_you_mean.as_deref(), Some("ingress"));
    assert_eq!(found.problems[0].path.as_deref(), Some("/spec/ingres"));
    assert_eq!(found.problems[0].policy.as_deref(), Some("p"));
    let swapped = reading(&spec("  ingress: [{to: []}]"));
    assert_eq!(swapped.problems[0].did_you_mean.as_deref(), Some("from"));
}

#[test]
fn s2_a_selector_is_required_and_may_be_empty() {
    let head = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n";
    assert_eq!(problems(&format!("{head}spec: {{}}\n")), [("missing-field", 4, 7)]);
    assert!(problems(&format!("{head}spec: {{podSelector: {{}}}}\n")).is_empty());
}

#[test]
fn s4_operators_take_values_or_none() {
    let expression = |text: &str| {
        codes(&format!(
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{matchExpressions: [{text}]}}}}\n"
        ))
    };
    assert!(expression("{key: a, operator: In, values: [b]}").is_empty());
    assert!(expression("{key: a, operator: Exists}").is_empty());
    assert_eq!(expression("{key: a, operator: In}"), ["bad-selector"]);
    assert_eq!(expression("{key: a, operator: NotIn, values: []}"), ["bad-selector"]);
    assert_eq!(expression("{key: a, operator: Exists, values: [b]}"), ["bad-selector"]);
    assert_eq!(expression("{key: a, operator: in, values: [b]}"), ["bad-value"]);
    assert_eq!(expression("{operator: Exists}"), ["missing-field"]);
}

#[test]
fn s8_policy_types_are_not_empty_and_do_not_repeat() {
    for text in ["[]", "[Ingress, Ingress]", "[Both]"] {
        assert_eq!(codes(&spec(&format!("  policyTypes: {text}"))), ["bad-value"], "{text}");
    }
}

#[test]
fn s10_a_key_without_a_value_is_not_an_empty_list() {
    for text in ["  ingress:", "  ingress: ~", "  ingress: null"] {
        assert_eq!(problems(&spec(text)), [("null-value", 6, 3)], "{text}");
    }
    assert!(problems(&spec("  ingress: []")).is_empty());
}

#[test]
fn s16_exceptions_are_strictly_inside_and_leave_something() {
    let block = |except: &str| codes(&ingress_from(&format!("[{{ipBlock: {{cidr: 10.0.0.0/24, except: {except}}}}}]")));
    assert!(block("[10.0.0.0/25, 10.0.0.0/26]").is_empty() && block("[]").is_empty());
    for except in ["[10.0.0.0/24]", "[10.0.0.0/16]", "[10.1.0.0/25]", "[\"fd00::/64\"]", "[10.0.0.0/25, 10.0.0.128/25]"] {
        assert_eq!(block(except), ["bad-except"], "{except}");
    }
    let nothing = ingress_from("[{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/25, 10.0.0.128/25]}}]");
    assert_eq!(reading(&nothing).problems[0].path.as_deref(), Some("/spec/ingress/0/from/0/ipBlock/except"));
}

#[test]
fn s21_s23_a_peer_names_somebody_in_one_way() {
    for peer in ["[{}]", "[{podSelector: {}}]", "[{namespaceSelector: {}}]", "[{ipBlock: {cidr: 10.0.0.0/24}, podSelector: {}}]"] {
        assert_eq!(codes(&ingress_from(peer)), ["bad-peer"], "{peer}");
    }
}

#[test]
fn a_broken_peer_is_never_everybody() {
    for from in ["[{}]", "{}", "~", "[~]", "[{ipBlock: {cidr: x/8}}]", "7"] {
        let set = reading(&ingress_from(from)).set;
        let rule = &set.policies[0].ingress.list[0];
        assert!(!rule.peers.is_empty() && rule.addresses(crate::net::Family::V4).is_empty(), "{from}");
    }
    for typo in [
        "form: [{ipBlock: {cidr: 10.0.0.0/8}}]",
        "<<: {}",
        "? from : []",
        "from: [{ipBlock: {cidr: 10.0.0.0/8, exept: [10.1.0.0/16]}}]",
    ] {
        let set = reading(&spec(&format!("  ingress: [{{{typo}}}]"))).set;
        assert!(set.policies[0].ingress.list[0].addresses(crate::net::Family::V4).is_empty(), "{typo}");
    }
    let set = reading(&ingress_ports("[{protocol: TCP, prot: 443}]")).set;
    assert!(set.policies[0].ingress.list[0].services().is_empty());
    for ports in ["[{}]", "{}", "~", "[~]", "[{port: 0}]"] {
        let set = reading(&ingress_ports(ports)).set;
        let rule = &set.policies[0].ingress.list[0];
        assert!(!rule.ports.is_empty() && rule.services().is_empty(), "{ports}");
    }
}

#[test]
fn s24_ports_are_numbers_from_1_to_65535() {
    assert!(codes(&ingress_ports("[{port: 1}, {port: 65535}]")).is_empty());
    for port in ["0", "65536", "443.0", "0x1BB", "0443", "\"443\"", "-1", "postgres", "1e3", "99999999999999"] {
        assert_eq!(codes(&ingress_ports(&format!("[{{port: {port}}}]"))), ["bad-port"], "{port}");
    }
    let quoted = reading(&ingress_ports("[{port: \"443\"}]"));
    assert_eq!(quoted.problems[0].did_you_mean.as_deref(), Some("443"));
}

#[test]
fn s25_to_s32_what_no_packet_can_match_is_refused() {
    for port in [
        "{port: 443, endPort: 80}",
        "{endPort: 80}",
        "{}",
        "{protocol: tcp, port: 1}",
        "{protocol: 6}",
        "{protocol: ALL}",
        "{protocol: -1}",
        "{protocol: ICMP, port: 8}",
        "{protocol: ICMP, icmpCode: 0}",
        "{protocol: ICMP, icmpType: 256}",
        "{protocol: TCP, icmpType: 8}",
        "{protocol: ICMPv6}",
    ] {
        assert_eq!(codes(&ingress_ports(&format!("[{port}]"))), ["bad-port"], "{port}");
    }
    for port in
        ["{protocol: ICMP, icmpType: 8, icmpCode: 0}", "{protocol: ICMP}", "{protocol: SCTP, port: 9}", "{port: 1, endPort: 1}"]
    {
        assert!(codes(&ingress_ports(&format!("[{port}]"))).is_empty(), "{port}");
    }
}

#[test]
fn names_are_unique_over_the_set_and_rules_in_their_policy() {
    let twice = reading(&format!("{SEED}---\n{SEED}"));
    assert_eq!(twice.problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::DuplicateName; 2]);
    assert_eq!(twice.problems[0].related[0].spot.line, 3);
    let rules = spec(
        "  ingress: [{name: a, from: [{ipBlock: {cidr: 10.0.0.0/24}}]}]\n  egress: [{name: a, to: [{ipBlock: {cidr: 10.0.0.0/24}}]}]",
    );
    assert_eq!(codes(&rules), ["duplicate-name"]);
}

#[test]
fn a_misspelt_kind_is_met_with_a_suggestion() {
    let misspelt = reading("apiVersion: pci-segment/v1\nkind: NetworkPolcy\nmetadata: {name: z}\nspec: {}\n");
    assert_eq!(misspelt.problems[0].did_you_mean.as_deref(), Some("NetworkPolicy"));
    assert!(misspelt.set.kinds.is_empty());
    assert_eq!(codes("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"), ["unknown-document"]);
    assert_eq!(codes("kind: NetworkPolicy\n"), ["unknown-document"]);
}

#[test]
fn only_policy_files_are_read_and_hidden_ones_are_counted() {
    use crate::snapshot::{Entry, Snapshot};
    let file = || Entry::File(SEED.as_bytes().to_vec());
    let entries = [
        ("a.yaml", file()),
        (".b.yaml", file()),
        (".git/c.yml", file()),
        ("README.md", file()),
        ("d.yml", Entry::Symlink),
        ("e.yaml", Entry::TooLarge { bytes: 1 << 30 }),
        ("f.yaml", Entry::Executable),
    ];
    let found = read(&Snapshot { entries: entries.map(|(k, v)| (k.to_string(), v)).into() });
    assert_eq!((found.files, found.skipped, found.set.policies.len()), (4, 2, 2));
    let codes: Vec<&str> = found.problems.iter().map(|p| p.code.name()).collect();
    assert_eq!(codes, ["not-a-file", "limit", "not-a-file"]);
}

#[test]
fn metadata_has_its_grammar() {
    let head = |metadata: &str| {
        codes(&format!("apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {metadata}\nspec: {{podSelector: {{}}}}\n"))
    };
    assert!(head("{name: a.b-c, namespace: x, labels: {a/b: c}, annotations: {x: \"grüße\", pci-segment/mode: audit}}").is_empty());
    for (metadata, code) in [
        ("{name: A}", "bad-name"),
        ("{name: no}", "needs-quotes"),
        ("{name: 12:30}", "needs-quotes"),
        ("{name: cdе}", "not-ascii"),
        ("{}", "missing-field"),
        ("{name: a, labels: {k: [v]}}", "wrong-type"),
        ("{name: a, labels: {k: -v}}", "bad-value"),
        ("{name: a, namespace: a.b}", "bad-name"),
        ("{name: a, annotations: {pci-segment/mode: Audit}}", "bad-value"),
        ("{name: a, annotations: {pci-segment/modus: audit}}", "unknown-field"),
        ("{name: a, owner: b}", "unknown-field"),
    ] {
        assert_eq!(head(metadata), [code], "{metadata}");
    }
}
