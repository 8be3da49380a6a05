//! Which zones, prefixes and endpoints are in scope, now and in the set in force.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::super::super::facts::Facts;
use super::super::super::found::{Found, with_severity};
use super::super::Item;
use crate::admit::Circumstances;
use crate::finding::{Finding, Severity};
use crate::model::inventory::Member;
use crate::model::zones::{Class, Scope, Zone};
use crate::model::{Kind, Place};

/// Things named in one sentence.
const NAMED_MAX: usize = 8;

pub(super) fn changes(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let Some(enforced) = &facts.circumstances.enforced else { return };
    let then = Circumstances::on(facts.circumstances.today);
    let old = Facts::new(enforced, enforced.standard.profile, &then);
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
    for ((prefix, name), place) in now.iter().filter(|(key, _)| !then.contains_key(*key)) {
        let message = format!("{prefix} comes into scope with zone {name}");
        found.add(warning(item.finding(place.clone(), message)));
    }
    gone.extend(then_names.iter().filter(|name| !now_names.contains(name)).map(|name| format!("zone {name}")));
    gone.extend(then.keys().filter(|key| !now.contains_key(*key)).map(|(prefix, name)| format!("{prefix} of zone {name}")));
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
    for (name, member) in now.iter().filter(|(name, _)| !then.contains_key(*name)) {
        found.add(warning(item.about_endpoint(member, "name", format!("{name} comes into scope"))));
    }
    gone.extend(then.keys().filter(|name| !now.contains_key(*name)).map(|name| format!("endpoint {name}")));
}

/// Every endpoint in scope.
fn members<'a>(facts: &Facts<'a>) -> BTreeMap<&'a str, &'a Member> {
    let known = facts.endpoints.iter().filter(|known| known.cde || known.zone.is_some_and(in_scope));
    known.map(|known| (&*known.member.name, known.member)).collect()
}
