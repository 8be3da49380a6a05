//! Selectors, and what can be decided about them without knowing the endpoints.
//!
//! Per label key a selector admits a finite or co-finite set of values, "absent" included. Keys are independent, so "can match",
//! "covers" and "selects nobody" are decided exactly, key by key.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::model::Labels;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// The label has one of these values; `matchLabels` is `In` with one.
    In(String, Vec<String>),
    /// The label has none of these values, or is absent.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

impl Term {
    /// The label it speaks of.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    /// Whether these labels satisfy it (S4).
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::In(_, values) => value.is_some_and(|v| values.contains(v)),
            Self::NotIn(_, values) => value.is_none_or(|v| !values.contains(v)),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
        }
    }
}

/// Conditions that must all hold (S3); none of them selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    terms: Vec<Term>,
    keys: BTreeMap<String, Values>,
}

/// The values a key may have; `None` is "absent".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Values {
    listed: BTreeSet<Option<String>>,
    /// The set is everything but what is listed.
    others: bool,
}

impl Values {
    fn of(term: &Term) -> Self {
        let some = |values: &[String]| values.iter().cloned().map(Some).collect();
        match term {
            Term::In(_, values) => Self { listed: some(values), others: false },
            Term::NotIn(_, values) => Self { listed: some(values), others: true },
            Term::Exists(_) => Self { listed: [None].into(), others: true },
            Term::DoesNotExist(_) => Self { listed: [None].into(), others: false },
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        // A borrowed lookup in a set of Option<String> does not exist; the sets are small.
        self.listed.iter().any(|listed| listed.as_deref() == value) != self.others
    }

    fn and(&self, other: &Self) -> Self {
        match (self.others, other.others) {
            (true, true) => Self { listed: &self.listed | &other.listed, others: true },
            (true, false) => Self { listed: &other.listed - &self.listed, others: false },
            (false, true) => Self { listed: &self.listed - &other.listed, others: false },
            (false, false) => Self { listed: &self.listed & &other.listed, others: false },
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self.others, other.others) {
            (true, true) => self.listed.is_subset(&other.listed),
            (true, false) => self.listed.is_disjoint(&other.listed),
            // Labels are unbounded: a finite set never holds a co-finite one.
            (false, true) => false,
            (false, false) => other.listed.is_subset(&self.listed),
        }
    }

    fn is_empty(&self) -> bool {
        !self.others && self.listed.is_empty()
    }

    /// One of its values, absent first.
    fn example(&self) -> Option<Option<String>> {
        if self.holds(None) {
            return Some(None);
        }
        if !self.others {
            return self.listed.first().cloned();
        }
        (0..=self.listed.len()).map(|n| Some(alloc::format!("x{n}"))).find(|v| !self.listed.contains(v))
    }
}

impl Selector {
    /// From its conditions.
    #[must_use]
    pub fn new(terms: Vec<Term>) -> Self {
        let mut keys: BTreeMap<String, Values> = BTreeMap::new();
        for term in &terms {
            let values = Values::of(term);
            let both = keys.get(term.key()).map(|known| known.and(&values));
            keys.insert(term.key().to_string(), both.unwrap_or(values));
        }
        Self { terms, keys }
    }

    /// The conditions as written.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether these labels satisfy every condition.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.terms.iter().all(|term| term.matches(labels))
    }

    /// Whether it selects everything: `{}`.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether no labels can satisfy it (S5).
    #[must_use]
    pub fn is_impossible(&self) -> bool {
        self.keys.values().any(Values::is_empty)
    }

    /// Whether it says anything of this label.
    #[must_use]
    pub fn mentions(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The labels for which exactly one value is admitted.
    pub(crate) fn singles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys
            .iter()
            .filter(|(_, values)| !values.others && values.listed.len() == 1)
            .filter_map(|(key, values)| values.listed.first()?.as_deref().map(|value| (key.as_str(), value)))
    }

    /// Whether something with this label can satisfy it.
    #[must_use]
    pub fn can_match(&self, key: &str, value: &str) -> bool {
        !self.is_impossible() && self.keys.get(key).is_none_or(|values| values.holds(Some(value)))
    }

    /// Whether something whose label is not among these values, or absent, can satisfy it.
    #[must_use]
    pub fn can_match_other(&self, key: &str, values: &[&str]) -> bool {
        let others = Values { listed: values.iter().map(|v| Some((*v).to_string())).collect(), others: true };
        !self.is_impossible() && self.keys.get(key).is_none_or(|admitted| !admitted.and(&others).is_empty())
    }

    /// Whether it selects whatever the other selects.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.keys.iter().all(|(key, values)| match other.keys.get(key) {
            Some(theirs) => values.contains(theirs),
            None => values.others && values.listed.is_empty(),
        })
    }

    /// Labels that satisfy it and carry `key: value`, if there are any.
    #[must_use]
    pub fn example(&self, key: &str, value: &str) -> Option<Labels> {
        let mut labels = self.sample_but(key)?;
        labels.insert(key.to_string(), value.to_string());
        self.can_match(key, value).then_some(labels)
    }

    /// The fewest labels that satisfy it, if anything can.
    #[must_use]
    pub fn sample(&self) -> Option<Labels> {
        // No key is empty.
        self.sample_but("")
    }

    fn sample_but(&self, key: &str) -> Option<Labels> {
        let mut labels = Labels::new();
        for (name, values) in self.keys.iter().filter(|(name, _)| *name != key) {
            if let Some(chosen) = values.example()? {
                labels.insert(name.clone(), chosen);
            }
        }
        Some(labels)
    }
}

impl fmt::Display for Selector {
    /// As in `kubectl`: `pci-env=cde,tier in (a, b),!legacy`; `{}` for everything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("{}");
        }
        for (i, term) in self.terms.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            match term {
                Term::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values.concat())?;
                }
                Term::In(key, values) => write!(f, "{key} in ({})", values.join(", "))?,
                Term::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(", "))?,
                Term::Exists(key) => write!(f, "{key}")?,
                Term::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(key: &str, value: &str) -> Term {
        Term::In(key.to_string(), [value.to_string()].to_vec())
    }

    fn not(key: &str, value: &str) -> Term {
        Term::NotIn(key.to_string(), [value.to_string()].to_vec())
    }

    #[test]
    fn s5_a_selector_that_nothing_can_satisfy_is_known() {
        assert!(Selector::new([is("tier", "a"), not("tier", "a")].to_vec()).is_impossible());
        assert!(Selector::new([Term::Exists("t".into()), Term::DoesNotExist("t".into())].to_vec()).is_impossible());
        assert!(!Selector::new([is("tier", "a"), not("tier", "b")].to_vec()).is_impossible());
    }

    #[test]
    fn a_wider_selector_covers_a_narrower_one_and_not_the_reverse() {
        let (zone, both) =
            (Selector::new([is("env", "cde")].to_vec()), Selector::new([is("env", "cde"), is("tier", "db")].to_vec()));
        assert!(zone.covers(&both) && !both.covers(&zone));
        assert!(Selector::default().covers(&zone) && !zone.covers(&Selector::default()));
        assert!(Selector::new([not("env", "dmz")].to_vec()).covers(&zone));
        assert!(!Selector::new([not("env", "cde")].to_vec()).covers(&zone));
    }

    #[test]
    fn an_example_satisfies_its_selector() {
        let selector = Selector::new([not("tier", "x0"), Term::Exists("tier".into()), not("env", "dmz")].to_vec());
        assert!(selector.matches(&selector.example("env", "cde").unwrap()));
        assert_eq!(selector.example("env", "dmz"), None);
        let fewest = selector.sample().unwrap();
        assert!(selector.matches(&fewest) && fewest.len() == 1);
        assert_eq!(Selector::new([is("tier", "a"), not("tier", "a")].to_vec()).sample(), None);
    }
}
