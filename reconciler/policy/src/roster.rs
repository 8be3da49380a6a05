//! Who matches a selector: the Inventory, indexed by labels.
//!
//! Sets are judged and resolved against up to 50,000 endpoints. A selector is answered from the shortest list of endpoints that carry
//! one of the values it insists on; looking at endpoints is counted, and beyond a limit nothing more is answered.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::model::inventory::{Member, Namespace};
use crate::model::{Labels, PolicySet};
use crate::select::{Selector, Term};

/// The label that every namespace has: its own name (S20).
pub(crate) const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Endpoints looked at for one set. Honest sets stay a hundred times below.
pub(crate) const ROSTER_STEPS_MAX: usize = 50_000_000;

/// The Inventory of one set, indexed.
pub(crate) struct Roster<'a> {
    members: &'a [Member],
    namespaces: BTreeMap<&'a str, Labels>,
    by_label: BTreeMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    by_namespace: BTreeMap<&'a str, Vec<usize>>,
    steps: usize,
}

/// More endpoints would have to be looked at than ever are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl<'a> Roster<'a> {
    pub(crate) fn new(set: &'a PolicySet) -> Self {
        let mut roster = Self {
            members: &set.members,
            namespaces: namespaces(&set.namespaces, &set.members),
            by_label: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            steps: 0,
        };
        for (number, member) in set.members.iter().enumerate() {
            roster.by_namespace.entry(&member.namespace).or_default().push(number);
            for (key, value) in &member.labels {
                roster.by_label.entry((&member.namespace, key, value)).or_default().push(number);
            }
        }
        roster
    }

    /// Every namespace's name.
    pub(crate) fn namespace_names(&self) -> impl Iterator<Item = &'a str> {
        self.namespaces.keys().copied()
    }

    /// The namespaces that a `namespaceSelector` matches.
    pub(crate) fn matching_namespaces(&self, selector: &Selector) -> Vec<&'a str> {
        self.namespaces.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| *name).collect()
    }

    /// The endpoints of a namespace that a selector matches, in order.
    pub(crate) fn selected(&mut self, namespace: &str, selector: &Selector) -> Result<Vec<usize>, TooMany> {
        let candidates = self.candidates(namespace, selector);
        self.steps += 1 + candidates.len();
        if self.steps > ROSTER_STEPS_MAX {
            return Err(TooMany);
        }
        let matches = |number: &usize| self.members.get(*number).is_some_and(|member| selector.matches(&member.labels));
        let mut found: Vec<usize> = candidates.into_iter().filter(matches).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The shortest list that holds everybody the selector can match.
    fn candidates(&self, namespace: &str, selector: &Selector) -> Vec<usize> {
        let lists = selector.terms().iter().filter_map(|term| self.lists(namespace, term));
        let shortest = lists.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        let everybody = || self.by_namespace.get(namespace).into_iter().map(Vec::as_slice).collect();
        shortest.unwrap_or_else(everybody).concat()
    }

    /// The endpoints that carry a value the condition insists on, if it insists on one.
    fn lists<'s>(&'s self, namespace: &'s str, term: &'s Term) -> Option<Vec<&'s [usize]>> {
        let Term::In(key, values) = term else { return None };
        let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        let lists = values.into_iter().filter_map(|value| self.by_label.get(&(namespace, key.as_str(), value)));
        Some(lists.map(Vec::as_slice).collect())
    }
}

fn namespaces<'a>(listed: &'a [Namespace], members: &'a [Member]) -> BTreeMap<&'a str, Labels> {
    let mut all: BTreeMap<&str, Labels> = BTreeMap::new();
    all.insert("default", Labels::new());
    for member in members {
        all.entry(&member.namespace).or_default();
    }
    for namespace in listed {
        all.insert(&namespace.name, namespace.labels.clone());
    }
    for (name, labels) in &mut all {
        labels.insert(NAMESPACE_NAME.to_string(), (*name).to_string());
    }
    all
}
