//! The meaning of a policy set.
//!
//! [`Ruleset::verdict`] **is** the meaning: short, slow and obviously right. Every lowering, and the loaded program, is tested
//! against it. It follows the table of the policy language (S1 to S40) as far as one host without an Inventory goes:
//! what the host talks to itself (S37), replies (S36), forwarded packets (S40) and what lies outside the language (S38) is the data
//! path's part.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::admit::Admitted;
use crate::model::{Labels, Mode, NetworkPolicy, Peer, PolicyName, PolicySet, Rule};
use crate::net::{Direction, Service};

/// Whom a flow enters or leaves: this host, as its configuration describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its labels.
    pub labels: Labels,
    /// Its namespace; `default` unless an Inventory says otherwise (S20).
    pub namespace: String,
}

impl Endpoint {
    /// This host with the labels of its configuration, in namespace `default`.
    #[must_use]
    pub fn host(labels: Labels) -> Self {
        Self { labels, namespace: String::from("default") }
    }
}

/// The first packet of a connection, seen from one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Into it or out of it.
    pub direction: Direction,
    /// The address on the other side.
    pub peer: IpAddr,
    /// What is asked for.
    pub service: Service,
}

/// Whether a flow passes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It passes.
    pub allow: bool,
    /// A policy isolates the endpoint in this direction.
    pub isolated: bool,
    /// The direction asked about.
    pub direction: Direction,
    /// The policy that allows it, or the first that isolates; none where nothing isolates.
    pub policy: Option<PolicyName>,
    /// The rule that allows it, as a pointer into its document: `/spec/ingress/0`.
    pub rule: Option<String>,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verdict", if self.allow { "allow" } else { "deny" })?;
        map.serialize_entry("isolated", &self.isolated)?;
        if self.isolated {
            map.serialize_entry("policy", &self.policy.as_deref())?;
            map.serialize_entry("rule", &self.rule)?;
            map.serialize_entry("direction", &self.direction)?;
        }
        map.end()
    }
}

/// What the admitted policies mean, whatever enforces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    policies: Vec<NetworkPolicy>,
}

/// The meaning of an admitted set.
#[must_use]
pub fn compile(admitted: &Admitted) -> Ruleset {
    Ruleset::of(admitted.set())
}

impl Ruleset {
    /// The meaning of any set, for those who only ask questions about it.
    pub(crate) fn of(set: &PolicySet) -> Self {
        Self { policies: set.policies.clone() }
    }

    /// All policies, audited ones included, in order of file and place.
    #[must_use]
    pub fn policies(&self) -> &[NetworkPolicy] {
        &self.policies
    }

    /// The policies that select an endpoint (S2, S3, S20).
    pub fn selecting<'a>(&'a self, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.policies.iter().filter(|p| *p.namespace == *endpoint.namespace && p.selector.matches(&endpoint.labels))
    }

    /// Whether a flow passes.
    #[must_use]
    pub fn verdict(&self, flow: &Flow) -> Verdict {
        let enforced = || self.selecting(&flow.endpoint).filter(|p| p.mode == Mode::Enforce && p.isolates(flow.direction));
        let answer = |allow, policy: Option<&NetworkPolicy>, rule| Verdict {
            allow,
            isolated: policy.is_some(),
            direction: flow.direction,
            policy: policy.map(|p| p.name.clone()),
            rule,
        };
        for policy in enforced() {
            for (i, rule) in policy.live_rules(flow.direction).iter().enumerate() {
                if rule_matches(rule, flow) {
                    return answer(true, Some(policy), Some(format!("/spec/{}/{i}", flow.direction.name())));
                }
            }
        }
        let isolating = enforced().next();
        answer(isolating.is_none(), isolating, None)
    }
}

/// Any of the peers and any of the ports (S14); no peers is every peer (S12), no ports every protocol and port (S13).
fn rule_matches(rule: &Rule, flow: &Flow) -> bool {
    (rule.peers.is_empty() || rule.peers.iter().any(|p| peer_contains(p, flow.peer)))
        && (rule.ports.is_empty() || rule.ports.iter().any(|p| p.services.is_some_and(|s| s.contains(flow.service))))
}

/// In the block and in none of its exceptions (S15, S16).
fn peer_contains(peer: &Peer, address: IpAddr) -> bool {
    match peer {
        Peer::Block(block) => block.cidr.contains(address) && !block.except.iter().any(|e| e.contains(address)),
        Peer::Nobody { .. } => false,
    }
}

#[cfg(test)]
mod tests;
