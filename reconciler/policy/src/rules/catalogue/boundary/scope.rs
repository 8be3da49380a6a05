//! Which zones, prefixes and endpoints are in scope, and as what, now and in the set in force.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::super::facts::{Facts, names};
use super::super::super::found::{Found, with_severity};
use super::super::super::people::Known;
use super::super::Item;
use crate::admit::Circumstances;
use crate::finding::{Basis, Finding, Severity};
use crate::model::zones::{Class, Scope, Zone};
use crate::model::{Kind, Place, PolicySet};
use crate::net::Cidr;

/// Things named in one sentence.
const NAMED_MAX: usize = 8;

pub(super) fn changes(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let Some(enforced) = &facts.circumstances.enforced else { return };
    let then = Circumstances::on(facts.circumstances.today);
    let old = Facts::new(enforced, enforced.standard.profile, &then);
    labels(item, facts, enforced, found);
    // Where one of the two sets does not say, nothing can come or go.
    let both = |kind| facts.has(kind) && old.has(kind);
    let mut gone = Vec::new();
    if both(Kind::Zones) {
        zones(item, facts, &old, found, &mut gone);
    }
    if both(Kind::Inventory) {
        endpoints(item, facts, &old, found, &mut gone);
    }
    if let Some(first) = gone.first() {
        let named = gone.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = gone.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = match gone.len() {
            1 => format!("no longer in scope: {first}"),
            _ => format!("no longer in scope: {named}{rest}"),
        };
        found.add(warning(item.whole_set(facts, "gone", message)));
    }
}

/// Other labels mark another CDE, whatever else stays as it is.
fn labels(item: &Item, facts: &Facts<'_>, enforced: &PolicySet, found: &mut Found) {
    let standard = facts.standard;
    if standard.cde_labels != enforced.standard.cde_labels {
        let message = "the labels that mark the CDE are not those of the set in force: another scope".to_string();
        found.add(warning(match &standard.origin {
            Some(origin) => Finding { code: Some("labels"), ..item.about_item(origin, "cdeLabels", message) },
            None => item.whole_set(facts, "labels", message),
        }));
    }
}

/// A Standard whose labels mark nothing leaves no rule anything to look at.
pub(super) fn unmarked(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let Some(origin) = facts.standard.origin.as_ref().filter(|origin| origin.has("cdeLabels")) else { return };
    let values = || facts.standard.cde_labels.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    let named = facts.set.policies.iter().any(|policy| values().any(|(key, value)| names(&policy.selector, key, value)));
    if !named && !facts.endpoints.iter().any(|known| known.cde) {
        let message = "nothing in this set is marked as CDE: no policy names such a label, and no endpoint has one".to_string();
        let finding = Finding { code: Some("unmarked"), basis: Basis::H, ..item.about_item(origin, "cdeLabels", message) };
        found.add(warning(Finding { remediation: "Write the labels that the CDE has.".into(), ..finding }));
    }
}

fn warning(finding: Finding) -> Finding {
    with_severity(finding, Severity::Warning)
}

fn in_scope(zone: &Zone) -> bool {
    zone.scope != Scope::Out || zone.is(Class::Cde) || zone.is(Class::Connected)
}

fn zones(item: &Item, facts: &Facts<'_>, old: &Facts<'_>, found: &mut Found, gone: &mut Vec<String>) {
    let (then, now) = (prefixes(old), prefixes(facts));
    let names = |facts: &Facts<'_>| facts.set.zones.iter().filter(|zone| in_scope(zone)).map(|z| z.name.to_string()).collect();
    let (then_names, now_names): (Vec<String>, Vec<String>) = (names(old), names(facts));
    for zone in facts.set.zones.iter().filter(|zone| in_scope(zone) && !then_names.contains(&zone.name.to_string())) {
        let message = format!("zone {} comes into scope", zone.name);
        found.add(warning(item.about_item(&zone.origin, "name", message)));
    }
    let before = |zone: &Zone| old.set.zones.iter().find(|then| then.name == zone.name && in_scope(then));
    for (zone, then) in facts.set.zones.iter().filter(|zone| in_scope(zone)).filter_map(|zone| Some((zone, before(zone)?))) {
        if (&then.classes, then.scope) != (&zone.classes, zone.scope) {
            let message = format!("zone {} is {}; in the set in force it is {}", zone.name, part(zone), part(then));
            let field = if then.classes == zone.classes { "pciScope" } else { "classes" };
            found.add(warning(item.about_item(&zone.origin, field, message)));
        }
    }
    for ((prefix, name), place) in now.iter().filter(|(key, _)| !then.contains_key(*key)) {
        let message = format!("{prefix} comes into scope with zone {name}");
        found.add(warning(item.finding(place.clone(), message)));
    }
    gone.extend(then_names.iter().filter(|name| !now_names.contains(name)).map(|name| format!("zone {name}")));
    gone.extend(then.keys().filter(|key| !now.contains_key(*key)).map(|(prefix, name)| format!("{prefix} of zone {name}")));
}

/// What a zone is in scope as: `cde (in)`.
fn part(zone: &Zone) -> String {
    let word = |class: &Class| Class::WORDS.iter().find(|(_, known)| known == class).map_or("", |(word, _)| *word);
    let classes = zone.classes.iter().map(word).collect::<Vec<_>>().join(", ");
    let scope = Scope::WORDS.iter().find(|(_, known)| *known == zone.scope).map_or("", |(word, _)| *word);
    format!("{} (scope: {scope})", if classes.is_empty() { "of no class" } else { &classes })
}

/// Every prefix in scope with its zone, and where it stands.
fn prefixes(facts: &Facts<'_>) -> BTreeMap<(String, String), Place> {
    let zones = facts.set.zones.iter().filter(|zone| in_scope(zone));
    let each = zones.flat_map(|zone| zone.cidrs.iter().map(move |(cidr, at)| (zone, cidr, at)));
    each.map(|(zone, cidr, at)| {
        let place = Place { file: zone.origin.place.file.clone(), spot: *at };
        ((cidr.to_string(), zone.name.to_string()), place)
    })
    .collect()
}

fn endpoints(item: &Item, facts: &Facts<'_>, old: &Facts<'_>, found: &mut Found, gone: &mut Vec<String>) {
    let (then, now) = (members(old), members(facts));
    for (name, known) in &now {
        let (field, message) = match then.get(name).map(|before| changed(before, known)) {
            None => ("name", format!("{name} comes into scope")),
            Some(changes) => match changes.first() {
                None => continue,
                Some((field, _)) => {
                    let words: Vec<&str> = changes.iter().map(|(_, words)| *words).collect();
                    (*field, format!("{name} {}", words.join(", and ")))
                }
            },
        };
        found.add(warning(item.about_endpoint(known.member, field, message)));
    }
    gone.extend(then.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("endpoint {name}")));
}

/// What is another about an endpoint in scope: the field that says so, and in words.
fn changed(then: &Known<'_>, now: &Known<'_>) -> Vec<(&'static str, &'static str)> {
    let cidrs = |known: &Known<'_>| known.member.addresses.iter().map(|(cidr, _)| *cidr).collect::<BTreeSet<Cidr>>();
    let mut changes = Vec::new();
    match (then.cde, now.cde) {
        (true, false) => changes.push(("labels", "leaves the CDE")),
        (false, true) => changes.push(("labels", "comes into the CDE")),
        (true, true) | (false, false) => {}
    }
    match (then.member.stores_chd, now.member.stores_chd) {
        (true, false) => changes.push(("storesChd", "no longer stores account data")),
        (false, true) => changes.push(("storesChd", "now stores account data")),
        (true, true) | (false, false) => {}
    }
    if cidrs(then) != cidrs(now) {
        changes.push(("addresses", "has other addresses"));
    }
    changes
}

/// Every endpoint in scope.
fn members<'f, 'a>(facts: &'f Facts<'a>) -> BTreeMap<&'a str, &'f Known<'a>> {
    let in_scope = |known: &&Known<'_>| known.cde || known.member.stores_chd || known.zone.is_some_and(in_scope);
    facts.endpoints.iter().filter(in_scope).map(|known| (&*known.member.name, known)).collect()
}
