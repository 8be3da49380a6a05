//! What neither the kernel nor the database keeps, since this controller started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Family, Kind};
use crate::converge::RollBack;

/// Counters of a running controller. One is shared by whoever counts.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    tampered: BTreeMap<&'static str, u64>,
    /// What was wrong when it was looked last, so that lasting tampering counts once.
    wrong: BTreeSet<&'static str>,
    unprotected: BTreeMap<String, Duration>,
    looked: Option<Timestamp>,
    failures_in_a_row: u64,
    rollbacks: BTreeMap<&'static str, u64>,
    backend: Option<&'static str>,
    verified: Option<u8>,
}

/// Interfaces that were up without our program for some time.
pub type Unguarded<'a> = &'a [(String, Duration)];

impl Tally {
    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is not as it was left, at one look.
    pub fn tampered(&self, wrong: BTreeSet<&'static str>) {
        self.counts(|counts| {
            for kind in wrong.difference(&counts.wrong) {
                *counts.tampered.entry(kind).or_default() += 1;
            }
            counts.wrong = wrong;
        });
    }

    /// Time that interfaces were up without our program.
    pub fn unprotected(&self, times: Unguarded<'_>) {
        self.counts(|counts| {
            for (interface, time) in times {
                *counts.unprotected.entry(interface.clone()).or_default() += *time;
            }
        });
    }

    /// A trip of the loop ended.
    pub fn looked(&self, well: bool, now: Timestamp) {
        self.counts(|counts| {
            counts.failures_in_a_row = if well { 0 } else { counts.failures_in_a_row + 1 };
            if well {
                counts.looked = Some(now);
            }
        });
    }

    /// How often what was on trial was taken back, by cause.
    pub fn rolled_back(&self, rollbacks: &BTreeMap<&'static str, u64>) {
        self.counts(|counts| counts.rollbacks.clone_from(rollbacks));
    }

    /// Who enforces.
    pub fn enforced_by(&self, backend: &'static str) {
        self.counts(|counts| counts.backend = Some(backend));
    }

    /// How the daily verification of the audit log ended.
    pub fn verified(&self, exit: u8) {
        self.counts(|counts| counts.verified = Some(exit));
    }

    /// Everything as it stands.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.counts(|counts| counts.families())
    }
}

impl Counts {
    fn families(&self) -> Vec<Family> {
        let mut tampered = Family::new(
            Kind::Counter,
            "pci_segment_ebpf_tampered",
            "Times something in the kernel was found to be other than it was left, since the controller started",
        );
        for (kind, times) in &self.tampered {
            tampered.push(&[("kind", kind)], *times);
        }
        let mut unprotected = Family::new(
            Kind::Counter,
            "pci_segment_ebpf_unprotected_seconds",
            "Time a configured interface was up without our program, since the controller started",
        );
        for (interface, time) in &self.unprotected {
            unprotected.push(&[("interface", interface)], time.as_secs_f64());
        }
        let mut rollbacks = Family::new(
            Kind::Counter,
            "pci_segment_rollbacks",
            "Times a commit on trial was taken back, since the controller started: not confirmed by its deadline, a probe that no longer \
             connected, by an operator, or because the host went down during the trial",
        );
        // An alert wants a number before there was any.
        for cause in RollBack::ALL.map(RollBack::word) {
            rollbacks.push(&[("cause", cause)], self.rollbacks.get(cause).copied().unwrap_or(0));
        }
        let mut backend = Family::new(Kind::Info, "pci_segment_backend", "What enforces on this host");
        if let Some(name) = self.backend {
            backend.push(&[("backend", name)], 1_u64);
        }
        let mut looked = Family::new(
            Kind::Gauge,
            "pci_segment_last_pass_timestamp_seconds",
            "When the branch was last looked at without a failure, in seconds since 1970",
        );
        if let Some(at) = self.looked {
            looked.push(&[], at.as_duration().as_secs_f64());
        }
        let failures = Family::new(
            Kind::Gauge,
            "pci_segment_failed_passes_in_a_row",
            "Looks at the branch that failed since the last that did not",
        )
        .with(&[], self.failures_in_a_row);
        let mut verified =
            Family::new(Kind::Gauge, "pci_segment_audit_verify_exit", "Exit code of the last daily audit verify; 0 is good");
        if let Some(exit) = self.verified {
            verified.push(&[], u64::from(exit));
        }
        vec![backend, looked, failures, tampered, unprotected, rollbacks, verified]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn lasting_tampering_counts_once_and_again_when_it_comes_back() {
        let tally = Tally::default();
        let page = |tally: &Tally| render(tally.families()).unwrap();
        for wrong in [&["detached"][..], &["detached", "edited"], &[], &["edited"]] {
            tally.tampered(wrong.iter().copied().collect());
        }
        let text = page(&tally);
        assert!(text.contains("pci_segment_ebpf_tampered_total{kind=\"detached\"} 1\n"), "{text}");
        assert!(text.contains("pci_segment_ebpf_tampered_total{kind=\"edited\"} 2\n"), "{text}");
    }

    #[test]
    fn every_cause_of_a_rollback_is_a_number_before_there_was_one() {
        let tally = Tally::default();
        tally.rolled_back(&[(RollBack::Probe.word(), 2)].into());
        let text = render(tally.families()).unwrap();
        for line in ["{cause=\"deadline\"} 0", "{cause=\"probe\"} 2", "{cause=\"operator\"} 0", "{cause=\"reboot\"} 0"] {
            assert!(text.contains(&format!("pci_segment_rollbacks_total{line}\n")), "{line} in {text}");
        }
    }

    #[test]
    fn a_failed_look_does_not_make_the_last_good_one_younger() {
        let tally = Tally::default();
        tally.looked(true, Timestamp::from_second(100).unwrap());
        tally.looked(false, Timestamp::from_second(200).unwrap());
        let text = render(tally.families()).unwrap();
        assert!(text.contains("pci_segment_last_pass_timestamp_seconds 100.0\n"), "{text}");
        assert!(text.contains("pci_segment_failed_passes_in_a_row 1\n"), "{text}");
    }
}
