//! Why a flow passes or does not, for people.
//!
//! The answer is that of `verdict`. Beside it stand the policies that isolate, the rules that came nearest to allowing a denied flow
//! and what they lack, and what the other side says if an endpoint of the Inventory is there (S34).
//!
//! Questions may be about a set that was not admitted; whoever prints the answer says so. Nothing here can be enforced: there is no way
//! from a [`PolicySet`] to a [`Ruleset`](crate::compile::Ruleset) but through `admit`.

mod namespaces;
mod near;
mod show;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::answers::{Answer, Answers, Subject};
use crate::compile::expired;
use crate::date::Date;
use crate::model::inventory::Member;
use crate::model::{NetworkPolicy, PolicySet};
use crate::net::{Direction, Service};

pub use namespaces::Namespaces;
pub use near::{Miss, Near};

/// A set to be asked about, admitted or not. What could not be read of it allows nothing and isolates nobody.
#[derive(Debug)]
pub struct Explainer<'a> {
    set: &'a PolicySet,
    expired: BTreeMap<(&'a str, &'a str), Date>,
    answers: Answers,
}

/// What a set says of one flow, and why.
#[derive(Debug, Clone)]
pub struct Explanation<'a> {
    /// The answer for the endpoint's own side.
    pub answer: Answer<'a>,
    /// Every policy that isolates it in this direction.
    pub isolating: Vec<&'a NetworkPolicy>,
    /// Of a denied flow, the rules that came nearest to allowing it.
    pub near: Vec<Near<'a>>,
    /// The endpoint on the other side, and what its own policies say.
    pub other: Option<(&'a Member, Answer<'a>)>,
}

impl<'a> Explainer<'a> {
    /// For a set as it is on a day.
    #[must_use]
    pub fn new(set: &'a PolicySet, today: Date) -> Self {
        Self { set, expired: expired(set, today), answers: Answers::new(set, today) }
    }

    /// Answers without reasons.
    pub fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }

    /// Why a flow into or out of an endpoint passes or does not.
    #[must_use]
    pub fn explain(&mut self, subject: &Subject, direction: Direction, peer: IpAddr, service: Service) -> Explanation<'_> {
        let other = self.answers.at(peer);
        let own = first_address(subject, self.answers.members(), peer);
        let answers = &self.answers;
        let answer = answers.ask(subject, direction, peer, service);
        let policies = || subject.selecting().iter().filter_map(|number| self.set.policies.get(*number));
        let isolating = policies().filter(|policy| policy.isolates(direction) && !answer.loopback).collect();
        let asked = near::Asked { direction, peer, service, ports: &subject.endpoint().ports, expired: &self.expired };
        let near = if answer.allow { Vec::new() } else { near::nearest(policies(), &asked) };
        let reverse = if direction == Direction::Ingress { Direction::Egress } else { Direction::Ingress };
        let other = other
            .filter(|_| !answer.loopback)
            .zip(own)
            .and_then(|(other, own)| Some((answers.member_at(peer)?, answers.ask(&other, reverse, own, service))));
        Explanation { answer, isolating, near, other }
    }
}

/// The endpoint's own first address of the peer's family, if the Inventory knows it.
fn first_address(subject: &Subject, members: &[Member], peer: IpAddr) -> Option<IpAddr> {
    let own = members.get(subject.member()?)?;
    own.addresses.iter().map(|(cidr, _)| cidr.first()).find(|address| address.is_ipv4() == peer.is_ipv4())
}

#[cfg(test)]
mod tests;
