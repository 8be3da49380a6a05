//! The `pci-dss` annotation: which requirements a policy serves.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Found, with_severity};
use super::numbers::exists;
use crate::finding::Severity;
use crate::model::Profile;

pub(super) fn requirements(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    const PATH: &str = "/metadata/annotations/pci-dss";
    for (policy, cde) in facts.policies() {
        match &policy.requirements {
            Some((text, at)) => {
                if let Some(wrong) = first_wrong(text) {
                    found.add(item.about(policy, *at, PATH, wrong));
                }
            }
            None => {
                let severe = facts.profile == Profile::PciDss401 && cde;
                let severity = if severe { Severity::Error } else { Severity::Info };
                let message = String::from("no pci-dss annotation says which requirements the policy serves");
                found.add(with_severity(item.about(policy, policy.at, "/metadata/name", message), severity));
            }
        }
    }
}

/// `Req 1.2, Req 1.3.1` or `1.2, 1.3.1`.
fn first_wrong(text: &str) -> Option<String> {
    text.split(',').map(str::trim).find_map(|part| {
        let number = part.strip_prefix("Req ").unwrap_or(part);
        let shown: String = part.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let shape = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'A'));
        match (shape, exists(number)) {
            (_, true) => None,
            (true, false) => Some(format!("PCI DSS v4.0.1 has no requirement {number}")),
            (false, false) => Some(format!("\"{shown}\" is not a list of requirements such as Req 1.2, Req 1.3.1")),
        }
    })
}
