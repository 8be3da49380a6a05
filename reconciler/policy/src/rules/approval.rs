//! Who may approve, and what is approved.

use super::facts::Facts;
use crate::date::Date;
use crate::model::Profile;
use crate::model::flows::{DataFlow, ServiceEntry};

/// Whether somebody may approve. In `pci-dss-4.0.1` only those whom the Standard lists; else anybody where it lists nobody.
pub(super) fn is_approver(facts: &Facts<'_>, who: &str) -> bool {
    let approvers = &facts.standard.approvers;
    approvers.iter().any(|approver| approver == who) || (approvers.is_empty() && facts.profile != Profile::PciDss401)
}

impl<'a> Facts<'a> {
    /// Whether an approval counts: its day has come, and it is by one of the approvers where the Standard lists any.
    pub(super) fn is_approved(&self, by: &str, at: Date) -> bool {
        let approvers = &self.standard.approvers;
        at <= self.circumstances.today && (approvers.is_empty() || approvers.iter().any(|approver| approver == by))
    }

    /// The data flows that are approved. One that waits for its day, or that nobody who may has approved, allows nothing yet.
    pub(super) fn approved_flows(&self) -> impl Iterator<Item = &'a DataFlow> {
        self.set.flows.iter().filter(|flow| self.is_approved(&flow.approved_by, flow.approved_at))
    }

    /// The services that are approved.
    pub(super) fn approved_services(&self) -> impl Iterator<Item = &'a ServiceEntry> {
        self.set.services.iter().filter(|service| self.is_approved(&service.approved_by, service.approved_at))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::super::catalogue::item;
    use super::super::recorded::tests::{breaks, standard, today};

    #[test]
    fn a_flow_or_service_counts_once_somebody_who_may_has_approved_it() {
        for id in ["PCI-1.3.1-010", "PCI-1.3.2-005", "PCI-1.2.5-004", "PCI-1.4.4-002", "PCI-1.2.4-001"] {
            let text = item(id).repaired;
            let listing = |who: &str| format!("{}{text}", standard(&format!("approvers: [{who}]")));
            assert!(!breaks(&today(text), id) && !breaks(&today(&listing("network-security")), id), "{id}");
            assert!(breaks(&today(&listing("somebody-else")), id), "{id}");
            // The day of the tests is 2026-02-01.
            for (day, early) in [("2026-02-01", false), ("2026-02-02", true)] {
                assert_eq!(breaks(&today(&text.replace("2026-01-12", day)), id), early, "{id} {day}");
            }
        }
    }
}
