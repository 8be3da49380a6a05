//! Group D: is each rule explained, approved and on the list (PCI DSS v4.0.1 1.2.4, 1.2.5)?
//!
//! In `baseline` the records there are get judged; in `pci-dss-4.0.1` every rule needs a name and a record.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::approval::is_approver;
use super::super::between::{Approved, Flows, crossings, shown};
use super::super::facts::Facts;
use super::super::filler::{is_filler, length, says_something};
use super::super::found::{Found, Here, sample};
use super::super::recorded::{Kept, is_required, kept};
use super::example::{data_flows, floor, inventory, services, zones};
use super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::PortItem;

/// A rule for the card database with these ports.
macro_rules! rule {
    ($ports:expr) => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: cde-database, annotations: {pci-dss: \"Req 1.3.1\"}},\n",
            "  spec: {podSelector: {matchLabels: {pci-env: cde, tier: database}}, ingress: [\n",
            "    {name: from-app-tier, from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [",
            $ports,
            "]}]}}\n"
        )
    };
}

/// A record for it with these fields besides the review.
macro_rules! record {
    ($fields:expr) => {
        concat!(
            rule!("{protocol: TCP, port: 5432}"),
            "---\n",
            "{apiVersion: pci-segment/v1, kind: RuleRecords, metadata: {name: cde-database}, spec: {records: [\n",
            "  {policy: cde-database, rule: from-app-tier, owner: payments-platform,\n",
            "    ",
            $fields,
            ",\n",
            "    reviewedAt: 2026-01-12, reviewedBy: network-security, reviewResult: keep}]}}\n"
        )
    };
}

/// The network around the rule.
macro_rules! network {
    () => {
        concat!(zones!(), inventory!(), services!(), data_flows!(), floor!())
    };
}

pub(super) static ITEMS: [Item; 5] = [
    Item {
        id: "PCI-1.2.4-001",
        requirements: &["1.2.4"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "CDE rule: its record cites no data flow, or the zones or services of those cited do not hold the rule; in pci-dss-4.0.1 also: no record",
        remediation: "Cite the right flow or add one.",
        violating: concat!(
            network!(),
            record!(
                "justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041, dataFlows: [DF-13]"
            )
        ),
        repaired: concat!(
            network!(),
            record!(
                "justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041, dataFlows: [DF-12]"
            )
        ),
        profile: Column::Facts,
        needs: &["RuleRecords", "DataFlows"],
        wants: &["Zones", "Inventory", "Services"],
        check: Check::Set(without_flow),
    },
    Item {
        id: "PCI-1.2.5-001",
        requirements: &["1.2.5"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a justification shorter than `justificationChars`, or a filler such as `tbd`; in pci-dss-4.0.1 also: a rule without a name or a record",
        remediation: "Say which business function stops without the rule.",
        violating: record!(
            "justification: \"TBD, tbd, T.B.D., tbd\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041"
        ),
        repaired: record!(
            "justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041"
        ),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &[],
        check: Check::Set(unexplained),
    },
    Item {
        id: "PCI-1.2.5-002",
        requirements: &["1.2.5"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a record without approver, approval date (one that has come) or ticket",
        remediation: "Complete the record.",
        violating: record!(
            "justification: \"The payment API stores authorisations.\", approvedBy: network-security, changeTicket: CHG-1041"
        ),
        repaired: record!(
            "justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041"
        ),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &[],
        check: Check::Set(unapproved),
    },
    Item {
        id: "PCI-1.2.5-003",
        requirements: &["1.2.5", "6.5.4"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::G,
        condition: "the approver is the requester, the owner or the author of the record's change, or not in `approvers`",
        remediation: "Have somebody independent approve it.",
        violating: record!(
            "justification: \"The payment API stores authorisations.\", approvedBy: payments-platform, approvedAt: 2026-01-12, changeTicket: CHG-1041"
        ),
        repaired: record!(
            "justification: \"The payment API stores authorisations.\", approvedBy: network-security, approvedAt: 2026-01-12, changeTicket: CHG-1041"
        ),
        profile: Column::Facts,
        needs: &["RuleRecords"],
        wants: &["change"],
        check: Check::Set(approved_by_itself),
    },
    Item {
        id: "PCI-1.2.5-004",
        requirements: &["1.2.5"],
        severity: Severity::Error,
        waivable: true,
        basis: Basis::D,
        condition: "a rule allows a protocol and port that no service is approved for between these two zones, in part counts too; traffic within one zone is not between two",
        remediation: "Add the service to the approved list, in its own commit.",
        violating: concat!(network!(), rule!("{protocol: TCP, port: 5432}, {protocol: TCP, port: 8443}")),
        repaired: concat!(network!(), rule!("{protocol: TCP, port: 5432}")),
        profile: Column::Facts,
        needs: &["Services", "Zones", "Inventory"],
        wants: &[],
        check: Check::Set(not_on_the_list),
    },
];

fn without_flow(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in facts.recorded.iter().filter(|rule| rule.cde) {
        match rule.record {
            Some(record) if record.data_flows.is_empty() => {
                let kept = Kept { here: rule.here, record, cde: true };
                found.add(kept.finding(item, "dataFlows", format!("the record of {} cites no data flow", kept.name())));
            }
            None if is_required(facts) => {
                let message = String::from("no record says which data flow the rule serves");
                found.add(item.about_rule(&rule.here, rule.here.rule.at, "", message));
            }
            Some(_) | None => {}
        }
    }
    let (flows, mut told) = (Flows::new(facts), BTreeSet::new());
    for crossing in facts.cde.iter().flat_map(|group| crossings(facts, group)) {
        let here = crossing.here;
        let Some(record) = facts.record(here.policy, here.rule).filter(|record| !record.data_flows.is_empty()) else { continue };
        let lacking = flows.lacking(&record.data_flows, &crossing);
        if let Some(range) = shown(&lacking).filter(|_| told.insert((&*record.policy, &*record.rule))) {
            let kept = Kept { here, record, cde: true };
            let cited = record.data_flows.join(", ");
            let message = format!("{cited} does not hold {} {}, which {} allows", sample(range), crossing.way(), kept.name());
            found.add(kept.finding(item, "dataFlows", message));
        }
    }
}

fn unexplained(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let min = facts.thresholds().justification_chars;
    for rule in kept(facts) {
        let text = &*rule.record.justification;
        let message = match (is_filler(text), length(text)) {
            (true, _) => format!("the justification of {} says nothing", rule.name()),
            (false, length) if length < min => {
                format!("the justification of {} has {length} characters; at least {min}", rule.name())
            }
            (false, _) => continue,
        };
        found.add(rule.finding(item, "justification", message));
    }
    for rule in facts.recorded.iter().filter(|rule| rule.record.is_none() && is_required(facts)) {
        let message = match &rule.here.rule.name {
            Some(name) => format!("{name} of {} has no record: nobody says what it is for", rule.here.policy.name),
            None => String::from("the rule has no name, so that no record can say what it is for"),
        };
        found.add(item.about_rule(&rule.here, rule.here.rule.at, "", message));
    }
}

fn unapproved(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        let record = rule.record;
        let date = record.approved_at.is_some_and(|date| date <= facts.circumstances.today);
        let ticket = says_something(record.change_ticket.as_deref());
        let parts = [("approver", record.approved_by.is_some()), ("approval date that has come", date), ("ticket", ticket)];
        let lacking: Vec<&str> = parts.into_iter().filter(|(_, there)| !there).map(|(part, _)| part).collect();
        if !lacking.is_empty() {
            let message = format!("the record of {} has no {}", rule.name(), lacking.join(", no "));
            found.add(rule.finding(item, "", message));
        }
    }
}

fn approved_by_itself(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    for rule in kept(facts) {
        let Some(approver) = rule.record.approved_by.as_deref() else { continue };
        let author = facts.circumstances.change.as_ref().map(|change| &*change.author);
        let message = if rule.record.requested_by.as_deref() == Some(approver) {
            "who asked for it"
        } else if rule.record.owner == approver {
            "who owns it"
        } else if author == Some(approver) && facts.since.touches_record(rule.record) {
            "who wrote the change"
        } else if !is_approver(facts, approver) {
            "who is not in approvers"
        } else {
            continue;
        };
        let message = format!("{} is approved by {approver}, {message}", rule.name());
        found.add(rule.finding(item, "approvedBy", message));
    }
}

fn not_on_the_list(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let approved = Approved::new(facts);
    for group in &facts.everybody {
        for crossing in crossings(facts, group) {
            let (Some(from), Some(to)) = (&crossing.from, &crossing.to) else { continue };
            let lacking = approved.lacking(&crossing.services, from, to);
            let Some(range) = shown(&lacking).filter(|_| from != to) else { continue };
            let (here, service) = (crossing.here, sample(range));
            let item_of = |item: &PortItem| item.port.services().any(|services| services.meets(range));
            let port = here.rule.ports.iter().enumerate().find(|(_, item)| item_of(item));
            let (at, below) = port.map_or((here.rule.at, String::new()), |(i, item)| (item.at, format!("/ports/{i}")));
            let message = format!("{service} is not approved {}, as {} allows", crossing.way(), name(&here));
            found.add(Finding {
                related: [here.policy.place(crossing.at)].into(),
                witness: facts.witness(group, here.policy, here.direction, crossing.address, service),
                ..item.about_rule(&here, at, &below, message)
            });
        }
    }
}

fn name(here: &Here<'_>) -> String {
    let rule = here.rule.name.as_deref().map_or_else(|| format!("{} rule {}", here.direction.name(), here.index + 1), String::from);
    format!("{rule} of {}", here.policy.name)
}

#[cfg(test)]
mod tests;
