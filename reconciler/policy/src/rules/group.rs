//! Whoever has the same policies, and so the same flows.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cover::Selection;
use super::found::Here;
use super::people::Known;
use crate::model::inventory::NamedPort;
use crate::model::zones::Zone;
use crate::model::{NetworkPolicy, Peer, PolicySet, Spot, Whom};
use crate::net::{AddressSet, Direction, Family, ServiceRange};
use crate::select::Selector;

/// Endpoints alike in everything the rules look at; or, where no endpoint is known, what some policies select.
pub(super) struct Group<'a> {
    /// Who, for messages: `db-01`, `db-01 and 3 more`, `pci-env=cde`.
    pub(super) name: String,
    /// The selector that stands for them, where no endpoint is known.
    pub(super) selector: Option<&'a Selector>,
    /// Numbers of the endpoints; none where a selector stands for them.
    pub(super) endpoints: Vec<usize>,
    /// They are in the CDE.
    pub(super) cde: bool,
    /// The policies that speak for the group when it has to be pointed at: those with that selector, or all that select it.
    pub(super) members: Vec<&'a NetworkPolicy>,
    /// All policies that select every one of them, audited ones included, in order.
    pub(super) standing: Vec<&'a NetworkPolicy>,
    /// Their zone; `None` is the Internet, or nobody knows.
    pub(super) zone: Option<&'a Zone>,
    /// They store account data.
    pub(super) stores_chd: bool,
    /// Services that untrusted networks may reach.
    pub(super) public_services: &'a [Arc<str>],
    /// The ports they declare.
    pub(super) ports: &'a [NamedPort],
}

/// Some peers of one rule, as they apply to one group.
pub(super) struct Source<'a> {
    pub(super) here: Here<'a>,
    /// The peer's number; `None` for a rule for everybody, and for members found through a named port.
    pub(super) peer: Option<usize>,
    /// Where the value that names it stands.
    pub(super) at: Spot,
    /// Its addresses of one family.
    pub(super) addresses: AddressSet,
    /// What it may use.
    pub(super) services: Arc<[ServiceRange]>,
    /// Prefixes and exceptions it was made from.
    pub(super) weight: usize,
}

impl Source<'_> {
    /// The pointer below the rule to the value that says who it is.
    pub(super) fn below(&self) -> String {
        let peer = self.peer.and_then(|number| Some((number, self.here.rule.peers.get(number)?)));
        peer.map_or_else(String::new, |(number, peer)| format!("/{}/{number}{}", self.here.direction.peers(), peer.pointer()))
    }

    /// The peer in words.
    pub(super) fn text(&self) -> String {
        match self.peer.and_then(|number| self.here.rule.peers.get(number)) {
            Some(peer) => peer_text(peer),
            None if self.here.rule.peers.is_empty() => String::from("everybody"),
            None => String::from("a named port"),
        }
    }
}

/// A peer in words: its block, or its selectors.
pub(super) fn peer_text(peer: &Peer) -> String {
    match peer {
        Peer::Block(block) => block.cidr.to_string(),
        Peer::Selected(selected) => match (&selected.pods, &selected.namespaces) {
            (Some(pods), Some(namespaces)) => format!("{pods} in namespaces {namespaces}"),
            (Some(pods), None) => pods.to_string(),
            (None, Some(namespaces)) => format!("namespaces {namespaces}"),
            (None, None) => String::from("nobody"),
        },
        Peer::Nobody { .. } => String::from("nobody"),
    }
}

impl<'a> Group<'a> {
    /// Whether a policy isolates all of them.
    pub(super) fn is_isolated(&self, direction: Direction) -> bool {
        self.standing.iter().any(|policy| policy.isolates(direction))
    }

    /// Everything that is allowed in a direction, peer by peer, of one family. Rules for everybody included.
    pub(super) fn sources(&self, direction: Direction, family: Family) -> Vec<Source<'a>> {
        let rules = self.standing.iter().flat_map(|policy| Here::of(policy, direction));
        rules.flat_map(|here| sources_of(here, self.ports, family)).collect()
    }
}

/// What one rule allows endpoints that declare these ports, peer by peer, of one family.
pub(super) fn sources_of<'a>(here: Here<'a>, declared: &[NamedPort], family: Family) -> Vec<Source<'a>> {
    let mut sources = Vec::new();
    for grant in here.rule.grants(here.direction, declared) {
        let services: Arc<[ServiceRange]> = grant.services.into();
        sources.extend(of_grant(here, grant.whom, family, &services));
    }
    sources
}

fn of_grant<'a>(here: Here<'a>, whom: Whom<'a>, family: Family, services: &Arc<[ServiceRange]>) -> Vec<Source<'a>> {
    let source = |peer, at, addresses, weight| Source { here, peer, at, addresses, services: services.clone(), weight };
    match whom {
        Whom::Everybody => [source(None, here.rule.at, AddressSet::all(family), 1)].into(),
        Whom::Members(members) => {
            let addresses = AddressSet::of(family, members.iter().copied());
            [source(None, here.rule.at, addresses, members.len())].into_iter().filter(|s| !s.addresses.is_empty()).collect()
        }
        Whom::Peers(peers) => {
            let each = peers.iter().enumerate().map(|(number, peer)| {
                let (addresses, weight) = addresses(peer, family);
                source(Some(number), peer.at(), addresses, weight)
            });
            each.filter(|source| !source.addresses.is_empty()).collect()
        }
    }
}

fn addresses(peer: &Peer, family: Family) -> (AddressSet, usize) {
    match peer {
        Peer::Block(block) if block.cidr.family() == family => (block.addresses(family), 1 + block.except.len()),
        Peer::Selected(selected) => (AddressSet::of(family, selected.members.iter().copied()), selected.members.len()),
        Peer::Block(_) | Peer::Nobody { .. } => (AddressSet::empty(family), 1),
    }
}

/// What must be the same for endpoints to be one group.
type Alike<'a> = (&'a [usize], Option<&'a str>, bool, bool, &'a [Arc<str>], Vec<(&'a str, ServiceRange)>);

/// The groups of the CDE, and the groups of all endpoints.
pub(super) fn groups<'a>(
    set: &'a PolicySet,
    endpoints: &[Known<'a>],
    selections: &[Selection<'a>],
    cde_policies: &[bool],
) -> (Vec<Group<'a>>, Vec<Group<'a>>) {
    let everybody = of_endpoints(endpoints);
    let in_cde = of_endpoints(endpoints).into_iter().filter(|group| group.cde);
    // Somebody in the CDE whom the Inventory does not know, if it is about the CDE and selects no endpoint of it.
    let selected: alloc::collections::BTreeSet<usize> =
        endpoints.iter().filter(|known| known.cde).flat_map(|known| known.numbers.iter().copied()).collect();
    let about = |number: &usize| cde_policies.get(*number).copied().unwrap_or(false);
    let unknown = selections
        .iter()
        .filter(|selection| selection.members.first().is_some_and(|number| about(number) && !selected.contains(number)));
    let cde = in_cde.chain(unknown.map(|selection| of_selection(set, selection))).collect();
    (cde, everybody)
}

fn of_selection<'a>(set: &'a PolicySet, selection: &Selection<'a>) -> Group<'a> {
    Group {
        name: selection.selector.to_string(),
        selector: Some(selection.selector),
        endpoints: Vec::new(),
        cde: true,
        members: selection.members.iter().filter_map(|number| set.policies.get(*number)).collect(),
        standing: selection.standing.clone(),
        zone: None,
        stores_chd: false,
        public_services: &[],
        ports: &[],
    }
}

fn of_endpoints<'a>(endpoints: &[Known<'a>]) -> Vec<Group<'a>> {
    let mut alike: BTreeMap<Alike<'_>, Vec<usize>> = BTreeMap::new();
    for (number, known) in endpoints.iter().enumerate() {
        let member = known.member;
        let mut ports: Vec<(&str, ServiceRange)> = member.ports.iter().map(|port| (&*port.name, port.service)).collect();
        ports.sort_unstable();
        let zone = known.zone.map(|zone| &*zone.name);
        let key = (&*known.numbers, zone, known.cde, member.stores_chd, &*member.public_services, ports);
        alike.entry(key).or_default().push(number);
    }
    let mut groups: Vec<Group<'a>> = alike.into_values().filter_map(|numbers| of_numbers(endpoints, numbers)).collect();
    groups.sort_by_key(|group| group.endpoints.first().copied());
    groups
}

fn of_numbers<'a>(endpoints: &[Known<'a>], numbers: Vec<usize>) -> Option<Group<'a>> {
    let first = endpoints.get(*numbers.first()?)?;
    let name = match numbers.len() {
        1 => first.member.name.to_string(),
        more => format!("{} and {} more", first.member.name, more - 1),
    };
    Some(Group {
        name,
        selector: None,
        endpoints: numbers,
        cde: first.cde,
        members: first.policies.clone(),
        standing: first.policies.clone(),
        zone: first.zone,
        stores_chd: first.member.stores_chd,
        public_services: &first.member.public_services,
        ports: &first.member.ports,
    })
}
