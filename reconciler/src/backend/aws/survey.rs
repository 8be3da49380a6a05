//! Who is there to be protected: interfaces with their addresses, and the tags that stand for labels.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_sdk_ec2::types::{NetworkInterface, Tag};
use policy::compile::{Endpoint, Ruleset};
use policy::digest::{Digest, text};
use policy::lower::Unsupported;
use policy::lower::cloud::{Found, Needed, Subject, enforced, lost, subjects, subjects_by_selector};
use policy::lower::security_group::BACKEND;
use policy::model::Labels;
use policy::model::inventory::Enforcer;
use policy::net::{Cidr, Family};

use super::client::{Connection, Failed};
use crate::converge::{BackendError, NotLowered};

/// Endpoints without an Inventory belong here.
const NAMESPACE: &str = "default";
/// Tags that AWS itself writes begin so; they are nobody's labels.
const AWS_TAGS: &str = "aws:";

/// An interface that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    labels: Labels,
    addresses: Vec<Cidr>,
}

/// What a survey found.
#[derive(Debug)]
pub(super) struct Survey {
    /// By id; `Err` says why they may not be looked at.
    interfaces: Result<BTreeMap<Arc<str>, Interface>, String>,
}

impl Default for Survey {
    fn default() -> Self {
        Self { interfaces: Err("nobody has looked yet".to_owned()) }
    }
}

impl Survey {
    /// Looks. That interfaces may not be seen matters only where somebody asks for them.
    pub(super) async fn make(connection: &Connection, vpc: &str, attach: bool) -> Result<Self, BackendError> {
        let found = match connection.interfaces(vpc).await {
            Ok(found) => found,
            Err(Failed { fault, error }) if fault.denied() && !attach => return Ok(Self { interfaces: Err(error.doing) }),
            Err(failed) => return Err(failed.error),
        };
        let instances = if attach { instance_labels(connection, vpc).await? } else { BTreeMap::new() };
        // Interfaces of load balancers and the like are their service's: nobody else may change them.
        let own = found.iter().filter(|one| one.requester_managed() != Some(true));
        let named = own.filter_map(|one| Some((one.network_interface_id()?.into(), interface(one, &instances))));
        Ok(Self { interfaces: Ok(named.collect()) })
    }

    /// The groups for those who are there.
    pub(super) fn subjects(&self, ruleset: &Ruleset, attach: bool) -> Result<Vec<Subject>, NotLowered> {
        let mut found = match (asks(ruleset), attach) {
            (true, _) => subjects(ruleset, &enforced(ruleset, self.members(ruleset).map_err(not_seen)?)),
            (false, true) if !ruleset.has_inventory() => subjects(ruleset, &enforced(ruleset, self.tagged().map_err(not_seen)?)),
            (false, _) if ruleset.has_inventory() => Vec::new(),
            (false, _) => subjects_by_selector(ruleset, BACKEND).map_err(NotLowered::Unsupported)?,
        };
        if !attach {
            found.iter_mut().for_each(|subject| subject.ids.clear());
        }
        Ok(found)
    }

    /// What this controller itself would be cut off from, if it is one of those who are here.
    pub(super) fn lost(&self, ruleset: &Ruleset, needed: &[Needed]) -> Vec<Unsupported> {
        let found = if ruleset.has_inventory() { self.members(ruleset) } else { self.tagged() };
        lost(ruleset, &found.unwrap_or_default(), needed, BACKEND)
    }

    /// Entries of the Inventory that are here.
    fn members(&self, ruleset: &Ruleset) -> Result<Vec<Found>, &String> {
        let here = self.interfaces.as_ref()?;
        let ours = ruleset.members().iter().filter(|member| member.enforced_by.contains(&Enforcer::Aws));
        let found = ours.filter_map(|member| {
            let (id, _) = here.get_key_value(member.identity.network_interface_id.as_deref()?)?;
            Some(Found { id: id.clone(), ..Found::from(member) })
        });
        Ok(found.collect())
    }

    /// Interfaces, with tags for labels.
    fn tagged(&self) -> Result<Vec<Found>, &String> {
        let found = self.interfaces.as_ref()?.iter().map(|(id, one)| {
            let endpoint = Endpoint { labels: one.labels.clone(), namespace: NAMESPACE.to_owned(), ports: Vec::new() };
            Found { id: id.clone(), endpoint, addresses: one.addresses.clone() }
        });
        Ok(found.collect())
    }

    /// Changes with whatever the groups depend on.
    pub(super) fn digest(&self) -> String {
        let mut whole = Vec::new();
        for (id, one) in self.interfaces.iter().flatten() {
            text(&mut whole, id);
            one.labels.iter().for_each(|(key, value)| text(&mut whole, &format!("{key}\0{value}")));
            one.addresses.iter().for_each(|cidr| text(&mut whole, &cidr.to_string()));
        }
        Digest::of(&whole).short()
    }
}

/// Whether the Inventory has anybody who is to be enforced here.
pub(super) fn asks(ruleset: &Ruleset) -> bool {
    ruleset.members().iter().any(|member| member.enforced_by.contains(&Enforcer::Aws))
}

fn not_seen(why: &String) -> NotLowered {
    let doing = format!("it is not known which interfaces are in this network: {why}");
    NotLowered::Failed(BackendError { doing, cause: None })
}

async fn instance_labels(connection: &Connection, vpc: &str) -> Result<BTreeMap<String, Labels>, BackendError> {
    let instances = connection.instances(vpc).await?;
    let named = instances.iter().filter_map(|one| Some((one.instance_id()?.to_owned(), labels(one.tags()))));
    Ok(named.collect())
}

fn labels(tags: &[Tag]) -> Labels {
    let own = tags.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    own.filter(|(key, _)| !key.starts_with(AWS_TAGS)).collect()
}

/// An interface says more of itself than its instance does.
fn interface(found: &NetworkInterface, instances: &BTreeMap<String, Labels>) -> Interface {
    let instance = found.attachment().and_then(|attachment| attachment.instance_id());
    let mut all = instance.and_then(|id| instances.get(id)).cloned().unwrap_or_default();
    all.extend(labels(found.tag_set()));
    let v4 = found.private_ip_addresses().iter().filter_map(|one| one.private_ip_address());
    let v6 = found.ipv6_addresses().iter().filter_map(|one| one.ipv6_address());
    let addresses = v4.chain(v6).filter_map(|text| text.parse::<IpAddr>().ok());
    let mut addresses: Vec<Cidr> = addresses.filter_map(|one| Cidr::new(one, Family::of(one).bits())).collect();
    addresses.sort_unstable();
    Interface { labels: all, addresses }
}
