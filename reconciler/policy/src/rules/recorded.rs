//! Rules beside their records.

use alloc::format;
use alloc::string::String;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::Here;
use crate::finding::{Finding, Severity};
use crate::model::Profile;
use crate::model::records::RuleRecord;

/// A rule and what people wrote about it.
#[derive(Clone, Copy)]
pub(super) struct Recorded<'a> {
    pub(super) here: Here<'a>,
    pub(super) record: Option<&'a RuleRecord>,
    /// Its policy is about the CDE.
    pub(super) cde: bool,
}

/// A rule that has a record.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub(super) here: Here<'a>,
    pub(super) record: &'a RuleRecord,
    pub(super) cde: bool,
}

/// Every rule that means something.
pub(super) fn all<'a>(facts: &Facts<'a>) -> impl Iterator<Item = Recorded<'a>> {
    facts.policies().flat_map(move |(policy, cde)| {
        Here::all(policy).map(move |here| Recorded { here, record: facts.record(policy, here.rule), cde })
    })
}

/// Those with a record.
pub(super) fn kept<'a>(facts: &Facts<'a>) -> impl Iterator<Item = Kept<'a>> {
    all(facts).filter_map(|rule| rule.record.map(|record| Kept { here: rule.here, record, cde: rule.cde }))
}

/// Whether a rule without a record, or a record without a digest, is a finding.
pub(super) fn is_required(facts: &Facts<'_>) -> bool {
    facts.profile == Profile::PciDss401
}

impl Kept<'_> {
    /// A finding at a field of the record, or at the record where the field is missing; it is about the rule.
    pub(super) fn finding(&self, item: &Item, field: &str, message: String) -> Finding {
        Finding {
            policy: Some(self.here.policy.name.clone()),
            rule: self.here.rule.name.clone(),
            related: [self.here.policy.place(self.here.rule.at)].into(),
            ..item.about_item(&self.record.origin, field, message)
        }
    }

    /// An error in the CDE, else a warning.
    pub(super) fn severity(&self) -> Severity {
        if self.cde { Severity::Error } else { Severity::Warning }
    }

    /// The rule in words: `from-app-tier of cde-database`.
    pub(super) fn name(&self) -> String {
        format!("{} of {}", self.record.rule, self.record.policy)
    }
}

#[cfg(test)]
pub(super) mod tests;
