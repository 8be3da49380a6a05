//! Made-up endpoints that tell two sets apart where no Inventory says who there is.
//!
//! Selectors look at nothing but labels, and see of a label whether it is there and which of the written values it has. So somebody
//! for each combination of written values, one other value, and absence stands for everybody. Where these are too many, each selector's
//! own example is varied, one label at a time.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::model::Labels;
use crate::select::{Selector, Term};

/// Combinations of a namespace up to which each is looked at.
const PRODUCT_MAX: usize = 4_096;
/// Combinations looked at in all.
pub(super) const CELLS_MAX: usize = 20_000;

/// What a label may be: a written value, one that is written nowhere, or not there.
type Choices<'a> = BTreeMap<&'a str, BTreeSet<Option<String>>>;

/// What a namespace's selectors, and the labels of the CDE, can tell apart.
pub(super) struct Cells<'a> {
    choices: Choices<'a>,
    fresh: BTreeMap<&'a str, String>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(selectors: &[&'a Selector], cde: [&'a BTreeMap<String, Vec<String>>; 2]) -> Self {
        let mut choices: Choices<'a> = BTreeMap::new();
        let mut add = |key: &'a str, values: &[String]| {
            choices.entry(key).or_insert_with(|| [None].into()).extend(values.iter().cloned().map(Some));
        };
        for term in selectors.iter().flat_map(|selector| selector.terms()) {
            match term {
                Term::In(key, values) | Term::NotIn(key, values) => add(key, values),
                Term::Exists(key) | Term::DoesNotExist(key) => add(key, &[]),
            }
        }
        cde.into_iter().flatten().for_each(|(key, values)| add(key, values));
        let mut fresh = BTreeMap::new();
        for (key, values) in &mut choices {
            // One of so many names is not among so few values.
            let names = (0..=values.len()).map(|n| format!("other{n}"));
            if let Some(name) = names.into_iter().find(|name| !values.contains(&Some(name.clone()))) {
                values.insert(Some(name.clone()));
                fresh.insert(*key, name);
            }
        }
        Self { choices, fresh }
    }

    /// Labels that one of these selectors selects, with whether those are all that were to be looked at. Spends `left`.
    pub(super) fn selected_by(&self, selectors: &[&Selector], left: &mut usize) -> (BTreeSet<Labels>, bool) {
        let size = self.choices.values().try_fold(1_usize, |size, values| size.checked_mul(values.len()));
        let (mut cells, whole) = match size.filter(|size| *size <= PRODUCT_MAX.min(*left)) {
            Some(size) => {
                *left -= size;
                (self.product(), true)
            }
            None => self.around(selectors, left),
        };
        cells.retain(|labels| selectors.iter().any(|selector| selector.matches(labels)));
        (cells, whole)
    }

    fn product(&self) -> BTreeSet<Labels> {
        let mut cells: BTreeSet<Labels> = [Labels::new()].into();
        for (key, values) in &self.choices {
            cells = cells.iter().flat_map(|labels| values.iter().map(move |value| with(labels, key, value.as_ref()))).collect();
        }
        cells
    }

    /// Each selector's example, one label at a time.
    fn around(&self, selectors: &[&Selector], left: &mut usize) -> (BTreeSet<Labels>, bool) {
        let mut cells = BTreeSet::new();
        for labels in selectors.iter().filter_map(|selector| selector.sample()) {
            for (key, value) in self.choices.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
                let Some(rest) = left.checked_sub(1) else {
                    return (cells, false);
                };
                *left = rest;
                cells.insert(with(&labels, key, value.as_ref()));
            }
        }
        (cells, true)
    }

    /// Labels as a selector is written; `<other>` is a value that neither set writes.
    pub(super) fn text(&self, labels: &Labels) -> String {
        let pair = |(key, value): (&String, &String)| match self.fresh.get(key.as_str()) == Some(value) {
            true => format!("{key}=<other>"),
            false => format!("{key}={value}"),
        };
        let pairs: Vec<String> = labels.iter().map(pair).collect();
        if pairs.is_empty() { "no labels".to_string() } else { pairs.join(",") }
    }
}

fn with(labels: &Labels, key: &str, value: Option<&String>) -> Labels {
    let mut labels = labels.clone();
    match value {
        Some(value) => labels.insert(key.to_string(), value.clone()),
        None => labels.remove(key),
    };
    labels
}
