//! Whether a rule opens a service to a peer: at most one list of the peer's prefix, then the list of every peer.

use enforcer_abi::{Generation, Interval, SEARCH_STEPS, Slice, any_index};

use crate::{flow::Ends, world::World};

/// What the rules say about one service of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The direction is not isolated.
    Open,
    /// An enforced rule allows it.
    Enforced {
        /// Its number.
        rule: u32,
    },
    /// Only an audited rule allows it.
    Audited {
        /// Its number.
        rule: u32,
    },
    /// No rule allows it.
    No,
}

impl Allowed {
    /// The rule's number, 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn rule(self) -> u32 {
        match self {
            Self::Enforced { rule } | Self::Audited { rule } => rule,
            Self::Open | Self::No => 0,
        }
    }

    /// Whether it lets a flow of `origin` open. Audited rules open nothing that enforced policies deny.
    #[inline(always)]
    #[must_use]
    pub fn permits(self, flags: u32, origin: u8) -> bool {
        match self {
            Self::Open | Self::Enforced { .. } => true,
            Self::Audited { .. } => !Generation::enforces(flags, origin),
            Self::No => false,
        }
    }
}

/// Looks up what the generation in `slot` says about a flow of `origin` between `ends` that uses `service`.
#[inline(always)]
pub fn allowed<W: World>(world: &W, slot: u32, generation: &Generation, origin: u8, ends: &Ends, service: u32) -> Allowed {
    if !Generation::enforces(generation.flags, origin) && !Generation::audits(generation.flags, origin) {
        return Allowed::Open;
    }
    let Some(intervals) = world.intervals(slot) else { return Allowed::No };
    let own = match world.slice(slot, ends.family, origin, &ends.remote) {
        Some(slice) => search::<W>(&intervals, slice, service),
        None => Allowed::No,
    };
    if let Allowed::Enforced { .. } = own {
        return own;
    }
    let any = generation.any[any_index(ends.family, origin) & 3];
    match search::<W>(&intervals, any, service) {
        Allowed::No | Allowed::Open => own,
        better @ Allowed::Enforced { .. } => better,
        other @ Allowed::Audited { .. } => {
            if let Allowed::Audited { .. } = own {
                own
            } else {
                other
            }
        }
    }
}

/// Binary search; the intervals of a slice are sorted and disjoint.
#[inline(always)]
fn search<W: World>(intervals: &W::Intervals, slice: Slice, service: u32) -> Allowed {
    let (mut low, mut high) = (0, slice.len);
    for _ in 0..SEARCH_STEPS {
        if low >= high {
            break;
        }
        let middle = low.wrapping_add(high) / 2;
        let Some(interval) = W::interval(intervals, slice.first.wrapping_add(middle)) else { break };
        if service < interval.lo {
            high = middle;
        } else if service > interval.hi {
            low = middle + 1;
        } else if interval.mode == Interval::AUDIT {
            return Allowed::Audited { rule: interval.rule };
        } else {
            return Allowed::Enforced { rule: interval.rule };
        }
    }
    Allowed::No
}
