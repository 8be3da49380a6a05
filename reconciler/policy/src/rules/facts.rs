//! What the rules know of a set: zones, endpoints, who is about the CDE, who covers whom, what the Standard says.
//!
//! With an Inventory an endpoint is an endpoint. Without one it stands for "what P selects": P and every policy that covers it apply
//! to all of it. Either way the rules look at a [`Group`]: whoever has the same policies.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
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
use crate::model::inventory::Member;
use crate::model::records::RuleRecord;
use crate::model::standard::{Standard, Thresholds};
use crate::model::zones::{Class, Zone};
use crate::model::{Kind, NetworkPolicy, PolicySet, Profile};
use crate::net::{AddressSet, Cidr, Family};
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

/// All of IPv4 as IPv6 (RFC 6052): whoever is let in from here may be anybody on the Internet.
const NAT64: &str = "64:ff9b::/96";

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
    pub(super) firsts: Vec<[Option<usize>; 2]>,
    public: [AddressSet; 2],
    untrusted: [AddressSet; 2],
    private: Vec<Cidr>,
    nat64: Option<Cidr>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(set: &'a PolicySet, profile: Profile, circumstances: &'a Circumstances) -> Self {
        let standard = &set.standard;
        let zones = ZoneMap::new(&set.zones);
        let (endpoints, too_many) = know(set, standard, &zones);
        let (selections, overfull) = selections(set);
        let cde_policies = about_cde(set, standard, &endpoints);
        let public = Family::BOTH.map(public);
        let zoned = set.kinds.contains(&Kind::Zones) && !set.lost.contains(&Kind::Zones);
        let untrusted = Family::BOTH.map(|family| match zoned {
            true => zones.addresses(family, |zone| zone.is_none_or(|zone| !zone.trusted)),
            false => self::public(family),
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
            nat64: Cidr::parse(NAT64).ok(),
        }
    }

    /// Whether the set has a document of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.set.kinds.contains(&kind)
    }

    /// Whether any endpoint is known. An Inventory without endpoints says of nobody where they are.
    pub(super) fn has_endpoints(&self) -> bool {
        !self.endpoints.is_empty()
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

    /// Whether some addresses hold as much of IPv4 behind a translator (RFC 6052) as counts as open.
    pub(super) fn is_open_nat64(&self, addresses: &AddressSet) -> bool {
        let translated = AddressSet::of(Family::V6, self.nat64);
        addresses.intersection(&translated).size() >= self.thresholds().open_v4_addresses
    }

    /// Whether a block shares an address with that part of IPv6.
    pub(super) fn meets_nat64(&self, cidr: Cidr) -> bool {
        self.nat64.is_some_and(|translated| translated.covers(cidr) || cidr.covers(translated))
    }

    /// Where an untrusted address is, in words.
    pub(super) fn untrusted_name(&self, address: IpAddr) -> String {
        match self.has(Kind::Zones) {
            true => format!("{}, which is untrusted,", ZoneMap::name(self.zones.at(address))),
            false => String::from("the Internet"),
        }
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
}

/// With endpoints: it selects one of the CDE, or names a value that marks it. Without, an empty Inventory being none: it can match
/// such a value.
fn about_cde(set: &PolicySet, standard: &Standard, endpoints: &[Known<'_>]) -> Vec<bool> {
    let values = || standard.cde_labels.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    if endpoints.is_empty() {
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

/// Whether an endpoint is in the CDE: by its zone, by its labels, or because it stores account data, wherever it stands.
pub(super) fn is_cde_member(standard: &Standard, member: &Member, zone: Option<&Zone>) -> bool {
    member.stores_chd || zone.is_some_and(|zone| zone.is(Class::Cde)) || standard.marks_cde(&member.labels)
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
        Family::V6 => of(&["2000::/3", NAT64]).minus(&special),
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

pub(super) fn pick<T>(sets: &[T; 2], family: Family) -> &T {
    let [v4, v6] = sets;
    if family == Family::V4 { v4 } else { v6 }
}

pub(super) fn parse(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}
