//! What each backend can say, and what fits into it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::admit::{Circumstances, admit};
use crate::finding::{Finding, Severity};
use crate::model::inventory::Enforcer;
use crate::read::read;
use crate::rules::tests::{circumstances, snapshot};

fn found(backends: &[Enforcer], text: &str) -> Vec<Finding> {
    let reading = read(&snapshot(text));
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    let circumstances = Circumstances { backends: Some(backends.to_vec()), ..circumstances() };
    let judged = admit(reading, &circumstances);
    judged.findings.into_iter().filter(|f| f.rule_id == "PCI-1.2.8-008" || f.also.contains(&"PCI-1.2.8-008")).collect()
}

fn policy(name: &str, labels: &str, ports: &str) -> String {
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{podSelector: {{matchLabels: {{{labels}}}}}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.1.0/24}}}}], ports: {ports}}}]}}\n"
    )
}

#[test]
fn a_cloud_says_what_its_words_allow_and_refuses_the_rest() {
    for (ports, aws, azure) in [
        ("[{protocol: TCP, port: 443}, {protocol: UDP, port: 53}]", true, true),
        ("[{protocol: SCTP, port: 3868}]", false, false),
        ("[{protocol: SCTP, port: 1, endPort: 65535}]", true, false),
        ("[{protocol: SCTP}]", true, false),
        ("[{protocol: ICMP}]", true, true),
        ("[{protocol: ICMP, icmpType: 8}]", true, false),
        ("[{protocol: ICMP, icmpType: 3, icmpCode: 4}]", true, false),
        ("[]", true, true),
    ] {
        let text = policy("p", "pci-env: cde", ports);
        for (backend, can) in [(Enforcer::Aws, aws), (Enforcer::Azure, azure)] {
            assert_eq!(found(&[backend], &text).is_empty(), can, "{} {ports}", backend.name());
        }
        assert!(found(&[Enforcer::Ebpf, Enforcer::Nftables], &text).is_empty());
    }
    let finding =
        &found(&[Enforcer::Aws], &policy("p", "pci-env: cde", "[{protocol: TCP, port: 443}, {protocol: SCTP, port: 3868}]"))[0];
    assert_eq!(
        (finding.severity, finding.waivable, finding.path.as_deref()),
        (Severity::Error, false, Some("/spec/ingress/0/ports/1"))
    );
}

#[test]
fn with_an_inventory_only_the_backend_of_an_endpoint_matters() {
    let inventory = "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: i}, spec: {workloads: [\n  {name: a, labels: {pci-env: cde, tier: a}, addresses: [10.0.30.11], enforcedBy: [aws]},\n  {name: b, labels: {pci-env: cde, tier: b}, addresses: [10.0.30.12], enforcedBy: [azure]}]}}\n---\n";
    let text = |tier: &str| format!("{inventory}{}", policy("p", &format!("tier: {tier}"), "[{protocol: SCTP, port: 3868}]"));
    assert_eq!(found(&[Enforcer::Aws], &text("a")).len(), 1);
    assert!(found(&[Enforcer::Aws], &text("b")).is_empty() && found(&[], &text("a")).is_empty());
}

#[test]
fn without_knowing_the_backends_the_rule_does_not_run() {
    let judged = admit(read(&snapshot(&policy("p", "pci-env: cde", "[{protocol: SCTP, port: 1}]"))), &circumstances());
    assert!(judged.not_run.iter().any(|rule| rule.rule_id == "PCI-1.2.8-008" && rule.needs == ["backends"]));
}

/// Blocks inside one another, each with 256 ports of its own: the inner ones have the ports of all around them.
fn nested(rules: usize) -> String {
    let ports = |rule: usize| (0..256).map(|n| format!("{{port: {}}}", 1 + 2 * (rule * 256 + n))).collect::<Vec<_>>().join(", ");
    let rule = |rule: usize| format!("{{from: [{{ipBlock: {{cidr: \"fd00::/{}\"}}}}], ports: [{}]}}", 8 + rule, ports(rule));
    let all = (0..rules).map(rule).collect::<Vec<_>>().join(", ");
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {{podSelector: {{matchLabels: {{pci-env: cde}}}}, ingress: [{all}]}}\n"
    )
}

#[test]
fn a_table_that_does_not_fit_its_host_is_found_and_one_that_does_is_not() {
    let inventory = |hosts: &str| {
        format!(
            "{{apiVersion: pci-segment/v1, kind: Inventory, metadata: {{name: i}}, spec: {{{hosts}: [{{name: app-01, labels: {{pci-env: cde}}, addresses: [10.0.1.10]}}]}}}}\n---\n"
        )
    };
    let host = inventory("hosts");
    // 256 + 512 + … intervals: 468,480 of 60 rules, 1,292,800 of 100; the limit is 1,048,576.
    assert!(found(&[Enforcer::Ebpf], &format!("{host}{}", nested(60))).is_empty());
    let over = found(&[Enforcer::Ebpf], &format!("{host}{}", nested(100)));
    assert_eq!(over.len(), 1);
    assert!(over[0].message.contains("ebpf: the rules need 1292800 intervals"), "{}", over[0].message);
    // A workload is nobody's host, and without the backend nothing is tried.
    assert!(found(&[Enforcer::Ebpf], &format!("{}{}", inventory("workloads"), nested(100))).is_empty());
    assert!(found(&[Enforcer::Aws], &format!("{host}{}", nested(100))).is_empty());
}
