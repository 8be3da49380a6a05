//! Who there may be where no Inventory says who there is.
//!
//! Each selector of either set stands for somebody with just the labels it asks for. That alone would miss a selector that became
//! narrower or wider, so other labels are tried too (`cells`), and shown where what changes for them is not said by a selector already.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::boundary::Boundary;
use super::cells::{CELLS_MAX, Cells};
use super::{Comparison, Who};
use crate::compile::Endpoint;
use crate::model::{Labels, NetworkPolicy, PolicySet};
use crate::rules::since::same_policy;
use crate::select::Selector;

/// A namespace's selectors in either set, and those of policies that are not the same in both.
#[derive(Default)]
struct Selectors<'a> {
    all: BTreeSet<&'a Selector>,
    changed: BTreeSet<&'a Selector>,
}

impl Comparison {
    pub(super) fn selectors(&mut self, old: &PolicySet, new: &PolicySet, before: &Boundary<'_>, after: &Boundary<'_>) {
        // With rules that have expired taken out.
        let (then, now) = (self.old.policies().to_vec(), self.new.policies().to_vec());
        let namespaces = by_namespace(&then, &now);
        for (namespace, selectors) in &namespaces {
            for selector in &selectors.all {
                let Some(labels) = selector.sample() else { continue };
                let subjects = self.made_up(namespace, labels);
                let cde = (before.may_have(selector), after.may_have(selector));
                let who = Who::Selected { namespace: (*namespace).clone(), selector: selector.to_string() };
                self.add(who, subjects, cde).selectors.push((*selector).clone());
            }
        }
        let mut left = CELLS_MAX;
        for (namespace, selectors) in &namespaces {
            let (all, changed): (Vec<_>, Vec<_>) =
                (selectors.all.iter().copied().collect(), selectors.changed.iter().copied().collect());
            if changed.is_empty() {
                continue;
            }
            let cells = Cells::new(&all, [&old.standard.cde_labels, &new.standard.cde_labels]);
            let (labels, whole) = cells.selected_by(&changed, &mut left);
            if !whole {
                self.not_compared.push(format!("namespace {namespace} beyond {CELLS_MAX} combinations of labels"));
            }
            for labels in labels {
                self.cell(namespace, &cells, labels, (before, after));
            }
        }
    }

    fn cell(&mut self, namespace: &Arc<str>, cells: &Cells<'_>, labels: Labels, (before, after): (&Boundary<'_>, &Boundary<'_>)) {
        let subjects = self.made_up(namespace, labels.clone());
        let cde = (before.marks(&labels), after.marks(&labels));
        let alike = |cde: (bool, bool)| super::alike(&subjects, cde);
        // A selector says it already, and says at least as much of the CDE.
        let said = [(cde.0, cde.1), (true, cde.1), (cde.0, true), (true, true)];
        if said.iter().any(|cde| self.groups.get(&alike(*cde)).is_some_and(|group| !group.selectors.is_empty())) {
            return;
        }
        let who = Who::Selected { namespace: namespace.clone(), selector: cells.text(&labels) };
        let group = self.add(who, subjects, cde);
        // Of those that have the same rules, the ones with the fewest labels say enough.
        let fewest = group.cells.first().map_or(usize::MAX, Labels::len);
        if labels.len() > fewest {
            group.who.pop();
        } else {
            if labels.len() < fewest {
                group.cells.clear();
                group.who.drain(..group.who.len().saturating_sub(1));
            }
            group.cells.push(labels);
        }
    }

    fn made_up(&mut self, namespace: &Arc<str>, labels: Labels) -> super::Subjects {
        let endpoint = Endpoint { namespace: namespace.to_string(), ..Endpoint::host(labels) };
        (Some(self.old.subject(endpoint.clone())), Some(self.new.subject(endpoint)))
    }
}

fn by_namespace<'a>(old: &'a [NetworkPolicy], new: &'a [NetworkPolicy]) -> BTreeMap<&'a Arc<str>, Selectors<'a>> {
    let named = |policies: &'a [NetworkPolicy]| policies.iter().map(|policy| (&policy.name, policy)).collect::<BTreeMap<_, _>>();
    let (then, now) = (named(old), named(new));
    let mut namespaces: BTreeMap<&Arc<str>, Selectors<'a>> = BTreeMap::new();
    for (policies, others) in [(old, &now), (new, &then)] {
        for policy in policies {
            let selectors = namespaces.entry(&policy.namespace).or_default();
            selectors.all.insert(&policy.selector);
            if others.get(&policy.name).is_none_or(|other| !same_policy(policy, other)) {
                selectors.changed.insert(&policy.selector);
            }
        }
    }
    namespaces
}
