//! `severities`: any rule may be raised; only a house rule may be lowered, and never below a warning.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use super::super::cursor::Cursor;
use super::super::limits::ITEMS;
use super::super::problem::Code;
use super::super::tree::Node;
use super::super::waiver::rule_id;
use crate::finding::{Basis, Severity};
use crate::rules::Item;

const WORDS: [(&str, Severity); 3] = [("error", Severity::Error), ("warning", Severity::Warning), ("info", Severity::Info)];

pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<BTreeMap<String, Severity>> {
    let entries = cursor.map(node)?;
    cursor.within(node.at, entries.len(), ITEMS);
    let mut severities = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.is_refused()).take(ITEMS.1) {
        let read = cursor.entry(entry, |cursor, node| {
            let item = rule_id(cursor, entry.at, &entry.key);
            let severity = cursor.word(node, Code::BadValue, &WORDS);
            let (item, severity) = (item?, severity?);
            if let Err(why) = may_become(item, severity) {
                cursor.problem(Code::BadValue, node.at, format!("{} {why}", item.id));
                return None;
            }
            Some((item.id.to_string(), severity))
        });
        severities.extend(read.read());
    }
    Some(severities)
}

fn may_become(item: &Item, severity: Severity) -> Result<(), &'static str> {
    // The worst severity is the least.
    if severity <= item.severity {
        return Ok(());
    }
    match (item.waivable, item.basis, severity) {
        (false, ..) => Err("is always an error"),
        (true, Basis::D | Basis::G, _) => Err("is not a house rule and may only be raised"),
        (true, Basis::H, Severity::Info) => Err("may be lowered to a warning and no further"),
        (true, Basis::H, Severity::Warning | Severity::Error) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Basis::{D, G, H};
    use Severity::{Error, Info, Warning};

    #[test]
    fn severities_are_raised_freely_and_lowered_only_where_a_house_rule_allows() {
        let mut item = *crate::rules::catalogue().next().unwrap();
        for (basis, waivable, from, to, good) in [
            (D, true, Error, Error, true),
            (D, true, Error, Warning, false),
            (G, true, Warning, Error, true),
            (G, true, Warning, Info, false),
            (H, true, Error, Warning, true),
            (H, true, Error, Info, false),
            (H, true, Warning, Info, false),
            (H, true, Info, Info, true),
            (H, true, Info, Warning, true),
            (H, false, Error, Error, true),
            (H, false, Error, Warning, false),
        ] {
            (item.basis, item.waivable, item.severity) = (basis, waivable, from);
            assert_eq!(may_become(&item, to).is_ok(), good, "{basis:?} {waivable} {from:?} {to:?}");
        }
    }
}
