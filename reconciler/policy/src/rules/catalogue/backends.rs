//! What backends cannot say (PCI DSS v4.0.1 1.2.8).
//!
//! A cloud's words are few: a security group of AWS knows ports of TCP and UDP and types of ICMP, a network security group of Azure
//! knows TCP, UDP, and ICMP of IPv4 as a whole. The eBPF tables can say everything and hold only so much: whether they do is tried.

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::facts::Facts;
use super::super::found::{Found, Here};
use super::super::from_unsupported;
use super::super::group::Group;
use super::super::patches::Work;
use super::{Check, Column, Item};
use crate::compile::{Endpoint, Ruleset};
use crate::finding::{Basis, Finding, Severity};
use crate::lower::bpf::{INTERVALS_MAX, NETS_MAX, RuleIds, SLICE_INTERVALS_MAX, lower};
use crate::lower::{network_security_group, security_group};
use crate::model::inventory::{Enforcer, Member};
use crate::model::{Kind, NetworkPolicy, Peer, PolicySet};
use crate::net::ServiceRange;

/// Prefixes of all tables that are tried. One table of the largest size that fits has a quarter million.
const PREFIXES_MAX: usize = 4_000_000;

pub(super) static ITEMS: [Item; 1] = [Item {
    id: "PCI-1.2.8-008",
    requirements: &["1.2.8"],
    severity: Severity::Error,
    waivable: false,
    basis: Basis::H,
    condition: "an enabled backend cannot say the rule exactly, or its compiled size passes that backend's limit",
    remediation: "Narrow the rule or choose another backend; nothing is approximated.",
    violating: "",
    repaired: "",
    profile: Column::Baseline,
    needs: &["backends"],
    wants: &[],
    check: Check::Set(unsupported),
}];

fn unsupported(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let backends = facts.circumstances.backends.as_deref().unwrap_or_default();
    for (backend, cannot) in [(Enforcer::Aws, aws as Cannot), (Enforcer::Azure, azure)] {
        if backends.contains(&backend) {
            words(item, facts, found, backend, cannot);
        }
    }
    if backends.contains(&Enforcer::Ebpf) {
        sizes(item, facts, found);
    }
}

/// What of some services a backend cannot say, if it cannot.
type Cannot = fn(ServiceRange) -> Option<String>;

fn aws(services: ServiceRange) -> Option<String> {
    security_group::traffic(&[services]).err()
}

fn azure(services: ServiceRange) -> Option<String> {
    network_security_group::traffic(&[services]).err()
}

fn words(item: &Item, facts: &Facts<'_>, found: &mut Found, backend: Enforcer, cannot: Cannot) {
    let everybody = !facts.has(Kind::Inventory);
    let mine: BTreeSet<usize> = facts
        .endpoints
        .iter()
        .filter(|known| known.member.enforced_by.contains(&backend))
        .flat_map(|known| known.numbers.iter().copied())
        .collect();
    let policies = facts.set.policies.iter().enumerate().filter(|(number, _)| everybody || mine.contains(number));
    for here in policies.flat_map(|(_, policy)| Here::all(policy)) {
        for (number, port) in here.rule.ports.iter().enumerate() {
            if let Some(why) = port.port.services().find_map(cannot) {
                let message = format!("{}: {why}", backend.name());
                found.add(item.about_rule(&here, port.at, &format!("/ports/{number}"), message));
            }
        }
    }
}

/// Tries the table of every host, once for all hosts alike.
fn sizes(item: &Item, facts: &Facts<'_>, found: &mut Found) {
    let mut work = Work::new(PREFIXES_MAX);
    for group in &facts.everybody {
        let mut members = group.endpoints.iter().filter_map(|number| facts.endpoints.get(*number)).map(|known| known.member);
        let Some(host) = members.find(|member| member.enforced_by.contains(&Enforcer::Ebpf)) else { continue };
        let size = Size::of(group);
        if size.surely_fits() {
            continue;
        }
        if !work.spend(size.prefixes) {
            let message = "the tables of so many large hosts were not all tried; not every one is known to fit";
            found.add(item.whole_set(facts, "limit", message.into()));
            return;
        }
        for finding in tried(facts, group, host) {
            found.add(finding);
        }
    }
}

fn tried(facts: &Facts<'_>, group: &Group<'_>, host: &Member) -> Vec<Finding> {
    let policies: Vec<NetworkPolicy> = group.standing.iter().copied().cloned().collect();
    let set = PolicySet { policies, records: facts.set.records.clone(), ..PolicySet::default() };
    let ruleset = Ruleset::of(&set, facts.circumstances.today);
    let table = lower(&ruleset, &Endpoint::from(host), &RuleIds::assign(&RuleIds::default(), &ruleset));
    let refused = table.err().unwrap_or_default();
    let related = || [host.origin.place.clone()].into();
    refused.iter().map(|unsupported| Finding { related: related(), ..from_unsupported(unsupported) }).collect()
}

/// How large the tables of a group can become at most.
struct Size {
    prefixes: usize,
    services: usize,
}

impl Size {
    fn of(group: &Group<'_>) -> Self {
        let mut size = Self { prefixes: 2, services: 1 };
        for Here { rule, .. } in group.standing.iter().copied().flat_map(Here::all) {
            let parts = rule.peers.iter().flat_map(Peer::parts).map(|part| 1 + part.except.len());
            let declared = rule.ports.iter().filter_map(|port| port.port.name()).flat_map(|named| named.found.iter());
            size.prefixes += parts.sum::<usize>() + declared.map(|(_, members)| members.len()).sum::<usize>();
            size.services += rule.services().len();
        }
        size
    }

    /// Each prefix has one list of services, and each service cuts a list at most twice.
    fn surely_fits(&self) -> bool {
        let longest = self.services.saturating_mul(2);
        let all = self.prefixes.saturating_mul(longest);
        self.prefixes <= NETS_MAX && longest <= SLICE_INTERVALS_MAX && all <= INTERVALS_MAX
    }
}
