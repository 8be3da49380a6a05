//! Who this host is: an endpoint of the Inventory by its name, or, where a set has no Inventory, what its own configuration says.
//!
//! A host cannot label itself into or out of the cardholder data environment: with an Inventory its configuration says nothing of
//! labels. A host that the Inventory does not know changes nothing.

mod declared;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::compile::{Endpoint, Ruleset};
use crate::model::Labels;
use crate::model::inventory::Member;
use crate::read::nearest;

pub use self::declared::{DECLARED_MAX, Declared};

/// How a host knows itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostIdentity {
    /// Its name: configured, or the kernel's.
    pub hostname: String,
    /// SHA-256 of its machine id, lower-case hexadecimal, if it has one.
    pub machine_id_sha256: Option<String>,
    /// What policies select where there is no Inventory.
    pub labels: Labels,
}

/// Why a host is nobody that the Inventory knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stranger {
    /// No host has this name.
    Unknown {
        /// The name.
        hostname: String,
        /// The nearest one there is.
        nearest: Option<String>,
    },
    /// Several have it.
    Several {
        /// The name.
        hostname: String,
        /// Their names in the Inventory.
        members: Vec<Arc<str>>,
    },
    /// The one with this name is another machine.
    OtherMachine {
        /// The name.
        hostname: String,
        /// Its name in the Inventory.
        member: Arc<str>,
    },
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { hostname, nearest: None } => write!(f, "no host in Inventory has identity.hostname {hostname}"),
            Self::Unknown { hostname, nearest: Some(near) } => {
                write!(f, "no host in Inventory has identity.hostname {hostname}; did you mean {near}?")
            }
            Self::Several { hostname, members } => {
                write!(f, "several hosts in Inventory have identity.hostname {hostname}: {}", members.join(", "))
            }
            Self::OtherMachine { hostname, member } => {
                write!(f, "{hostname} is {member} in Inventory, but its identity.machineIdSha256 is not that of this machine")
            }
        }
    }
}

impl core::error::Error for Stranger {}

impl HostIdentity {
    /// The endpoint that this host is.
    ///
    /// # Errors
    /// There is an Inventory and it does not know this host: nothing may be changed on it.
    pub fn endpoint(&self, ruleset: &Ruleset) -> Result<Endpoint, Stranger> {
        if !ruleset.has_inventory() {
            return Ok(Endpoint::host(self.labels.clone()));
        }
        self.find(ruleset.members()).map(Endpoint::from)
    }

    fn find<'a>(&self, members: &'a [Member]) -> Result<&'a Member, Stranger> {
        let hostname = || self.hostname.clone();
        let same: Vec<&Member> = members.iter().filter(|member| name_of(member) == Some(&self.hostname)).collect();
        match same[..] {
            [member] if self.is_machine(member) => Ok(member),
            [member] => Err(Stranger::OtherMachine { hostname: hostname(), member: member.name.clone() }),
            [] => {
                let names: Vec<&str> = members.iter().filter_map(name_of).collect();
                Err(Stranger::Unknown { hostname: hostname(), nearest: nearest(&self.hostname, &names).map(String::from) })
            }
            _ => Err(Stranger::Several { hostname: hostname(), members: same.iter().map(|m| m.name.clone()).collect() }),
        }
    }

    fn is_machine(&self, member: &Member) -> bool {
        member.identity.machine_id_sha256.is_none() || member.identity.machine_id_sha256 == self.machine_id_sha256
    }
}

/// The host name that a host is recognised by; none for a workload.
fn name_of(member: &Member) -> Option<&str> {
    member.host.then(|| member.identity.hostname.as_deref().unwrap_or(&member.name))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::model::inventory::{Enforcer, Identity};
    use crate::model::{Origin, Place, Spot};

    fn member(name: &str, host: bool, hostname: Option<&str>, machine: Option<&str>) -> Member {
        let place = Place { file: "i.yaml".into(), spot: Spot::START };
        Member {
            origin: Origin { place, document: "i".into(), path: String::new(), fields: [].into() },
            host,
            name: name.into(),
            namespace: "default".into(),
            labels: Labels::new(),
            addresses: Vec::new(),
            zone: None,
            stores_chd: false,
            public_services: Vec::new(),
            ports: Vec::new(),
            function: None,
            enforced_by: [Enforcer::Ebpf].into(),
            identity: Identity {
                hostname: hostname.map(String::from),
                machine_id_sha256: machine.map(String::from),
                ..Identity::default()
            },
        }
    }

    fn find(hostname: &str, machine: Option<&str>, members: &[Member]) -> Result<String, String> {
        let me = HostIdentity { hostname: hostname.into(), machine_id_sha256: machine.map(String::from), labels: Labels::new() };
        me.find(members).map(|member| member.name.to_string()).map_err(|stranger| stranger.to_string())
    }

    #[test]
    fn a_host_finds_itself_by_its_name_or_the_name_it_is_known_by() {
        let members = [member("db-01", true, None, None), member("app", true, Some("ip-10-0-1-10"), None)];
        assert_eq!(find("db-01", None, &members).unwrap(), "db-01");
        assert_eq!(find("ip-10-0-1-10", None, &members).unwrap(), "app");
        assert!(find("app", None, &members).is_err());
    }

    #[test]
    fn h11_a_host_that_the_inventory_does_not_know_is_told_so_with_the_nearest() {
        let members = [member("db-02", true, None, None), member("db-01", false, None, None)];
        assert_eq!(
            find("db-01", None, &members).unwrap_err(),
            "no host in Inventory has identity.hostname db-01; did you mean db-02?"
        );
        assert_eq!(find("elsewhere", None, &members).unwrap_err(), "no host in Inventory has identity.hostname elsewhere");
    }

    #[test]
    fn a_name_that_two_hosts_share_is_nobodys() {
        let members = [member("a", true, Some("db"), None), member("b", true, Some("db"), None)];
        assert!(find("db", None, &members).unwrap_err().contains("a, b"));
    }

    #[test]
    fn another_machine_under_the_same_name_is_refused() {
        let members = [member("db-01", true, None, Some("aa"))];
        assert!(find("db-01", Some("aa"), &members).is_ok());
        assert!(find("db-01", Some("bb"), &members).unwrap_err().contains("machineIdSha256"));
        assert!(find("db-01", None, &members).is_err());
    }
}
