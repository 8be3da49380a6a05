//! Whether a rule opens a service to a peer: at most one list of the peer's prefix, then the list of every peer.

use enforcer_abi::{Generation, Interval, SEARCH_STEPS, Slice, any_index};

use crate::{flow::Ends, parse::Veil, world::World};

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
    pub(crate) fn no() -> Self {
        Self { how: Self::NO, rule: 0 }
    }

    /// The direction is not isolated.
    #[inline(always)]
    fn open() -> Self {
        Self { how: Self::OPEN, rule: 0 }
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
pub fn allowed<W: World>(
    world: &W,
    slot: u32,
    generation: &Generation,
    origin: u8,
    ends: &Ends,
    service: u32,
    veil: Veil,
) -> Allowed {
    if !Generation::enforces(generation.flags, origin) && !Generation::audits(generation.flags, origin) {
        return Allowed::open();
    }
    let Some(intervals) = world.intervals(slot) else { return Allowed::no() };
    let own = match world.slice(slot, ends.family, origin, &ends.remote) {
        Some(slice) => search::<W>(&intervals, slice, service, veil),
        None => Allowed::no(),
    };
    if own.how == Allowed::ENFORCED {
        return own;
    }
    // Without the veil the compiler knows the bounds and leaves the mask out, by which verifiers before 5.11 know them.
    let any = generation.any[veil.word(any_index(ends.family, origin) as u32) as usize & 3];
    let every = search::<W>(&intervals, any, service, veil);
    if every.how == Allowed::ENFORCED || own.how == Allowed::NO { every } else { own }
}

/// Binary search; the intervals of a slice are sorted and disjoint.
#[inline(always)]
fn search<W: World>(intervals: &W::Intervals, slice: Slice, service: u32, veil: Veil) -> Allowed {
    let (mut low, mut high) = (0, slice.len);
    for _ in 0..SEARCH_STEPS {
        // The verifier would tell each history of halvings from every other by its bounds.
        (low, high) = (veil.word(low), veil.word(high));
        if low >= high {
            break;
        }
        let middle = low.wrapping_add(high) / 2;
        let Some(interval) = W::interval(intervals, slice.first.wrapping_add(middle)) else { break };
        if service < interval.lo {
            high = middle;
        } else if service > interval.hi {
            low = middle + 1;
        } else {
            let how = if interval.mode == Interval::AUDIT { Allowed::AUDITED } else { Allowed::ENFORCED };
            return Allowed { how, rule: interval.rule };
        }
    }
    Allowed::no()
}
