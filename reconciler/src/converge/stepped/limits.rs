//! Whether a plan is small enough to be carried out without asking: of the target, and of each group in it.

use std::collections::BTreeMap;

use policy::diff::Change;
use policy::plan::{Excess, Limits};

use super::super::provider::{Provider, Stage};
use super::super::target::Class;
use super::Planned;

/// What a plan does to the rules of one group.
#[derive(Default)]
struct Group {
    owned: usize,
    disturbed: usize,
    removed: usize,
    added: usize,
}

impl<P: Provider> Planned<P> {
    /// The first limit that the whole plan passes. What differs only in words does not count.
    pub(super) fn excess(&self, limits: &Limits) -> Option<Excess> {
        let disturbed = self.plan.changes.iter().filter(|change| disturbs::<P>(change)).count();
        limits.excess(disturbed, self.plan.owned, self.plan.empties())
    }

    /// The first group of which too much would change, in words.
    pub(super) fn excess_of_group(&self, provider: &P, limits: &Limits) -> Option<String> {
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for (key, rule) in &self.observed {
            if is_rule(provider, key, rule) {
                groups.entry(P::group(key)).or_default().owned += 1;
            }
        }
        for change in &self.plan.changes {
            let (Change::Create { key, rule } | Change::Replace { key, new: rule, .. } | Change::Delete { key, rule }) = change;
            if !is_rule(provider, key, rule) {
                continue;
            }
            let group = groups.entry(P::group(key)).or_default();
            group.added += usize::from(matches!(change, Change::Create { .. }));
            group.removed += usize::from(matches!(change, Change::Delete { .. }));
            group.disturbed += usize::from(disturbs::<P>(change));
        }
        groups.iter().find_map(|(name, group)| {
            let empties = group.owned > 0 && group.removed == group.owned && group.added == 0;
            let excess = limits.excess(group.disturbed, group.owned, empties)?;
            Some(format!("{name}: {excess}"))
        })
    }
}

fn disturbs<P: Provider>(change: &Change<P::Key, P::Rule>) -> bool {
    match change {
        Change::Create { .. } => false,
        Change::Replace { old, new, .. } => P::class(old, new) == Class::Flow,
        Change::Delete { .. } => true,
    }
}

/// Whether it is a rule that allows something: neither a group, which goes last of all, nor who is in one, nor what denies.
fn is_rule<P: Provider>(provider: &P, key: &P::Key, rule: &P::Rule) -> bool {
    let (key, rule) = (key.clone(), rule.clone());
    let is_group = provider.stage(&Change::Delete { key: key.clone(), rule: rule.clone() }) == Stage::Clear;
    !is_group && provider.stage(&Change::Create { key, rule }) == Stage::Add
}
