//! Rules beside their records.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::Here;
use crate::finding::{Finding, Severity};
use crate::model::records::RuleRecord;
use crate::model::{Kind, NetworkPolicy, PolicySet, Profile};

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

/// Every rule that means something, with its record; none where the set keeps no records.
pub(super) fn recorded<'a>(
    set: &'a PolicySet,
    cde_policies: &[bool],
    records: &BTreeMap<(&'a str, &'a str), &'a RuleRecord>,
) -> Vec<Recorded<'a>> {
    if !set.kinds.contains(&Kind::RuleRecords) {
        return Vec::new();
    }
    let record = |here: &Here<'a>| records.get(&(&*here.policy.name, here.rule.name.as_deref()?)).copied();
    let of = |(policy, cde): (&'a NetworkPolicy, &bool)| {
        let cde = *cde;
        Here::all(policy).map(move |here| (here, cde))
    };
    let rules = set.policies.iter().zip(cde_policies).flat_map(of);
    rules.map(|(here, cde)| Recorded { here, record: record(&here), cde }).collect()
}

/// Those with a record.
pub(super) fn kept<'a>(facts: &Facts<'a>) -> impl Iterator<Item = Kept<'a>> {
    facts.recorded.iter().filter_map(|rule| rule.record.map(|record| Kept { here: rule.here, record, cde: rule.cde }))
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
