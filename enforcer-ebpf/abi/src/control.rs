//! The control word: one u64 that says which generation judges packets.
//!
//! The program reads it once per packet, so one packet sees one generation; userspace replaces it with one aligned
//! atomic store, so all interfaces, directions and families turn together.

/// Nanoseconds of the coarse monotonic clock are shifted right by this to make a tick (about 134 ms).
pub const TICK_SHIFT: u32 = 27;

/// Ticks in `seconds`, rounded down.
#[must_use]
pub const fn ticks(seconds: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "u32 seconds shifted by 27 bits of nanoseconds fit for 18 years")]
    {
        ((seconds as u64 * 1_000_000_000) >> TICK_SHIFT) as u32
    }
}

/// The control word. Bits 0–1 active slot, 2–3 fallback slot, 4 audit, 5 audit of the fallback, 6 armed,
/// 7 learning, 8–31 zero, 32–63 deadline tick.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control(pub u64);

impl Control {
    const FALLBACK: u32 = 2;
    const AUDIT: u64 = 1 << 4;
    const FALLBACK_AUDIT: u64 = 1 << 5;
    const ARMED: u64 = 1 << 6;
    const LEARNING: u64 = 1 << 7;
    const DEADLINE: u32 = 32;

    /// A word with `active` in force and `fallback` named as the way back; neither armed nor auditing.
    #[must_use]
    pub const fn new(active: u32, fallback: u32) -> Self {
        Self((active & 3) as u64 | ((fallback & 3) as u64) << Self::FALLBACK)
    }

    /// The slot in force while the word is not armed or its deadline has not passed.
    #[inline(always)]
    #[must_use]
    pub const fn active(self) -> u32 {
        (self.0 & 3) as u32
    }

    /// The slot in force after a deadline nobody confirmed.
    #[inline(always)]
    #[must_use]
    pub const fn fallback(self) -> u32 {
        (self.0 >> Self::FALLBACK & 3) as u32
    }

    /// Whether the active slot only reports what it would drop.
    #[inline(always)]
    #[must_use]
    pub const fn audit(self) -> bool {
        self.0 & Self::AUDIT != 0
    }

    /// Whether the fallback slot only reports what it would drop.
    #[inline(always)]
    #[must_use]
    pub const fn fallback_audit(self) -> bool {
        self.0 & Self::FALLBACK_AUDIT != 0
    }

    /// Whether the active slot awaits confirmation.
    #[inline(always)]
    #[must_use]
    pub const fn armed(self) -> bool {
        self.0 & Self::ARMED != 0
    }

    /// Whether TCP in mid-flow may be picked up in either direction (only during first enforcement).
    #[inline(always)]
    #[must_use]
    pub const fn learning(self) -> bool {
        self.0 & Self::LEARNING != 0
    }

    /// The tick after which an armed word means its fallback.
    #[inline(always)]
    #[must_use]
    pub const fn deadline(self) -> u32 {
        (self.0 >> Self::DEADLINE) as u32
    }

    /// The same word with the audit bit set or cleared.
    #[must_use]
    pub const fn with_audit(self, on: bool) -> Self {
        if on { Self(self.0 | Self::AUDIT) } else { Self(self.0 & !Self::AUDIT) }
    }

    /// The same word with the fallback's audit bit set or cleared.
    #[must_use]
    pub const fn with_fallback_audit(self, on: bool) -> Self {
        if on { Self(self.0 | Self::FALLBACK_AUDIT) } else { Self(self.0 & !Self::FALLBACK_AUDIT) }
    }

    /// The same word with the learning bit set or cleared.
    #[must_use]
    pub const fn with_learning(self, on: bool) -> Self {
        if on { Self(self.0 | Self::LEARNING) } else { Self(self.0 & !Self::LEARNING) }
    }

    /// The same word, armed: unless confirmed before tick `deadline`, the fallback takes over.
    #[must_use]
    pub const fn with_deadline(self, deadline: u32) -> Self {
        Self(self.0 & 0xFFFF_FFFF | Self::ARMED | (deadline as u64) << Self::DEADLINE)
    }

    /// The slot that judges at tick `now`, and whether it only audits.
    #[inline(always)]
    #[must_use]
    pub const fn in_force(self, now: u32) -> (u32, bool) {
        #[expect(clippy::cast_possible_wrap, reason = "ticks wrap; their signed difference is what orders them")]
        if self.armed() && now.wrapping_sub(self.deadline()) as i32 >= 0 {
            (self.fallback(), self.fallback_audit())
        } else {
            (self.active(), self.audit())
        }
    }
}

const _: () = assert!(size_of::<Control>() == 8 && align_of::<Control>() == 8);

#[cfg(test)]
mod tests {
    use super::{Control, ticks};

    #[test]
    fn an_armed_word_means_its_fallback_from_the_deadline_on() {
        let word = Control::new(2, 1).with_fallback_audit(true).with_deadline(1000);
        assert_eq!(word.in_force(999), (2, false));
        assert_eq!(word.in_force(1000), (1, true));
        assert_eq!(Control::new(2, 1).in_force(u32::MAX), (2, false));
    }

    #[test]
    fn a_deadline_is_ordered_across_the_wrap_of_the_tick() {
        let word = Control::new(0, 3).with_deadline(5);
        assert_eq!(word.in_force(u32::MAX - 5).0, 0);
        assert_eq!(word.in_force(6).0, 3);
    }

    #[test]
    fn a_minute_is_447_ticks() {
        assert_eq!(ticks(60), 447);
    }
}
