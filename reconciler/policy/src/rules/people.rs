//! The endpoints of the Inventory, as the rules see them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::facts::is_cde_member;
use super::zones::ZoneMap;
use crate::finding::Side;
use crate::model::inventory::Member;
use crate::model::standard::Standard;
use crate::model::zones::Zone;
use crate::model::{NetworkPolicy, PolicySet};
use crate::net::{Direction, Family};
use crate::roster::Roster;

/// One endpoint and what follows from the set.
pub(super) struct Known<'a> {
    pub(super) member: &'a Member,
    /// The zone it says, else the zone of its first address; `None` is the Internet.
    pub(super) zone: Option<&'a Zone>,
    /// It is in the CDE: by its zone, by its labels, or because it stores account data.
    pub(super) cde: bool,
    /// The policies that select it, audited ones included, in order.
    pub(super) policies: Vec<&'a NetworkPolicy>,
    /// Their numbers in the set.
    pub(super) numbers: Vec<usize>,
}

impl Known<'_> {
    /// Whether a policy isolates it.
    pub(super) fn is_isolated(&self, direction: Direction) -> bool {
        self.policies.iter().any(|policy| policy.isolates(direction))
    }

    /// The endpoint as one side of a packet, by its first address of a family.
    pub(super) fn side(&self, family: Family) -> Option<Side> {
        let own = self.member.addresses.iter().find(|(cidr, _)| cidr.family() == family);
        own.map(|(cidr, _)| Side::Endpoint {
            address: family.address(cidr.bounds().0),
            name: self.member.name.clone(),
            zone: self.zone.map(|zone| Arc::clone(&zone.name)),
        })
    }
}

/// Every endpoint, and whether there was more to look at than is ever looked at.
pub(super) fn know<'a>(set: &'a PolicySet, standard: &Standard, zones: &ZoneMap<'a>) -> (Vec<Known<'a>>, bool) {
    let known = |member: &'a Member| {
        let first = || member.addresses.first().and_then(|(cidr, _)| zones.at(cidr.family().address(cidr.bounds().0)));
        let zone = member.zone.as_deref().and_then(|name| zones.named(name)).or_else(first);
        let cde = is_cde_member(standard, member, zone);
        Known { member, zone, cde, policies: Vec::new(), numbers: Vec::new() }
    };
    let mut everybody: Vec<Known<'a>> = set.members.iter().map(known).collect();
    let mut roster = Roster::new(set);
    for (number, policy) in set.policies.iter().enumerate().filter(|_| !set.members.is_empty()) {
        let Ok(selected) = roster.selected(&policy.namespace, &policy.selector) else { return (everybody, true) };
        for member in selected {
            if let Some(known) = everybody.get_mut(member) {
                known.policies.push(policy);
                known.numbers.push(number);
            }
        }
    }
    (everybody, false)
}
