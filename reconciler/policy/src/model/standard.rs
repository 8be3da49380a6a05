//! `kind: Standard`: the entity's own configuration standard (PCI DSS v4.0.1 1.2.1).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::zones::Class;
use super::{Labels, Origin, Profile};
use crate::date::Date;
use crate::finding::Severity;
use crate::net::ServiceRange;

/// The label that marks the cardholder data environment, and its value, unless the Standard says otherwise.
pub const CDE_LABEL: (&str, &str) = ("pci-env", "cde");

/// The configuration standard. [`Standard::default`] is what holds where a set has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// Where its `spec` stands, if it is written.
    pub origin: Option<Origin>,
    /// How strictly the rules run.
    pub profile: Profile,
    /// Printed in every finding and report.
    pub version: String,
    /// Labels that mark the CDE.
    pub cde_labels: BTreeMap<String, Vec<String>>,
    /// Labels whose values come from the Inventory only.
    pub reserved_labels: Vec<String>,
    /// Who may approve; anybody if empty.
    pub approvers: Vec<String>,
    /// Half-yearly clocks.
    pub service_provider: bool,
    /// The last segmentation test.
    pub segmentation_test: Option<Done>,
    /// The last confirmation of scope.
    pub scope_confirmation: Option<Done>,
    /// Changes to the house lists of ports.
    pub ports: PortLists,
    /// Flows that are never allowed.
    pub forbidden: Vec<Forbidden>,
    /// Severities other than the catalogue's.
    pub severities: BTreeMap<String, Severity>,
    /// Documentation addresses pass.
    pub fixtures: bool,
    /// House numbers.
    pub thresholds: Thresholds,
}

impl Default for Standard {
    fn default() -> Self {
        let (key, value) = CDE_LABEL;
        Self {
            origin: None,
            profile: Profile::Baseline,
            version: String::new(),
            cde_labels: [(key.into(), [value.into()].into())].into(),
            reserved_labels: [key.into(), "tier".into(), "zone".into()].into(),
            approvers: Vec::new(),
            service_provider: false,
            segmentation_test: None,
            scope_confirmation: None,
            ports: PortLists::default(),
            forbidden: Vec::new(),
            severities: BTreeMap::new(),
            fixtures: false,
            thresholds: Thresholds::default(),
        }
    }
}

impl Standard {
    /// Whether these labels mark something of the CDE.
    #[must_use]
    pub fn marks_cde(&self, labels: &Labels) -> bool {
        self.cde_labels.iter().any(|(key, values)| labels.get(key).is_some_and(|value| values.contains(value)))
    }
}

/// A periodic duty that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// When.
    pub done_at: Date,
    /// Where it is recorded.
    pub id: String,
}

/// Changes to the four house lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortLists {
    /// Insecure services.
    pub insecure: PortChange,
    /// Administration.
    pub admin: PortChange,
    /// Stores of data.
    pub datastore: PortChange,
    /// What tells others our addresses and routes.
    pub discovery: PortChange,
}

/// A change to one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortChange {
    /// Services added.
    pub add: Vec<ServiceRange>,
    /// Services removed.
    pub remove: Vec<ServiceRange>,
}

/// A flow that is never allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// Where it stands.
    pub origin: Origin,
    /// From where.
    pub from: Area,
    /// To where.
    pub to: Area,
    /// Which services; all if empty.
    pub services: Vec<Arc<str>>,
}

/// A zone or all zones of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Area {
    /// One zone.
    Zone(Arc<str>),
    /// Every zone of this class.
    Class(Class),
}

/// House numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// The widest range of ports that is not asked about.
    pub port_range_max: u32,
    /// Private IPv4 prefixes shorter than this are a warning.
    pub private_v4_prefix_warn: u8,
    /// Private IPv4 prefixes shorter than this are an error.
    pub private_v4_prefix_error: u8,
    /// Other IPv4 prefixes shorter than this are a warning.
    pub public_v4_prefix_warn: u8,
    /// Other IPv4 prefixes shorter than this are an error.
    pub public_v4_prefix_error: u8,
    /// IPv6 prefixes shorter than this are a warning.
    pub v6_prefix_warn: u8,
    /// IPv6 prefixes shorter than this are an error.
    pub v6_prefix_error: u8,
    /// Public IPv4 addresses that count as open.
    pub open_v4_addresses: u128,
    /// A public IPv6 prefix of this length counts as open.
    pub open_v6_prefix: u8,
    /// Characters of a justification.
    pub justification_chars: usize,
    /// Days after which a review is soon due.
    pub review_warn_days: i64,
    /// Days after which a review is overdue.
    pub review_max_days: i64,
    /// Days after which a temporary rule is asked about.
    pub temporary_warn_days: i64,
    /// Days that a Waiver may last.
    pub waiver_max_days: i64,
    /// Days without a hit after which a rule is reported.
    pub idle_rule_days: i64,
    /// Milliseconds that a clock may be off.
    pub clock_offset_ms: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            port_range_max: 16,
            private_v4_prefix_warn: 24,
            private_v4_prefix_error: 16,
            public_v4_prefix_warn: 28,
            public_v4_prefix_error: 24,
            v6_prefix_warn: 64,
            v6_prefix_error: 48,
            open_v4_addresses: 1 << 24,
            open_v6_prefix: 32,
            justification_chars: 15,
            review_warn_days: 150,
            review_max_days: 184,
            temporary_warn_days: 90,
            waiver_max_days: 90,
            idle_rule_days: 90,
            clock_offset_ms: 1000,
        }
    }
}
