//! Names that documents give and names that they use, noted while documents are read and compared when all are.
//!
//! A name is noted even where the rest of its item cannot be read: one mistake in a zone must not make every mention of the zone a
//! second mistake.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::model::{Kind, Place};

/// What can have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Noun {
    /// A document; names are unique per kind.
    Document(Kind),
    /// A zone.
    Zone,
    /// A namespace of the Inventory.
    Namespace,
    /// A workload or a host.
    Endpoint,
    /// A service.
    Service,
    /// A data flow.
    Flow,
    /// A rule of a policy.
    Rule,
    /// The record of a rule of a policy.
    Record,
}

/// A name and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) noun: Noun,
    /// The policy of a rule or record.
    pub(super) of: Option<Arc<str>>,
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) path: String,
}

/// Every name of a set.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) defined: Vec<Name>,
    pub(super) used: Vec<Name>,
    /// Of what something could not be read, so that the set does not hold all of it.
    pub(super) lost: BTreeSet<Noun>,
    /// Of what not even a name could be read, so that a name nobody defines may be one of those.
    pub(super) unnamed: BTreeSet<Noun>,
}

impl Names {
    /// Takes over the names of files that come after.
    pub(super) fn append(&mut self, mut other: Self) {
        self.defined.append(&mut other.defined);
        self.used.append(&mut other.used);
        self.lost.append(&mut other.lost);
        self.unnamed.append(&mut other.unnamed);
    }
}

impl Noun {
    /// What documents of a kind name.
    pub(super) fn of(kind: Kind) -> Vec<Self> {
        match kind {
            Kind::Zones => [Self::Zone].into(),
            Kind::Inventory => [Self::Namespace, Self::Endpoint].into(),
            Kind::DataFlows => [Self::Flow].into(),
            Kind::Services => [Self::Service].into(),
            Kind::RuleRecords => [Self::Record].into(),
            Kind::NetworkPolicy | Kind::Standard | Kind::Waiver | Kind::FlowTest => [Self::Document(kind)].into(),
        }
    }

    /// The kind of the documents that name it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Document(kind) => kind,
            Self::Zone => Kind::Zones,
            Self::Namespace | Self::Endpoint => Kind::Inventory,
            Self::Service => Kind::Services,
            Self::Flow => Kind::DataFlows,
            Self::Rule => Kind::NetworkPolicy,
            Self::Record => Kind::RuleRecords,
        }
    }

    /// In a sentence.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Document(Kind::NetworkPolicy) => "policy",
            Self::Document(_) => "document",
            Self::Zone => "zone",
            Self::Namespace => "namespace",
            Self::Endpoint => "endpoint",
            Self::Service => "service",
            Self::Flow => "data flow",
            Self::Rule => "rule",
            Self::Record => "record",
        }
    }
}
