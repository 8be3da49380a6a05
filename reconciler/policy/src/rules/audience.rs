//! Who can reach whom: every rule, with those it is for and the zones its peers touch.
//!
//! A rule of a policy means the same for endpoints of one zone, so it is looked at once for each zone (and for each set of declared
//! ports, where it names ports) that its policy selects in, not once for each endpoint. All walks share one account of work: when it
//! is spent they end, nothing is said of the rest, and the set is refused.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, OnceCell, RefCell};
use core::net::IpAddr;

use super::catalogue::Item;
use super::facts::Facts;
use super::found::{Here, sample};
use super::group::{Group, Source, sources_of};
use super::zones::ZoneMap;
use crate::finding::{Finding, Witness};
use crate::model::zones::Zone;
use crate::model::{Kind, NetworkPolicy, Port, Rule};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{AddressSet, Direction, Family, Service, ServiceRange, ServiceSet};

/// Prefixes, zones and policies looked at for one set. Honest sets stay fifty times below.
const WORK_MAX: usize = 50_000_000;
/// Peers that meet more stretches of zones than this are looked up once.
const WIDE: usize = 16;
/// Zones remembered for wide peers, all peers together.
const REMEMBERED_MAX: usize = 500_000;
/// Zones named in one message.
const NAMED_MAX: usize = 3;

/// A zone that some addresses touch, `None` for the Internet, and the lowest address in it.
pub(super) type Touch<'a> = (Option<&'a Zone>, IpAddr);
/// Per policy, numbers of groups that it is for: one of each kind.
type Audience = BTreeMap<*const NetworkPolicy, Vec<usize>>;

/// What the walks remember.
#[derive(Default)]
pub(super) struct Memory {
    work: Cell<usize>,
    cde: OnceCell<Audience>,
    everybody: OnceCell<Audience>,
    wide: RefCell<Wide>,
}

/// Some addresses: their family, and first and last ones.
type Spans = (Family, Vec<(u128, u128)>);

/// Zones by number, each with the lowest address in it.
type Touches = [(Option<usize>, IpAddr)];

/// What wide peers touch.
#[derive(Default)]
struct Wide {
    known: BTreeMap<Spans, Rc<Touches>>,
    held: usize,
}

/// Whose rules are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whoever is in the CDE, known or not.
    Cde,
    /// Every endpoint of the Inventory.
    Everybody,
}

/// One rule and whom it is for.
pub(super) struct Reach<'f, 'a> {
    pub(super) here: Here<'a>,
    /// Its peers, of both families.
    pub(super) sources: Vec<Source<'a>>,
    /// One group of each kind.
    pub(super) groups: Vec<&'f Group<'a>>,
}

impl<'a> Facts<'a> {
    /// Counts work; whether there is any left.
    pub(super) fn spend(&self, steps: usize) -> bool {
        let spent = self.memory.work.get().saturating_add(steps);
        self.memory.work.set(spent);
        spent <= WORK_MAX
    }

    /// More was asked for than is ever looked at: what the walks said is not complete.
    pub(super) fn is_spent(&self) -> bool {
        self.memory.work.get() > WORK_MAX
    }

    /// Every rule of a direction that is worth a look, with its peers and those it is for.
    pub(super) fn reaches<'f>(
        &'f self,
        whose: Whose,
        direction: Direction,
        worth: impl Fn(&Rule) -> bool + 'f,
    ) -> impl Iterator<Item = Reach<'f, 'a>> + 'f {
        let (groups, audience) = match whose {
            Whose::Cde => (&self.cde, self.memory.cde.get_or_init(|| audience(self, &self.cde))),
            Whose::Everybody => (&self.everybody, self.memory.everybody.get_or_init(|| audience(self, &self.everybody))),
        };
        let policies = self.set.policies.iter().filter_map(|policy| Some((policy, audience.get(&core::ptr::from_ref(policy))?)));
        let rules = policies.flat_map(move |(policy, numbers)| Here::of(policy, direction).map(move |here| (here, numbers)));
        let rules = rules.filter(move |(here, _)| worth(here.rule) && !self.is_spent());
        rules.flat_map(move |(here, numbers)| {
            let groups: Vec<&Group<'a>> = numbers.iter().filter_map(|number| groups.get(*number)).collect();
            self.apart(here, groups)
        })
    }

    /// A rule that names ports of its own endpoints means something else for each of them.
    fn apart<'f>(&'f self, here: Here<'a>, groups: Vec<&'f Group<'a>>) -> Vec<Reach<'f, 'a>> {
        let named = here.direction == Direction::Ingress && here.rule.ports.iter().any(|p| matches!(p.port, Port::Named(_)));
        let reach = |groups: Vec<&'f Group<'a>>| {
            let declared = groups.first().map_or(&[][..], |group| group.ports);
            let sources: Vec<Source<'a>> = Family::BOTH.into_iter().flat_map(|family| possible(here, declared, family)).collect();
            self.spend(sources.iter().map(|source| source.weight).sum());
            Reach { here, sources, groups }
        };
        if named { groups.into_iter().map(|group| reach([group].into())).collect() } else { [reach(groups)].into() }
    }

    /// Every zone that some addresses touch, with the lowest address in it.
    pub(super) fn touched(&self, addresses: &AddressSet) -> Vec<Touch<'a>> {
        let stretches = self.zones.met(addresses);
        let zones = |list: &Touches| {
            self.spend(list.len());
            list.iter().map(|(number, lowest)| (self.zones.numbered(*number), *lowest)).collect()
        };
        if stretches <= WIDE {
            self.spend(stretches);
            return zones(&self.zones.touched_numbers(addresses));
        }
        let key = (addresses.family(), addresses.spans().to_vec());
        if let Some(known) = self.memory.wide.try_borrow().ok().and_then(|wide| wide.known.get(&key).cloned()) {
            return zones(&known);
        }
        if !self.spend(stretches) {
            return Vec::new();
        }
        let touched: Rc<Touches> = self.zones.touched_numbers(addresses).into();
        if let Ok(mut wide) = self.memory.wide.try_borrow_mut()
            && wide.held < REMEMBERED_MAX
        {
            wide.held += touched.len() + key.1.len();
            wide.known.insert(key, touched.clone());
        }
        zones(&touched)
    }

    /// The zones besides a group's own that some addresses touch, as far as that is certain. Where nobody knows the group's own zone,
    /// zones of the CDE may be it; where nobody knows any zone, every address but the public ones may be in it.
    pub(super) fn elsewhere(&self, group: &Group<'_>, addresses: &AddressSet) -> Vec<Touch<'a>> {
        if !self.has(Kind::Zones) {
            let public = addresses.first_shared(self.public(addresses.family()));
            return public.map(|address| (None, address)).into_iter().collect();
        }
        let other = |zone: Option<&Zone>| match group.endpoints.is_empty() {
            true => !zone.is_some_and(|zone| zone.is(crate::model::zones::Class::Cde)),
            false => !group.is_in(zone),
        };
        let touched = self.touched(addresses);
        self.spend(touched.len());
        touched.into_iter().filter(|(zone, _)| other(*zone)).collect()
    }

    /// A packet between a group and an address by one rule, if there can be one.
    pub(super) fn packet(&self, group: &Group<'_>, here: &Here<'_>, address: IpAddr, service: Service) -> Option<Witness> {
        let expires = self.record(here.policy, here.rule).and_then(|record| record.expires_at);
        let live = expires.is_none_or(|last| last >= self.circumstances.today);
        self.witness(group, here.policy, here.direction, address, service).filter(|_| live)
    }
}

impl Group<'_> {
    /// Whether this is their zone. The Internet is nobody's.
    pub(super) fn is_in(&self, zone: Option<&Zone>) -> bool {
        self.zone.zip(zone).is_some_and(|(own, zone)| own.name == zone.name)
    }

    /// Who, and in which zone.
    pub(super) fn whereabouts(&self) -> String {
        self.zone.map_or_else(|| self.name.clone(), |zone| alloc::format!("{} in {}", self.name, zone.name))
    }
}

impl Item {
    /// A finding at a peer, with the packet that shows it.
    pub(super) fn about_peer(
        &self,
        facts: &Facts<'_>,
        source: &Source<'_>,
        group: &Group<'_>,
        (address, service): (IpAddr, Service),
        message: String,
    ) -> Finding {
        let witness = facts.packet(group, &source.here, address, service);
        Finding { witness, ..self.about_rule(&source.here, source.at, &source.below(), message) }
    }
}

/// Whether a rule's ports hold one of some services.
pub(super) fn may_use(rule: &Rule, services: &ServiceSet) -> bool {
    rule.ports.is_empty() || rule.ports.iter().flat_map(|item| item.port.services()).any(|range| services.first_in(range).is_some())
}

/// One of the services that a peer may use, one that people know if there is one.
pub(super) fn service_of(source: &Source<'_>) -> Service {
    sample(source.services.first().copied().unwrap_or(ServiceRange::ALL))
}

/// The first of some services that a peer may use.
pub(super) fn first_of(source: &Source<'_>, services: &ServiceSet) -> Option<Service> {
    source.services.iter().find_map(|range| services.first_in(*range))
}

/// Zones in words: `corporate`, `corporate and guests`, `corporate, guests, test and 2 more`.
pub(super) fn zone_names(zones: &[Touch<'_>]) -> String {
    let mut names: Vec<String> = zones.iter().take(NAMED_MAX).map(|(zone, _)| ZoneMap::name(*zone).to_string()).collect();
    if zones.len() > NAMED_MAX {
        names.push(alloc::format!("{} more", zones.len() - NAMED_MAX));
    }
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => alloc::format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What a rule allows in one family, without services that no packet of that family can ask for (S32).
fn possible<'a>(here: Here<'a>, declared: &[crate::model::inventory::NamedPort], family: Family) -> Vec<Source<'a>> {
    let foreign = if family == Family::V4 { ICMPV6 } else { ICMP };
    let mut sources = sources_of(here, declared, family);
    for source in &mut sources {
        if source.services.iter().any(|range| range.is_of(foreign)) {
            source.services = source.services.iter().copied().filter(|range| !range.is_of(foreign)).collect();
        }
    }
    sources.retain(|source| !source.services.is_empty());
    sources
}

/// What must be the same for a rule to mean the same.
type Alike<'f> = (Option<&'f str>, [bool; 3], &'f [alloc::sync::Arc<str>], Vec<(&'f str, ServiceRange)>);

/// Whom each policy is for.
fn audience(facts: &Facts<'_>, groups: &[Group<'_>]) -> Audience {
    let mut kinds: BTreeMap<Alike<'_>, usize> = BTreeMap::new();
    let mut seen: BTreeSet<(*const NetworkPolicy, usize)> = BTreeSet::new();
    let mut audience = Audience::new();
    for (number, group) in groups.iter().enumerate() {
        let ports = group.ports.iter().map(|port| (&*port.name, port.service)).collect();
        // Whatever a rule chooses groups by, or the first that stands for a kind would hide the others.
        let flags = [group.cde, group.stores_chd, group.endpoints.is_empty()];
        let key = (group.zone.map(|zone| &*zone.name), flags, group.public_services, ports);
        let next = kinds.len();
        let kind = *kinds.entry(key).or_insert(next);
        // Where no endpoint is known, the policies that cover a selection stand for what they select themselves.
        let policies = if group.endpoints.is_empty() { &group.members } else { &group.standing };
        if !facts.spend(policies.len()) {
            break;
        }
        for policy in policies.iter().map(|policy| core::ptr::from_ref(*policy)) {
            if seen.insert((policy, kind)) {
                audience.entry(policy).or_default().push(number);
            }
        }
    }
    audience
}
