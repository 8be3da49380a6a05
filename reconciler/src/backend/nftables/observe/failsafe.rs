//! What passes whatever the policies say, read back from its two chains.
//!
//! The list is configuration, but it opens traffic: what is not on the configured list was put there by somebody else.

use std::collections::BTreeSet;

use enforcer::{Direction as Opens, FailsafeEntry};
use policy::net::{Direction, Family, cidr::number};
use serde_json::{Value, json};

use super::super::names::{failsafe, header, peer_key, side};
use super::super::present::{Line, Present};
use super::super::ranges::whole_prefixes;
use super::elements::range;
use crate::converge::{Deviation, Difference};

/// How the two chains differ from the list.
pub(in super::super) fn damage(present: &Present, wanted: &[FailsafeEntry]) -> Vec<Difference> {
    let wanted: BTreeSet<String> = wanted.iter().map(text).collect();
    let (mut missing, mut extra) = (BTreeSet::new(), BTreeSet::new());
    for direction in Direction::BOTH {
        let rules = present.rules(&failsafe(direction)).iter();
        let found: BTreeSet<String> = rules
            .map(|line| {
                entry(line, direction).unwrap_or_else(|| format!("{} {}", side(direction), Value::Array(line.statements.clone())))
            })
            .collect();
        missing.extend(wanted.difference(&found).cloned());
        extra.extend(found.difference(&wanted).cloned());
    }
    let difference = |entry: String, kind, expected: &str, observed: &str| Difference {
        key: format!("failsafe {entry}"),
        kind,
        expected: expected.to_owned(),
        observed: observed.to_owned(),
        ..Difference::default()
    };
    let missing = missing.into_iter().map(|entry| difference(entry, Deviation::Missing, "always passes", ""));
    missing.chain(extra.into_iter().map(|entry| difference(entry, Deviation::Extra, "", "always passes"))).collect()
}

fn text(entry: &FailsafeEntry) -> String {
    format!("{} protocol {} port {} {}", entry.direction.label(), entry.proto, entry.port, entry.peer)
}

/// The entry that a rule is one side of.
fn entry(line: &Line, direction: Direction) -> Option<String> {
    let (peer, rest) = line.statements.split_first()?;
    let (service, rest) = rest.split_first()?;
    let service = service.get("match").filter(|service| service.get("op") == Some(&json!("==")))?;
    let payload = service.get("left")?.get("payload")?;
    let proto = match payload.get("protocol")?.as_str()? {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        _ => return None,
    };
    let arrives = if direction == Direction::Ingress { Opens::In } else { Opens::Out };
    let leaves = if direction == Direction::Ingress { Opens::Out } else { Opens::In };
    let (opens, guarded) = match payload.get("field")?.as_str()? {
        "dport" => (arrives, false),
        "sport" => (leaves, proto == 6),
        _ => return None,
    };
    let port = service.get("right")?.as_u64()?;
    let guard =
        json!({"match": {"op": "!=", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, [2, 16]]}, "right": 2}});
    let rest = match rest.split_first() {
        Some((first, rest)) if guarded && is_guard(first, &guard) => rest,
        _ if guarded => return None,
        _ => rest,
    };
    let counter = json!({"counter": format!("{}_pass_failsafe", side(direction))});
    let ends = *rest == [counter, json!({"accept": null})];
    ends.then(|| format!("{} protocol {proto} port {port} {}", opens.label(), prefix(peer, direction).unwrap_or_default()))
}

/// nft has two ways to show two flags.
fn is_guard(statement: &Value, guard: &Value) -> bool {
    let other = json!({"match": {"op": "!=", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": [2, 16]}]}, "right": 2}});
    statement == guard || *statement == other
}

fn prefix(peer: &Value, direction: Direction) -> Option<String> {
    let peer = peer.get("match").filter(|peer| peer.get("op") == Some(&json!("==")))?;
    let payload = peer.get("left")?.get("payload")?;
    let family =
        Family::BOTH.into_iter().find(|family| *payload == json!({"protocol": header(*family), "field": peer_key(direction)}))?;
    let range = range(peer.get("right")?, family)?;
    match whole_prefixes(family, range).as_slice() {
        [whole] if number(whole.first()) == range.first => Some(whole.to_string()),
        _ => None,
    }
}
