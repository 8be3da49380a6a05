//! What both clouds share: how an entry of the configuration becomes targets, and groups as they are found, for questions about
//! posture.

#[cfg(any(feature = "aws", feature = "azure"))]
mod entry;

use std::collections::BTreeMap;

use policy::lower::cloud::Needed;
use policy::model::inventory::Enforcer;
use policy::net::{Cidr, Direction, ServiceRange};

use crate::config::{CloudConfig, CloudProvider};
use crate::converge::{BackendError, Target};

#[cfg(any(feature = "aws", feature = "azure"))]
pub(super) use self::entry::entry;

/// What our mark is called: a tag of groups and rules whose value is the installation.
pub const MARK: &str = "pci-segment";

/// A group of any cloud as it is found, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGroup {
    /// Whose cloud.
    pub cloud: Enforcer,
    /// `sg-…`, or an Azure resource id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The network or resource group it is in.
    pub network: String,
    /// Whether it carries our mark.
    pub ours: bool,
    /// Whether the provider made it: what nobody asked for is in it.
    pub default: bool,
    /// Where it is attached: interfaces and subnets. `None` where that may not be asked.
    pub attached: Option<Vec<String>>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its rules, in the provider's order.
    pub rules: Vec<FoundRule>,
}

/// A rule of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRule {
    /// The provider's name of it, where there is one: `sgr-…`, or the name of an Azure rule.
    pub id: Option<String>,
    /// Into or out of the group.
    pub direction: Direction,
    /// Whether it allows.
    pub allows: bool,
    /// Lower wins; only Azure has it.
    pub priority: Option<u16>,
    /// What it is about.
    pub services: Vec<ServiceRange>,
    /// Who is on the other side; any of these.
    pub sides: Vec<FoundSide>,
    /// As the provider shows it, in one line.
    pub text: String,
    /// What people wrote beside it.
    pub description: String,
}

/// Who is on the other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundSide {
    /// Addresses.
    Prefix(Cidr),
    /// Members of a group; of the rule's own group if it is the same id.
    Group {
        /// Its id.
        id: String,
    },
    /// A list of prefixes kept elsewhere; `None` where it may not be read.
    PrefixList {
        /// Its id.
        id: String,
        /// What is in it.
        entries: Option<Vec<Cidr>>,
    },
    /// A name for addresses that the provider keeps and changes: `Internet`, `VirtualNetwork`.
    ServiceTag(String),
}

/// What targets are opened with beside their entry.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The value of our mark.
    pub installation: String,
    /// What a commit must not cut this controller off from; see [`policy::lower::cloud::lost`].
    pub needed: Vec<Needed>,
}

impl Opening {
    /// For an installation that is elsewhere than what it enforces.
    #[must_use]
    pub fn of(installation: &str) -> Self {
        Self { installation: installation.to_owned(), needed: Vec::new() }
    }
}

/// The targets of an entry. Nothing is asked of the provider yet.
///
/// # Errors
/// Credentials that contradict each other, an address that is none.
pub async fn open(config: &CloudConfig, opening: &Opening) -> Result<Vec<Box<dyn Target>>, BackendError> {
    match config.provider {
        #[cfg(feature = "aws")]
        CloudProvider::Aws => super::aws::open(config, opening).await,
        #[cfg(feature = "azure")]
        CloudProvider::Azure => super::azure::open(config, opening).await,
        #[cfg(not(all(feature = "aws", feature = "azure")))]
        other => std::future::ready(Err(not_built(other, &opening.installation))).await,
    }
}

/// Every group of the networks of an entry, whoever made it.
///
/// # Errors
/// The provider does not answer, or refuses; which action on which resource, and what to do.
pub async fn groups(config: &CloudConfig, installation: &str) -> Result<Vec<FoundGroup>, BackendError> {
    match config.provider {
        #[cfg(feature = "aws")]
        CloudProvider::Aws => super::aws::groups(config, installation).await,
        #[cfg(feature = "azure")]
        CloudProvider::Azure => super::azure::groups(config, installation).await,
        #[cfg(not(all(feature = "aws", feature = "azure")))]
        other => std::future::ready(Err(not_built(other, installation))).await,
    }
}

#[cfg(not(all(feature = "aws", feature = "azure")))]
fn not_built(provider: CloudProvider, _installation: &str) -> BackendError {
    let word = provider.word();
    BackendError { doing: format!("this binary was built without {word}; build it with `--features {word}`"), cause: None }
}
