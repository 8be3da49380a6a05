//! Rules of a policy: peers, ports, and what the two allow together.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Spot;
use super::inventory::NamedPort;
use crate::net::{AddressSet, Cidr, Direction, Family, ServiceRange};
use crate::select::Selector;

/// The rules of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where the key stands, if it is written.
    pub key_at: Option<Spot>,
    /// The rules in order.
    pub list: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub at: Spot,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its peers; empty means everybody (S12).
    pub peers: Vec<Peer>,
    /// Its ports; empty means every protocol and port (S13).
    pub ports: Vec<PortItem>,
    /// Where the value of `ports` stands, if it is written.
    pub ports_at: Option<Spot>,
}

/// Some peers of a rule and the services they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Who.
    pub whom: Whom<'a>,
    /// What; sorted as written.
    pub services: Vec<ServiceRange>,
}

/// Who may use a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom<'a> {
    /// Every address of both families.
    Everybody,
    /// Any of these peers.
    Peers(&'a [Peer]),
    /// These addresses, for the sake of a port that they declare.
    Members(&'a [Cidr]),
}

impl Rule {
    /// The addresses of one family that its peers contain.
    #[must_use]
    pub fn addresses(&self, family: Family) -> AddressSet {
        if self.peers.is_empty() {
            return AddressSet::all(family);
        }
        let parts: Vec<AddressSet> = self.peers.iter().flat_map(Peer::parts).map(|part| part.addresses(family)).collect();
        AddressSet::union(family, &parts)
    }

    /// The services that its ports contain for whomever, in file order.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceRange> {
        if self.ports.is_empty() {
            return alloc::vec![ServiceRange::ALL];
        }
        self.ports.iter().flat_map(|item| item.port.services()).collect()
    }

    /// What it allows an endpoint that declares these ports. Named ports of ingress are the endpoint's own (S27), those of egress the
    /// destination's (S28), so that each destination gets its own service.
    #[must_use]
    pub fn grants(&self, direction: Direction, declared: &[NamedPort]) -> Vec<Grant<'_>> {
        let whom = if self.peers.is_empty() { Whom::Everybody } else { Whom::Peers(&self.peers) };
        if self.ports.is_empty() {
            return alloc::vec![Grant { whom, services: alloc::vec![ServiceRange::ALL] }];
        }
        let mut services = Vec::with_capacity(self.ports.len());
        let mut grants = Vec::new();
        for item in &self.ports {
            match (&item.port, direction) {
                (Port::Numbers(range), _) => services.push(*range),
                (Port::Named(named), Direction::Ingress) => services.extend(named.of(declared)),
                (Port::Named(named), Direction::Egress) => {
                    grants.extend(
                        named
                            .found
                            .iter()
                            .map(|(service, members)| Grant { whom: Whom::Members(members), services: alloc::vec![*service] }),
                    );
                }
                (Port::Unreadable, _) => {}
            }
        }
        if !services.is_empty() {
            grants.insert(0, Grant { whom, services });
        }
        grants
    }
}

/// Who is on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address block.
    Block(Block),
    /// The endpoints that a selector matches.
    Selected(Selected),
    /// A peer that could not be read or resolved; it contains no address.
    Nobody {
        /// Where it stands.
        at: Spot,
    },
}

impl Peer {
    /// The block, if it is one.
    #[must_use]
    pub fn block(&self) -> Option<&Block> {
        match self {
            Self::Block(block) => Some(block),
            Self::Selected(_) | Self::Nobody { .. } => None,
        }
    }

    /// The addresses it contains, part by part.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (block, members) = match self {
            Self::Block(block) => (Some(Part { at: block.at, cidr: block.cidr, except: &block.except }), None),
            Self::Selected(selected) => (None, Some(selected)),
            Self::Nobody { .. } => (None, None),
        };
        let member = |selected: &'_ Selected| selected.at;
        let of_members = members.into_iter().flat_map(move |selected| {
            let at = member(selected);
            selected.members.iter().map(move |cidr| Part { at, cidr: *cidr, except: &[] })
        });
        block.into_iter().chain(of_members)
    }

    /// Where it stands.
    #[must_use]
    pub fn at(&self) -> Spot {
        match self {
            Self::Block(block) => block.at,
            Self::Selected(selected) => selected.at,
            Self::Nobody { at } => *at,
        }
    }

    /// What follows the peer's own pointer to reach the value that says who it is.
    #[must_use]
    pub fn pointer(&self) -> &'static str {
        match self {
            Self::Block(_) => "/ipBlock/cidr",
            Self::Selected(_) | Self::Nobody { .. } => "",
        }
    }
}

/// An address block and what is taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where the value of `cidr` stands.
    pub at: Spot,
    /// The block.
    pub cidr: Cidr,
    /// What is taken out, of the same family.
    pub except: Vec<Cidr>,
}

impl Block {
    /// The addresses left in it, if it is of this family.
    #[must_use]
    pub fn addresses(&self, family: Family) -> AddressSet {
        Part { at: self.at, cidr: self.cidr, except: &self.except }.addresses(family)
    }
}

/// Endpoints by their labels (S18, S19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Where the peer stands.
    pub at: Spot,
    /// `podSelector`, if it is written.
    pub pods: Option<Selector>,
    /// `namespaceSelector`, if it is written; without it the policy's own namespace is meant.
    pub namespaces: Option<Selector>,
    /// The addresses of everybody it matches in the Inventory of the same commit (S22), sorted.
    pub members: Arc<[Cidr]>,
}

/// A prefix and what is taken out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Where the value that names it stands.
    pub at: Spot,
    /// The prefix.
    pub cidr: Cidr,
    /// What is taken out, of the same family.
    pub except: &'a [Cidr],
}

impl Part<'_> {
    /// The addresses left in it, if it is of this family.
    #[must_use]
    pub fn addresses(&self, family: Family) -> AddressSet {
        let whole = AddressSet::of(family, [self.cidr]);
        if self.except.is_empty() { whole } else { whole.minus(&AddressSet::of(family, self.except.iter().copied())) }
    }
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortItem {
    /// Where it stands.
    pub at: Spot,
    /// What it contains.
    pub port: Port,
}

/// What an item of `ports` contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// Services by number.
    Numbers(ServiceRange),
    /// A port that endpoints declare under a name.
    Named(Named),
    /// It could not be read or resolved: no flow.
    Unreadable,
}

impl Port {
    /// Every service it can stand for.
    pub fn services(&self) -> impl Iterator<Item = ServiceRange> {
        let (numbers, named) = match self {
            Self::Numbers(range) => (Some(*range), None),
            Self::Named(named) => (None, Some(named)),
            Self::Unreadable => (None, None),
        };
        numbers.into_iter().chain(named.into_iter().flat_map(|named| named.found.iter().map(|(service, _)| *service)))
    }

    /// The name, if it is written as one.
    #[must_use]
    pub fn name(&self) -> Option<&Named> {
        match self {
            Self::Named(named) => Some(named),
            Self::Numbers(_) | Self::Unreadable => None,
        }
    }

    /// The services, if they are written as numbers.
    #[must_use]
    pub fn numbers(&self) -> Option<ServiceRange> {
        match self {
            Self::Numbers(range) => Some(*range),
            Self::Named(_) | Self::Unreadable => None,
        }
    }
}

/// A port by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The protocol.
    pub protocol: u8,
    /// The name.
    pub name: Arc<str>,
    /// What the endpoints in question declare under it, and their addresses: in ingress the selected endpoints, in egress the
    /// rule's peers.
    pub found: Arc<[(ServiceRange, Arc<[Cidr]>)]>,
}

impl Named {
    /// What an endpoint with these ports declares under the name.
    fn of(&self, declared: &[NamedPort]) -> Option<ServiceRange> {
        let same = |port: &&NamedPort| port.name == self.name && port.service.is_of(self.protocol);
        declared.iter().find(same).map(|port| port.service)
    }
}
