//! How fast we ask: half of what AWS documents for an account in a region, so that the other half is there for everybody else.
//!
//! Each action has a bucket of its own, as it has there
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>: 100 requests that read, and 20 more a second. For what
//! changes something 50 and 5 more a second are assumed; an account may have other numbers, and what AWS refuses is waited for anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::actions::Action;

/// Half of the bucket of an action that reads, and of what comes back a second.
const READS: Rate = Rate { most: 50.0, a_second: 10.0 };
/// The same for one that changes something.
const WRITES: Rate = Rate { most: 25.0, a_second: 2.5 };

struct Rate {
    most: f64,
    a_second: f64,
}

/// What is left of one bucket, and when that was so.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of an account in a region.
#[derive(Debug, Default)]
pub(super) struct Pace {
    buckets: Mutex<BTreeMap<&'static str, Bucket>>,
    /// Whoever answers is a stand-in on this host: there is nobody to be considerate of.
    unbound: bool,
}

impl Pace {
    /// The one of these credentials in this region: entries that share them share it.
    pub(super) fn shared(place: &str, unbound: bool) -> Arc<Self> {
        static ALL: Mutex<BTreeMap<String, Arc<Pace>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Self { buckets: Mutex::default(), unbound });
        all.entry(place.to_owned()).or_insert_with(new).clone()
    }

    /// Waits until one more request of this kind may be sent.
    pub(super) async fn take(&self, action: Action) {
        if self.unbound {
            return;
        }
        let wait = self.reserve(action, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes one away, on credit if none is left; how long it is until it is paid.
    fn reserve(&self, action: Action, now: Instant) -> Duration {
        let rate = if action.writes { WRITES } else { READS };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(action.name).or_insert(Bucket { left: rate.most, at: now });
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * rate.a_second).min(rate.most) - 1.0;
        bucket.at = now;
        Duration::from_secs_f64((-bucket.left).max(0.0) / rate.a_second)
    }
}

#[cfg(test)]
mod tests {
    use super::super::actions::{CREATE_GROUP, DELETE_GROUP, DESCRIBE_GROUPS};
    use super::*;

    /// How many may be sent at once within so many seconds.
    fn sent(action: Action, seconds: u64) -> usize {
        let (pace, start) = (Pace::default(), Instant::now());
        let mut now = start;
        (0..)
            .take_while(|_| {
                now += pace.reserve(action, now);
                now.duration_since(start) <= Duration::from_secs(seconds)
            })
            .count()
    }

    #[test]
    fn a03_at_most_half_of_the_documented_budget_is_used() {
        assert_eq!(sent(CREATE_GROUP, 0), 25);
        assert_eq!(sent(DESCRIBE_GROUPS, 0), 50);
        let documented = |most: usize, a_second: usize, seconds: usize| most + a_second * seconds;
        for (action, most, a_second) in [(CREATE_GROUP, 50, 5), (DESCRIBE_GROUPS, 100, 20)] {
            let all = documented(most, a_second, 600);
            let used = sent(action, 600);
            assert!(used * 2 <= all && used * 2 > all - 10, "{action:?}: {used} of {all}");
        }
    }

    #[test]
    fn each_action_has_a_bucket_of_its_own_that_fills_again() {
        let (pace, start) = (Pace::default(), Instant::now());
        for _ in 0..25 {
            assert_eq!(pace.reserve(CREATE_GROUP, start), Duration::ZERO);
        }
        assert_eq!(pace.reserve(CREATE_GROUP, start), Duration::from_millis(400));
        assert_eq!(pace.reserve(DELETE_GROUP, start), Duration::ZERO, "another action");
        assert_eq!(pace.reserve(CREATE_GROUP, start + Duration::from_secs(60)), Duration::ZERO, "a minute later");
    }

    #[test]
    fn entries_with_the_same_credentials_in_the_same_region_share_their_buckets() {
        let one = Pace::shared("test/us-east-1", false);
        assert!(Arc::ptr_eq(&one, &Pace::shared("test/us-east-1", false)));
        assert!(!Arc::ptr_eq(&one, &Pace::shared("test/eu-west-1", false)));
    }
}
