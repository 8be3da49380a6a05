//! What the rules know of a set: who is about the CDE, and who covers whom.
//!
//! Without an Inventory an endpoint stands for "what P selects": P and every policy that covers it apply to all of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::admit::Circumstances;
use crate::model::{NetworkPolicy, PolicySet, Profile};
use crate::net::{AddressSet, Cidr, Direction, Family};
use crate::select::Selector;

/// The label that marks the cardholder data environment, and its values: the default of the Standard.
pub(super) const CDE_LABEL: &str = "pci-env";
pub(super) const CDE_VALUES: [&str; 1] = ["cde"];

/// RFC 1918, RFC 6598 and RFC 4193.
pub(super) const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];
/// Blocks that no host on the Internet has (RFC 6890 and its registries).
const SPECIAL: [&str; 18] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "3fff::/20",
    "fe80::/10",
    "ff00::/8",
];

/// Policies with the same namespace and selector.
pub(super) struct Group<'a> {
    pub(super) selector: &'a Selector,
    pub(super) members: Vec<&'a NetworkPolicy>,
    /// All policies that select whatever this group selects, itself included, in order of file and place.
    pub(super) standing: Vec<&'a NetworkPolicy>,
}

/// Everything the rules share.
pub(super) struct Facts<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) profile: Profile,
    pub(super) circumstances: &'a Circumstances,
    /// The groups that can select something in the CDE.
    pub(super) cde: Vec<Group<'a>>,
    public4: AddressSet,
    public6: AddressSet,
    private4: AddressSet,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        set: &'a PolicySet,
        profile: Profile,
        circumstances: &'a Circumstances,
    ) -> Self {
        let (private4, special) = (parse(Family::V4, &PRIVATE), |family| {
            parse(family, &SPECIAL)
        });
        Self {
            set,
            profile,
            circumstances,
            cde: cde_groups(set),
            public4: AddressSet::all(Family::V4)
                .minus(&private4)
                .minus(&special(Family::V4)),
            public6: parse(Family::V6, &["2000::/3"]).minus(&special(Family::V6)),
            private4,
        }
    }

    /// Addresses that are routed on the Internet.
    pub(super) fn public(&self, family: Family) -> &AddressSet {
        match family {
            Family::V4 => &self.public4,
            Family::V6 => &self.public6,
        }
    }

    /// Whether a block is wholly private.
    pub(super) fn is_private(&self, cidr: Cidr) -> bool {
        AddressSet::of(Family::V4, [cidr])
            .minus(&self.private4)
            .is_empty()
    }

    /// The policies that can select something in the CDE.
    pub(super) fn cde_policies(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.cde
            .iter()
            .flat_map(|group| group.members.iter().copied())
    }
}

impl<'a> Group<'a> {
    /// Whether a policy isolates everything this group selects.
    pub(super) fn is_isolated(&self, direction: Direction) -> bool {
        self.standing
            .iter()
            .any(|policy| policy.isolates(direction))
    }
}

/// Whether a policy can select something in the CDE.
pub(super) fn is_cde(selector: &Selector) -> bool {
    CDE_VALUES
        .iter()
        .any(|value| selector.can_match(CDE_LABEL, value))
}

fn parse(family: Family, texts: &[&str]) -> AddressSet {
    AddressSet::of(
        family,
        texts.iter().filter_map(|text| Cidr::parse(text).ok()),
    )
}

fn cde_groups(set: &PolicySet) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(&str, &Selector), Vec<usize>> = BTreeMap::new();
    for (number, policy) in set.policies.iter().enumerate() {
        groups
            .entry((&policy.namespace, &policy.selector))
            .or_default()
            .push(number);
    }
    let policies = |numbers: &[usize]| {
        numbers
            .iter()
            .filter_map(|n| set.policies.get(*n))
            .collect()
    };
    let about_cde = groups.iter().filter(|((_, selector), _)| is_cde(selector));
    about_cde
        .map(|((namespace, selector), members)| {
            let covering = groups
                .iter()
                .filter(|((other, wider), _)| other == namespace && wider.covers(selector));
            let mut standing: Vec<usize> = covering
                .flat_map(|(_, numbers)| numbers.iter().copied())
                .collect();
            standing.sort_unstable();
            Group {
                selector,
                members: policies(members),
                standing: policies(&standing),
            }
        })
        .collect()
}
