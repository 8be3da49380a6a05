//! A table as text: what is put back after a reboot, when there may be neither a network nor a repository.
//!
//! Whoever reads it back compares its hash with the one on record, so a damaged or edited text is never enforced.

use std::sync::Arc;

use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};
use serde::{Deserialize, Serialize};

/// `(lo, hi, rule, audit)`.
type StoredInterval = (u32, u32, u32, bool);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Isolation { egress: bool, audit: bool },
    Any { egress: bool, v6: bool, services: Vec<StoredInterval> },
    Prefix { egress: bool, prefix: String, services: Vec<StoredInterval> },
}

pub(super) fn keep(table: &Table) -> String {
    let entries: Vec<Entry> = table.iter().filter_map(|(key, rule)| entry(*key, rule)).collect();
    serde_json::to_string(&entries).unwrap_or_default()
}

pub(super) fn recall(text: &str) -> Option<Table> {
    let entries: Vec<Entry> = serde_json::from_str(text).ok()?;
    entries.into_iter().map(pair).collect()
}

fn entry(key: Key, rule: &Rule) -> Option<Entry> {
    let egress = |direction: Direction| direction == Direction::Egress;
    let services = |list: &Arc<[Interval]>| list.iter().map(|i| (i.lo, i.hi, i.rule, i.audit)).collect();
    match (key, rule) {
        (Key::Isolation { direction }, Rule::Isolation(mode)) => {
            Some(Entry::Isolation { egress: egress(direction), audit: *mode == Mode::Audit })
        }
        (Key::Any { direction, family }, Rule::Services(list)) => {
            Some(Entry::Any { egress: egress(direction), v6: family == Family::V6, services: services(list) })
        }
        (Key::Prefix { direction, prefix }, Rule::Services(list)) => {
            Some(Entry::Prefix { egress: egress(direction), prefix: prefix.to_string(), services: services(list) })
        }
        (Key::Isolation { .. }, Rule::Services(_)) | (Key::Any { .. } | Key::Prefix { .. }, Rule::Isolation(_)) => None,
    }
}

fn pair(entry: Entry) -> Option<(Key, Rule)> {
    let direction = |egress| if egress { Direction::Egress } else { Direction::Ingress };
    let services = |list: Vec<StoredInterval>| {
        Rule::Services(list.into_iter().map(|(lo, hi, rule, audit)| Interval { lo, hi, rule, audit }).collect())
    };
    Some(match entry {
        Entry::Isolation { egress, audit } => {
            (Key::Isolation { direction: direction(egress) }, Rule::Isolation(if audit { Mode::Audit } else { Mode::Enforce }))
        }
        Entry::Any { egress, v6, services: list } => {
            (Key::Any { direction: direction(egress), family: if v6 { Family::V6 } else { Family::V4 } }, services(list))
        }
        Entry::Prefix { egress, prefix, services: list } => {
            (Key::Prefix { direction: direction(egress), prefix: Cidr::parse(&prefix).ok()? }, services(list))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_being_kept() {
        let list: Arc<[Interval]> = Arc::from([Interval { lo: 0x06_0016, hi: 0x06_0016, rule: 3, audit: false }]);
        let table: Table = [
            (Key::Isolation { direction: Direction::Ingress }, Rule::Isolation(Mode::Enforce)),
            (Key::Isolation { direction: Direction::Egress }, Rule::Isolation(Mode::Audit)),
            (Key::Any { direction: Direction::Ingress, family: Family::V6 }, Rule::Services(Arc::clone(&list))),
            (Key::Prefix { direction: Direction::Egress, prefix: Cidr::parse("fd00:1::/64").unwrap() }, Rule::Services(list)),
            (
                Key::Prefix { direction: Direction::Ingress, prefix: Cidr::parse("10.0.0.0/8").unwrap() },
                Rule::Services(Arc::from([])),
            ),
        ]
        .into_iter()
        .collect();
        assert_eq!(recall(&keep(&table)), Some(table));
        assert_eq!(recall("[{\"prefix\":{\"egress\":true,\"prefix\":\"x\",\"services\":[]}}]"), None);
        assert_eq!(recall("not json"), None);
    }
}
