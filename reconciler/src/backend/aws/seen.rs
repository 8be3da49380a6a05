//! The groups of a network as they were seen last: ours with their rules and members, and those of others that are in our way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ec2::types::{GroupIdentifier, NetworkInterface, SecurityGroup, Tag};
use policy::digest::{Canonical, text};
use policy::lower::cloud::NAME_PREFIX;
use policy::lower::security_group::{Key, Side};
use policy::net::Direction;

use super::normalise::{Names, grants, reason_in};
use crate::backend::cloud::MARK;
use crate::converge::{Class, Deviation, Difference};

/// What people read beside a rule, or the tags of a group. Nothing of it judges packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) text: String,
}

impl Canonical for Rule {
    fn canonical(&self, out: &mut Vec<u8>) {
        text(out, &self.text);
    }
}

/// What is there and ours, by key.
pub(super) type Table = BTreeMap<Key, Rule>;

/// A group with one of our names that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) id: String,
    /// The installation that marked it.
    pub(super) mark: Option<String>,
}

/// One look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Ids of our groups, by name.
    pub(super) ids: BTreeMap<Arc<str>, String>,
    pub(super) strangers: BTreeMap<Arc<str>, Stranger>,
    pub(super) names: Names,
    pub(super) table: Table,
    /// Groups of ours that somebody belongs to; `None` where members were not looked at.
    pub(super) joined: Option<BTreeSet<Arc<str>>>,
    /// How many groups an interface has that are not ours.
    pub(super) others: BTreeMap<Arc<str>, usize>,
    pub(super) foreign: Vec<Difference>,
}

/// Whose groups they are, and which tags they should carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) installation: &'a str,
    pub(super) tags: &'a BTreeMap<String, String>,
}

impl Seen {
    pub(super) fn of(whose: Whose<'_>, groups: &[SecurityGroup], interfaces: Option<&[NetworkInterface]>) -> Self {
        let mut seen = Self::default();
        let mut ours = Vec::new();
        for group in groups {
            let (Some(id), Some(name)) = (group.group_id(), group.group_name()) else { continue };
            let mark = tag(group.tags(), MARK);
            let (named, marked) = (name.starts_with(NAME_PREFIX), mark == Some(whose.installation));
            let name: Arc<str> = name.into();
            match (named, marked) {
                (true, true) => {
                    seen.names.account = group.owner_id().map(str::to_owned);
                    seen.names.ours.insert(id.to_owned(), name.clone());
                    seen.ids.insert(name.clone(), id.to_owned());
                    ours.push((name, group));
                }
                (true, false) => {
                    let stranger = Stranger { id: id.to_owned(), mark: mark.map(str::to_owned) };
                    seen.strangers.insert(name, stranger);
                }
                // A copied tag gives nobody's group to us.
                (false, true) => {
                    seen.report(format!("group {name}"), format!("{id} carries our mark under a name that is not ours"), false);
                }
                (false, false) => {}
            }
        }
        for (name, group) in ours {
            seen.read(&name, group, whose);
        }
        if let Some(interfaces) = interfaces {
            seen.read_members(interfaces);
        }
        seen
    }

    fn read(&mut self, name: &Arc<str>, group: &SecurityGroup, whose: Whose<'_>) {
        let found = whose.tags.keys().filter_map(|key| Some((key, tag(group.tags(), key)?)));
        self.table.insert(Key::Group { group: name.clone() }, Rule { text: tags_text(found) });
        let ingress = group.ip_permissions().iter().map(|one| (Direction::Ingress, one));
        let egress = group.ip_permissions_egress().iter().map(|one| (Direction::Egress, one));
        for (direction, permission) in ingress.chain(egress) {
            match grants(name, direction, permission, &self.names) {
                Ok(grants) => {
                    let rules = grants.into_iter().map(|one| (one.key, Rule { text: reason_in(&one.description) }));
                    self.table.extend(rules);
                }
                Err(text) => self.report(format!("{name} {}", direction.name()), text, true),
            }
        }
    }

    fn read_members(&mut self, interfaces: &[NetworkInterface]) {
        let mut joined = BTreeSet::new();
        for interface in interfaces {
            let Some(id) = interface.network_interface_id() else { continue };
            let id: Arc<str> = id.into();
            let is_ours = |group: &&GroupIdentifier| group.group_id().is_some_and(|id| self.names.ours.contains_key(id));
            let (ours, others): (Vec<_>, Vec<_>) = interface.groups().iter().partition(is_ours);
            self.others.insert(id.clone(), others.len());
            let ours: Vec<Arc<str>> =
                ours.into_iter().filter_map(|group| self.names.ours.get(group.group_id()?)).cloned().collect();
            if !ours.is_empty() && !others.is_empty() {
                // All groups of an interface together are what passes.
                let named: Vec<String> = others.iter().map(|group| words(group)).collect();
                self.report(
                    format!("{id} in groups of others"),
                    format!("{}: what these allow passes too", named.join(", ")),
                    false,
                );
            }
            for group in ours {
                joined.insert(group.clone());
                self.table.insert(Key::Member { group, id: id.clone() }, Rule::default());
            }
        }
        self.joined = Some(joined);
    }

    /// What nobody can plan with.
    fn report(&mut self, key: String, observed: String, ours: bool) {
        let (expected, class) = (String::new(), Class::Flow);
        self.foreign.push(Difference { key, kind: Deviation::Extra, expected, observed, class, ours: Some(ours) });
    }

    /// Lists of prefixes that our groups name.
    pub(super) fn lists(&self) -> BTreeSet<Arc<str>> {
        let list = |key: &Key| match key {
            Key::Rule { side: Side::Other(id), .. } if id.starts_with("pl-") => Some(id.clone()),
            Key::Rule { .. } | Key::Group { .. } | Key::Member { .. } => None,
        };
        self.table.keys().filter_map(list).collect()
    }

    /// Takes note of a group that was made just now.
    pub(super) fn made(&mut self, name: &Arc<str>, id: &str) {
        self.names.ours.insert(id.to_owned(), name.clone());
        self.ids.insert(name.clone(), id.to_owned());
    }
}

/// `default (sg-0123)`.
fn words(group: &GroupIdentifier) -> String {
    format!("{} ({})", group.group_name().unwrap_or("?"), group.group_id().unwrap_or("?"))
}

/// Tags in a line, as they are compared.
pub(super) fn tags_text<'a>(tags: impl Iterator<Item = (&'a String, &'a str)>) -> String {
    tags.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// The value of a tag.
pub(super) fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}
