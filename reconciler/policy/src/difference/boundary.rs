//! Where the CDE ends, in one set.

use alloc::vec::Vec;

use crate::model::inventory::Member;
use crate::model::standard::Standard;
use crate::model::zones::{Class, Zone};
use crate::model::{Labels, PolicySet};
use crate::net::{AddressSet, Cidr, Family};
use crate::rules::zones::ZoneMap;
use crate::select::Selector;

/// What one set says is in the CDE.
pub(super) struct Boundary<'a> {
    standard: &'a Standard,
    zones: ZoneMap<'a>,
    /// Addresses of its zones and of its endpoints, per family.
    inside: [AddressSet; 2],
}

impl<'a> Boundary<'a> {
    pub(super) fn new(set: &'a PolicySet) -> Self {
        let zones = ZoneMap::new(&set.zones);
        let mut boundary = Self { standard: &set.standard, zones, inside: Family::BOTH.map(AddressSet::empty) };
        let own: Vec<Cidr> = set.members.iter().filter(|m| boundary.has(m)).flat_map(|m| m.addresses.iter().map(|a| a.0)).collect();
        let cde = |zone: Option<&Zone>| zone.is_some_and(|zone| zone.is(Class::Cde));
        boundary.inside = Family::BOTH.map(|family| {
            let of_members = AddressSet::of(family, own.iter().copied());
            AddressSet::union(family, [&boundary.zones.addresses(family, cde), &of_members])
        });
        boundary
    }

    /// Whether an endpoint is in the CDE, by its zone or by its labels.
    pub(super) fn has(&self, member: &Member) -> bool {
        let first = || member.addresses.first().and_then(|(cidr, _)| self.zones.at(cidr.first()));
        let zone = member.zone.as_deref().and_then(|name| self.zones.named(name)).or_else(first);
        member.stores_chd || zone.is_some_and(|zone| zone.is(Class::Cde)) || self.standard.marks_cde(&member.labels)
    }

    /// Whether a selector can mean somebody of the CDE.
    pub(super) fn may_have(&self, selector: &Selector) -> bool {
        self.standard.cde_labels.iter().any(|(key, values)| values.iter().any(|value| selector.can_match(key, value)))
    }

    /// Whether labels mark somebody of the CDE.
    pub(super) fn marks(&self, labels: &Labels) -> bool {
        self.standard.marks_cde(labels)
    }

    /// The addresses of the CDE.
    pub(super) fn inside(&self, family: Family) -> &AddressSet {
        let [v4, v6] = &self.inside;
        if family == Family::V4 { v4 } else { v6 }
    }

    /// The addresses on the other side of the boundary from somebody in the CDE, or outside of it.
    pub(super) fn across(&self, cde: bool, family: Family) -> AddressSet {
        if cde { AddressSet::all(family).minus(self.inside(family)) } else { self.inside(family).clone() }
    }
}
