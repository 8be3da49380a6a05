//! Whether a rule opens a service to a peer: at most one list of the peer's prefix, then the list of every peer.

use enforcer_abi::{Generation, Interval, SEARCH_STEPS, Slice, any_index};

use crate::{flow::Ends, world::World};

/// What the rules say about one service of one peer.
///
/// Two words rather than an enum: one whose variants carry different things leaves some of them unwritten, and the verifier
/// refuses a program that moves what was never written, even where nothing is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    how: u32,
    rule: u32,
}

impl Allowed {
    const NO: u32 = 0;
    const OPEN: u32 = 1;
    const ENFORCED: u32 = 2;
    const AUDITED: u32 = 3;

    /// No rule allows it.
    #[inline(always)]
    #[must_use]
    pub fn no() -> Self {
        Self { how: Self::NO, rule: 0 }
    }

    /// The direction is not isolated.
    #[inline(always)]
    fn open() -> Self {
        Self { how: Self::OPEN, rule: 0 }
    }

    /// Both words in one, as a function that is not inlined can answer them.
    #[inline(always)]
    #[must_use]
    pub fn packed(self) -> u64 {
        u64::from(self.how) << 32 | u64::from(self.rule)
    }

    /// From [`Allowed::packed`].
    #[inline(always)]
    #[must_use]
    pub fn unpacked(word: u64) -> Self {
        Self { how: (word >> 32) as u32, rule: word as u32 }
    }

    /// The rule's number, 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn rule(self) -> u32 {
        self.rule
    }

    /// Whether nothing allows it, not even an audited rule.
    #[inline(always)]
    #[must_use]
    pub fn is_no(self) -> bool {
        self.how == Self::NO
    }

    /// Whether only an audited rule allows it.
    #[inline(always)]
    #[must_use]
    pub fn is_audited(self) -> bool {
        self.how == Self::AUDITED
    }

    /// Whether it lets a flow of `origin` open. Audited rules open nothing that enforced policies deny.
    #[inline(always)]
    #[must_use]
    pub fn permits(self, flags: u32, origin: u8) -> bool {
        match self.how {
            Self::OPEN | Self::ENFORCED => true,
            Self::AUDITED => !Generation::enforces(flags, origin),
            _ => false,
        }
    }
}

/// Looks up what the generation in `slot` says about a flow of `origin` between `ends` that uses `service`.
#[inline(always)]
pub fn allowed<W: World>(world: &W, slot: u32, generation: &Generation, origin: u8, ends: &Ends, service: u32) -> Allowed {
    if !Generation::enforces(generation.flags, origin) && !Generation::audits(generation.flags, origin) {
        return Allowed::open();
    }
    let own = match world.slice(slot, ends.family, origin, &ends.remote) {
        Some(slice) => world.search(slot, slice, service),
        None => Allowed::no(),
    };
    if own.how == Allowed::ENFORCED {
        return own;
    }
    let every = world.search(slot, world.any(generation, any_index(ends.family, origin)), service);
    if every.how == Allowed::ENFORCED || own.how == Allowed::NO { every } else { own }
}

/// What the slice of sorted, disjoint intervals that `interval` answers says of `service`.
///
/// A binary search for the last interval that does not begin behind it, by steps that only get smaller: few values live across the
/// lookup, whose stack is shared with that of the program, and the step is what bounds the loop.
#[inline(always)]
pub fn search<'a>(interval: impl Fn(u32) -> Option<&'a Interval>, slice: Slice, service: u32) -> Allowed {
    if slice.len == 0 {
        return Allowed::no();
    }
    let end = slice.first.wrapping_add(slice.len);
    let mut at = slice.first;
    let mut step = first_step(slice.len);
    while step != 0 {
        let next = at.wrapping_add(step);
        if next < end && interval(next).is_some_and(|own| own.lo <= service) {
            at = next;
        }
        step >>= 1;
    }
    match interval(at) {
        Some(own) if own.lo <= service && service <= own.hi => {
            let how = if own.mode == Interval::AUDIT { Allowed::AUDITED } else { Allowed::ENFORCED };
            Allowed { how, rule: own.rule }
        }
        _ => Allowed::no(),
    }
}

/// A power of two; it and all smaller ones together reach over `len` intervals. Short lists are common, and long ones can afford
/// a few steps beyond their end.
#[inline(always)]
fn first_step(len: u32) -> u32 {
    if len <= 8 {
        4
    } else if len <= 256 {
        128
    } else {
        1 << (SEARCH_STEPS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intervals of three services, with a gap of two before each.
    fn intervals(len: u32) -> Vec<Interval> {
        let mode = |n| if n % 3 == 0 { Interval::AUDIT } else { Interval::ENFORCE };
        (0..len).map(|n| Interval { lo: n * 5 + 2, hi: n * 5 + 4, rule: n + 1, mode: mode(n) }).collect()
    }

    #[test]
    fn a_search_of_any_length_finds_the_interval_that_holds_the_service_within_its_slice_only() {
        let all = intervals(1 << SEARCH_STEPS);
        let lengths = (0..=300).chain([511, 512, 4_097, (1 << SEARCH_STEPS) - 1]);
        for (first, len) in lengths.flat_map(|len| [(0, len), (1, len)]) {
            let slice = Slice { first, len };
            let step = (len as usize / 60).max(1);
            let ends = first.saturating_sub(2)..first + 8;
            for n in ends.chain((first..first + len + 3).step_by(step)).chain(first + len.saturating_sub(3)..first + len + 3) {
                for service in n * 5..n * 5 + 5 {
                    let held = (first..first + len).contains(&n) && service >= n * 5 + 2;
                    let how = if n % 3 == 0 { Allowed::AUDITED } else { Allowed::ENFORCED };
                    let expected = if held { Allowed { how, rule: n + 1 } } else { Allowed::no() };
                    let found = search(|index| all.get(index as usize), slice, service);
                    assert_eq!(found, expected, "{slice:?}, {service}");
                    assert_eq!(Allowed::unpacked(found.packed()), expected);
                }
            }
        }
    }
}
