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
pub(super) const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
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

/// Pairs of a policy about the CDE and one that covers it; beyond, the set is refused as it stands. Every policy of an honest set is
/// covered by a handful.
const COVERS_MAX: usize = 4_000_000;

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
    /// More policies cover one another than are ever looked at; `cde` is not complete.
    pub(super) overfull: bool,
    public4: AddressSet,
    public6: AddressSet,
    private: Vec<Cidr>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(set: &'a PolicySet, profile: Profile, circumstances: &'a Circumstances) -> Self {
        let (private, special) = (parse(&PRIVATE), parse(&SPECIAL));
        let of = |family, cidrs: &[Cidr]| AddressSet::of(family, cidrs.iter().copied());
        let (v4, v6) = (Family::V4, Family::V6);
        let (cde, overfull) = cde_groups(set);
        Self {
            set,
            profile,
            circumstances,
            cde,
            overfull,
            public4: AddressSet::all(v4).minus(&of(v4, &private)).minus(&of(v4, &special)),
            public6: of(v6, &parse(&["2000::/3"])).minus(&of(v6, &special)),
            private,
        }
    }

    /// Addresses that are routed on the Internet.
    pub(super) fn public(&self, family: Family) -> &AddressSet {
        match family {
            Family::V4 => &self.public4,
            Family::V6 => &self.public6,
        }
    }

    /// Whether a block is wholly private. No two private blocks touch, so it lies in one of them.
    pub(super) fn is_private(&self, cidr: Cidr) -> bool {
        self.private.iter().any(|private| private.covers(cidr))
    }

    /// The policies that can select something in the CDE.
    pub(super) fn cde_policies(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.cde.iter().flat_map(|group| group.members.iter().copied())
    }
}

impl Group<'_> {
    /// Whether a policy isolates everything this group selects.
    pub(super) fn is_isolated(&self, direction: Direction) -> bool {
        self.standing.iter().any(|policy| policy.isolates(direction))
    }
}

/// Whether a policy can select something in the CDE.
pub(super) fn is_cde(selector: &Selector) -> bool {
    CDE_VALUES.iter().any(|value| selector.can_match(CDE_LABEL, value))
}

fn parse(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}

type Groups<'a> = BTreeMap<(&'a str, &'a Selector), Vec<usize>>;

fn cde_groups(set: &PolicySet) -> (Vec<Group<'_>>, bool) {
    let mut groups = Groups::new();
    for (number, policy) in set.policies.iter().enumerate() {
        groups.entry((&policy.namespace, &policy.selector)).or_default().push(number);
    }
    let index = Index::new(&groups);
    let policies = |numbers: &[usize]| numbers.iter().filter_map(|n| set.policies.get(*n)).collect();
    let (mut about_cde, mut pairs) = (Vec::new(), 0);
    for ((namespace, selector), members) in groups.iter().filter(|((_, selector), _)| is_cde(selector)) {
        let candidates = index.candidates(namespace, selector);
        let covering = candidates.filter(|(wider, _)| wider.covers(selector));
        let mut standing: Vec<usize> = covering.flat_map(|(_, numbers)| numbers.iter().copied()).collect();
        standing.sort_unstable();
        pairs += standing.len();
        if pairs > COVERS_MAX {
            return (about_cde, true);
        }
        about_cde.push(Group { selector, members: policies(members), standing: policies(&standing) });
    }
    (about_cde, false)
}

type Wider<'a> = (&'a Selector, &'a [usize]);

/// Selectors by the rarest label value they insist on, so that not every one is compared with every other.
struct Index<'a> {
    pinned: BTreeMap<(&'a str, &'a str, &'a str), Vec<Wider<'a>>>,
    others: BTreeMap<&'a str, Vec<Wider<'a>>>,
}

impl<'a> Index<'a> {
    fn new(groups: &'a Groups<'a>) -> Self {
        let mut frequency: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for (namespace, selector) in groups.keys() {
            for (key, value) in selector.singles() {
                *frequency.entry((namespace, key, value)).or_default() += 1;
            }
        }
        let mut index = Self { pinned: BTreeMap::new(), others: BTreeMap::new() };
        for ((namespace, selector), numbers) in groups {
            let pins = selector.singles().map(|(key, value)| (*namespace, key, value));
            match pins.min_by_key(|pin| frequency.get(pin).copied()) {
                Some(pin) => index.pinned.entry(pin).or_default().push((selector, numbers)),
                None => index.others.entry(namespace).or_default().push((selector, numbers)),
            }
        }
        index
    }

    /// Every selector that may cover this one: what insists on a value that this one does not insist on cannot.
    fn candidates(&self, namespace: &'a str, selector: &'a Selector) -> impl Iterator<Item = Wider<'a>> {
        let pinned = selector.singles().filter_map(move |(key, value)| self.pinned.get(&(namespace, key, value)));
        pinned.chain(self.others.get(namespace)).flatten().copied()
    }
}
