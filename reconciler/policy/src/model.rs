//! What was read: typed documents, each value with its place.
//!
//! A document with problems keeps what could be read, so that the rules still run over it. What could not be read never turns into
//! "everybody" or "every port": a broken peer is [`Peer::Nobody`], a broken port [`Port::Unreadable`].

pub mod flow_test;
pub mod flows;
pub mod inventory;
mod origin;
pub mod records;
mod rule;
pub mod standard;
pub mod zones;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::Serialize;

use crate::net::Direction;
use crate::select::Selector;
use flow_test::FlowTest;
use flows::{DataFlow, ServiceEntry};
use inventory::{Member, Namespace};
use records::{RuleRecord, Waiver};
use standard::Standard;
use zones::Zone;

pub use origin::Origin;
pub use rule::{Block, Grant, Named, Part, Peer, Port, PortItem, Rule, Rules, Selected, Whom};

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

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// What may talk to what.
    NetworkPolicy,
    /// Which networks there are.
    Zones,
    /// Which endpoints there are.
    Inventory,
    /// What may flow between zones.
    DataFlows,
    /// What services are called.
    Services,
    /// Why rules exist.
    RuleRecords,
    /// The configuration standard.
    Standard,
    /// A finding accepted for a while.
    Waiver,
    /// What people expect.
    FlowTest,
}

impl Kind {
    /// As documents write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Zones => "Zones",
            Self::Inventory => "Inventory",
            Self::DataFlows => "DataFlows",
            Self::Services => "Services",
            Self::RuleRecords => "RuleRecords",
            Self::Standard => "Standard",
            Self::Waiver => "Waiver",
            Self::FlowTest => "FlowTest",
        }
    }
}

/// All documents of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The kinds of which there is at least one document, readable or not.
    pub kinds: BTreeSet<Kind>,
    /// The kinds of which something could not be read: what is said of them here is not all.
    pub lost: BTreeSet<Kind>,
    /// The policies, in order of file and place.
    pub policies: Vec<NetworkPolicy>,
    /// The zones.
    pub zones: Vec<Zone>,
    /// The namespaces of the Inventory.
    pub namespaces: Vec<Namespace>,
    /// The endpoints of the Inventory.
    pub members: Vec<Member>,
    /// The approved flows.
    pub flows: Vec<DataFlow>,
    /// The approved services.
    pub services: Vec<ServiceEntry>,
    /// The rule records.
    pub records: Vec<RuleRecord>,
    /// The configuration standard; the default one where none is written.
    pub standard: Standard,
    /// The waivers.
    pub waivers: Vec<Waiver>,
    /// The flow tests.
    pub tests: Vec<FlowTest>,
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
    /// `pci-segment/intent: deny` is written.
    pub means_deny: bool,
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
