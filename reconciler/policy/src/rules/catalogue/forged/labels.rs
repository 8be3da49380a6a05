//! PCI-1.4.3-003: labels decide who is in the CDE, so they come from the reviewed Inventory only.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::example::{floor, inventory, services, zones};
use super::super::{Check, Column, Item};
use crate::finding::{Basis, Finding, Severity};
use crate::model::inventory::{Member, Namespace};
use crate::model::zones::Class;
use crate::model::{Origin, Peer, PolicySet};
use crate::net::Direction;
use crate::rules::facts::Facts;
use crate::rules::found::{Found, Here};
use crate::rules::zones::ZoneMap;
use crate::select::{Selector, Term};

/// Entries named in one message, and other places listed with it.
const NAMED_MAX: usize = 3;
const RELATED_MAX: usize = 32;

pub(super) const LABELS: Item = Item {
    id: "PCI-1.4.3-003",
    requirements: &["1.4.3"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::H,
    condition: "a selector gives a reserved label a value that no endpoint has; an endpoint's `cdeLabels` disagree with its zone; an author who is none of the `approvers` changed the Inventory",
    remediation: "Labels come from the reviewed Inventory only.",
    violating: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [web, webb]}]}}],\n",
        "    ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    repaired: concat!(
        zones!(),
        inventory!(),
        services!(),
        floor!(),
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: example, annotations: {pci-dss: \"Req 1.4.3\"}}\n",
        "spec: {podSelector: {matchLabels: {pci-env: cde, tier: app}}, policyTypes: [Ingress],\n",
        "  ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [web]}]}}],\n",
        "    ports: [{protocol: TCP, port: 443}]}]}\n"
    ),
    profile: Column::Facts,
    needs: &["Inventory"],
    wants: &["Zones", "change", "enforced set"],
    check: Check::Set(labels),
};

fn labels(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    unknown_values(item, facts, found);
    disagreement(item, facts, found);
    by_others(item, facts, found);
}

/// Values that endpoints have, per label.
type Values<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn unknown_values(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let mut values = Values::new();
    for (key, value) in facts.set.members.iter().flat_map(|member| &member.labels) {
        values.entry(key).or_default().insert(value);
    }
    let unknown = |selector: &Selector| unknown(facts, &values, selector);
    for policy in &facts.set.policies {
        if let Some(message) = unknown(&policy.selector) {
            found.add(item.about(policy, policy.selector_at, "/spec/podSelector", message));
        }
        for here in Direction::BOTH.into_iter().flat_map(|direction| Here::of(policy, direction)) {
            for (number, peer) in here.rule.peers.iter().enumerate() {
                let Peer::Selected(selected) = peer else { continue };
                if let Some(message) = selected.pods.as_ref().and_then(unknown) {
                    found.add(item.about_rule(&here, selected.at, &format!("/{}/{number}", here.direction.peers()), message));
                }
            }
        }
    }
}

/// The first value that a selector gives a reserved label and no endpoint has.
fn unknown(facts: &Facts<'_>, known: &Values<'_>, selector: &Selector) -> Option<String> {
    selector.terms().iter().find_map(|term| {
        let Term::In(key, values) = term else { return None };
        let reserved = facts.standard.reserved_labels.iter().any(|label| label == key);
        let known = known.get(&**key);
        let missing = values.iter().find(|value| !known.is_some_and(|known| known.contains(&***value)))?;
        reserved.then(|| format!("{selector} asks for {key}={missing}, and no endpoint of the Inventory has it"))
    })
}

fn disagreement(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    if facts.set.zones.is_empty() {
        return;
    }
    for known in &facts.endpoints {
        let (marked, inside) = (facts.standard.marks_cde(&known.member.labels), known.zone.is_some_and(|zone| zone.is(Class::Cde)));
        let (name, zone) = (&known.member.name, ZoneMap::name(known.zone));
        let message = match (marked, inside) {
            (true, false) => format!("{name} has a label of the CDE, and its zone {zone} is not of the CDE"),
            (false, true) => format!("{name} is in {zone}, a zone of the CDE, and has no label of the CDE"),
            (true, true) | (false, false) => continue,
        };
        found.add(item.about_endpoint(known.member, "labels", message));
    }
}

/// Somebody else than the approvers changed the Inventory. Without approvers everybody is one.
fn by_others(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let (Some(change), Some(enforced)) = (&facts.circumstances.change, &facts.circumstances.enforced) else { return };
    // Those in force: a commit does not make its own author an approver.
    let in_force = &enforced.standard.approvers;
    let approvers = if in_force.is_empty() { &facts.standard.approvers } else { in_force };
    if approvers.is_empty() || approvers.contains(&change.author) {
        return;
    }
    let (changed, names) = changed(facts.set, enforced);
    let Some(last) = names.len().checked_sub(1) else { return };
    let mut listed = names.iter().take(NAMED_MAX).map(|name| &**name).collect::<Vec<&str>>().join(", ");
    if last >= NAMED_MAX {
        listed = format!("{listed} and {} more", names.len() - NAMED_MAX);
    }
    let message = format!("{}, who is none of the approvers, changed the Inventory: {listed}", change.author);
    // What is gone has no place; the Inventory's first entry stands for it, else the first policy.
    let first = || facts.set.members.first().map(|member| &member.origin);
    let policy = || facts.set.policies.first().map(|policy| policy.place(policy.at));
    let finding = match changed.first().copied().or_else(first) {
        Some(origin) => item.about_item(origin, "labels", message),
        None => match policy() {
            Some(place) => item.finding(place, message),
            None => return,
        },
    };
    let related = changed.iter().skip(1).take(RELATED_MAX).map(|origin| origin.place.clone()).collect();
    found.add(Finding { related, ..finding });
}

/// Entries that are new or different, and the names of those and of the entries that are gone.
fn changed<'a>(now: &'a PolicySet, before: &'a PolicySet) -> (Vec<&'a Origin>, Vec<Arc<str>>) {
    let members: BTreeMap<&str, &Member> = before.members.iter().map(|member| (&*member.name, member)).collect();
    let namespaces: BTreeMap<&str, &Namespace> = before.namespaces.iter().map(|namespace| (&*namespace.name, namespace)).collect();
    let new_members = now.members.iter().filter(|member| members.get(&*member.name).is_none_or(|old| !same(old, member)));
    let is_new = |namespace: &&Namespace| namespaces.get(&*namespace.name).is_none_or(|old| old.labels != namespace.labels);
    let new_namespaces = now.namespaces.iter().filter(is_new);
    let (origins, mut names): (Vec<_>, Vec<_>) = new_members
        .map(|member| (&member.origin, member.name.clone()))
        .chain(new_namespaces.map(|namespace| (&namespace.origin, namespace.name.clone())))
        .unzip();
    let here: BTreeSet<&str> = now.members.iter().map(|member| &*member.name).collect();
    let spaces: BTreeSet<&str> = now.namespaces.iter().map(|namespace| &*namespace.name).collect();
    names.extend(before.members.iter().map(|member| &member.name).filter(|name| !here.contains(&***name)).cloned());
    names.extend(before.namespaces.iter().map(|space| &space.name).filter(|name| !spaces.contains(&***name)).cloned());
    (origins, names)
}

/// The same entry, wherever it stands.
fn same(old: &Member, new: &Member) -> bool {
    let blank = |member: &Member| {
        let addresses = member.addresses.iter().map(|(cidr, _)| (*cidr, crate::model::Spot::START)).collect();
        Member { origin: new.origin.clone(), addresses, ..member.clone() }
    };
    blank(old) == blank(new)
}
