//! Group C: out of the CDE (PCI DSS v4.0.1 1.3.2).

use super::super::{isolation, open, ports};
use super::{Check, Item};
use crate::finding::{Basis, Severity};

pub(super) static ITEMS: [Item; 4] = [
    Item {
        id: "PCI-1.3.2-001",
        requirements: &["1.3.2"],
        severity: Severity::Error,
        waivable: false,
        basis: Basis::D,
        condition: "a CDE policy that does not isolate egress and is covered by none that does",
        remediation: "Leave `policyTypes` out, or add an egress default-deny.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress]}\n",
        check: Check::Set(isolation::egress),
    },
    Item {
        id: "PCI-1.3.2-002",
        requirements: &["1.3.2"],
        severity: Severity::Info,
        waivable: true,
        basis: Basis::H,
        condition: "`policyTypes` omitted and no egress rule: here egress is closed, in Kubernetes it would be open",
        remediation: "Fine here. Add `policyTypes: [Ingress, Egress]` if the file also goes to a cluster.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: []}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], egress: []}\n",
        check: Check::Set(isolation::differs),
    },
    Item {
        id: "PCI-1.3.2-003",
        requirements: &["1.3.2"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "CDE policy, egress rule without `to` or with `[]`",
        remediation: "Name the destinations.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{ports: [{port: 443}]}]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]}\n",
        check: Check::Set(ports::to_everybody),
    },
    Item {
        id: "PCI-1.3.2-004",
        requirements: &["1.3.2"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "CDE policy, what its endpoints can reach is open, on any port",
        remediation: "Go through a proxy zone or a private endpoint.",
        violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}\n",
        repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, egress: [{to: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]}\n",
        check: Check::Set(open::egress),
    },
];
