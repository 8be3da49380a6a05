//! Group D: change, reasons, review; and the two clocks of the Standard.

use policy::admit::Change;
use policy::date::Date;

use super::super::harness::enforced;
use super::{APP, Break, FLOWS, PLAIN, PROXY, RECORDS, SERVICES, STANDARD, ZONES, replace, replace_after};

const DMZ_RECORDS: &str = "governance/records/dmz.yaml";

pub(super) const BREAKS: &[Break] = &[
    Break {
        rule: "PCI-1.2.2-001",
        story: "somebody pushes without ticket, reason, approval or signature",
        world: |world| world.change = Some(Change::default()),
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.3-001",
        story: "the front may reach a host in no zone",
        edits: &[
            replace_after(
                PROXY,
                "egress:",
                "            cidr: fd00:1::/64\n",
                "            cidr: fd00:1::/64\n        - ipBlock:\n            cidr: 172.16.9.9/32\n",
            ),
            replace(
                SERVICES,
                "        - {from: dmz, to: cde-app}\n",
                "        - {from: dmz, to: cde-app}\n        - {from: dmz, to: internet}\n",
            ),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.4-001",
        story: "a record cites the wrong flow",
        edits: &[replace(RECORDS, "dataFlows: [DF-03]", "dataFlows: [DF-02]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.5-004",
        story: "a service is no longer approved between two zones",
        edits: &[replace(SERVICES, "{from: dmz, to: cde-app}", "{from: dmz, to: dmz}")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.4-001",
        story: "a flow no longer names the service that a rule uses",
        edits: &[replace_after(FLOWS, "id: DF-20", "services: [ssh]", "services: [ping]")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.5-001",
        story: "a justification that is none",
        edits: &[replace(RECORDS, "\"Every payment is authorised and cleared by the acquirer.\"", "\"TBD\"")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.5-002",
        story: "a ticket is deleted",
        edits: &[replace(RECORDS, "      changeTicket: CHG-1046\n", "")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.5-003",
        story: "a team approves its own rule",
        edits: &[replace(RECORDS, "approvedBy: network-security", "approvedBy: payments-platform")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-001",
        story: "nobody signs for a review",
        edits: &[replace(RECORDS, "      reviewedBy: network-security\n", "")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-002",
        story: "five months pass",
        world: |world| world.today = Date::new(2026, 6, 20).unwrap(),
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-003",
        story: "a rule is widened after its review",
        edits: &[replace_after(APP, "name: to-acquirer", "172.20.5.0/28", "172.20.5.0/29")],
        reviewed: false,
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-003",
        story: "a review that is yet to come",
        edits: &[replace(RECORDS, "reviewedAt: 2026-01-12", "reviewedAt: 2026-02-02")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-004",
        story: "access that was to end has ended",
        edits: &[replace_after(
            DMZ_RECORDS,
            "rule: http-redirect-from-internet",
            "      approvedBy:",
            "      temporary: true\n      expiresAt: 2026-01-31\n      approvedBy:",
        )],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-005",
        story: "two rules say the same",
        edits: &[replace(PROXY, "          port: 80\n", "          port: 443\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-006",
        story: "an excepted address is let in by another peer",
        edits: &[
            replace(
                PROXY,
                "            cidr: 2000::/3\n",
                "            cidr: 2000::/3\n        - ipBlock:\n            cidr: 10.0.9.10/32\n",
            ),
            replace(
                SERVICES,
                "        - {from: internet, to: dmz}\n",
                "        - {from: internet, to: dmz}\n        - {from: monitoring, to: dmz}\n",
            ),
        ],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-007",
        story: "a policy that allows claims to deny",
        edits: &[replace(APP, "  annotations:\n", "  annotations:\n    pci-segment/intent: deny\n")],
        ..PLAIN
    },
    Break {
        rule: "PCI-1.2.7-008",
        story: "a peer that no endpoint matches",
        edits: &[replace(
            "remote-access.yaml",
            "              tier: bastion\n",
            "              tier: bastion\n              site: north\n",
        )],
        ..PLAIN
    },
    Break {
        rule: "PCI-11.4.5-001",
        story: "no segmentation test is recorded",
        edits: &[replace(STANDARD, "  segmentationTest: {doneAt: 2026-01-12, id: PT-1}\n", "")],
        ..PLAIN
    },
    Break {
        rule: "PCI-12.5.2-001",
        story: "no confirmation of the scope is recorded",
        edits: &[replace(STANDARD, "  scopeConfirmation: {doneAt: 2026-01-12, id: SC-1}\n", "")],
        ..PLAIN
    },
    Break {
        rule: "PCI-11.4.5-001",
        story: "what is enforced reaches further out of the CDE than this commit",
        edits: &[replace_after(APP, "name: to-acquirer", "172.20.5.0/28", "172.20.5.0/29")],
        world: |world| world.enforced = Some(enforced()),
        ..PLAIN
    },
    Break {
        rule: "PCI-12.5.2-001",
        story: "the zone of the card vault gets another prefix",
        edits: &[replace(ZONES, "[10.0.30.0/24, ", "[10.0.30.0/24, 10.0.31.0/24, ")],
        world: |world| world.enforced = Some(enforced()),
        ..PLAIN
    },
    Break {
        rule: "PCI-6.5.3-001",
        story: "the zone beyond the line turns out to be a test system",
        edits: &[replace(ZONES, "classes: [third-party]", "classes: [preprod]")],
        ..PLAIN
    },
];
