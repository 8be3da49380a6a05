//! PCI-1.4.2-003: replies pass because their connection was allowed.

use alloc::format;
use alloc::vec::Vec;

use super::super::{Check, Column, Item};
use crate::finding::{Basis, Severity};
use crate::model::inventory::Enforcer;
use crate::model::{Place, Spot};
use crate::rules::facts::Facts;
use crate::rules::found::Found;

pub(super) const STATELESS: Item = Item {
    id: "PCI-1.4.2-003",
    requirements: &["1.4.2"],
    severity: Severity::Error,
    waivable: true,
    basis: Basis::D,
    condition: "an enabled backend keeps no connection state; all of today's do",
    remediation: "Use a stateful backend: replies must not need rules.",
    violating: "",
    repaired: "",
    profile: Column::Facts,
    needs: &["backends"],
    wants: &[],
    check: Check::Set(stateless),
};

fn stateless(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let enabled = facts.circumstances.backends.as_deref().unwrap_or_default();
    for backend in forgetful(enabled, Enforcer::keeps_state) {
        let place = facts.set.policies.first().map(|policy| policy.place(policy.at));
        let place = place.unwrap_or(Place { file: ".".into(), spot: Spot::START });
        let message = format!("{} keeps no connection state: replies would need rules of their own", backend.name());
        found.add(item.finding(place, message));
    }
}

/// The backends that keep no state.
fn forgetful(enabled: &[Enforcer], keeps_state: impl Fn(Enforcer) -> bool) -> Vec<Enforcer> {
    enabled.iter().copied().filter(|backend| !keeps_state(*backend)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_without_state_is_named_and_the_others_are_not() {
        let enabled = [Enforcer::Ebpf, Enforcer::Azure];
        assert_eq!(forgetful(&enabled, |backend| backend != Enforcer::Azure), [Enforcer::Azure]);
    }

    #[test]
    fn every_backend_there_is_keeps_state() {
        assert_eq!(forgetful(&Enforcer::WORDS.map(|(_, backend)| backend), Enforcer::keeps_state), []);
    }
}
