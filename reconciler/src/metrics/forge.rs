//! What became of our calls to the forge since this controller started, and whether it takes any.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Family, Kind};

/// Counters of calls to the configured forge. One is shared by whoever calls.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    forge: &'static str,
    /// By HTTP status; none where no answer came.
    codes: BTreeMap<Option<u16>, u64>,
    remaining: Option<u64>,
    fault: Option<String>,
}

impl Calls {
    /// Counters of calls to this forge.
    #[must_use]
    pub fn to(forge: &'static str) -> Self {
        Self(Mutex::new(Counts { forge, ..Counts::default() }))
    }

    fn counts<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A call was answered, or was not; `remaining` is what the forge says is left of its limit.
    pub fn answered(&self, code: Option<u16>, remaining: Option<u64>) {
        self.counts(|counts| {
            *counts.codes.entry(code).or_default() += 1;
            counts.remaining = remaining.or(counts.remaining);
        });
    }

    /// The forge takes nothing until a person acts, and why; nothing once it does again.
    pub fn fault(&self, reason: Option<String>) {
        self.counts(|counts| counts.fault = reason);
    }

    /// Why the forge takes nothing.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        self.counts(|counts| counts.fault.clone())
    }

    /// Everything as it stands.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut requests = Family::new(
            Kind::Counter,
            "pci_segment_forge_requests",
            "Calls to the forge's API by their HTTP status, `none` where no answer came, since the controller started",
        );
        let mut remaining = Family::new(
            Kind::Gauge,
            "pci_segment_forge_rate_limit_remaining",
            "Calls that are left in the current window, as the forge said last",
        );
        self.counts(|counts| {
            for (code, number) in &counts.codes {
                let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
                requests.push(&[("forge", counts.forge), ("code", &code)], *number);
            }
            if let Some(left) = counts.remaining {
                remaining.push(&[], left);
            }
        });
        vec![requests, remaining]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::render;

    #[test]
    fn calls_are_counted_by_code_and_what_is_left_is_what_was_said_last() {
        let calls = Calls::to("github");
        for (code, left) in [(Some(201), Some(59)), (Some(201), None), (None, None), (Some(403), Some(0))] {
            calls.answered(code, left);
        }
        let page = render(calls.families()).unwrap();
        for line in [
            "requests_total{forge=\"github\",code=\"201\"} 2",
            "requests_total{forge=\"github\",code=\"403\"} 1",
            "requests_total{forge=\"github\",code=\"none\"} 1",
            "rate_limit_remaining 0",
        ] {
            assert!(page.contains(&format!("pci_segment_forge_{line}\n")), "{line} in {page}");
        }
    }

    #[test]
    fn f06_a_fault_is_named_until_it_is_over() {
        let calls = Calls::to("github");
        calls.fault(Some("credentials refused (401)".to_owned()));
        assert_eq!(calls.why_not().as_deref(), Some("credentials refused (401)"));
        calls.fault(None);
        assert_eq!(calls.why_not(), None);
    }
}
