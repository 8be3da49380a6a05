//! `kind: Inventory`: the endpoints that policies select, and their namespaces.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Labels, Origin, Spot};
use crate::net::{Cidr, ServiceRange};

/// A namespace and its labels. `default` always exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Where it stands.
    pub origin: Origin,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels as written; `kubernetes.io/metadata.name` is always there besides (S20).
    pub labels: Labels,
}

/// One endpoint: a workload or a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it stands.
    pub origin: Origin,
    /// A host or a workload.
    pub host: bool,
    /// Its name, unique over workloads and hosts.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// What policies select it by.
    pub labels: Labels,
    /// Its addresses, each with its place. No two endpoints share one.
    pub addresses: Vec<(Cidr, Spot)>,
    /// Its zone as written. If absent, the zone of its addresses.
    pub zone: Option<Arc<str>>,
    /// Whether it stores account data (PCI DSS v4.0.1 1.4.4).
    pub stores_chd: bool,
    /// Services that untrusted networks may reach (PCI DSS v4.0.1 1.4.2).
    pub public_services: Vec<Arc<str>>,
    /// Port names it declares.
    pub ports: Vec<NamedPort>,
    /// What it is for (PCI DSS v4.0.1 12.5.1).
    pub function: Option<String>,
    /// Who enforces its policies; nobody if empty.
    pub enforced_by: Vec<Enforcer>,
    /// How a backend recognises it.
    pub identity: Identity,
}

/// A port that an endpoint declares under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// The name.
    pub name: Arc<str>,
    /// Protocol and port, as a range of one.
    pub service: ServiceRange,
}

/// What enforces policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enforcer {
    /// eBPF on the host itself.
    Ebpf,
    /// nftables on the host itself.
    Nftables,
    /// AWS security groups.
    Aws,
    /// Azure network security groups.
    Azure,
}

impl Enforcer {
    /// Each with its word.
    pub const WORDS: [(&'static str, Self); 4] =
        [("ebpf", Self::Ebpf), ("nftables", Self::Nftables), ("aws", Self::Aws), ("azure", Self::Azure)];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Nftables => "nftables",
            Self::Aws => "aws",
            Self::Azure => "azure",
        }
    }
}

impl Enforcer {
    /// Whether it remembers connections, so that replies pass without a rule of their own (PCI DSS v4.0.1 1.4.2).
    #[must_use]
    pub const fn keeps_state(self) -> bool {
        match self {
            Self::Ebpf | Self::Nftables | Self::Aws | Self::Azure => true,
        }
    }

    /// Whether it filters IPv6 as it filters IPv4.
    #[must_use]
    pub const fn enforces_ipv6(self) -> bool {
        match self {
            Self::Ebpf | Self::Nftables | Self::Aws | Self::Azure => true,
        }
    }
}

/// How a backend recognises an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The kernel's host name; the endpoint's name if absent.
    pub hostname: Option<String>,
    /// SHA-256 of the machine id, hexadecimal.
    pub machine_id_sha256: Option<String>,
    /// An AWS network interface.
    pub network_interface_id: Option<String>,
    /// An Azure resource.
    pub resource_id: Option<String>,
}
