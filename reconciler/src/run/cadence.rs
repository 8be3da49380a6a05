//! How often the kernel is compared with what should be in force, beside the configured schedule.
//!
//! A detached program or an edited map is to be seen within five seconds (fault H04), and being at rest is to cost next to nothing. A
//! comparison reads every rule, so it is made as often as that allows: each [`SHORTEST`], but never for more than one part in
//! [`SHARE`] of the time. What can be seen without reading the rules is looked at by [`super::vigil`] in any case.

use std::time::Duration;

/// Between two comparisons of a small table.
const SHORTEST: Duration = Duration::from_secs(4);
/// Of all time, comparing may take one part in this many.
const SHARE: u32 = 100;
/// The longest rest after comparisons that failed. What could not be healed rests by itself (`converge::flaps`).
const LONGEST: Duration = Duration::from_secs(300);

/// When to compare next.
#[derive(Debug, Default)]
pub(super) struct Cadence {
    in_vain: u32,
}

impl Cadence {
    /// How long to rest after a comparison that took `cost` and was answered, or not.
    pub(super) fn after(&mut self, cost: Duration, answered: bool) -> Duration {
        self.in_vain = if answered { 0 } else { self.in_vain.saturating_add(1) };
        let fair = SHORTEST.max(cost.saturating_mul(SHARE));
        // 12, 36, 108, 300 seconds: each one in vain is written down.
        fair.max(SHORTEST.saturating_mul(3_u32.saturating_pow(self.in_vain.min(8))).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_takes_at_most_a_hundredth_of_the_time_and_is_never_needlessly_rare() {
        let mut cadence = Cadence::default();
        assert_eq!(cadence.after(Duration::from_millis(3), true), SHORTEST);
        assert_eq!(cadence.after(Duration::from_millis(250), true), Duration::from_secs(25));
    }

    #[test]
    fn what_does_not_answer_is_asked_less_and_less_often_until_it_does() {
        let mut cadence = Cadence::default();
        let mut rest = || cadence.after(Duration::ZERO, false).as_secs();
        assert_eq!([rest(), rest(), rest(), rest(), rest()], [12, 36, 108, 300, 300]);
        assert_eq!(cadence.after(Duration::ZERO, true), SHORTEST);
    }
}
