//! A whole set: one document of each kind, as people write them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::reading;
use crate::model::Profile;

/// The documents that the policy language shows as examples.
pub(super) const WHOLE: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-database}
spec:
  podSelector: {matchLabels: {pci-env: cde, tier: database}}
  ingress: [{name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{protocol: TCP, port: 5432}]}]
  egress: []
---
{apiVersion: pci-segment/v1, kind: Zones, metadata: {name: zones}, spec: {zones: [
  {name: cde-db, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24, "fd00:30::/64"]},
  {name: cde-app, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.1.0/24]},
  {name: corporate, classes: [corporate], pciScope: out, cidrs: [10.20.0.0/16], outOfScopeReason: "Offices; no account data."}]}}
---
{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: payments}, spec: {
  workloads: [{name: db-01, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.11, "fd00:30::11"], zone: cde-db, storesChd: true,
    function: "Card vault", ports: [{name: postgres, protocol: TCP, port: 5432}], enforcedBy: [aws],
    identity: {aws: {networkInterfaceId: eni-0123456789abcdef0}}}],
  hosts: [{name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.10], zone: cde-app, function: "Payment API"}]}}
---
{apiVersion: pci-segment/v1, kind: Services, metadata: {name: services}, spec: {services: [
  {name: postgres, classes: [secure, datastore], ports: [{protocol: TCP, port: 5432}], zones: [{from: cde-app, to: cde-db}],
   approvedBy: network-security, approvedAt: 2026-01-12}]}}
---
{apiVersion: pci-segment/v1, kind: DataFlows, metadata: {name: flows}, spec: {flows: [
  {id: DF-12, from: cde-app, to: cde-db, services: [postgres], accountData: true, purpose: "Authorisation writes",
   updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12}]}}
---
{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {name: cde-database}, spec: {records: [
  {policy: cde-database, rule: from-app-tier, owner: payments-platform, requestedBy: payments-platform, changeTicket: CHG-1041, dataFlows: [DF-12],
   justification: "The payment API stores authorisations; card payments stop without it.", approvedBy: network-security, approvedAt: 2026-01-12,
   reviewedAt: 2026-01-12, reviewedBy: network-security, reviewResult: keep}]}}
---
{apiVersion: pci-segment/v1, kind: Standard, metadata: {name: standard}, spec: {profile: pci-dss-4.0.1, version: "2026.1", approvers: [network-security],
  thresholds: {portRangeMax: 8}, forbidden: [{from: "class:cde", to: "class:corporate"}]}}
---
{apiVersion: pci-segment/v1, kind: Waiver, metadata: {name: app-range}, spec: {rule: PCI-1.3.1-008, policy: cde-database, ruleName: from-app-tier,
  reason: "Narrowed in March.", riskAcceptance: "One port.", requestedBy: payments, approvedBy: network-security, approvedAt: 2026-01-12, expiresAt: 2026-03-31}}
---
{apiVersion: pci-segment/v1, kind: FlowTest, metadata: {name: database-is-closed}, spec: {flows: [
  {from: {address: 10.0.1.10}, to: {labels: {pci-env: cde, tier: database}, address: 10.0.30.9}, protocol: TCP, port: 5432, expect: allow},
  {from: {address: 10.20.0.7}, to: {endpoint: db-01}, protocol: TCP, port: 5432, expect: deny}]}}
"#;

/// The set with one text replaced.
pub(super) fn with(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    WHOLE.replacen(from, to, 1)
}

/// Code and JSON pointer of every problem of the set with one text replaced.
pub(super) fn changed(from: &str, to: &str) -> Vec<(&'static str, String)> {
    let problems = reading(&with(from, to)).problems;
    problems.into_iter().map(|p| (p.code.name(), p.path.unwrap_or_default())).collect()
}

/// Each row: a text of the whole set, what stands there instead, the code, and the pointer.
pub(super) fn rows(rows: &[(&str, &str, &str, &str)]) {
    for (from, to, code, pointer) in rows {
        assert_eq!(changed(from, to), [(*code, pointer.to_string())], "{from} → {to}");
    }
}

/// Each row: a text of the whole set, and what may stand there instead.
pub(super) fn good(rows: &[(&str, &str)]) {
    for (from, to) in rows {
        assert!(changed(from, to).is_empty(), "{from} → {to}: {:?}", changed(from, to));
    }
}

#[test]
fn the_examples_of_every_kind_read_without_a_problem() {
    let found = reading(WHOLE);
    assert!(found.problems.is_empty(), "{:#?}", found.problems);
    let kinds: Vec<&str> = found.set.kinds.iter().map(|kind| kind.name()).collect();
    let all = "NetworkPolicy Zones Inventory DataFlows Services RuleRecords Standard Waiver FlowTest";
    assert_eq!(kinds.join(" "), all);
    let set = &found.set;
    let counts = [
        set.policies.len(),
        set.zones.len(),
        set.members.len(),
        set.flows.len(),
        set.services.len(),
        set.records.len(),
        set.waivers.len(),
        set.tests.len(),
    ];
    assert_eq!(counts, [1, 3, 2, 1, 1, 1, 1, 2]);
    assert_eq!((set.standard.profile, set.standard.thresholds.port_range_max), (Profile::PciDss401, 8));
}
