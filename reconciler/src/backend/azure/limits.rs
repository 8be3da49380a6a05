//! Whether old and new fit at the same time, and whether what is there is ours to change: said before the first call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::lower::Unsupported;
use policy::lower::network_security_group::{self as nsg, BACKEND, PREFIXES_PER_GROUP, RULES_PER_GROUP};
use policy::net::Direction;

use super::models::Group;
use super::observe::{Look, Manner, way};
use super::provider::Network;
use super::survey::Survey;
use super::words::{DENY, Key, PROBES, Rule};
use crate::backend::cloud::MARK;
use crate::converge::Provider as _;

type Rules = BTreeMap<Key, Rule>;

pub(super) fn problems(manner: &Manner<'_>, look: &Look, survey: &Survey, observed: &Rules, desired: &Rules) -> Vec<Unsupported> {
    let mut found: Vec<String> = desired.keys().filter_map(|key| not_ours(look, survey, key)).collect();
    let widest = widest(observed, desired);
    found.extend(beyond(manner, look, &widest));
    found.extend(look.ours.values().filter_map(|group| held_number(manner, group, desired)));
    let unsupported = |message| Unsupported { backend: BACKEND, policy: None, rule: None, place: None, message };
    let mut all: Vec<Unsupported> = found.into_iter().map(unsupported).collect();
    let groups: Vec<&Group> = look.ours.values().collect();
    let (own, taken) = manner.numbers(&groups);
    let wanted = desired.keys().filter_map(|key| match key {
        Key::Lowered(key) => Some(key),
        Key::Probes { .. } | Key::Stray { .. } => None,
    });
    all.extend(own.assign(wanted, &taken).err().into_iter().flatten());
    all
}

/// Old and new together.
fn widest(observed: &Rules, desired: &Rules) -> Rules {
    let mut widest = observed.clone();
    for (key, rule) in desired {
        let wide = observed.get(key).map_or_else(|| rule.clone(), |old| Network::widened(old, rule));
        widest.insert(key.clone(), wide);
    }
    widest
}

/// What carries somebody else's mark, or somebody else's group.
fn not_ours(look: &Look, survey: &Survey, key: &Key) -> Option<String> {
    match key {
        Key::Lowered(nsg::Key::Group { group }) => {
            let (id, mark) = look.strangers.get(&group.to_ascii_lowercase())?;
            let whose = mark.as_ref().map_or_else(|| "no mark".to_owned(), |mark| format!("the mark of installation {mark}"));
            Some(format!(
                "network security group {group} ({id}) has a name of ours but {whose}; delete or rename it, or put its tag {MARK} back"
            ))
        }
        Key::Lowered(nsg::Key::Member { id, .. }) => {
            let held = survey.places.get(&**id)?.group()?;
            let name = held.rsplit('/').next().unwrap_or(held);
            let ours = look.ours.values().any(|group| group.id.eq_ignore_ascii_case(held));
            (!ours).then(|| format!("{id} already has network security group {name}, which is not ours; detach it first"))
        }
        Key::Lowered(_) | Key::Probes { .. } | Key::Stray { .. } => None,
    }
}

/// Groups that would hold too much, with the numbers.
fn beyond(manner: &Manner<'_>, look: &Look, widest: &Rules) -> Vec<String> {
    let mut counts: BTreeMap<&Arc<str>, (usize, [usize; 2])> = BTreeMap::new();
    for (key, rule) in widest {
        let (rules, prefixes) = counts.entry(key.group()).or_default();
        *rules += usize::from(key.rule_name().is_some());
        if let (Key::Lowered(nsg::Key::Allow { direction, .. }), [inward, outward]) = (key, prefixes) {
            *if *direction == Direction::Ingress { inward } else { outward } += rule.prefixes.len();
        }
    }
    for (name, group) in &look.ours {
        for seen in group.properties.security_rules.iter().filter(|seen| manner.is_foreign(seen)) {
            let (rules, [inward, outward]) = counts.entry(name).or_default();
            *rules += 1;
            let sides = if seen.properties.inbound() { seen.properties.sources() } else { seen.properties.destinations() };
            *if way(seen) == Direction::Ingress { inward } else { outward } += sides.len();
        }
    }
    let mut found = Vec::new();
    for (group, (rules, [inward, outward])) in counts {
        if rules > RULES_PER_GROUP {
            found.push(format!(
                "network security group {group} allows {RULES_PER_GROUP} rules, the change needs {rules} at its widest"
            ));
        }
        let most = inward.max(outward);
        if most > PREFIXES_PER_GROUP {
            found.push(format!(
                "network security group {group} allows {PREFIXES_PER_GROUP} address prefixes, the change needs {most} at its widest"
            ));
        }
    }
    found
}

/// A rule of others with a number that only ours may have.
fn held_number(manner: &Manner<'_>, group: &Group, desired: &Rules) -> Option<String> {
    let name: Arc<str> = group.name.as_str().into();
    let wanted: BTreeSet<String> = desired.keys().filter(|key| *key.group() == name).filter_map(Key::rule_name).collect();
    if wanted.is_empty() || manner.mode == crate::config::AzureTargetMode::Exclusive {
        return None;
    }
    let holds = |number: u16| [DENY, PROBES].contains(&number);
    let held = |seen: &&super::models::Rule| holds(seen.properties.priority) && Key::of_name(&name, &seen.name).is_none();
    let seen = group.properties.security_rules.iter().find(held)?;
    Some(format!(
        "rule {} of network security group {name} holds priority {}, which is ours; move it",
        seen.name, seen.properties.priority
    ))
}
