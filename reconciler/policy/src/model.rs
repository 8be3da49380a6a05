//! What was read: typed documents, each value with its place.
//!
//! A document with problems keeps what could be read, so that the rules still run over it. What could not be read never turns into
//! "everybody" or "every port": a broken peer is [`Peer::Nobody`], a broken port [`PortItem`] without services.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Serialize;

use crate::net::{AddressSet, Cidr, Direction, Family, ServiceRange};
use crate::select::Selector;

/// A line and column, both from 1; columns in Unicode scalar values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Spot {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Spot {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// From counts, both from 1.
    #[must_use]
    pub fn new(line: usize, column: usize) -> Self {
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: short(line), column: short(column) }
    }
}

/// A spot in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file, relative to the policy root.
    pub file: Arc<str>,
    /// Where in it.
    #[serde(flatten)]
    pub spot: Spot,
}

/// Labels of an endpoint or a namespace.
pub type Labels = BTreeMap<String, String>;

/// A policy's name: a DNS-1123 subdomain, unique in the set.
pub type PolicyName = Arc<str>;

/// How strictly the rules run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Profile {
    /// What can be judged without facts about the network; the default.
    #[serde(rename = "baseline")]
    Baseline,
    /// Every rule; each kind of document is required.
    #[serde(rename = "pci-dss-4.0.1")]
    PciDss401,
}

impl Profile {
    /// As the configuration and the output name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::PciDss401 => "pci-dss-4.0.1",
        }
    }
}

/// Whether a policy is enforced, or only judged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Enforced.
    Enforce,
    /// Isolates nobody and allows nothing; what it would do is counted.
    Audit,
}

/// All documents of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The policies, in order of file and place.
    pub policies: Vec<NetworkPolicy>,
}

/// One `kind: NetworkPolicy` document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its file.
    pub file: Arc<str>,
    /// Where its name stands.
    pub at: Spot,
    /// Its name.
    pub name: PolicyName,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The value of the `pci-dss` annotation, and where it stands.
    pub requirements: Option<(String, Spot)>,
    /// Whether it is enforced.
    pub mode: Mode,
    /// Whom it selects.
    pub selector: Selector,
    /// Where `spec` and `podSelector` stand.
    pub spec_at: Spot,
    /// Where the value of `podSelector` stands.
    pub selector_at: Spot,
    /// Which directions it isolates.
    pub types: Types,
    /// Its ingress rules.
    pub ingress: Rules,
    /// Its egress rules.
    pub egress: Rules,
}

impl NetworkPolicy {
    /// The rules of one direction, inert ones (S9) included.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &Rules {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Whether `policyTypes` names the direction; both where it is left out (S6, S7).
    #[must_use]
    pub fn speaks_of(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.types.ingress,
            Direction::Egress => self.types.egress,
        }
    }

    /// Whether it isolates the endpoints it selects in this direction.
    #[must_use]
    pub fn isolates(&self, direction: Direction) -> bool {
        self.mode == Mode::Enforce && self.speaks_of(direction)
    }

    /// The rules that mean something: those of a direction it speaks of (S9).
    #[must_use]
    pub fn live_rules(&self, direction: Direction) -> &[Rule] {
        if self.speaks_of(direction) { &self.rules(direction).list } else { &[] }
    }

    /// A place in this policy's file.
    #[must_use]
    pub fn place(&self, spot: Spot) -> Place {
        Place { file: self.file.clone(), spot }
    }
}

/// What `policyTypes` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// Whether the field is written at all.
    pub written: bool,
    /// Ingress is meant.
    pub ingress: bool,
    /// Egress is meant.
    pub egress: bool,
}

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

impl Rule {
    /// The addresses of one family that its peers contain.
    #[must_use]
    pub fn addresses(&self, family: Family) -> AddressSet {
        if self.peers.is_empty() {
            return AddressSet::all(family);
        }
        let blocks: Vec<AddressSet> = self.peers.iter().filter_map(Peer::block).map(|b| b.addresses(family)).collect();
        AddressSet::union(family, &blocks)
    }

    /// The services its ports contain, in file order.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceRange> {
        if self.ports.is_empty() {
            return alloc::vec![ServiceRange::ALL];
        }
        self.ports.iter().filter_map(|p| p.services).collect()
    }
}

/// Who is on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address block.
    Block(Block),
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
            Self::Nobody { .. } => None,
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
        let whole = AddressSet::of(family, [self.cidr]);
        if self.except.is_empty() { whole } else { whole.minus(&AddressSet::of(family, self.except.iter().copied())) }
    }
}

/// One item of `ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortItem {
    /// Where it stands.
    pub at: Spot,
    /// What it contains; `None` if it could not be read: no flow.
    pub services: Option<ServiceRange>,
}
