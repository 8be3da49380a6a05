//! Names over the whole set: none twice, each mention of something that exists.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::guess::nearest;
use super::limits::GUESS_STEPS_MAX;
use super::names::{Name, Names, Noun};
use super::problem::{Code, Problem, Problems};
use super::scalar::shown;
use crate::model::zones::INTERNET;
use crate::model::{Kind, Place, PolicySet};

/// Names listed where none of them is near.
const LISTED_MAX: usize = 8;

/// Reports names that are given twice, and names used that nothing has.
pub(super) fn check(set: &PolicySet, names: &mut Names, problems: &mut Problems) {
    duplicates(&mut names.defined, problems);
    let known = Known::of(set, &names.defined);
    let mut steps = GUESS_STEPS_MAX;
    for used in &names.used {
        // Without an Inventory nobody says which namespaces there are.
        if used.noun == Noun::Namespace && !set.kinds.contains(&Kind::Inventory) {
            continue;
        }
        // What is not known may be what could not be read, which has been told.
        if is_lost(used.noun, names) {
            continue;
        }
        let Some(candidates) = known.candidates(used) else { continue };
        if candidates.binary_search(&&*used.name).is_err() {
            if problems.is_full() {
                problems.one_more();
            } else {
                problems.push(unknown(used, candidates, &mut steps));
            }
        }
    }
}

/// Whether something of a noun has a name that could not be read.
fn is_lost(noun: Noun, names: &Names) -> bool {
    // Endpoints name namespaces too.
    names.unnamed.contains(&noun) || (noun == Noun::Namespace && names.lost.contains(&Noun::Endpoint))
}

/// Sorts what is defined, and reports all but the first of each name.
fn duplicates(defined: &mut [Name], problems: &mut Problems) {
    defined.sort_by(|a, b| (a.noun, &a.of, &a.name, &a.place).cmp(&(b.noun, &b.of, &b.name, &b.place)));
    for same in defined.chunk_by(|a, b| (a.noun, &a.of, &a.name) == (b.noun, &b.of, &b.name)) {
        let [first, later @ ..] = same else { continue };
        for name in later {
            problems.push(twice(name, first));
        }
    }
}

fn twice(name: &Name, first: &Name) -> Problem {
    let what = match &name.of {
        Some(policy) => format!("the {} of {policy}/{}", name.noun.text(), name.name),
        None => name.name.to_string(),
    };
    let Place { file, spot } = &first.place;
    let message = format!("{what} is also defined at {}:{}:{}", shown(file), spot.line, spot.column);
    problem(Code::DuplicateName, name, message, None, [first.place.clone()].into())
}

fn problem(code: Code, name: &Name, message: String, did_you_mean: Option<String>, related: Vec<Place>) -> Problem {
    let of_policy = code == Code::DuplicateName && name.noun == Noun::Document(Kind::NetworkPolicy);
    let policy = of_policy.then(|| name.name.clone());
    Problem { code, place: name.place.clone(), path: Some(name.path.clone()), policy, message, did_you_mean, related }
}

/// Everything that can be referred to, sorted by bytes.
struct Known<'a> {
    by_noun: BTreeMap<Noun, Vec<&'a str>>,
    /// Policies that were read, and their named rules.
    rules: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Known<'a> {
    fn of(set: &'a PolicySet, defined: &'a [Name]) -> Self {
        let mut by_noun: BTreeMap<Noun, BTreeSet<&str>> = BTreeMap::new();
        for name in defined.iter().filter(|name| name.of.is_none()) {
            by_noun.entry(name.noun).or_default().insert(&name.name);
        }
        by_noun.entry(Noun::Zone).or_default().insert(INTERNET);
        let namespaces = by_noun.entry(Noun::Namespace).or_default();
        namespaces.insert("default");
        namespaces.extend(set.members.iter().map(|member| &*member.namespace));
        let by_noun = by_noun.into_iter().map(|(noun, names)| (noun, names.into_iter().collect())).collect();
        let mut rules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for policy in &set.policies {
            let all = policy.ingress.list.iter().chain(&policy.egress.list);
            rules.entry(&policy.name).or_default().extend(all.filter_map(|rule| rule.name.as_deref()));
        }
        rules.values_mut().for_each(|rules| rules.sort_unstable());
        Self { by_noun, rules }
    }

    /// What a name can mean; `None` if that is not known, and has been told.
    fn candidates(&self, used: &Name) -> Option<&[&'a str]> {
        match &used.of {
            Some(policy) => self.rules.get(&**policy).map(Vec::as_slice),
            None => Some(self.by_noun.get(&used.noun).map_or(&[], Vec::as_slice)),
        }
    }
}

fn unknown(used: &Name, candidates: &[&str], steps: &mut usize) -> Problem {
    let left = steps.checked_sub(candidates.len());
    let meant = left.and_then(|_| nearest(&used.name, candidates));
    *steps = left.unwrap_or(*steps);
    let hint = match (meant, candidates.len()) {
        (Some(name), _) => format!(". Did you mean {name}?"),
        (None, 0) => "; there is none".to_string(),
        (None, 1..=LISTED_MAX) => format!("; there are: {}", candidates.join(", ")),
        (None, _) => String::new(),
    };
    let whose = used.of.as_ref().map_or(String::new(), |policy| format!(" of policy {policy}"));
    let message = format!("no {}{whose} is called {}{hint}", used.noun.text(), used.name);
    problem(Code::UnknownReference, used, message, meant.map(ToString::to_string), Vec::new())
}
