//! What became of webhook deliveries since this controller started.
//!
//! The inbox forgets a delivery after some days and has no row for one that was refused, so both are counted here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use webhook::{Kept, Meaning, Refusal};

use super::{Family, Kind, Spread};

/// Counters of the receivers.
#[derive(Debug, Default)]
pub struct Hooks(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, &'static str), u64>,
    /// Refused since it was asked last, by forge and cause.
    refused: BTreeMap<(&'static str, &'static str), u64>,
    accepted: BTreeMap<&'static str, Timestamp>,
    secrets: BTreeMap<(&'static str, usize), Timestamp>,
    took: Spread,
}

impl Hooks {
    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A receiver is there: its numbers are, too, before there was any delivery.
    pub fn expect(&self, forge: &'static str) {
        self.counts(|counts| {
            for result in ["accepted", "duplicate", "ignored"].into_iter().chain(Refusal::ALL.map(Refusal::word)) {
                counts.requests.entry((forge, result)).or_default();
            }
        });
    }

    /// A delivery was kept.
    pub fn kept(&self, forge: &'static str, line: usize, meaning: &Meaning, kept: Kept, now: Timestamp) {
        let result = match (kept, meaning) {
            (Kept::Duplicate, _) => "duplicate",
            (Kept::New, Meaning::Ping | Meaning::Ignored { .. }) => "ignored",
            (Kept::New, _) => "accepted",
        };
        self.counts(|counts| {
            *counts.requests.entry((forge, result)).or_default() += 1;
            counts.secrets.insert((forge, line), now);
            // A test delivery counts: it proves that the hook works.
            if kept == Kept::New {
                counts.accepted.insert(forge, now);
            }
        });
    }

    /// A request was turned away.
    pub fn refused(&self, forge: &'static str, why: Refusal) {
        self.counts(|counts| {
            *counts.requests.entry((forge, why.word())).or_default() += 1;
            *counts.refused.entry((forge, why.word())).or_default() += 1;
        });
    }

    /// A request to a receiver was answered, well or not, so long after its first byte.
    pub fn took(&self, time: Duration) {
        self.counts(|counts| counts.took.add(time));
    }

    /// What was turned away since this was asked last.
    pub fn take_refused(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.counts(|counts| std::mem::take(&mut counts.refused))
    }

    /// Everything as it stands.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut requests = Family::new(
            Kind::Counter,
            "pci_segment_webhook_requests",
            "Requests to the webhook receivers by what became of them, since the controller started",
        );
        let mut accepted = Family::new(
            Kind::Gauge,
            "pci_segment_webhook_last_accepted_timestamp",
            "When an authentic delivery was last kept, also one that means nothing for us, in seconds since 1970",
        );
        let mut secrets = Family::new(
            Kind::Gauge,
            "pci_segment_webhook_secret_last_used_timestamp",
            "When a delivery was last signed with the secret on this line of its file, in seconds since 1970",
        );
        let mut took = Family::new(
            Kind::Histogram,
            "pci_segment_webhook_seconds",
            "Time from the first byte of a request to a webhook receiver to its answer",
        );
        self.counts(|counts| {
            if !counts.requests.is_empty() {
                took.push(&[], counts.took.clone());
            }
            for ((forge, result), number) in &counts.requests {
                requests.push(&[("forge", forge), ("result", result)], *number);
            }
            for (forge, at) in &counts.accepted {
                accepted.push(&[("forge", forge)], at.as_duration().as_secs_f64());
            }
            for ((forge, line), at) in &counts.secrets {
                secrets.push(&[("forge", forge), ("line", &line.to_string())], at.as_duration().as_secs_f64());
            }
        });
        vec![requests, accepted, secrets, took]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn deliveries_are_counted_by_forge_and_result_from_nought() {
        let hooks = Hooks::default();
        hooks.expect("gitlab");
        let (pushed, at) = (Meaning::Pushed { before: None, after: None }, |second| Timestamp::from_second(second).unwrap());
        hooks.kept("gitlab", 2, &pushed, Kept::New, at(100));
        hooks.kept("gitlab", 1, &pushed, Kept::Duplicate, at(200));
        hooks.kept("github", 1, &Meaning::Ping, Kept::New, at(300));
        hooks.refused("gitlab", Refusal::Stale);
        hooks.took(Duration::from_millis(250));
        let page = render(hooks.families()).unwrap();
        for line in [
            "requests_total{forge=\"gitlab\",result=\"accepted\"} 1",
            "requests_total{forge=\"gitlab\",result=\"duplicate\"} 1",
            "requests_total{forge=\"gitlab\",result=\"stale\"} 1",
            "requests_total{forge=\"gitlab\",result=\"unauthorised\"} 0",
            "requests_total{forge=\"github\",result=\"ignored\"} 1",
            "last_accepted_timestamp{forge=\"gitlab\"} 100.0",
            "last_accepted_timestamp{forge=\"github\"} 300.0",
            "secret_last_used_timestamp{forge=\"gitlab\",line=\"1\"} 200.0",
            "secret_last_used_timestamp{forge=\"gitlab\",line=\"2\"} 100.0",
            "seconds_bucket{le=\"0.1\"} 0",
            "seconds_bucket{le=\"0.3\"} 1",
            "seconds_sum 0.25",
        ] {
            assert!(page.contains(&format!("pci_segment_webhook_{line}\n")), "{line} in {page}");
        }
    }

    #[test]
    fn what_was_refused_is_told_once() {
        let hooks = Hooks::default();
        hooks.refused("github", Refusal::Unauthorised);
        hooks.refused("github", Refusal::Unauthorised);
        assert_eq!(hooks.take_refused(), [(("github", "unauthorised"), 2)].into());
        assert!(hooks.take_refused().is_empty());
    }
}
