//! One element of a verdict map: addresses, the prefix they belong to, where they lead.

use policy::net::{Cidr, Family, cidr::number};
use serde_json::Value;

use super::super::ranges::{Range, prefix_of, whole_prefixes};

/// The chain that stands for what cannot be understood: an element that somebody has made lead elsewhere.
pub(super) const ELSEWHERE: &str = "";

/// Addresses, their prefix and the name of the chain. None for what is no element of this family at all.
pub(super) fn piece(element: &Value, family: Family) -> Option<(Range, Option<Cidr>, String)> {
    let [key, verdict] = element.as_array()?.as_slice() else { return None };
    let target = verdict.get("goto").and_then(|goto| goto.get("target")).and_then(Value::as_str);
    let target = target.unwrap_or(ELSEWHERE).to_owned();
    let (addresses, comment) = match key.get("elem") {
        Some(inner) => (inner.get("val")?, inner.get("comment").and_then(Value::as_str)),
        None => (key, None),
    };
    let range = range(addresses, family)?;
    let owner = match comment.and_then(|comment| comment.strip_prefix('/')?.parse().ok()) {
        Some(length) => prefix_of(family, range.first, length),
        None => match whole_prefixes(family, range).as_slice() {
            [whole] => Some(*whole),
            _ => None,
        },
    };
    Some((range, owner, target))
}

pub(super) fn range(addresses: &Value, family: Family) -> Option<Range> {
    let address = |value: &Value| {
        let address = value.as_str()?.parse().ok()?;
        (Family::of(address) == family).then(|| number(address))
    };
    if let Some(first) = address(addresses) {
        return Some(Range { first, last: first });
    }
    if let Some(bounds) = addresses.get("range").and_then(Value::as_array) {
        let [first, last] = bounds.as_slice() else { return None };
        return Some(Range { first: address(first)?, last: address(last)? });
    }
    let prefix = addresses.get("prefix")?;
    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
    let (first, last) = prefix_of(family, address(prefix.get("addr")?)?, length)?.bounds();
    Some(Range { first, last })
}
