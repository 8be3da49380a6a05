//! How much is judged, how long that takes, and what keeps it from being done, since this controller started.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;

use super::{Family, Kind};
use crate::store::Verdict;

/// Upper ends in seconds: the targets are 0.3 s from a push to its verdict, and 10 s at most for judging.
const ENDS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0];
/// Verdicts that there are numbers for before there was one.
const VERDICTS: [Verdict; 4] = [Verdict::Compliant, Verdict::Rejected, Verdict::Inexpressible, Verdict::Error];

/// How many of what was measured lie where.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// Up to each of the ends, and beyond the last.
    counts: [u64; ENDS.len() + 1],
    sum: f64,
}

impl Spread {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = ENDS.iter().position(|end| seconds <= *end).unwrap_or(ENDS.len());
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// All of them added up.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each upper end with how many lie below it and above the one before.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        ENDS.into_iter().chain([f64::INFINITY]).zip(self.counts).collect()
    }
}

/// Counters of judging. One is shared by whoever counts.
#[derive(Debug, Default)]
pub struct Judging(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    verdicts: BTreeMap<&'static str, u64>,
    took: Spread,
    to_verdict: Spread,
    source_error: bool,
    ref_stale: bool,
    requests_waiting: u64,
}

impl Judging {
    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One commit was read and judged, well or not.
    pub fn took(&self, time: Duration) {
        self.counts(|counts| counts.took.add(time));
    }

    /// A verdict is on record, so long after we were told of the commit; nothing where we found it ourselves.
    pub fn judged(&self, verdict: Verdict, since_told: Option<SignedDuration>) {
        self.counts(|counts| {
            *counts.verdicts.entry(verdict.word()).or_default() += 1;
            // A clock that was put back is no speed.
            if let Some(Ok(time)) = since_told.map(Duration::try_from) {
                counts.to_verdict.add(time);
            }
        });
    }

    /// Whether the repository did not answer at the last look.
    pub fn source_error(&self, error: bool) {
        self.counts(|counts| counts.source_error = error);
    }

    /// Whether a commit that was announced is missing for too long.
    pub fn ref_stale(&self, stale: bool) {
        self.counts(|counts| counts.ref_stale = stale);
    }

    /// How many requests wait to be judged.
    pub fn requests_waiting(&self, waiting: u64) {
        self.counts(|counts| counts.requests_waiting = waiting);
    }

    /// Everything as it stands.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.counts(|counts| {
            let mut verdicts = Family::new(
                Kind::Counter,
                "pci_segment_commits_judged",
                "Verdicts on commits of the branch and of requests, since the controller started",
            );
            for word in VERDICTS.map(Verdict::word) {
                verdicts.push(&[("verdict", word)], counts.verdicts.get(word).copied().unwrap_or(0));
            }
            let took = Family::new(Kind::Histogram, "pci_segment_judge_seconds", "Time to read and judge one commit");
            let to_verdict = Family::new(
                Kind::Histogram,
                "pci_segment_commit_to_verdict_seconds",
                "Time from a delivery that told of a commit to its verdict",
            );
            let error = Family::new(
                Kind::Gauge,
                "pci_segment_source_error",
                "Whether the repository did not answer when it was looked at last; the log says why",
            );
            let stale = Family::new(
                Kind::Gauge,
                "pci_segment_ref_stale",
                "Whether a commit that a forge announced has been missing from the branch for two minutes",
            );
            let waiting =
                Family::new(Kind::Gauge, "pci_segment_requests_waiting", "Pull and merge requests whose head waits to be judged");
            vec![
                verdicts,
                took.with(&[], counts.took.clone()),
                to_verdict.with(&[], counts.to_verdict.clone()),
                error.with(&[], counts.source_error),
                stale.with(&[], counts.ref_stale),
                waiting.with(&[], counts.requests_waiting),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn verdicts_and_times_are_counted_where_they_belong() {
        let judging = Judging::default();
        judging.took(Duration::from_millis(20));
        judging.took(Duration::from_secs(300));
        judging.judged(Verdict::Rejected, Some(SignedDuration::from_millis(250)));
        judging.judged(Verdict::Compliant, Some(SignedDuration::from_secs(-5)));
        judging.judged(Verdict::Compliant, None);
        judging.ref_stale(true);
        let text = render(judging.families()).unwrap();
        for line in [
            "pci_segment_commits_judged_total{verdict=\"compliant\"} 2",
            "pci_segment_commits_judged_total{verdict=\"rejected\"} 1",
            "pci_segment_commits_judged_total{verdict=\"error\"} 0",
            "pci_segment_judge_seconds_count 2",
            "pci_segment_judge_seconds_bucket{le=\"0.01\"} 0",
            "pci_segment_judge_seconds_bucket{le=\"0.03\"} 1",
            "pci_segment_judge_seconds_bucket{le=\"120.0\"} 1",
            "pci_segment_judge_seconds_bucket{le=\"+Inf\"} 2",
            "pci_segment_commit_to_verdict_seconds_count 1",
            "pci_segment_commit_to_verdict_seconds_sum 0.25",
            "pci_segment_ref_stale 1",
            "pci_segment_source_error 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
        }
    }
}
