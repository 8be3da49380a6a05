//! How much we ask of a forge on our own account, so that it need not stop us. Failed calls count: a forge counts them too.

use jiff::{SignedDuration, Timestamp};

/// GitHub's secondary limit is 80.
const WRITES_PER_MINUTE_MAX: usize = 60;
/// GitHub's secondary limit is 500.
const WRITES_PER_HOUR_MAX: usize = 400;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// How far back a budget looks.
pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The writes of the last hour.
pub(super) struct Budget {
    spent: Vec<Timestamp>,
}

impl Budget {
    /// Goes on where an earlier process ended.
    pub(super) fn new(spent: Vec<Timestamp>) -> Self {
        Self { spent }
    }

    /// Takes so many writes, if they are left.
    pub(super) fn spend(&mut self, now: Timestamp, writes: usize) -> bool {
        // A write of the future was made before the clock was put back; when, nobody knows.
        self.spent.retain(|at| *at <= now && now.duration_since(*at) < HOUR);
        let last_minute = self.spent.iter().filter(|at| now.duration_since(**at) < MINUTE).count();
        let left = last_minute + writes <= WRITES_PER_MINUTE_MAX && self.spent.len() + writes <= WRITES_PER_HOUR_MAX;
        if left {
            self.spent.extend(std::iter::repeat_n(now, writes));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    /// The seconds, of so many, in which a write was had by somebody who always wants one more.
    fn greedy(budget: &mut Budget, seconds: std::ops::Range<i64>) -> Vec<i64> {
        seconds.flat_map(|second| std::iter::repeat_n(second, 3)).filter(|second| budget.spend(at(*second), 1)).collect()
    }

    #[test]
    fn f05_no_minute_has_more_than_60_writes_and_no_hour_more_than_400() {
        let had = greedy(&mut Budget::new(Vec::new()), 0..9_000);
        for (minute, hour) in had.iter().zip(had.get(60..).unwrap()).zip(had.get(400..).unwrap()).map(|((a, b), c)| (b - a, c - a))
        {
            assert!(minute >= 60 && hour >= 3_600, "{minute} s, {hour} s");
        }
        assert_eq!(had.iter().filter(|second| **second < 60).count(), 60);
        assert_eq!(had.iter().filter(|second| **second < 3_600).count(), 400);
        assert_eq!(had.len(), 1_200, "each hour has its 400");
    }

    #[test]
    fn f05_what_an_earlier_process_spent_counts_and_a_clock_that_was_put_back_does_not_stop_us() {
        let spent: Vec<_> = std::iter::repeat_n(at(0), 60).collect();
        let mut budget = Budget::new(spent);
        assert!(!budget.spend(at(59), 1) && budget.spend(at(60), 1));
        assert!(budget.spend(at(-86_400), 1));
    }
}
