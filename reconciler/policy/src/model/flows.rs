//! `kind: DataFlows` and `kind: Services`: what may flow between which zones, and what it is called.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Origin;
use crate::date::Date;
use crate::net::{Cidr, ServiceRange};

/// An approved flow between two zones (PCI DSS v4.0.1 1.2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFlow {
    /// Where it stands.
    pub origin: Origin,
    /// `DF-12`.
    pub id: Arc<str>,
    /// The zone that initiates.
    pub from: Arc<str>,
    /// The zone that answers.
    pub to: Arc<str>,
    /// Names of services.
    pub services: Vec<Arc<str>>,
    /// Whether account data flows.
    pub account_data: bool,
    /// What for.
    pub purpose: String,
    /// Where it is drawn.
    pub diagram: Option<String>,
    /// When it was last revised.
    pub updated_at: Date,
    /// Who approved it.
    pub approved_by: String,
    /// When.
    pub approved_at: Date,
}

/// An approved service (PCI DSS v4.0.1 1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Where it stands.
    pub origin: Origin,
    /// Its name.
    pub name: Arc<str>,
    /// What it is; sorted.
    pub classes: Vec<ServiceClass>,
    /// Protocols and ports.
    pub ports: Vec<ServiceRange>,
    /// Pairs of zones it is approved for, initiator first.
    pub zones: Vec<(Arc<str>, Arc<str>)>,
    /// How an insecure service is protected.
    pub mitigation: Option<String>,
    /// The designated servers of name and time services.
    pub servers: Vec<Cidr>,
    /// Who approved it.
    pub approved_by: String,
    /// When.
    pub approved_at: Date,
}

impl ServiceEntry {
    /// Whether it is of this class.
    #[must_use]
    pub fn is(&self, class: ServiceClass) -> bool {
        self.classes.contains(&class)
    }
}

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceClass {
    /// Encrypted and authenticated.
    Secure,
    /// Not.
    Insecure,
    /// Administration.
    Admin,
    /// A store of data.
    Datastore,
    /// Names.
    Dns,
    /// Time.
    Time,
    /// The web.
    Web,
}

impl ServiceClass {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("secure", Self::Secure),
        ("insecure", Self::Insecure),
        ("admin", Self::Admin),
        ("datastore", Self::Datastore),
        ("dns", Self::Dns),
        ("time", Self::Time),
        ("web", Self::Web),
    ];
}
