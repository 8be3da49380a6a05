//! PCI-1.2.7-005: a rule that the others already allow.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::super::super::allowed::{Allowed, Owner};
use super::super::super::facts::Facts;
use super::super::super::found::Found;
use super::super::super::patches::{Patch, Work, uncovered};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};

/// Steps of searching; an honest set of 100,000 rules needs two million.
const STEPS_MAX: usize = 10_000_000;
/// Other rules listed with a finding.
const RELATED_MAX: usize = 8;

pub(super) const ITEM: Item = Item {
    id: "PCI-1.2.7-005",
    requirements: &["1.2.7"],
    severity: Severity::Warning,
    waivable: true,
    basis: Basis::G,
    condition: "a rule that the other rules of its policy, and of the policies that cover it, already allow",
    remediation: "Delete it.",
    violating: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}, {from: [{ipBlock: {cidr: 10.0.1.7/32}}], ports: [{port: 443}]}]}\n",
    repaired: "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.3.1\"}}\nspec: {podSelector: {matchLabels: {pci-env: cde}}, ingress: [{from: [{ipBlock: {cidr: 10.0.1.0/24}}], ports: [{port: 443}]}]}\n",
    profile: Column::Baseline,
    needs: &[],
    wants: &[],
    check: Check::Set(redundant),
};

fn redundant(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let allowed = Allowed::new(facts);
    let gone = vec![false; allowed.owners.len()];
    let mut search = Search { facts, allowed, gone, work: Work::new(STEPS_MAX) };
    for selection in 0..facts.selections.len() {
        let (from, to) = search.allowed.of_selection.get(selection).copied().unwrap_or_default();
        // From the end, and without what was reported before: whoever deletes all that is listed changes nothing.
        for number in (from..to).rev() {
            let Some(others) = search.covering(selection, number) else { continue };
            if let Some(gone) = search.gone.get_mut(number) {
                *gone = true;
            }
            if let Some(owner) = search.allowed.owners.get(number) {
                found.add(finding(item, &search.allowed, owner, &others));
            }
        }
    }
    if search.work.is_done() || search.allowed.overfull {
        let message = "the rules are too entangled: not all of them were searched for ones that others already allow";
        found.add(item.whole_set(facts, "limit", message.into()));
    }
}

struct Search<'f, 'a> {
    facts: &'f Facts<'a>,
    allowed: Allowed<'a>,
    /// Rules reported already.
    gone: Vec<bool>,
    work: Work,
}

impl Search<'_, '_> {
    /// The rules that together allow all that this one does.
    fn covering(&mut self, selection: usize, number: usize) -> Option<BTreeSet<u32>> {
        let meaning = self.allowed.again(number);
        let audit = self.allowed.owners.get(number)?.audit;
        let mut others = self.cover(selection, &meaning.plain, audit)?;
        for (name, numbers) in &meaning.named {
            let by_number = |search: &mut Self| if numbers.is_empty() { None } else { search.cover(selection, numbers, audit) };
            others.append(&mut self.cover(selection, name, audit).or_else(|| by_number(self))?);
        }
        // A rule that allows nobody is another rule's finding; one that the search gave up on is not covered.
        (!others.is_empty() && !self.work.is_done()).then_some(others)
    }

    fn cover(&mut self, selection: usize, patches: &[Patch], audit: bool) -> Option<BTreeSet<u32>> {
        let mut others = BTreeSet::new();
        patches.iter().all(|patch| self.covers(selection, patch, audit, &mut others)).then_some(others)
    }

    fn covers(&mut self, selection: usize, patch: &Patch, audit: bool, others: &mut BTreeSet<u32>) -> bool {
        let Self { facts, allowed, gone, work } = self;
        let is_gone = |number: u32| usize::try_from(number).ok().and_then(|n| gone.get(n)).copied().unwrap_or(true);
        let left = uncovered(*patch, |piece| {
            let over = allowed.find(facts, selection, piece, work, |other, owner| {
                other.owner != patch.owner && other.sure && (audit || !owner.audit) && !is_gone(other.owner)
            })?;
            others.insert(over.owner);
            Some(over)
        });
        left.is_none()
    }
}

fn finding(item: &Item, allowed: &Allowed<'_>, owner: &Owner<'_>, others: &BTreeSet<u32>) -> Finding {
    let owners = || others.iter().filter_map(|number| allowed.owners.get(usize::try_from(*number).ok()?));
    let by = match owners().next() {
        Some(one) if others.len() == 1 => one.here.in_words(),
        _ => format!("{} other rules together", others.len()),
    };
    let message = format!("{by} already allow{} all of this rule", if others.len() == 1 { "s" } else { "" });
    let related = owners().map(|other| other.here.policy.place(other.here.rule.at)).take(RELATED_MAX).collect();
    let here = &owner.here;
    Finding { related, ..item.about_rule(here, here.rule.at, "", message) }
}
