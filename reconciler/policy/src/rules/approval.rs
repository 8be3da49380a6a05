//! Who may approve.

use super::facts::Facts;
use crate::model::Profile;

/// Whether somebody may approve. In `pci-dss-4.0.1` only those whom the Standard lists; else anybody where it lists nobody.
pub(super) fn is_approver(facts: &Facts<'_>, who: &str) -> bool {
    let approvers = &facts.standard.approvers;
    approvers.iter().any(|approver| approver == who) || (approvers.is_empty() && facts.profile != Profile::PciDss401)
}
