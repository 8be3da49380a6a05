//! Answers from the Inventory, each different question asked once.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::limits::{RESOLVE_STEPS_MAX, RESOLVED_PREFIXES_MAX};
use crate::model::inventory::Member;
use crate::model::{Named, NetworkPolicy, PolicySet, Selected};
use crate::net::{Cidr, ServiceRange};
use crate::roster::{ROSTER_STEPS_MAX, Roster};
use crate::select::Selector;

/// Which limit is passed.
pub(super) struct TooMuch(pub(super) String);

/// Ports by number, each with the addresses of those who declare it.
pub(super) type Declared = Arc<[(ServiceRange, Arc<[Cidr]>)]>;

/// Namespace if the policy's own is meant, `podSelector`, `namespaceSelector`.
type Question<'a> = (Option<&'a str>, Option<&'a Selector>, Option<&'a Selector>);

/// Endpoints, and their addresses once somebody wants them.
struct Answer {
    numbers: Vec<usize>,
    prefixes: Option<Arc<[Cidr]>>,
}

/// The Inventory and what was asked of it.
pub(super) struct Answers<'a> {
    members: &'a [Member],
    roster: Roster<'a>,
    namespaces: usize,
    known: BTreeMap<Question<'a>, usize>,
    answers: Vec<Answer>,
    declared: BTreeMap<(Vec<usize>, u8, &'a str), Declared>,
    steps: usize,
    kept: usize,
    /// Every endpoint could be read.
    pub(super) whole: bool,
}

impl<'a> Answers<'a> {
    pub(super) fn new(set: &'a PolicySet, whole: bool) -> Self {
        let roster = Roster::new(set);
        let namespaces = roster.namespace_names().count();
        Self {
            members: &set.members,
            roster,
            namespaces,
            known: BTreeMap::new(),
            answers: Vec::new(),
            declared: BTreeMap::new(),
            steps: 0,
            kept: 0,
            whole,
        }
    }

    /// The endpoints that a peer of a policy matches (S18, S19).
    pub(super) fn of_peer(&mut self, policy: &'a NetworkPolicy, selected: &'a Selected) -> Result<usize, TooMuch> {
        let own = selected.namespaces.is_none().then_some(&*policy.namespace);
        self.answer((own, selected.pods.as_ref(), selected.namespaces.as_ref()))
    }

    /// The endpoints that a policy selects.
    pub(super) fn of_policy(&mut self, policy: &'a NetworkPolicy) -> Result<usize, TooMuch> {
        self.answer((Some(&policy.namespace), Some(&policy.selector), None))
    }

    fn answer(&mut self, question: Question<'a>) -> Result<usize, TooMuch> {
        if let Some(number) = self.known.get(&question) {
            return Ok(*number);
        }
        let (own, pods, namespaces) = question;
        let among = match namespaces {
            Some(selector) => {
                self.step(self.namespaces)?;
                self.roster.matching_namespaces(selector)
            }
            None => own.into_iter().collect(),
        };
        let everybody = Selector::default();
        let mut numbers = Vec::new();
        for namespace in among {
            let matching = self.roster.selected(namespace, pods.unwrap_or(&everybody));
            numbers.extend(matching.map_err(|_| too_many("ROSTER_STEPS_MAX", ROSTER_STEPS_MAX))?);
        }
        let number = self.answers.len();
        self.step(numbers.len())?;
        self.answers.push(Answer { numbers, prefixes: None });
        self.known.insert(question, number);
        Ok(number)
    }

    /// The addresses of an answer, sorted.
    pub(super) fn prefixes(&mut self, answer: usize) -> Result<Arc<[Cidr]>, TooMuch> {
        let prefixes = match self.answers.get_mut(answer) {
            Some(Answer { prefixes: Some(prefixes), .. }) => prefixes.clone(),
            Some(Answer { prefixes, numbers }) => {
                let new = addresses(self.members, numbers.iter().copied());
                self.kept += new.len();
                prefixes.insert(new).clone()
            }
            None => Arc::new([]),
        };
        if self.kept > RESOLVED_PREFIXES_MAX {
            let kept = self.kept;
            return Err(TooMuch(format!(
                "selectors stand for {kept} prefixes up to here; RESOLVED_PREFIXES_MAX is {RESOLVED_PREFIXES_MAX}"
            )));
        }
        // Whoever uses the answer looks at every prefix of it.
        self.step(prefixes.len())?;
        Ok(prefixes)
    }

    /// What the endpoints of some answers declare under a name.
    pub(super) fn declared(&mut self, asked: &[usize], named: &'a Named) -> Result<Declared, TooMuch> {
        let key = (asked.to_vec(), named.protocol, &*named.name);
        if let Some(declared) = self.declared.get(&key) {
            return Ok(declared.clone());
        }
        let mut by_number: BTreeMap<ServiceRange, Vec<usize>> = BTreeMap::new();
        let mut steps = 0;
        for number in asked.iter().filter_map(|answer| self.answers.get(*answer)).flat_map(|answer| &answer.numbers) {
            let Some(member) = self.members.get(*number) else { continue };
            steps += 1 + member.ports.len() + member.addresses.len();
            let same = |port: &&crate::model::inventory::NamedPort| port.name == named.name && port.service.is_of(named.protocol);
            if let Some(port) = member.ports.iter().find(same) {
                by_number.entry(port.service).or_default().push(*number);
            }
        }
        self.step(steps)?;
        let groups = by_number.into_iter().map(|(service, numbers)| (service, addresses(self.members, numbers.into_iter())));
        let declared: Declared = groups.collect();
        self.declared.insert(key, declared.clone());
        Ok(declared)
    }

    fn step(&mut self, count: usize) -> Result<(), TooMuch> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > RESOLVE_STEPS_MAX { Err(too_many("RESOLVE_STEPS_MAX", RESOLVE_STEPS_MAX)) } else { Ok(()) }
    }
}

fn too_many(name: &str, max: usize) -> TooMuch {
    TooMuch(format!("selectors and port names match too many endpoints; {name} is {max}"))
}

fn addresses(members: &[Member], numbers: impl Iterator<Item = usize>) -> Arc<[Cidr]> {
    let of = |number: usize| members.get(number).map_or(&[][..], |member| &member.addresses[..]);
    let mut all: Vec<Cidr> = numbers.flat_map(of).map(|(cidr, _)| *cidr).collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}
