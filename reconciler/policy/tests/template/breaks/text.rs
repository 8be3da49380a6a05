//! Group A: text, names, the standard itself; and the expectations of the set.

use super::{APP, Break, DATABASE, INVENTORY, PLAIN, PROXY, RECORDS, STANDARD, TESTS, replace, replace_after};

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.2.8-001",
        story: "a field is misspelt",
        edits: &[replace(INVENTORY, "function: \"Card vault, standby\"", "funktion: \"Card vault, standby\"")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-001",
        story: "a letter only looks like another one",
        edits: &[replace(TESTS, "tier: new}", "tier: n\u{435}w}")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-002",
        story: "a document of another API lies below the policy root",
        edits: &[replace(TESTS, "apiVersion: pci-segment/v1", "apiVersion: networking.k8s.io/v1")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-003",
        story: "a record cites a flow that does not exist",
        edits: &[replace(RECORDS, "dataFlows: [DF-03]", "dataFlows: [DF-03, DF-99]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-003",
        story: "two hosts share an address",
        edits: &[replace(INVENTORY, "addresses: [10.0.9.37, ", "addresses: [10.0.9.37, 10.0.9.36, ")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-004",
        story: "an address stands where a block belongs",
        edits: &[replace("cde-administration.yaml", "10.0.9.16/30", "10.0.9.17/30")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-005",
        story: "an exception is of the other family",
        edits: &[replace(PROXY, "192.168.0.0/16]", "192.168.0.0/16, \"fd00::/8\"]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-006",
        story: "a port beyond the last one",
        edits: &[replace(APP, "          port: 9443\n", "          port: 9443\n        - protocol: TCP\n          port: 94433\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.8-007",
        story: "a peer that names nobody",
        edits: &[replace(DATABASE, "      ports:\n", "        - {}\n      ports:\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.1-001",
        story: "a requirement that the standard does not have",
        edits: &[replace(APP, "Req 1.2.5, ", "Req 1.9, ")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.1-002",
        story: "the standard comes to forbid what a rule allows",
        edits: &[replace(STANDARD, "  forbidden:\n", "  forbidden:\n    - {from: \"class:cde\", to: acquirer}\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.1-002",
        story: "the commit asks for less than the controller is pinned to",
        edits: &[replace(STANDARD, "profile: pci-dss-4.0.1", "profile: baseline")],
        world: |world| world.pinned_profile = Some(policy::model::Profile::PciDss401),
        ..PLAIN
    },
    Break {
        rule: "FLOWTEST-001",
        story: "an expectation is missed",
        edits: &[replace_after(TESTS, "name: to-visitors", "expect: deny", "expect: allow")],
        ..PLAIN
    },
];
