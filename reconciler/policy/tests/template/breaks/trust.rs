//! Group E: trusted and untrusted networks, forged sources, stores of account data.

use super::{
    APP, Break, CONNECTED, DATABASE, INVENTORY, PLAIN, PROXY, SERVICES, UNAPPROVED, UNCITED, ZONES, replace, replace_after,
};

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.4.1-001",
        story: "nobody enforces the policies on a host",
        edits: &[replace_after(INVENTORY, "name: mon-01", "enforcedBy: [ebpf]", "enforcedBy: []")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.1-002",
        story: "IPv6 is open wider than IPv4",
        edits: &[replace(ZONES, "fd00:2::/64", "fd00:2::/63"), replace(APP, "fd00:2::/64", "fd00:2::/63")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.2-001",
        story: "the offices may log in to CDE hosts",
        edits: &[replace(
            "cde-administration.yaml",
            "            cidr: 10.0.9.16/30\n",
            "            cidr: 10.0.9.16/30\n        - ipBlock:\n            cidr: 10.20.9.0/24\n",
        )],
        // The same peer reaches the card vault, which is graver.
        under: Some("PCI-1.4.4-001"),
        beside: &[UNCITED, UNAPPROVED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.2-002",
        story: "a host answers the Internet on a port that is not registered as public",
        edits: &[replace(INVENTORY, "publicServices: [https, http-redirect]", "publicServices: [https]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.3-001",
        story: "a source that nobody can have",
        edits: &[replace(
            PROXY,
            "            cidr: 2000::/3\n",
            "            cidr: 2000::/3\n        - ipBlock:\n            cidr: 192.0.2.0/24\n",
        )],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.3-002",
        story: "the front lets in private sources that no zone holds",
        edits: &[replace(PROXY, "10.0.0.0/8, 100.64.0.0/10, ", "10.0.0.0/8, ")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.3-003",
        story: "a policy waits for a label that nobody has",
        edits: &[replace(CONNECTED, "values: [dmz, connected]", "values: [dmz, connected, office]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.4-001",
        story: "the offices reach the card vault",
        edits: &[replace(
            DATABASE,
            "            cidr: 10.0.1.0/24\n",
            "            cidr: 10.0.1.0/24\n        - ipBlock:\n            cidr: 10.20.9.0/24\n",
        )],
        beside: &[UNCITED, UNAPPROVED],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.4-002",
        story: "no approved flow names the card vault's service a store",
        edits: &[replace(SERVICES, "classes: [secure, datastore]", "classes: [secure]")],
        ..PLAIN
    },
];
