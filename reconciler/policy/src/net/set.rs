//! Sets of addresses of one family, as sorted, merged `(first, last)` pairs.
//!
//! Sizes are compared as "how many beyond the first", because the size of all IPv6 does not fit into 128 bits.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::cidr::{Cidr, Family};

/// A set of addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSet {
    family: Family,
    spans: Vec<(u128, u128)>,
}

impl AddressSet {
    /// The empty set.
    #[must_use]
    pub fn empty(family: Family) -> Self {
        Self { family, spans: Vec::new() }
    }

    /// Every address of the family.
    #[must_use]
    pub fn all(family: Family) -> Self {
        Self { family, spans: alloc::vec![(0, family.last())] }
    }

    /// The union of prefixes; those of the other family are left out.
    #[must_use]
    pub fn of(family: Family, cidrs: impl IntoIterator<Item = Cidr>) -> Self {
        Self::merged(family, cidrs.into_iter().filter(|c| c.family() == family).map(Cidr::bounds).collect())
    }

    /// The union of several sets of this family.
    #[must_use]
    pub fn union<'a>(family: Family, sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let same = sets.into_iter().filter(|s| s.family == family);
        Self::merged(family, same.flat_map(|s| s.spans.iter().copied()).collect())
    }

    /// From first and last addresses, in any order; they may overlap.
    #[must_use]
    pub fn from_spans(family: Family, spans: Vec<(u128, u128)>) -> Self {
        Self::merged(family, spans)
    }

    /// First and last addresses, sorted and apart from one another.
    #[must_use]
    pub fn spans(&self) -> &[(u128, u128)] {
        &self.spans
    }

    /// Whether every address of the other set is in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// The lowest address that the two share, without making the set of all of them.
    #[must_use]
    pub fn first_shared(&self, other: &Self) -> Option<IpAddr> {
        let shared = |&(first, last): &(u128, u128)| {
            let theirs = other.spans.get(other.spans.partition_point(|(_, end)| *end < first))?;
            (theirs.0 <= last).then_some(first.max(theirs.0))
        };
        let lowest = self.spans.iter().find_map(shared).filter(|_| self.family == other.family)?;
        Some(self.family.address(lowest))
    }

    fn merged(family: Family, mut spans: Vec<(u128, u128)>) -> Self {
        spans.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(spans.len());
        for (first, last) in spans {
            match merged.last_mut() {
                Some(top) if first <= top.1.saturating_add(1) => top.1 = top.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self { family, spans: merged }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut spans = Vec::new();
        let (mut ours, mut theirs) = (self.spans.iter().peekable(), other.spans.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (ours.peek(), theirs.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last && self.family == other.family {
                spans.push((first, last));
            }
            if a.1 < b.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self { family: self.family, spans }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut outside = Vec::with_capacity(other.spans.len() + 1);
        let mut next = Some(0);
        for &(first, last) in &other.spans {
            if let Some(from) = next.filter(|from| *from < first) {
                outside.push((from, first - 1));
            }
            next = last.checked_add(1);
        }
        if let Some(from) = next.filter(|from| *from <= self.family.last()) {
            outside.push((from, self.family.last()));
        }
        self.intersection(&Self { family: other.family, spans: outside })
    }

    /// The fewest prefixes that hold these addresses and no other, in order.
    #[must_use]
    pub fn prefixes(&self) -> Vec<Cidr> {
        let bits = u32::from(self.family.bits());
        let mut prefixes = Vec::new();
        for &(first, last) in &self.spans {
            let mut next = Some(first);
            while let Some(from) = next.filter(|from| *from <= last) {
                // As many free bits as the start allows, and as the end leaves room for.
                let aligned = from.trailing_zeros().min(bits);
                let room = (last - from).checked_add(1).map_or(bits, |count| count.ilog2().min(bits));
                let free = aligned.min(room);
                let length = u8::try_from(bits - free).unwrap_or(0);
                prefixes.extend(Cidr::new(self.family.address(from), length));
                next = 1_u128.checked_shl(free).and_then(|step| from.checked_add(step));
            }
        }
        prefixes
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Whether every address of the family is in it.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.spans.first() == Some(&(0, self.family.last()))
    }

    /// The number of addresses, stuck at the highest number that fits.
    #[must_use]
    pub fn size(&self) -> u128 {
        self.spans.iter().fold(0, |sum: u128, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    /// Its lowest address.
    #[must_use]
    pub fn lowest(&self) -> Option<IpAddr> {
        self.spans.first().map(|(first, _)| self.family.address(*first))
    }

    /// The lowest address it has from one to another, both included.
    #[must_use]
    pub fn first_between(&self, first: u128, last: u128) -> Option<u128> {
        let next = self.spans.partition_point(|(_, end)| *end < first);
        self.spans.get(next).map(|(start, _)| (*start).max(first)).filter(|address| *address <= last)
    }

    /// Whether it has every address from one to another, both included.
    #[must_use]
    pub fn holds(&self, first: u128, last: u128) -> bool {
        let next = self.spans.partition_point(|(_, end)| *end < first);
        self.spans.get(next).is_some_and(|(start, end)| *start <= first && last <= *end)
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = super::cidr::number(address);
        Family::of(address) == self.family && self.spans.iter().any(|(first, last)| *first <= number && number <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> AddressSet {
        AddressSet::of(Family::V4, texts.iter().map(|t| Cidr::parse(t).unwrap()))
    }

    #[test]
    fn two_halves_are_the_whole() {
        assert!(set(&["128.0.0.0/1", "0.0.0.0/1"]).is_all());
        assert!(AddressSet::all(Family::V6).is_all());
        assert_eq!(AddressSet::all(Family::V6).size(), u128::MAX);
    }

    #[test]
    fn what_it_has_between_two_addresses_is_found() {
        let set = set(&["10.0.0.0/24", "10.0.2.0/24"]);
        let number = |text: &str| crate::net::cidr::number(text.parse().unwrap());
        let first = |a: &str, b: &str| set.first_between(number(a), number(b)).map(|n| set.family().address(n));
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(first("0.0.0.0", "10.0.0.0"), address("10.0.0.0"));
        assert_eq!((first("10.0.0.255", "10.0.3.0"), first("10.0.1.0", "10.0.3.0")), (address("10.0.0.255"), address("10.0.2.0")));
        assert_eq!((first("10.0.1.0", "10.0.1.255"), first("10.0.3.0", "255.255.255.255")), (None, None));
        assert!(set.holds(number("10.0.2.0"), number("10.0.2.255")) && !set.holds(number("10.0.1.255"), number("10.0.2.0")));
        assert!(!set.holds(number("10.0.0.0"), number("10.0.2.0")) && !set.holds(number("10.0.3.0"), number("10.0.3.0")));
    }

    #[test]
    fn the_first_shared_address_is_the_lowest_of_the_intersection() {
        let sets = [
            set(&[]),
            set(&["0.0.0.0/0"]),
            set(&["10.0.0.0/24", "10.0.2.0/24", "255.255.255.255/32"]),
            set(&["10.0.1.0/24", "10.0.2.128/25"]),
            set(&["10.0.0.255/32", "255.255.255.254/31"]),
            AddressSet::all(Family::V6),
        ];
        for a in &sets {
            for b in &sets {
                assert_eq!(a.first_shared(b), a.intersection(b).lowest(), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn what_is_taken_out_is_out_and_nothing_else() {
        let left = set(&["10.0.0.0/8"]).minus(&set(&["10.1.0.0/16", "10.255.0.0/16"]));
        assert_eq!(left.size(), (1 << 24) - (2 << 16));
        assert!(!left.contains("10.1.2.3".parse().unwrap()) && left.contains("10.2.0.0".parse().unwrap()));
        assert!(set(&["10.0.0.0/8"]).minus(&set(&["0.0.0.0/0"])).is_empty());
        assert!(AddressSet::all(Family::V6).minus(&AddressSet::all(Family::V6)).is_empty());
    }
}
