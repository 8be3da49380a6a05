//! Packets that show what a finding says. Each is one that the set lets through on the endpoint's side; where none is known to be, a
//! finding has no witness.

use alloc::string::ToString;
use core::net::IpAddr;

use super::facts::{Facts, pick};
use super::found::Here;
use super::group::Group;
use super::people::Known;
use super::zones::ZoneMap;
use crate::compile::names;
use crate::finding::{Side, Witness};
use crate::model::inventory::NamedPort;
use crate::model::{Kind, Mode, NetworkPolicy};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{Direction, Family, Service};

/// Endpoints tried for one witness.
const TRIES_MAX: usize = 256;

impl Facts<'_> {
    /// A packet between a group and an address, if the group's side lets it through by this policy.
    pub(super) fn witness(
        &self,
        group: &Group<'_>,
        by: &NetworkPolicy,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        if by.mode != Mode::Enforce {
            return None;
        }
        if group.endpoints.is_empty() {
            let passes = group.standing.iter().any(|policy| self.lets(policy, direction, &[], address, service));
            return passes.then(|| self.between(Side::Selected(group.name.clone()), direction, address, service));
        }
        let known = group.endpoints.iter().filter_map(|number| self.endpoints.get(*number));
        known.take(TRIES_MAX).find_map(|known| self.witness_for(known, direction, address, service))
    }

    /// A packet between whoever a policy selects and an address; an audited policy lets none through.
    pub(super) fn witness_of(
        &self,
        policy: &NetworkPolicy,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        let number = self.number(policy).filter(|_| policy.mode == Mode::Enforce)?;
        let Some(first) = self.firsts.get(number).and_then(|firsts| *pick(firsts, Family::of(address))) else {
            let passes = self.lets(policy, direction, &[], address, service);
            return passes.then(|| self.between(Side::Selected(policy.selector.to_string()), direction, address, service));
        };
        let rest = self.endpoints.get(first..).unwrap_or_default();
        // Nobody sends packets to itself.
        let itself = |known: &Known<'_>| known.member.addresses.iter().any(|(cidr, _)| cidr.contains(address));
        let selected = rest.iter().filter(|known| known.numbers.binary_search(&number).is_ok() && !itself(known));
        selected.take(TRIES_MAX).find_map(|known| self.witness_for(known, direction, address, service))
    }

    /// A packet between an endpoint and an address that its policies let through; none where the endpoint has no address of that family.
    pub(super) fn witness_for(
        &self,
        known: &Known<'_>,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        let own = known.side(Family::of(address))?;
        let lets = |policy: &&NetworkPolicy| self.lets(policy, direction, &known.member.ports, address, service);
        let passes = is_possible(address, service) && (!known.is_isolated(direction) || known.policies.iter().any(lets));
        passes.then(|| self.between(own, direction, address, service))
    }

    /// Whether an enforced policy allows an endpoint that declares these ports a packet, by a rule whose last day has not passed.
    fn lets(
        &self,
        policy: &NetworkPolicy,
        direction: Direction,
        declared: &[NamedPort],
        address: IpAddr,
        service: Service,
    ) -> bool {
        let allows = |here: &Here<'_>| {
            here.rule
                .grants(direction, declared)
                .iter()
                .any(|grant| grant.services.iter().any(|services| services.contains(service)) && names(grant.whom, address))
        };
        let enforced = policy.mode == Mode::Enforce && is_possible(address, service);
        enforced && Here::of(policy, direction).any(|here| allows(&here) && !self.is_expired(&here))
    }

    fn between(&self, own: Side, direction: Direction, address: IpAddr, service: Service) -> Witness {
        let zone = self.has(Kind::Zones).then(|| ZoneMap::name(self.zones.at(address)));
        let other = Side::Address { address, zone };
        match direction {
            Direction::Ingress => Witness { source: other, destination: own, service },
            Direction::Egress => Witness { source: own, destination: other, service },
        }
    }
}

/// Whether there is such a packet: each family has an ICMP of its own (S32).
pub(super) fn is_possible(address: IpAddr, service: Service) -> bool {
    let foreign = if Family::of(address) == Family::V4 { ICMPV6 } else { ICMP };
    service.protocol() != foreign
}
