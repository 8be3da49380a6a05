//! `kind: Zones`: which networks there are, and what PCI DSS calls them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Origin, Spot};
use crate::net::Cidr;

/// The name of the zone that holds every address no other zone holds.
pub const INTERNET: &str = "internet";

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Where it stands.
    pub origin: Origin,
    /// Its name, unique in the set.
    pub name: Arc<str>,
    /// Its prefixes, each with its place. An address belongs to the zone with the longest match.
    pub cidrs: Vec<(Cidr, Spot)>,
    /// What it is for; sorted.
    pub classes: Vec<Class>,
    /// Whether Requirement 1 counts it as a trusted network.
    pub trusted: bool,
    /// Whether it is in the scope of PCI DSS.
    pub scope: Scope,
    /// Why it is out of scope.
    pub out_of_scope_reason: Option<String>,
}

impl Zone {
    /// Whether it is of this class.
    #[must_use]
    pub fn is(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }
}

/// What a zone is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The cardholder data environment.
    Cde,
    /// Connected to it.
    Connected,
    /// Provides security to it.
    SecurityServices,
    /// Between untrusted networks and ours.
    Dmz,
    /// Development and test.
    Preprod,
    /// Offices.
    Corporate,
    /// Wireless.
    Wireless,
    /// Somebody else's.
    ThirdParty,
}

impl Class {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("cde", Self::Cde),
        ("connected", Self::Connected),
        ("security-services", Self::SecurityServices),
        ("dmz", Self::Dmz),
        ("preprod", Self::Preprod),
        ("corporate", Self::Corporate),
        ("wireless", Self::Wireless),
        ("third-party", Self::ThirdParty),
    ];
}

/// Whether something is in the scope of PCI DSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// In scope.
    In,
    /// Connected to what is in scope.
    Connected,
    /// Out of scope.
    Out,
}

impl Scope {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 3] = [("in", Self::In), ("connected", Self::Connected), ("out", Self::Out)];
}
