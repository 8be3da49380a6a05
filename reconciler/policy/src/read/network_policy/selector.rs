//! `podSelector`: `matchLabels` and `matchExpressions`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::cursor::{Cursor, Got};
use super::super::limits::{TERMS_PER_SELECTOR_MAX, VALUES_PER_TERM_MAX};
use super::super::problem::Code;
use super::super::tree::Node;
use crate::select::{Selector, Term};

pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Selector> {
    let fields = cursor.fields(node, &["matchLabels", "matchExpressions"])?;
    let labels = cursor.field(&fields, "matchLabels", match_labels);
    let max = ("TERMS_PER_SELECTOR_MAX", TERMS_PER_SELECTOR_MAX);
    let expressions = cursor.field(&fields, "matchExpressions", |cursor, node| {
        cursor.items(node, max, expression)?.into_iter().collect::<Option<Vec<Term>>>()
    });
    if labels == Got::Broken || expressions == Got::Broken {
        return None;
    }
    let mut terms: Vec<Term> = labels.read().unwrap_or_default();
    terms.extend(expressions.read().unwrap_or_default());
    cursor.within(node.at, terms.len(), max);
    // A condition under a misspelt key would be missing.
    (fields.whole && terms.len() <= TERMS_PER_SELECTOR_MAX).then(|| Selector::new(terms))
}

fn match_labels<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<Term>> {
    let entries = cursor.map(node)?;
    cursor.within(node.at, entries.len(), ("TERMS_PER_SELECTOR_MAX", TERMS_PER_SELECTOR_MAX));
    let terms = entries.iter().map(|entry| {
        if entry.is_refused() {
            return None;
        }
        let key = cursor.label_key(entry.at, &entry.key);
        let value = cursor.entry(entry, Cursor::label_value).read();
        Some(Term::In(key?, [value?].into()))
    });
    // Every entry is looked at before a broken one gives the list up.
    let terms: Vec<Option<Term>> = terms.collect();
    terms.into_iter().collect()
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

fn expression<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Term> {
    const OPERATORS: [(&str, Operator); 4] =
        [("In", Operator::In), ("NotIn", Operator::NotIn), ("Exists", Operator::Exists), ("DoesNotExist", Operator::DoesNotExist)];
    let fields = cursor.fields(node, &["key", "operator", "values"])?;
    let key = cursor.required(&fields, "key", |cursor, node| {
        let (text, _) = cursor.scalar(node, "a label key")?;
        cursor.label_key(node.at, text)
    });
    let operator = cursor.required(&fields, "operator", |cursor, node| cursor.word(node, Code::BadValue, &OPERATORS));
    let max = ("VALUES_PER_TERM_MAX", VALUES_PER_TERM_MAX);
    let values = cursor.field(&fields, "values", |cursor, node| {
        let values = cursor.items(node, max, Cursor::label_value)?;
        values.into_iter().collect::<Option<Vec<String>>>()
    });
    if values == Got::Broken {
        return None;
    }
    let values = values.read().unwrap_or_default();
    let (operator, key) = (operator?, key?);
    let name = OPERATORS.get(operator as usize).map_or("", |(name, _)| *name);
    let wants = matches!(operator, Operator::In | Operator::NotIn);
    if wants == values.is_empty() {
        let message = if wants { format!("operator {name} needs values") } else { format!("operator {name} takes no values") };
        cursor.problem(Code::BadSelector, fields.value_at("values").unwrap_or(fields.at), message);
        return None;
    }
    Some(match operator {
        Operator::In => Term::In(key, values),
        Operator::NotIn => Term::NotIn(key, values),
        Operator::Exists => Term::Exists(key),
        Operator::DoesNotExist => Term::DoesNotExist(key),
    })
}
