//! Deliveries that come faster than they can be looked at are looked at together, when it is quiet again.
//!
//! A look asks the repository what there is, so one look after the last delivery says as much as one for each.

use std::time::Duration;

use tokio::time::Instant;

/// So many deliveries within [`WINDOW`] are a storm: no people push that fast.
const DELIVERIES: u64 = 4;
/// See [`DELIVERIES`].
const WINDOW: Duration = Duration::from_millis(250);
/// Without a new one for so long it is over.
const CALM: Duration = Duration::from_millis(300);
/// A look at the branch is not put off for longer.
const LONGEST: Duration = Duration::from_secs(10);

/// What is known of deliveries that wait.
#[derive(Debug, Default)]
pub(super) struct Storm {
    raging: Option<Raging>,
    /// What was looked at within the window.
    seen: Vec<(Instant, u64)>,
}

#[derive(Debug)]
struct Raging {
    since: Instant,
    waiting: u64,
    look_at: Instant,
}

impl Storm {
    /// With so many deliveries waiting: whether to look now, or to ask again at [`Storm::look_at`].
    pub(super) fn is_over(&mut self, waiting: u64, now: Instant) -> bool {
        self.seen.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        let recent = self.seen.iter().map(|(_, count)| count).sum::<u64>() + waiting;
        let since = match &self.raging {
            None if recent < DELIVERIES => {
                self.seen.push((now, waiting));
                return true;
            }
            None => now,
            Some(raging) if raging.waiting == waiting || now.duration_since(raging.since) >= LONGEST => {
                self.raging = None;
                return true;
            }
            Some(raging) => raging.since,
        };
        self.raging = Some(Raging { since, waiting, look_at: (now + CALM).min(since + LONGEST) });
        false
    }

    /// When to ask again; nothing where every delivery is looked at at once.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.raging.as_ref().map(|raging| raging.look_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a branch is looked at while deliveries come, one each millisecond for ten seconds, if a look takes this long.
    fn looks(look: Duration) -> usize {
        let begin = Instant::now();
        let (mut storm, mut seen, mut looks) = (Storm::default(), 0, 0);
        let mut now = begin;
        let sent = |now: Instant| u64::try_from(now.duration_since(begin).as_millis().min(10_000)).unwrap();
        while seen < 10_000 {
            now += Duration::from_millis(1);
            let waiting = sent(now) - seen;
            if waiting > 0 && storm.look_at().is_none_or(|at| at <= now) && storm.is_over(waiting, now) {
                (seen, looks) = (sent(now), looks + 1);
                now += look;
            }
        }
        looks
    }

    #[test]
    fn w15_ten_thousand_deliveries_in_ten_seconds_are_three_looks_at_most() {
        for millis in [5, 20, 50, 100, 1_000, 4_000] {
            let looks = looks(Duration::from_millis(millis));
            assert!((2..=3).contains(&looks), "{looks} looks of {millis} ms");
        }
    }

    #[test]
    fn a_few_deliveries_are_looked_at_at_once() {
        let (mut storm, now) = (Storm::default(), Instant::now());
        assert!((0..100).all(|push| storm.is_over(DELIVERIES - 1, now + WINDOW * push)));
        assert_eq!(storm.look_at(), None);
    }

    #[test]
    fn deliveries_that_are_looked_at_one_by_one_are_a_storm_too() {
        let (mut storm, now) = (Storm::default(), Instant::now());
        let looks = (0..100).take_while(|n| storm.is_over(1, now + WINDOW / 50 * *n)).count();
        assert_eq!(looks as u64, DELIVERIES - 1);
    }

    #[test]
    fn a_storm_ends_when_nothing_new_comes_or_after_its_longest_time() {
        let (mut storm, start) = (Storm::default(), Instant::now());
        assert!(!storm.is_over(20, start));
        assert!(!storm.is_over(30, start + CALM));
        assert!(storm.is_over(30, start + CALM * 2), "nothing new");
        let mut waiting = 20;
        let mut now = start;
        assert!(!storm.is_over(waiting, now));
        while !storm.is_over(waiting, now) {
            (waiting, now) = (waiting + 1, now + CALM);
        }
        assert!(now.duration_since(start) <= LONGEST + CALM);
    }
}
