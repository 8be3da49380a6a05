//! What every cloud asks before it can speak its own words: which endpoints share a group, and what each group lets pass.
//!
//! A cloud filters at groups that interfaces belong to. Endpoints that no policy can tell apart share one group, and each endpoint
//! belongs to one group of ours: with a group per policy, one that says nothing of egress would have to leave egress open for
//! whoever is in no other, and so open what another policy closes. The name of a group depends on the labels that policies speak of, so
//! that a changed rule changes a group and never replaces it.

mod reach;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use self::reach::{Needed, lost};
use super::Unsupported;
use crate::compile::{Endpoint, Ruleset};
use crate::digest::Digest;
use crate::model::inventory::{Member, NamedPort};
use crate::model::{Labels, Mode, NetworkPolicy, Part, Peer, PolicyName, Spot, Whom};
use crate::net::{AddressSet, Cidr, Direction, Family, ServiceRange};
use crate::select::Term;

/// How names of our groups begin.
pub const NAME_PREFIX: &str = "pci-segment-";
/// The part of a name that people read; names of Azure have 80 characters at most.
const READABLE_CHARS_MAX: usize = 50;

/// An endpoint in the cloud: an instance, an interface, or an entry of the Inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is called there.
    pub id: Arc<str>,
    /// Whom policies select.
    pub endpoint: Endpoint,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
}

impl From<&Member> for Found {
    fn from(member: &Member) -> Self {
        let addresses = member.addresses.iter().map(|(cidr, _)| *cidr).collect();
        Self { id: member.name.clone(), endpoint: Endpoint::from(member), addresses }
    }
}

/// Endpoints that no policy can tell apart, and the group they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The group's name.
    pub name: Arc<str>,
    /// Any of them, with no more labels than policies ask for.
    pub endpoint: Endpoint,
    /// What the cloud calls them, sorted. Empty where people attach the group themselves.
    pub ids: Vec<Arc<str>>,
    /// Their addresses.
    pub addresses: Vec<Cidr>,
}

/// Why something is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// No policy isolates in this direction.
    NotIsolated,
    /// A rule says so.
    Rule {
        /// The policy.
        policy: PolicyName,
        /// The rule, as a pointer into its document.
        pointer: String,
    },
}

/// What one grant of one rule lets pass.
#[derive(Debug, Clone)]
pub struct Pass<'a> {
    /// Why.
    pub why: Why,
    /// The policy, where there is one.
    pub policy: Option<&'a NetworkPolicy>,
    /// Where the rule stands.
    pub at: Spot,
    /// Who is on the other side.
    pub whom: Whom<'a>,
    /// What they may use.
    pub services: Vec<ServiceRange>,
}

impl Pass<'_> {
    /// What cannot be said, filed under the rule that asks for it.
    #[must_use]
    pub fn unsupported(&self, backend: &'static str, message: String) -> Unsupported {
        let rule = match &self.why {
            Why::NotIsolated => None,
            Why::Rule { pointer, .. } => Some(pointer.clone()),
        };
        Unsupported {
            backend,
            policy: self.policy.map(|policy| policy.name.clone()),
            rule,
            place: self.policy.map(|policy| policy.place(self.at)),
            message,
        }
    }
}

/// Those whom an enforced policy selects. Nobody else gets a group: one that lets everything pass would open what other groups of
/// theirs close.
#[must_use]
pub fn enforced(ruleset: &Ruleset, mut found: Vec<Found>) -> Vec<Found> {
    found.retain(|one| ruleset.selecting(&one.endpoint).any(|policy| policy.mode == Mode::Enforce));
    found
}

/// The groups for these endpoints, in order of their names.
#[must_use]
pub fn subjects(ruleset: &Ruleset, found: &[Found]) -> Vec<Subject> {
    let asked = Asked::of(ruleset);
    let mut subjects: BTreeMap<Arc<str>, Subject> = BTreeMap::new();
    for one in found {
        let endpoint = asked.only(&one.endpoint);
        let name = name(&endpoint);
        let subject =
            subjects.entry(name.clone()).or_insert_with(|| Subject { name, endpoint, ids: Vec::new(), addresses: Vec::new() });
        subject.ids.push(one.id.clone());
        subject.addresses.extend(one.addresses.iter().copied());
    }
    let sorted = |mut subject: Subject| {
        subject.ids.sort_unstable();
        subject.addresses.sort_unstable();
        subject
    };
    subjects.into_values().map(sorted).collect()
}

/// A group for every selector, for sets without an Inventory whose groups people attach themselves.
///
/// # Errors
/// A selector that stands for more than one set of labels.
pub fn subjects_by_selector(ruleset: &Ruleset, backend: &'static str) -> Result<Vec<Subject>, Vec<Unsupported>> {
    let mut found = Vec::new();
    let mut refused = Vec::new();
    for policy in ruleset.policies().iter().filter(|policy| policy.mode == Mode::Enforce) {
        match exact_labels(policy) {
            Some(labels) => {
                let endpoint = Endpoint { labels, namespace: policy.namespace.to_string(), ports: Vec::new() };
                found.push(Found { id: policy.name.clone(), endpoint, addresses: Vec::new() });
            }
            None => refused.push(Unsupported {
                backend,
                policy: Some(policy.name.clone()),
                rule: None,
                place: Some(policy.place(policy.selector_at)),
                message: format!(
                    "podSelector {} stands for more than one set of labels; add an Inventory, or write matchLabels",
                    policy.selector
                ),
            }),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let nobody = |subject: Subject| Subject { ids: Vec::new(), ..subject };
    Ok(subjects(ruleset, &found).into_iter().map(nobody).collect())
}

fn exact_labels(policy: &NetworkPolicy) -> Option<Labels> {
    let one = |term: &Term| match term {
        Term::In(key, values) => values.first().filter(|_| values.len() == 1).map(|value| (key.clone(), value.clone())),
        Term::NotIn(..) | Term::Exists(_) | Term::DoesNotExist(_) => None,
    };
    let labels: Option<Labels> = policy.selector.terms().iter().map(one).collect();
    labels.filter(|labels| policy.selector.matches(labels))
}

/// What policies ask of an endpoint.
struct Asked<'a> {
    labels: BTreeSet<&'a str>,
    ports: BTreeSet<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(ruleset: &'a Ruleset) -> Self {
        let terms = ruleset.policies().iter().flat_map(|policy| policy.selector.terms());
        // In egress a name is the destination's.
        let rules = ruleset.policies().iter().flat_map(|policy| policy.live_rules(Direction::Ingress));
        let named = rules.flat_map(|rule| &rule.ports).filter_map(|item| item.port.name());
        Self { labels: terms.map(Term::key).collect(), ports: named.map(|named| &*named.name).collect() }
    }

    /// An endpoint without what nobody asks for.
    fn only(&self, endpoint: &Endpoint) -> Endpoint {
        let labels = endpoint.labels.iter().filter(|(key, _)| self.labels.contains(key.as_str()));
        let mut ports: Vec<NamedPort> = endpoint.ports.iter().filter(|port| self.ports.contains(&*port.name)).cloned().collect();
        ports.sort_by(|a, b| (&a.name, a.service).cmp(&(&b.name, b.service)));
        Endpoint {
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            namespace: endpoint.namespace.clone(),
            ports,
        }
    }
}

/// `pci-segment-cde-database-1a2b3c4d`: for people the values, against confusion a hash over everything.
fn name(endpoint: &Endpoint) -> Arc<str> {
    let mut whole = String::new();
    let mut readable = String::new();
    let mut add = |text: &str| {
        whole.push_str(text);
        whole.push('\0');
    };
    add(&endpoint.namespace);
    for (key, value) in &endpoint.labels {
        add(key);
        add(value);
        readable.extend(value.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }));
        readable.push('-');
    }
    for port in &endpoint.ports {
        add(&port.name);
        add(&format!("{}", port.service.lo()));
    }
    let readable: String = readable.chars().take(READABLE_CHARS_MAX).collect();
    let readable = readable.trim_matches('-');
    let dash = if readable.is_empty() { "" } else { "-" };
    format!("{NAME_PREFIX}{readable}{dash}{:.8}", Digest::of(whole.as_bytes())).into()
}

/// What passes an endpoint in a direction; audited policies close nothing and open nothing.
#[must_use]
pub fn passes<'a>(ruleset: &'a Ruleset, endpoint: &'a Endpoint, direction: Direction) -> Vec<Pass<'a>> {
    let isolating: Vec<&NetworkPolicy> = ruleset.selecting(endpoint).filter(|policy| policy.isolates(direction)).collect();
    if isolating.is_empty() {
        let (why, services) = (Why::NotIsolated, alloc::vec![ServiceRange::ALL]);
        return alloc::vec![Pass { why, policy: None, at: Spot::START, whom: Whom::Everybody, services }];
    }
    let mut passes = Vec::new();
    for policy in isolating {
        for (i, rule) in policy.live_rules(direction).iter().enumerate() {
            let pointer = format!("/spec/{}/{i}", direction.name());
            for grant in rule.grants(direction, &endpoint.ports) {
                let why = Why::Rule { policy: policy.name.clone(), pointer: pointer.clone() };
                passes.push(Pass { why, policy: Some(policy), at: rule.at, whom: grant.whom, services: grant.services });
            }
        }
    }
    passes
}

/// The addresses of one family on the other side, as the fewest prefixes for each that is written.
#[must_use]
pub fn prefixes(whom: Whom<'_>, family: Family) -> Vec<Cidr> {
    let of_part = |part: Part<'_>| match part.except {
        _ if part.cidr.family() != family => Vec::new(),
        [] => alloc::vec![part.cidr],
        _ => part.addresses(family).prefixes(),
    };
    match whom {
        Whom::Everybody => AddressSet::all(family).prefixes(),
        Whom::Peers(peers) => peers.iter().flat_map(Peer::parts).flat_map(of_part).collect(),
        Whom::Members(members) => members.iter().copied().filter(|cidr| cidr.family() == family).collect(),
    }
}

#[cfg(test)]
mod tests;
