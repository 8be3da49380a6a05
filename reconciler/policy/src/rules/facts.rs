//! What the rules know of a set: zones, endpoints, who is about the CDE, who covers whom, what the Standard says.
//!
//! With an Inventory an endpoint is an endpoint. Without one it stands for "what P selects": P and every policy that covers it apply
//! to all of it. Either way the rules look at a [`Group`]: whoever has the same policies.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::audience::Memory;
use super::cover::{Selection, selections};
use super::found::Here;
use super::group::{Group, groups};
use super::lists::Lists;
use super::people::{Known, know};
use super::recorded::Recorded;
use super::since::Since;
use super::zones::ZoneMap;
use crate::admit::Circumstances;
use crate::finding::{Side, Witness};
use crate::model::records::RuleRecord;
use crate::model::standard::{Standard, Thresholds};
use crate::model::zones::Class;
use crate::model::{Kind, Mode, NetworkPolicy, PolicySet, Profile};
use crate::net::{AddressSet, Cidr, Direction, Family, Service};
use crate::select::{Selector, Term};

/// RFC 1918, RFC 6598 and RFC 4193.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
/// Blocks that no host on the Internet has (RFC 6890 and its registries).
pub(super) const SPECIAL: [&str; 18] = [
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

/// Everything the rules share.
pub(super) struct Facts<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) profile: Profile,
    pub(super) circumstances: &'a Circumstances,
    pub(super) standard: &'a Standard,
    /// Zones by address.
    pub(super) zones: ZoneMap<'a>,
    /// The house lists of ports.
    pub(super) lists: Lists,
    /// The endpoints of the Inventory, in order.
    pub(super) endpoints: Vec<Known<'a>>,
    /// Per policy, in order: what it selects, whatever that is, and who covers it.
    pub(super) selections: Vec<Selection<'a>>,
    /// Everybody there is in the CDE: groups of endpoints, and what policies for the CDE select where no endpoint is known.
    pub(super) cde: Vec<Group<'a>>,
    /// Every endpoint of the Inventory, in the CDE or not, by group. Empty without an Inventory.
    pub(super) everybody: Vec<Group<'a>>,
    /// Records by policy and rule; the first where there are several.
    pub(super) records: BTreeMap<(&'a str, &'a str), &'a RuleRecord>,
    /// Every rule that means something beside its record, if records are kept at all.
    pub(super) recorded: Vec<Recorded<'a>>,
    /// What changed since the enforced set.
    pub(super) since: Since<'a>,
    /// More policies cover one another, or select endpoints, than are ever looked at; nothing here is complete.
    pub(super) overfull: bool,
    /// What walks over rules, peers and zones remember.
    pub(super) memory: Memory,
    cde_policies: Vec<bool>,
    /// Per policy, in order: the first endpoint it selects with an address of each family.
    firsts: Vec<[Option<usize>; 2]>,
    public: [AddressSet; 2],
    untrusted: [AddressSet; 2],
    private: Vec<Cidr>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(set: &'a PolicySet, profile: Profile, circumstances: &'a Circumstances) -> Self {
        let standard = &set.standard;
        let zones = ZoneMap::new(&set.zones);
        let (endpoints, too_many) = know(set, standard, &zones);
        let (selections, overfull) = selections(set);
        let cde_policies = about_cde(set, standard, &endpoints);
        let public = Family::BOTH.map(public);
        let untrusted = Family::BOTH.map(|family| match set.zones.is_empty() || set.lost.contains(&Kind::Zones) {
            true => self::public(family),
            false => zones.addresses(family, |zone| zone.is_none_or(|zone| !zone.trusted)),
        });
        let firsts = firsts(set, &endpoints);
        let (cde, everybody) = groups(set, &endpoints, &selections, &cde_policies);
        let records = records(set);
        Self {
            set,
            profile,
            circumstances,
            standard,
            zones,
            lists: Lists::new(standard),
            endpoints,
            selections,
            cde,
            everybody,
            recorded: super::recorded::recorded(set, &cde_policies, &records),
            records,
            since: Since::new(set, circumstances),
            overfull: overfull || too_many,
            memory: Memory::default(),
            cde_policies,
            firsts,
            public,
            untrusted,
            private: parse(&PRIVATE),
        }
    }

    /// Whether the set has a document of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.set.kinds.contains(&kind)
    }

    /// The house numbers.
    pub(super) fn thresholds(&self) -> &'a Thresholds {
        &self.standard.thresholds
    }

    /// Addresses that are routed on the Internet.
    pub(super) fn public(&self, family: Family) -> &AddressSet {
        pick(&self.public, family)
    }

    /// Addresses of untrusted networks: those in no zone or an untrusted one; without Zones the public ones.
    pub(super) fn untrusted(&self, family: Family) -> &AddressSet {
        pick(&self.untrusted, family)
    }

    /// Whether a block is wholly private. No two private blocks touch, so it lies in one of them.
    pub(super) fn is_private(&self, cidr: Cidr) -> bool {
        self.private.iter().any(|private| private.covers(cidr))
    }

    /// The private addresses of a family.
    pub(super) fn private(&self, family: Family) -> AddressSet {
        AddressSet::of(family, self.private.iter().copied())
    }

    /// Every policy, in order, and whether it is about the CDE.
    pub(super) fn policies(&self) -> impl Iterator<Item = (&'a NetworkPolicy, bool)> {
        self.set.policies.iter().zip(self.cde_policies.iter().copied())
    }

    /// The policies about the CDE, in order.
    pub(super) fn cde_policies(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.policies().filter(|(_, cde)| *cde).map(|(policy, _)| policy)
    }

    /// Whether a policy is about the CDE.
    pub(super) fn is_cde(&self, policy: &NetworkPolicy) -> bool {
        self.number(policy).and_then(|number| self.cde_policies.get(number)).copied().unwrap_or(false)
    }

    /// A policy's number in the set. Names are unique only where nothing is wrong; the place in memory is in any case.
    pub(super) fn number(&self, policy: &NetworkPolicy) -> Option<usize> {
        self.set.policies.element_offset(policy)
    }

    /// The record of a named rule.
    pub(super) fn record(&self, policy: &NetworkPolicy, rule: &crate::model::Rule) -> Option<&'a RuleRecord> {
        self.records.get(&(&*policy.name, rule.name.as_deref()?)).copied()
    }

    /// Whether a rule's last day has passed, so that it is compiled no more.
    pub(super) fn is_expired(&self, here: &Here<'_>) -> bool {
        let last = self.record(here.policy, here.rule).and_then(|record| record.expires_at);
        last.is_some_and(|last| last < self.circumstances.today)
    }

    /// A packet between a group and an address, if the group's side lets it through by this policy.
    pub(super) fn witness(
        &self,
        group: &Group<'_>,
        by: &NetworkPolicy,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        let own = self.side_of(group, Family::of(address)).filter(|_| by.mode == Mode::Enforce)?;
        Some(self.between(own, direction, address, service))
    }

    /// A packet between whoever a policy selects and an address; an audited policy lets none through.
    pub(super) fn witness_of(
        &self,
        policy: &NetworkPolicy,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        let selected = || Side::Selected(alloc::string::ToString::to_string(&policy.selector));
        let first = self.number(policy).and_then(|number| self.firsts.get(number));
        let first = first.and_then(|firsts| *pick(firsts, Family::of(address)));
        let own = first.and_then(|number| self.endpoints.get(number)).and_then(|known| known.side(Family::of(address)));
        (policy.mode == Mode::Enforce).then(|| self.between(own.unwrap_or_else(selected), direction, address, service))
    }

    /// A packet between an endpoint and an address; none where the endpoint has no address of that family.
    pub(super) fn witness_for(
        &self,
        known: &Known<'_>,
        direction: Direction,
        address: IpAddr,
        service: Service,
    ) -> Option<Witness> {
        Some(self.between(known.side(Family::of(address))?, direction, address, service))
    }

    fn between(&self, own: Side, direction: Direction, address: IpAddr, service: Service) -> Witness {
        let zone = self.has(Kind::Zones).then(|| ZoneMap::name(self.zones.at(address)));
        let other = Side::Address { address, zone };
        match direction {
            Direction::Ingress => Witness { source: other, destination: own, service },
            Direction::Egress => Witness { source: own, destination: other, service },
        }
    }

    /// One of the group with an address of the family, or the selector that stands for them.
    fn side_of(&self, group: &Group<'_>, family: Family) -> Option<Side> {
        let known = group.endpoints.iter().filter_map(|number| self.endpoints.get(*number));
        let selected = || group.endpoints.is_empty().then(|| Side::Selected(group.name.clone()));
        known.filter_map(|known| known.side(family)).next().or_else(selected)
    }
}

/// With an Inventory: it selects an endpoint of the CDE, or names a value that marks it. Without: it can match such a value.
fn about_cde(set: &PolicySet, standard: &Standard, endpoints: &[Known<'_>]) -> Vec<bool> {
    let values = || standard.cde_labels.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    if !set.kinds.contains(&Kind::Inventory) {
        return set.policies.iter().map(|policy| values().any(|(key, value)| policy.selector.can_match(key, value))).collect();
    }
    let mut about: Vec<bool> = set.policies.iter().map(|policy| values().any(|(k, v)| names(&policy.selector, k, v))).collect();
    for number in endpoints.iter().filter(|known| known.cde).flat_map(|known| known.numbers.iter()) {
        if let Some(cde) = about.get_mut(*number) {
            *cde = true;
        }
    }
    about
}

/// Whether a selector names this value of a label.
pub(super) fn names(selector: &Selector, key: &str, value: &str) -> bool {
    selector.terms().iter().any(|term| match term {
        Term::In(own, values) => own == key && values.iter().any(|v| v == value),
        Term::NotIn(..) | Term::Exists(_) | Term::DoesNotExist(_) => false,
    })
}

/// Whether an endpoint is in the CDE: by its zone or by its labels.
pub(super) fn is_cde_member(standard: &Standard, labels: &crate::model::Labels, zone: Option<&crate::model::zones::Zone>) -> bool {
    zone.is_some_and(|zone| zone.is(Class::Cde)) || standard.marks_cde(labels)
}

fn records(set: &PolicySet) -> BTreeMap<(&str, &str), &RuleRecord> {
    let mut records = BTreeMap::new();
    for record in &set.records {
        records.entry((&*record.policy, &*record.rule)).or_insert(record);
    }
    records
}

/// Addresses that are routed on the Internet.
pub(crate) fn public(family: Family) -> AddressSet {
    let of = |texts: &[&str]| AddressSet::of(family, parse(texts));
    let (private, special) = (of(&PRIVATE), of(&SPECIAL));
    match family {
        Family::V4 => AddressSet::all(family).minus(&private).minus(&special),
        Family::V6 => of(&["2000::/3"]).minus(&special),
    }
}

/// Per policy, the first endpoint it selects with an address of each family.
fn firsts(set: &PolicySet, endpoints: &[Known<'_>]) -> Vec<[Option<usize>; 2]> {
    let mut firsts = alloc::vec![[None, None]; set.policies.len()];
    for (number, known) in endpoints.iter().enumerate() {
        let has = Family::BOTH.map(|family| known.member.addresses.iter().any(|(cidr, _)| cidr.family() == family));
        for policy in &known.numbers {
            let own = firsts.get_mut(*policy).into_iter().flatten();
            for (first, _) in own.zip(has).filter(|(_, has)| *has) {
                first.get_or_insert(number);
            }
        }
    }
    firsts
}

fn pick<T>(sets: &[T; 2], family: Family) -> &T {
    let [v4, v6] = sets;
    if family == Family::V4 { v4 } else { v6 }
}

pub(super) fn parse(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}
