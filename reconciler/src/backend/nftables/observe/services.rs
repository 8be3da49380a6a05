//! The services that a chain opens, from its verdict maps.

use policy::lower::bpf::Interval;
use policy::net::service::{ICMP, ICMPV6, SERVICE_MAX};
use serde_json::{Value, json};

use super::super::present::{Line, Present};
use super::super::script::has_ports;
use super::elements::ELSEWHERE;

/// Whether a chain, named without its generation, is one of those read here.
pub(super) fn speaks(rest: &str) -> bool {
    let numbered = |start: &str| {
        let digits = rest.strip_prefix(start).map(|rest| rest.split("_p").next().unwrap_or_default());
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    rest == "_covered" || ["_s", "_any", "_late"].into_iter().any(numbered)
}

/// What is open under a chain, in parts. `generation` is what audited targets begin with. What cannot be understood counts as
/// everything, under no rule, so that it never equals what should be there.
pub(super) fn read(present: &Present, chain: &str, generation: &str) -> Vec<Interval> {
    if chain == ELSEWHERE || !present.chains.contains_key(chain) {
        return unknown();
    }
    let rules = present.rules(chain);
    match rules {
        [] => Vec::new(),
        [only] => protocols(present, only, chain, generation).unwrap_or_else(unknown),
        _ => unknown(),
    }
}

fn unknown() -> Vec<Interval> {
    vec![Interval { lo: 0, hi: SERVICE_MAX, rule: 0, audit: false }]
}

/// Sorted; touching parts of one rule as one interval, as rules are written.
pub(super) fn merge(mut parts: Vec<Interval>) -> Vec<Interval> {
    parts.sort_unstable();
    let mut out: Vec<Interval> = Vec::with_capacity(parts.len());
    for part in parts {
        match out.last_mut() {
            Some(top) if top.hi.checked_add(1) == Some(part.lo) && (top.rule, top.audit) == (part.rule, part.audit) => {
                top.hi = part.hi;
            }
            _ => out.push(part),
        }
    }
    out
}

fn protocols(present: &Present, rule: &Line, chain: &str, generation: &str) -> Option<Vec<Interval>> {
    let elements = vmap(rule, |key| *key == json!({"meta": {"key": "l4proto"}}))?;
    let mut out = Vec::new();
    for (first, last, target) in elements {
        let own = format!("{chain}_p{first}");
        if first == last && target == own {
            let protocol = u8::try_from(first).ok()?;
            out.extend(ports(present.rules(&own), protocol, generation)?);
        } else {
            let (rule, audit) = outcome(present, &target, generation)?;
            out.push(Interval { lo: first << 16, hi: last << 16 | 0xFFFF, rule, audit });
        }
    }
    Some(out)
}

fn ports(rules: &[Line], protocol: u8, generation: &str) -> Option<Vec<Interval>> {
    let (map, elsewhere) = match rules {
        [map] if !matches!(protocol, ICMP | ICMPV6) && has_ports(protocol) => (map, None),
        [elsewhere, map] if matches!(protocol, ICMP | ICMPV6) => (map, Some(elsewhere)),
        _ => return None,
    };
    let field = if elsewhere.is_some() { "sport" } else { "dport" };
    let offset = if elsewhere.is_some() { 0 } else { 16 };
    let is_key = |key: &Value| {
        *key == json!({"payload": {"protocol": "th", "field": field}})
            || *key == json!({"payload": {"base": "th", "offset": offset, "len": 16}})
    };
    let elements = vmap(map, is_key)?;
    let base = u32::from(protocol) << 16;
    let interval = |(first, last, target): &(u32, u32, String)| {
        let (rule, audit) = named(target, generation)?;
        Some(Interval { lo: base | first, hi: base | last, rule, audit })
    };
    let out = elements.iter().map(interval).collect::<Option<Vec<_>>>()?;
    let first = elements.first().filter(|(first, ..)| *first == 0).map(|(_, _, target)| target.as_str());
    if let Some(elsewhere) = elsewhere {
        let family = if protocol == ICMP { 2 } else { 10 };
        let expected = [
            json!({"match": {"op": "!=", "left": {"meta": {"key": "nfproto"}}, "right": family}}),
            first.map_or_else(|| json!({"return": null}), |target| json!({"goto": {"target": target}})),
        ];
        if elsewhere.statements != expected {
            return None;
        }
    }
    Some(out)
}

/// The elements of a rule that is one verdict map and nothing else, sorted.
fn vmap(rule: &Line, is_key: impl Fn(&Value) -> bool) -> Option<Vec<(u32, u32, String)>> {
    let [only] = rule.statements.as_slice() else { return None };
    let map = only.get("vmap").filter(|map| map.get("key").is_some_and(is_key))?;
    let element = |element: &Value| {
        let [key, verdict] = element.as_array()?.as_slice() else { return None };
        let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let (first, last) = match key.get("range").and_then(Value::as_array).map(Vec::as_slice) {
            Some([first, last]) => (number(first)?, number(last)?),
            Some(_) => return None,
            None => (number(key)?, number(key)?),
        };
        Some((first, last, verdict.get("goto")?.get("target")?.as_str()?.to_owned()))
    };
    let mut elements = map.get("data")?.get("set")?.as_array()?.iter().map(element).collect::<Option<Vec<_>>>()?;
    elements.sort();
    Some(elements)
}

/// The rule that a target stands for, if the chain of that name does what it should.
fn outcome(present: &Present, target: &str, generation: &str) -> Option<(u32, bool)> {
    let (id, audit) = named(target, generation)?;
    let accepts = |rules: &[Line]| matches!(rules, [_, last] if last.statements == [json!({"accept": null})]);
    // Audited targets belong to the generation, whose seal speaks for them.
    (audit || accepts(present.rules(target))).then_some((id, audit))
}

fn named(target: &str, generation: &str) -> Option<(u32, bool)> {
    let number = |text: &str| text.parse().ok();
    if let Some(id) = target.strip_prefix("rule_").and_then(number) {
        return Some((id, false));
    }
    let own = target.strip_prefix(generation)?;
    own.strip_prefix("_a").or_else(|| own.strip_prefix("_w")).and_then(number).map(|id| (id, true))
}
