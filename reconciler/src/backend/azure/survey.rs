//! Who is there to be protected.

use std::collections::BTreeMap;

use policy::compile::{Endpoint, Ruleset};
use policy::lower::Unsupported;
use policy::lower::cloud::{Found, Needed, Subject, enforced, lost, subjects, subjects_by_selector};
use policy::lower::network_security_group::{self as nsg, BACKEND};
use policy::model::inventory::{Enforcer, Member};
use policy::net::Cidr;

use super::client::{API_VERSION, Arm};
use super::models::Place;
use super::words::{Key, Rule};
use crate::backend::cloud::MARK;
use crate::converge::{BackendError, NotLowered};

pub(super) const READ_INTERFACES: &str = "Microsoft.Network/networkInterfaces/read";

/// The interfaces of a resource group, by id in small letters.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) places: BTreeMap<String, Place>,
}

impl Survey {
    pub(super) async fn take(arm: &Arm, root: &str) -> Result<Self, BackendError> {
        let path = format!("{root}/providers/Microsoft.Network/networkInterfaces");
        let all: Vec<Place> = arm.list(READ_INTERFACES, &path, API_VERSION, &[]).await?;
        Ok(Self { places: all.into_iter().map(|place| (place.id.to_ascii_lowercase(), place)).collect() })
    }

    /// What of it decides about rules, in an order of its own.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (id, place) in &self.places {
            text.push_str(&format!("{id} {:?} {:?} {:?}\n", place.machine(), place.addresses(), place.tags));
        }
        text
    }

    /// By tags: an interface is an endpoint of the namespace `default`.
    fn by_tags(&self) -> Vec<Found> {
        let found = |(id, place): (&String, &Place)| {
            let tags = place.tags.iter().filter(|(key, _)| *key != MARK);
            let labels = tags.map(|(key, value)| (key.clone(), value.clone())).collect();
            let addresses = place.addresses().iter().filter_map(|text| host(text)).collect();
            Found { id: id.as_str().into(), endpoint: Endpoint::host(labels), addresses }
        };
        self.places.iter().map(found).collect()
    }

    /// Everybody who is here: by the Inventory, else by tags.
    fn found(&self, root: &str, ruleset: &Ruleset) -> Vec<Found> {
        if ruleset.has_inventory() {
            return ruleset.members().iter().flat_map(|member| self.of_member(root, member)).collect();
        }
        self.by_tags()
    }

    /// What this controller itself would be cut off from, if it is one of those who are here.
    pub(super) fn lost(&self, root: &str, ruleset: &Ruleset, needed: &[Needed]) -> Vec<Unsupported> {
        lost(ruleset, &self.found(root, ruleset), needed, BACKEND)
    }

    /// The interfaces and subnets an entry of the Inventory stands for: those of a machine, or the one it names.
    fn of_member(&self, root: &str, member: &Member) -> Vec<Found> {
        let Some(id) = &member.identity.resource_id else { return Vec::new() };
        let id = id.to_ascii_lowercase();
        let here = id.starts_with(&format!("{}/", root.to_ascii_lowercase()));
        if !here || !member.enforced_by.contains(&Enforcer::Azure) {
            return Vec::new();
        }
        let of_machine = |place: &&Place| place.machine().is_some_and(|machine| machine.eq_ignore_ascii_case(&id));
        let mut ids: Vec<String> = self.places.values().filter(of_machine).map(|place| place.id.to_ascii_lowercase()).collect();
        if ids.is_empty() {
            ids.push(id);
        }
        ids.into_iter().map(|id| Found { id: id.into(), ..Found::from(member) }).collect()
    }
}

fn host(text: &str) -> Option<Cidr> {
    let address: std::net::IpAddr = text.parse().ok()?;
    Cidr::new(address, if address.is_ipv4() { 32 } else { 128 })
}

/// What should be there.
pub(super) fn lower(
    survey: &Survey,
    root: &str,
    attach: bool,
    probes: bool,
    ruleset: &Ruleset,
) -> Result<BTreeMap<Key, Rule>, NotLowered> {
    let groups = if ruleset.has_inventory() || attach {
        subjects(ruleset, &enforced(ruleset, survey.found(root, ruleset)))
    } else {
        subjects_by_selector(ruleset, BACKEND).map_err(NotLowered::Unsupported)?
    };
    let groups: Vec<Subject> = match attach {
        true => groups,
        false => groups.into_iter().map(|subject| Subject { ids: Vec::new(), ..subject }).collect(),
    };
    let table = nsg::lower(ruleset, &groups).map_err(NotLowered::Unsupported)?;
    let mut rules: BTreeMap<Key, Rule> = table.rules.into_iter().map(|(key, rule)| (Key::Lowered(key), rule.into())).collect();
    if probes {
        rules.extend(groups.iter().map(|subject| (Key::Probes { group: subject.name.clone() }, Rule::default())));
    }
    Ok(rules)
}
