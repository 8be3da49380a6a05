//! `pci-segment usage`: which rules in force are used, for the review that PCI DSS v4.0.1 1.2.7 asks for every six months.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::output::{Output, Tone};
use super::records::{open, when};
use super::{Exit, Format, UsageArgs};
use crate::store::RuleUsage;

/// A span of time, written `90d` or `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(SignedDuration);

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let age = days.map(|days| SignedDuration::from_hours(i64::from(days) * 24)).or_else(|| text.parse().ok());
        age.filter(|age| !age.is_negative())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a span of time; write for example 90d"))
    }
}

/// One rule as `--format json` shows it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    target: &'a str,
    policy: &'a str,
    rule: String,
    flows: u64,
    /// When it was last seen to have let a flow in; null for never.
    last_hit: Option<Timestamp>,
    /// Since when it has been in force without a break.
    in_force_since: Timestamp,
    unused_since: Timestamp,
}

/// Lists the rules in force, the longest unused first.
///
/// # Errors
/// The records cannot be read.
pub fn usage(args: &UsageArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let kept = runtime.block_on(store.rule_usage())?;
    let rows = rows(&kept, args.unused_for, Timestamp::now());
    if args.records.format == Format::Json {
        out.json(&rows);
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        let text = if kept.is_empty() { "no rule has been counted yet" } else { "every rule in force is used" };
        out.line(text);
        return Ok(Exit::Done);
    }
    let cells = |row: &Row<'_>| {
        let rule = if row.rule.is_empty() { "(all rules)".to_owned() } else { row.rule.clone() };
        let last = row.last_hit.map_or_else(|| format!("never since {}", day(row.in_force_since)), when);
        vec![row.policy.to_owned(), rule, row.flows.to_string(), last, row.target.to_owned()]
    };
    out.table(&["policy", "rule", "flows", "last used", "target"], rows.iter().map(cells).collect());
    if args.unused_for.is_some() {
        out.note(out.paint(Tone::Dim, "a rule without use is a candidate for removal; ask its owner first"));
    }
    Ok(Exit::Done)
}

fn rows<'a>(kept: &'a [RuleUsage], unused_for: Option<Age>, now: Timestamp) -> Vec<Row<'a>> {
    let in_force = kept.iter().filter(|row| row.usage.gone.is_none());
    let mut rows: Vec<Row<'a>> = in_force
        .map(|RuleUsage { target, usage, .. }| Row {
            target,
            policy: &usage.name.policy,
            rule: usage.rule(),
            flows: usage.flows,
            last_hit: usage.last_hit,
            in_force_since: usage.since,
            unused_since: usage.unused_since(),
        })
        .filter(|row| unused_for.is_none_or(|Age(age)| now.duration_since(row.unused_since) >= age))
        .collect();
    rows.sort_by(|a, b| (a.unused_since, a.policy, &a.rule).cmp(&(b.unused_since, b.policy, &b.rule)));
    rows
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use policy::lower::bpf::ids::RuleName;
    use policy::net::Direction;

    use super::*;
    use crate::usage::Usage;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + day * 86_400).unwrap()
    }

    fn kept(rule: &str, since: i64, last_hit: Option<i64>, gone: Option<i64>) -> RuleUsage {
        let name = RuleName { policy: "db".to_owned(), direction: Some(Direction::Ingress), rule: rule.to_owned() };
        let (last_hit, gone) = (last_hit.map(at), gone.map(at));
        let usage = Usage { name, since: at(since), last_hit, flows: u64::from(last_hit.is_some()), gone, number: 1, raw: 1 };
        RuleUsage { target: "host/eth0".to_owned(), usage, world: "w".to_owned() }
    }

    fn shown(kept: &[RuleUsage], unused_for: Option<&str>) -> Vec<String> {
        let age = unused_for.map(|text| text.parse().unwrap());
        rows(kept, age, at(100)).into_iter().map(|row| row.rule).collect()
    }

    #[test]
    fn the_longest_unused_rule_comes_first_and_rules_that_have_gone_are_left_out() {
        let kept = [
            kept("used-today", 0, Some(100), None),
            kept("never", 1, None, None),
            kept("gone", 0, None, Some(50)),
            kept("new", 99, None, None),
            kept("long-ago", 0, Some(9), None),
        ];
        assert_eq!(shown(&kept, None), ["ingress/never", "ingress/long-ago", "ingress/new", "ingress/used-today"]);
        assert_eq!(shown(&kept, Some("90d")), ["ingress/never", "ingress/long-ago"]);
        assert_eq!(shown(&kept, Some("92d")), ["ingress/never"]);
        // A rule that came back is judged from then on.
        assert_eq!(shown(&[super::tests::kept("back", 99, Some(3), None)], Some("90d")), [""; 0]);
    }

    #[test]
    fn an_age_is_in_days_or_shorter() {
        assert_eq!("90d".parse(), Ok(Age(SignedDuration::from_hours(90 * 24))));
        assert_eq!("36h".parse(), Ok(Age(SignedDuration::from_hours(36))));
        assert!("soon".parse::<Age>().unwrap_err().contains("90d"));
    }
}
