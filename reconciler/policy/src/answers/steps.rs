//! Which of several grants speaks for a service: the first that holds it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::net::{Service, ServiceRange};

/// Services from `lo` to `hi`, both included, and the grant that speaks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) lo: u32,
    pub(crate) hi: u32,
    /// The grant's number; lower ones stand earlier in the files.
    pub(crate) by: u32,
}

impl Step {
    /// Its services.
    pub(crate) fn services(self) -> Option<ServiceRange> {
        ServiceRange::from_numbers(self.lo, self.hi)
    }
}

/// Sorted, disjoint steps: each service goes by the lowest of the grants that hold it.
pub(super) fn steps(grants: impl Iterator<Item = (ServiceRange, u32)>) -> Vec<Step> {
    let mut edges = Vec::new();
    for (range, by) in grants {
        edges.push((range.lo(), true, by));
        edges.push((range.hi() + 1, false, by));
    }
    edges.sort_unstable();
    let mut open: BTreeMap<u32, u32> = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    let mut from = 0;
    for (at, begins, by) in edges {
        if let Some((&by, _)) = open.first_key_value().filter(|_| from < at) {
            append(&mut steps, Step { lo: from, hi: at - 1, by });
        }
        from = at;
        let count = open.entry(by).or_insert(0);
        if begins {
            *count += 1;
        } else {
            *count -= 1;
            if *count == 0 {
                open.remove(&by);
            }
        }
    }
    steps
}

fn append(steps: &mut Vec<Step>, next: Step) {
    match steps.last_mut() {
        Some(top) if top.hi + 1 == next.lo && top.by == next.by => top.hi = next.hi,
        _ => steps.push(next),
    }
}

/// The grant that speaks for a service.
pub(super) fn who(steps: &[Step], service: Service) -> Option<u32> {
    let number = service.number();
    let step = steps.get(steps.partition_point(|step| step.hi < number))?;
    (step.lo <= number).then_some(step.by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::service::TCP;

    fn range(first: u16, last: u16) -> ServiceRange {
        ServiceRange::ports(TCP, first, last)
    }

    #[test]
    fn the_first_of_several_grants_speaks() {
        let made = steps([(range(5, 20), 1), (range(0, 9), 0), (range(15, 30), 2)].into_iter());
        let of = |port| who(&made, Service::new(TCP, port));
        let expected = [(0, Some(0)), (9, Some(0)), (10, Some(1)), (20, Some(1)), (21, Some(2)), (30, Some(2)), (31, None)];
        for (port, by) in expected {
            assert_eq!(of(port), by, "{port}");
        }
        assert_eq!(made.len(), 3);
    }

    #[test]
    fn a_grant_that_holds_everything_leaves_nothing_to_others() {
        let made = steps([(ServiceRange::ALL, 0), (range(1, 2), 1), (ServiceRange::ALL, 0)].into_iter());
        assert_eq!(made, [Step { lo: 0, hi: crate::net::service::SERVICE_MAX, by: 0 }]);
    }
}
