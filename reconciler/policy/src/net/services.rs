//! Sets of services, as sorted, merged ranges.

use alloc::vec::Vec;

use super::service::{Service, ServiceRange};

/// A set of services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSet {
    ranges: Vec<ServiceRange>,
}

impl ServiceSet {
    /// The union of some ranges.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = ServiceRange>) -> Self {
        let mut ranges: Vec<ServiceRange> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<ServiceRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(top) if range.lo() <= top.hi() + 1 => *top = top.through(range),
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }

    /// The ranges, sorted and apart from one another.
    #[must_use]
    pub fn ranges(&self) -> &[ServiceRange] {
        &self.ranges
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether this service is in it.
    #[must_use]
    pub fn contains(&self, service: Service) -> bool {
        self.ranges.iter().any(|range| range.contains(service))
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut ours, mut theirs) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (ours.peek(), theirs.peek()) {
            ranges.extend(ServiceRange::from_numbers(a.lo().max(b.lo()), a.hi().min(b.hi())));
            if a.hi() < b.hi() {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self { ranges }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for range in &self.ranges {
            let mut from = Some(range.lo());
            for taken in other.ranges.iter().filter(|taken| taken.meets(*range)) {
                let before = from.and_then(|from| Some((from, taken.lo().checked_sub(1)?)));
                ranges.extend(before.and_then(|(from, to)| ServiceRange::from_numbers(from, to)));
                from = taken.hi().checked_add(1);
            }
            ranges.extend(from.and_then(|from| ServiceRange::from_numbers(from, range.hi())));
        }
        Self { ranges }
    }

    /// Whether every service of a range is in it.
    #[must_use]
    pub fn covers(&self, range: ServiceRange) -> bool {
        self.ranges.iter().any(|own| own.covers(range))
    }

    /// The lowest service that a range shares with it.
    #[must_use]
    pub fn first_in(&self, range: ServiceRange) -> Option<Service> {
        let meeting = self.ranges.iter().find(|own| own.meets(range))?;
        Service::from_number(meeting.lo().max(range.lo()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::service::{TCP, UDP};

    fn tcp(first: u16, last: u16) -> ServiceRange {
        ServiceRange::ports(TCP, first, last)
    }

    #[test]
    fn what_is_taken_out_is_out_and_nothing_else() {
        let set = ServiceSet::of([tcp(20, 30), tcp(31, 40), ServiceRange::protocol(UDP)]);
        assert_eq!(set.ranges().len(), 2);
        let left = set.minus(&ServiceSet::of([tcp(22, 22), tcp(40, 50), tcp(1, 19)]));
        assert_eq!(left.ranges(), [tcp(20, 21), tcp(23, 39), ServiceRange::protocol(UDP)]);
        assert!(set.minus(&set).is_empty());
        assert_eq!(set.minus(&ServiceSet::default()), set);
        assert!(ServiceSet::of([ServiceRange::ALL]).minus(&ServiceSet::of([ServiceRange::ALL])).is_empty());
    }

    #[test]
    fn what_is_shared_is_found() {
        let set = ServiceSet::of([tcp(20, 30), tcp(80, 80)]);
        assert_eq!(set.intersection(&ServiceSet::of([tcp(25, 90)])).ranges(), [tcp(25, 30), tcp(80, 80)]);
        assert_eq!(set.first_in(tcp(31, 443)).unwrap().port(), 80);
        assert!(set.first_in(tcp(81, 443)).is_none() && set.covers(tcp(21, 22)) && !set.covers(tcp(30, 31)));
    }
}
