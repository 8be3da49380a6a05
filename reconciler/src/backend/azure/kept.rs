//! A table as text, to be kept over restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::lower::network_security_group as nsg;
use policy::net::Cidr;
use serde::{Deserialize, Serialize};

use super::words::{Key, Rule};

#[derive(Serialize, Deserialize)]
struct Entry {
    group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
}

pub(super) fn keep(rules: &BTreeMap<Key, Rule>) -> String {
    let entries: Vec<Entry> = rules.iter().map(entry).collect();
    serde_json::to_string(&entries).unwrap_or_default()
}

pub(super) fn recall(text: &str) -> Option<BTreeMap<Key, Rule>> {
    let entries: Vec<Entry> = serde_json::from_str(text).ok()?;
    entries.into_iter().map(pair).collect()
}

fn entry((key, rule): (&Key, &Rule)) -> Entry {
    let member = match key {
        Key::Lowered(nsg::Key::Member { id, .. }) => Some(id.to_string()),
        Key::Lowered(_) | Key::Probes { .. } | Key::Stray { .. } => None,
    };
    let prefixes = rule.prefixes.iter().map(ToString::to_string).collect();
    Entry { group: key.group().to_string(), rule: key.rule_name(), member, prefixes, other: rule.other.clone() }
}

fn pair(entry: Entry) -> Option<(Key, Rule)> {
    let group: Arc<str> = entry.group.into();
    let key = match (entry.rule, entry.member) {
        (None, None) => Key::Lowered(nsg::Key::Group { group }),
        (None, Some(id)) => Key::Lowered(nsg::Key::Member { group, id: id.into() }),
        (Some(name), None) => Key::of_name(&group, &name).unwrap_or_else(|| Key::Stray { group, name: name.into() }),
        (Some(_), Some(_)) => return None,
    };
    let prefixes = entry.prefixes.iter().map(|text| Cidr::parse(text).ok()).collect::<Option<_>>()?;
    Some((key, Rule { prefixes, other: entry.other }))
}
