//! Group B: into the CDE.

use super::{APP, Break, FLOOR, FLOWS, PLAIN, RECORDS, SERVICES, STANDARD, TESTED, UNAPPROVED, UNCITED, replace, replace_after};

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.3.1-001",
        story: "no policy without rules says anything of what comes in",
        edits: &[replace(FLOOR, "[Ingress, Egress]", "[Egress]"), replace("cde-services.yaml", "[Ingress, Egress]", "[Egress]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-002",
        story: "a policy stops speaking of the direction of its rules",
        edits: &[replace_after("connected.yaml", "name: connected-services", "[Ingress, Egress]", "[Ingress]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-003",
        story: "the sources of a rule are deleted",
        edits: &[replace(
            APP,
            "      from:\n        - ipBlock:\n            cidr: 10.0.2.0/28\n        - ipBlock:\n            cidr: fd00:2::/64\n",
            "",
        )],
        beside: &[UNCITED, UNAPPROVED, TESTED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-004",
        story: "the payment API is opened to all of IPv4",
        edits: &[replace(APP, "10.0.2.0/28", "0.0.0.0/0")],
        beside: &[UNCITED, UNAPPROVED, TESTED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-005",
        story: "a port is deleted, its protocol stays",
        edits: &[replace_after("cde-services.yaml", "name: time", "          port: 123\n", "")],
        beside: &[UNCITED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-006",
        story: "one port becomes a range, approved as a service",
        edits: &[
            replace(APP, "port: 9443", "port: 9443\n          endPort: 9460"),
            replace(SERVICES, "port: 9443}", "port: 9443, endPort: 9460}"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-007",
        story: "everything is let into the payment API",
        edits: &[replace(
            APP,
            "      from:\n        - ipBlock:\n            cidr: 10.0.2.0/28\n        - ipBlock:\n            cidr: fd00:2::/64\n      ports:\n        - protocol: TCP\n          port: 8443\n",
            "",
        )],
        beside: &[UNCITED, TESTED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-008",
        story: "the standard asks for narrower blocks than the rules have",
        edits: &[replace(STANDARD, "    portRangeMax: 8\n", "    portRangeMax: 8\n    privateV4PrefixWarn: 25\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-009",
        story: "one policy selects the CDE and the DMZ",
        edits: &[
            replace(
                "cde-administration.yaml",
                "    matchLabels:\n      pci-env: cde\n",
                "    matchExpressions:\n      - key: pci-env\n        operator: In\n        values: [cde, dmz]\n",
            ),
            replace_after(RECORDS, "rule: ssh-from-bastions", "dataFlows: [DF-20, DF-21", "dataFlows: [DF-20, DF-21, DF-22, DF-23"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.1-010",
        story: "the flow that lets the front into the payment API is withdrawn",
        edits: &[replace(FLOWS, "from: dmz, to: cde-app", "from: dmz, to: dmz")],
        beside: &[UNCITED],
        ..PLAIN
    },
];
