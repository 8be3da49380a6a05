//! Insecure, administrative and discovery services; and what backends cannot say.

use policy::model::inventory::Enforcer;

use super::{APP, Break, INVENTORY, PLAIN, RECORDS, SERVICES, TESTS, replace, replace_after};

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.2.8-008",
        story: "a host moves to a cloud whose groups cannot tell a ping from other ICMP",
        edits: &[replace_after(INVENTORY, "name: vpn-01", "enforcedBy: [ebpf]", "enforcedBy: [azure]")],
        world: |world| world.backends = Some(vec![Enforcer::Ebpf, Enforcer::Azure]),
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.6-001",
        story: "a record no longer says how an insecure service is protected",
        edits: &[replace(RECORDS, "      insecureMitigation: ", "      accessReason: ")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.6-002",
        story: "the line to the acquirer goes over LDAP without encryption",
        edits: &[
            replace(APP, "port: 9443", "port: 389"),
            replace(SERVICES, "port: 9443}", "port: 389}"),
            replace(TESTS, "port: 9443", "port: 389"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.4.5-001",
        story: "the payment API tells the acquirer our routes",
        edits: &[
            replace(APP, "port: 9443", "port: 179"),
            replace(SERVICES, "port: 9443}", "port: 179}"),
            replace(TESTS, "port: 9443", "port: 179"),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-2.2.7-001",
        story: "administration turns out not to be encrypted",
        edits: &[replace(SERVICES, "classes: [secure, admin]", "mitigation: \"None.\"\n      classes: [insecure, admin]")],
        ..PLAIN
    },
];
