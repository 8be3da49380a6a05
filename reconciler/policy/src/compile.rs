//! The meaning of a policy set.
//!
//! [`Ruleset::verdict`] **is** the meaning: short, slow and obviously right. Every lowering, and the loaded program, is tested
//! against it. It follows the table of the policy language (S1 to S40); replies (S36), forwarded packets (S40) and what lies outside
//! the language (S38) are the data path's part. A flow is judged on one side at a time ([`Ruleset::verdict`]), as a host does it, or
//! on both ([`Ruleset::passes`], S34).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::admit::Admitted;
use crate::date::Date;
use crate::model::inventory::{Member, NamedPort};
use crate::model::{Kind, Labels, Mode, NetworkPolicy, Part, Peer, PolicyName, PolicySet, Rule, Whom};
use crate::net::{Direction, Service};

/// Whom a flow enters or leaves: an endpoint of the Inventory, or this host as its configuration describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its labels.
    pub labels: Labels,
    /// Its namespace; `default` unless an Inventory says otherwise (S20).
    pub namespace: String,
    /// The port names it declares.
    pub ports: Vec<NamedPort>,
}

impl Endpoint {
    /// This host with the labels of its configuration, in namespace `default`.
    #[must_use]
    pub fn host(labels: Labels) -> Self {
        Self { labels, namespace: String::from("default"), ports: Vec::new() }
    }
}

impl From<&Member> for Endpoint {
    fn from(member: &Member) -> Self {
        Self { labels: member.labels.clone(), namespace: String::from(&*member.namespace), ports: member.ports.clone() }
    }
}

/// One end of a flow between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its address.
    pub address: IpAddr,
    /// The endpoint it is, if it is one. An address of the Inventory is its endpoint without being asked.
    pub endpoint: Option<Endpoint>,
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
    members: Vec<Member>,
    has_inventory: bool,
}

/// The meaning of an admitted set on the day it was judged.
#[must_use]
pub fn compile(admitted: &Admitted) -> Ruleset {
    Ruleset::of(admitted.set(), admitted.today())
}

impl Ruleset {
    /// The meaning of any set on a day, for those who only ask questions about it. Rules that have expired allow nothing.
    pub(crate) fn of(set: &PolicySet, today: Date) -> Self {
        let mut policies = set.policies.clone();
        let expired = expired(set, today);
        for policy in policies.iter_mut().filter(|_| !expired.is_empty()) {
            let rules = policy.ingress.list.iter_mut().chain(&mut policy.egress.list);
            let is_over = |rule: &&mut Rule| rule.name.as_deref().is_some_and(|name| expired.contains_key(&(&*policy.name, name)));
            rules.filter(is_over).for_each(expire);
        }
        Self { policies, members: set.members.clone(), has_inventory: set.kinds.contains(&Kind::Inventory) }
    }

    /// Whether endpoints are those of an Inventory, and a host's own configuration says nothing of labels.
    #[must_use]
    pub fn has_inventory(&self) -> bool {
        self.has_inventory
    }

    /// The endpoints of the Inventory.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The endpoint with this address.
    #[must_use]
    pub fn member_at(&self, address: IpAddr) -> Option<&Member> {
        self.members.iter().find(|member| member.addresses.iter().any(|(cidr, _)| cidr.contains(address)))
    }

    /// Whether a flow between two parties passes: both sides must agree (S34), and an endpoint always reaches itself (S37).
    #[must_use]
    pub fn passes(&self, source: &Party, destination: &Party, service: Service) -> bool {
        let (from, to) = (self.endpoint_of(source), self.endpoint_of(destination));
        let same = from.1.zip(to.1).is_some_and(|(from, to)| core::ptr::eq(from, to));
        if same || source.address == destination.address {
            return true;
        }
        let side = |endpoint: Option<Endpoint>, direction, peer| {
            endpoint.is_none_or(|endpoint| self.verdict(&Flow { endpoint, direction, peer, service }).allow)
        };
        side(from.0, Direction::Egress, destination.address) && side(to.0, Direction::Ingress, source.address)
    }

    /// The endpoint that a party is, and its entry in the Inventory.
    fn endpoint_of(&self, party: &Party) -> (Option<Endpoint>, Option<&Member>) {
        match &party.endpoint {
            Some(endpoint) => (Some(endpoint.clone()), None),
            None => {
                let member = self.member_at(party.address);
                (member.map(Endpoint::from), member)
            }
        }
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

/// The rules whose last day is over, by policy and name, with that day.
pub(crate) fn expired(set: &PolicySet, today: Date) -> BTreeMap<(&str, &str), Date> {
    // Of several records of a rule, which only a set with problems has, the first that is over.
    let days = set.records.iter().rev().filter_map(|record| Some((record, record.expires_at?)));
    days.filter(|(_, last)| *last < today).map(|(record, last)| ((&*record.policy, &*record.rule), last)).collect()
}

/// A rule past its last day stays in the list, so that the others keep their numbers, and allows nothing. Its ports go too: a port
/// name in egress brings its own destinations.
fn expire(rule: &mut Rule) {
    rule.peers = [Peer::Nobody { at: rule.at }].into();
    rule.ports = Vec::new();
}

/// Any of the peers and any of the ports (S14); no peers is every peer (S12), no ports every protocol and port (S13).
fn rule_matches(rule: &Rule, flow: &Flow) -> bool {
    rule.grants(flow.direction, &flow.endpoint.ports)
        .iter()
        .any(|grant| names(grant.whom, flow.peer) && grant.services.iter().any(|services| services.contains(flow.service)))
}

/// Whether an address is among those that a grant names.
pub(crate) fn names(whom: Whom<'_>, address: IpAddr) -> bool {
    match whom {
        Whom::Everybody => true,
        Whom::Peers(peers) => peers.iter().flat_map(Peer::parts).any(|part| contains(part, address)),
        Whom::Members(members) => members.iter().any(|cidr| cidr.contains(address)),
    }
}

/// In the prefix and in none of its exceptions (S15, S16).
fn contains(part: Part<'_>, address: IpAddr) -> bool {
    part.cidr.contains(address) && !part.except.iter().any(|except| except.contains(address))
}

#[cfg(test)]
pub(crate) mod tests;
