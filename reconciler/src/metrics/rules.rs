//! How often the rules in force are used, whichever firewall counts.

use std::collections::BTreeMap;

use super::{Family, Kind};
use crate::usage::{Usage, rule_text};

/// Families of `rules`; `flows` is what the kernel counts now, by number, `name` how the backend calls it.
#[must_use]
pub fn families(name: &'static str, flows: &BTreeMap<u32, u64>, rules: &[Usage]) -> Vec<Family> {
    let mut all = Family::new(Kind::Counter, name, "Flows that a rule in force has let in, added up over restarts and reboots");
    let mut hit = Family::new(
        Kind::Gauge,
        "pci_segment_rule_last_hit_timestamp_seconds",
        "When a rule in force was last seen to have let a flow in, in seconds since 1970; absent for one that never has",
    );
    let mut since = Family::new(
        Kind::Gauge,
        "pci_segment_rule_in_force_timestamp_seconds",
        "Since when a rule has been in force without a break, in seconds since 1970",
    );
    for usage in rules {
        let rule = rule_text(&usage.name);
        let labels = [("policy", usage.name.policy.as_str()), ("rule", rule.as_str())];
        let raw = flows.get(&usage.number).copied().unwrap_or(0);
        // What was counted since the sums were written; a counter that went back began anew.
        all.push(&labels, usage.flows.saturating_add(raw.checked_sub(usage.raw).unwrap_or(raw)));
        since.push(&labels, usage.since.as_duration().as_secs_f64());
        if let Some(at) = usage.last_hit {
            hit.push(&labels, at.as_duration().as_secs_f64());
        }
    }
    vec![all, hit, since]
}
