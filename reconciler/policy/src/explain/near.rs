//! The rules that nearly allow a flow, and what each lacks.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::compile::names;
use crate::date::Date;
use crate::model::inventory::NamedPort;
use crate::model::{Mode, NetworkPolicy, Peer, Place, Rule, Whom};
use crate::net::{Cidr, Direction, Service};
use crate::phrase;

/// Rules that are listed. The nearest say enough.
const NEAR_MAX: usize = 3;

/// A rule that nearly allows a flow.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    /// Its policy.
    pub policy: &'a NetworkPolicy,
    /// Its place in the policy.
    pub index: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// What it lacks.
    pub miss: Miss,
    direction: Direction,
    service: Service,
}

/// What a rule lacks to allow a flow; the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// It allowed the flow until this day.
    Expired(Date),
    /// Its policy leaves this direction out.
    Inert,
    /// Its policy is only judged and counted.
    Audited,
    /// It takes this prefix out.
    Excepted(Cidr),
    /// It allows the service, to others.
    Peer,
    /// It allows this peer other services.
    Service,
}

/// What was asked.
pub(super) struct Asked<'a> {
    pub(super) direction: Direction,
    pub(super) peer: IpAddr,
    pub(super) service: Service,
    pub(super) ports: &'a [NamedPort],
    /// Rules whose last day is over.
    pub(super) expired: &'a BTreeMap<(&'a str, &'a str), Date>,
}

/// The nearest rules of policies that select an endpoint.
pub(super) fn nearest<'a>(policies: impl Iterator<Item = &'a NetworkPolicy>, asked: &Asked<'_>) -> Vec<Near<'a>> {
    let mut near: Vec<Near<'a>> = Vec::new();
    for policy in policies {
        for (index, rule) in policy.rules(asked.direction).list.iter().enumerate() {
            if let Some(miss) = miss(policy, rule, asked) {
                near.push(Near { policy, index, rule, miss, direction: asked.direction, service: asked.service });
            }
        }
        // Stable, so that of equals the first in order of file and place stay.
        near.sort_by_key(|near| near.miss);
        near.truncate(NEAR_MAX);
    }
    near
}

fn miss(policy: &NetworkPolicy, rule: &Rule, asked: &Asked<'_>) -> Option<Miss> {
    let grants = rule.grants(asked.direction, asked.ports);
    let serves = |services: &[crate::net::ServiceRange]| services.iter().any(|range| range.contains(asked.service));
    let expired = rule.name.as_deref().and_then(|name| asked.expired.get(&(&*policy.name, name))).copied();
    if grants.iter().any(|grant| names(grant.whom, asked.peer) && serves(&grant.services)) {
        let inert = (!policy.speaks_of(asked.direction)).then_some(Miss::Inert);
        let audited = (policy.mode == Mode::Audit).then_some(Miss::Audited);
        return expired.map(Miss::Expired).or(inert).or(audited);
    }
    if expired.is_some() || !policy.isolates(asked.direction) {
        return None;
    }
    // A named port in egress is granted towards those who declare it: a peer of the rule that declares another lacks the service.
    let among = rule.peers.is_empty() || names(Whom::Peers(&rule.peers), asked.peer);
    match grants.iter().any(|grant| serves(&grant.services)) {
        true if !among => Some(excepting(rule, asked.peer).map_or(Miss::Peer, Miss::Excepted)),
        true | false => among.then_some(Miss::Service),
    }
}

/// The exception that takes an address out of a block of the rule.
fn excepting(rule: &Rule, address: IpAddr) -> Option<Cidr> {
    let blocks = rule.peers.iter().filter_map(Peer::block).filter(|block| block.cidr.contains(address));
    blocks.flat_map(|block| &block.except).copied().find(|except| except.contains(address))
}

impl Near<'_> {
    /// Its name, or its pointer.
    #[must_use]
    pub fn name(&self) -> String {
        self.rule.name.as_deref().map_or_else(|| self.pointer(), String::from)
    }

    /// The pointer into its document: `/spec/ingress/0`.
    #[must_use]
    pub fn pointer(&self) -> String {
        format!("/spec/{}/{}", self.direction.name(), self.index)
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        self.policy.place(self.rule.at)
    }

    /// What it allows, and what it lacks: `rule from-app-tier allows TCP 5432 from 10.0.1.0/24, but not from this peer`.
    #[must_use]
    pub fn text(&self) -> String {
        let (name, policy) = (self.name(), &self.policy.name);
        let allows = || {
            let (ports, peers) = (phrase::ports(self.rule), phrase::peers(self.rule, self.direction));
            format!("rule {name} of {policy} allows {ports} {peers}")
        };
        match self.miss {
            Miss::Expired(last) => format!("rule {name} of {policy} allowed it until {last}, its last day"),
            Miss::Inert => format!("rule {name} of {policy} does nothing: policyTypes leaves {} out", self.direction.name()),
            Miss::Audited => format!("rule {name} of {policy} would allow it, but that policy is only audited"),
            Miss::Excepted(except) => format!("{}, but takes {except} out", allows()),
            Miss::Peer => format!("{}, but not {} this peer", allows(), self.direction.peers()),
            Miss::Service => format!("{}, but not {}", allows(), self.service),
        }
    }
}
