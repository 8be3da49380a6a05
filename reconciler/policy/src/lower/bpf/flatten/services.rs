//! Intervals of services: sorted, disjoint, each naming one rule.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Interval;

/// Services that one rule grants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) lo: u32,
    pub(super) hi: u32,
    pub(super) audit: bool,
    pub(super) rule: u32,
}

/// Where several rules cover a service, enforce beats audit, then the lowest number is named.
pub(super) fn normalise(grants: impl Iterator<Item = Grant>) -> Vec<Interval> {
    let mut edges = Vec::new();
    for grant in grants {
        edges.push((grant.lo, true, grant.audit, grant.rule));
        edges.push((grant.hi + 1, false, grant.audit, grant.rule));
    }
    edges.sort_unstable();
    let mut open: BTreeMap<(bool, u32), u32> = BTreeMap::new();
    let mut intervals: Vec<Interval> = Vec::new();
    let mut from = 0;
    for (at, begins, audit, rule) in edges {
        if let Some((&(audit, rule), _)) = open.first_key_value().filter(|_| from < at) {
            append(&mut intervals, Interval { lo: from, hi: at - 1, rule, audit });
        }
        from = at;
        let count = open.entry((audit, rule)).or_insert(0);
        if begins {
            *count += 1;
        } else {
            *count -= 1;
            if *count == 0 {
                open.remove(&(audit, rule));
            }
        }
    }
    intervals
}

fn append(intervals: &mut Vec<Interval>, next: Interval) {
    match intervals.last_mut() {
        Some(top) if top.hi + 1 == next.lo && (top.rule, top.audit) == (next.rule, next.audit) => {
            top.hi = next.hi;
        }
        _ => intervals.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(lo: u32, hi: u32, audit: bool, rule: u32) -> Grant {
        Grant { lo, hi, audit, rule }
    }

    #[test]
    fn enforce_beats_audit_and_then_the_lowest_number() {
        let found = normalise([grant(0, 9, true, 1), grant(5, 20, false, 3), grant(8, 30, false, 2)].into_iter());
        let expected = [(0, 4, 1, true), (5, 7, 3, false), (8, 30, 2, false)];
        assert_eq!(found, expected.map(|(lo, hi, rule, audit)| Interval { lo, hi, rule, audit }));
    }

    #[test]
    fn touching_intervals_of_one_rule_become_one() {
        let found = normalise([grant(0, 9, false, 1), grant(10, 20, false, 1), grant(5, 12, false, 1)].into_iter());
        assert_eq!(found, [Interval { lo: 0, hi: 20, rule: 1, audit: false }]);
    }
}
