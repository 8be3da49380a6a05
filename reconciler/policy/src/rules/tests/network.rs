//! A network for tests of rules about zones, and a way to ask one rule about it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{assert_witness, circumstances, snapshot};
use crate::admit::Circumstances;
use crate::finding::Finding;
use crate::read::read;
use crate::rules::catalogue::{Check, item};
use crate::rules::facts::Facts;
use crate::rules::found::Found;

/// Every block of a zone has an undeclared neighbour, so that a prefix one bit shorter touches the Internet.
pub(super) const ZONES: &str = r#"
{apiVersion: pci-segment/v1, kind: Zones, metadata: {name: zones}, spec: {zones: [
  {name: cde-db, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24, "fd00:30::/64"]},
  {name: cde-app, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.2.0/24, "fd00:2::/64"]},
  {name: dmz, classes: [dmz], trust: trusted, pciScope: in, cidrs: [10.0.50.0/24, "fd00:50::/64"]},
  {name: operations, classes: [connected], trust: trusted, pciScope: connected, cidrs: [10.0.8.0/24, "fd00:8::/64"]},
  {name: shop, classes: [connected], pciScope: in, cidrs: [10.0.60.0/24]},
  {name: guests, classes: [wireless], pciScope: out, cidrs: [10.30.0.0/16, "fd00:ee::/64"], outOfScopeReason: "Guests."},
  {name: test, classes: [preprod], pciScope: out, cidrs: [10.40.0.0/16, "fd00:40::/64"], outOfScopeReason: "Made-up data."},
  {name: corporate, classes: [corporate], pciScope: out, cidrs: [10.20.0.0/16], outOfScopeReason: "Offices."}]}}
"#;

pub(super) const INVENTORY: &str = r#"
{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: inventory}, spec: {hosts: [
  {name: db-01, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.11, "fd00:30::11"], zone: cde-db, storesChd: true,
    ports: [{name: store, protocol: TCP, port: 5432}]},
  {name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.2.10], zone: cde-app,
    ports: [{name: api, protocol: TCP, port: 8443}]},
  {name: web-01, labels: {pci-env: dmz, tier: web}, addresses: [10.0.50.10, "fd00:50::10"], zone: dmz, publicServices: [https]},
  {name: till-01, labels: {pci-env: shop, tier: till}, addresses: [10.0.60.10], zone: shop},
  {name: desk-01, labels: {pci-env: none, tier: desk}, addresses: [10.20.0.10], zone: corporate}]}}
"#;

pub(super) const SERVICES: &str = r#"
{apiVersion: pci-segment/v1, kind: Services, metadata: {name: services}, spec: {services: [
  {name: postgres, classes: [secure, datastore], ports: [{protocol: TCP, port: 5432}], zones: [{from: cde-app, to: cde-db}],
    approvedBy: network-security, approvedAt: 2026-01-12},
  {name: https, classes: [secure, web], ports: [{protocol: TCP, port: 443}], zones: [{from: internet, to: dmz}, {from: dmz, to: cde-app}],
    approvedBy: network-security, approvedAt: 2026-01-12},
  {name: dns, classes: [secure, dns], ports: [{protocol: UDP, port: 53}], servers: [10.0.8.52/31, "fd00:8::53/128"],
    zones: [{from: cde-app, to: operations}], approvedBy: network-security, approvedAt: 2026-01-12},
  {name: ntp, classes: [secure, time], ports: [{protocol: UDP, port: 123}], servers: [10.0.8.123/32],
    zones: [{from: cde-app, to: operations}], approvedBy: network-security, approvedAt: 2026-01-12}]}}
"#;

/// The application writes to the database and asks for names, the DMZ asks the application.
pub(super) const FLOWS: &str = r#"
{apiVersion: pci-segment/v1, kind: DataFlows, metadata: {name: flows}, spec: {flows: [
  {id: DF-1, from: cde-app, to: cde-db, services: [postgres], accountData: true, purpose: "Authorisations",
    updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12},
  {id: DF-2, from: dmz, to: cde-app, services: [https], accountData: true, purpose: "Checkout",
    updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12},
  {id: DF-3, from: operations, to: cde-db, services: [https], accountData: false, purpose: "Metrics",
    updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12}]}}
"#;

/// All facts about the network.
pub(super) fn facts() -> String {
    [ZONES, INVENTORY, SERVICES, FLOWS].join("---\n")
}

/// A policy for those with this label, in both directions.
pub(super) fn policy(name: &str, label: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{podSelector: {{matchLabels: {{{label}}}}}, {spec}}}\n"
    )
}

/// A policy with one ingress rule from one block.
pub(super) fn from(label: &str, block: &str, ports: &str) -> String {
    policy("p", label, &format!("ingress: [{{from: [{{ipBlock: {block}}}], ports: [{ports}]}}]"))
}

/// A policy with one egress rule to one block.
pub(super) fn to(label: &str, block: &str, ports: &str) -> String {
    policy("p", label, &format!("egress: [{{to: [{{ipBlock: {block}}}], ports: [{ports}]}}]"))
}

/// A block without exceptions.
pub(super) fn block(cidr: &str) -> String {
    format!("{{cidr: \"{cidr}\"}}")
}

/// What one rule finds in a set that reads well; every witness passes.
pub(super) fn ask(id: &str, text: &str) -> Vec<Finding> {
    ask_with(id, text, &circumstances())
}

/// The same, knowing more than the day.
pub(super) fn ask_with(id: &str, text: &str, circumstances: &Circumstances) -> Vec<Finding> {
    let reading = read(&snapshot(text));
    assert!(reading.problems.is_empty(), "{:?}\n{text}", reading.problems);
    let set = reading.set;
    let facts = Facts::new(&set, set.standard.profile, circumstances);
    let mut found = Found::default();
    let item = item(id);
    assert_eq!(item.id, id);
    let Check::Set(check) = item.check else { panic!("{id} is the reader's") };
    check(item, &facts, &mut found);
    assert!(!facts.is_spent());
    let (findings, more) = found.finish();
    assert_eq!((more.errors, more.others), (0, 0));
    findings.iter().for_each(|finding| assert_witness(&set, finding));
    findings
}

/// The address on the other side of each finding's witness; `-` where there is none.
pub(super) fn others(findings: &[Finding]) -> Vec<String> {
    let other = |finding: &Finding| {
        let witness = finding.witness.as_ref()?;
        let ingress = finding.path.as_deref().is_some_and(|path| path.starts_with("/spec/ingress"));
        Some(if ingress { &witness.source } else { &witness.destination }.text())
    };
    findings.iter().map(|finding| other(finding).unwrap_or_else(|| "-".to_string())).collect()
}
