//! Group C: out of the CDE, and wireless networks.

use super::{APP, Break, FLOOR, FLOWS, INVENTORY, PLAIN, SERVICES, UNAPPROVED, UNCITED, ZONES, replace};

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.3.2-001",
        story: "no policy without rules says anything of what goes out",
        edits: &[
            replace(FLOOR, "[Ingress, Egress]", "[Ingress]"),
            replace("cde-administration.yaml", "[Ingress, Egress]", "[Ingress]"),
            replace("cde-monitoring.yaml", "[Ingress, Egress]", "[Ingress]"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-002",
        story: "the floor leaves its directions out, which Kubernetes would read otherwise",
        edits: &[replace(FLOOR, "  policyTypes: [Ingress, Egress]\n", "")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-003",
        story: "the destinations of a rule are deleted",
        edits: &[replace(
            APP,
            "      to:\n        - ipBlock:\n            cidr: 172.20.5.0/28\n        - ipBlock:\n            cidr: fd00:ac::/64\n",
            "",
        )],
        beside: &[UNCITED, UNAPPROVED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-004",
        story: "the payment API may leave to all of IPv4",
        edits: &[replace(APP, "172.20.5.0/28", "0.0.0.0/0")],
        beside: &[UNCITED, UNAPPROVED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-005",
        story: "the flow to the acquirer is withdrawn",
        edits: &[replace(FLOWS, "from: cde-app, to: acquirer", "from: dmz, to: dmz")],
        beside: &[UNCITED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-006",
        story: "certificate status moves to an address of the cloud platform",
        edits: &[
            replace(ZONES, "[10.0.9.32/28, ", "[10.0.9.32/28, \"fd00:ec2::/64\", "),
            replace(INVENTORY, "fd00:92::40", "fd00:ec2::254"),
            replace("cde-services.yaml", "fd00:92::40/128", "fd00:ec2::254/128"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.2-007",
        story: "a resolver is no longer a designated one",
        edits: &[replace(SERVICES, "servers: [10.0.9.36/31, ", "servers: [10.0.9.36/32, ")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.3.3-001",
        story: "visitors' wireless network reaches the payment API",
        edits: &[replace(
            APP,
            "            cidr: fd00:2::/64\n",
            "            cidr: fd00:2::/64\n        - ipBlock:\n            cidr: 10.21.0.0/28\n",
        )],
        under: Some("PCI-1.3.1-010"),
        beside: &[UNCITED, UNAPPROVED],
        ..PLAIN
    },
];
