//! Lists: their limits, and whether one broken item breaks the whole.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::names::Noun;
use super::super::problem::Code;
use super::super::tree::{Node, Value};
use super::{Cursor, Fields, Limit, Step};

impl<'n> Cursor<'n, '_> {
    /// Reads a list item by item; `None` stands for an item that could not be read.
    pub(in crate::read) fn items<T>(
        &mut self,
        node: &'n Node<'n>,
        max: Limit,
        mut read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<Option<T>>> {
        let items = match &node.value {
            Value::List(items) => items,
            other @ (Value::Scalar { .. } | Value::Map(_) | Value::Broken) => {
                return self.wrong_type(node.at, "a list", other);
            }
        };
        self.within(node.at, items.len(), max);
        let mut values = Vec::with_capacity(items.len().min(max.1));
        for (index, item) in items.iter().take(max.1).enumerate() {
            self.path.push(Step::Item(index));
            values.push(if self.has_value(item, item.at) { read(self, item) } else { None });
            self.path.pop();
        }
        if items.len() > max.1 {
            // A list that lost its end must not look whole.
            values.push(None);
        }
        Some(values)
    }

    /// Reads a list of which every item must be read.
    pub(in crate::read) fn list<T>(
        &mut self,
        node: &'n Node<'n>,
        max: Limit,
        read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.items(node, max, read)?.into_iter().collect()
    }

    /// The same, and there is at least one.
    pub(in crate::read) fn filled<T>(
        &mut self,
        node: &'n Node<'n>,
        max: Limit,
        read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = self.list(node, max, read)?;
        if list.is_empty() {
            self.problem(Code::BadValue, node.at, format!("an empty list; write 1 to {}", max.1));
        }
        (!list.is_empty()).then_some(list)
    }

    /// Reads a list of words, each at most once, sorted.
    pub(in crate::read) fn words<T: Copy + Ord>(
        &mut self,
        node: &'n Node<'n>,
        max: Limit,
        words: &[(&'static str, T)],
    ) -> Option<Vec<T>> {
        let mut seen: Vec<T> = Vec::new();
        self.list(node, max, |cursor, node| {
            let word = cursor.word(node, Code::BadValue, words)?;
            if seen.contains(&word) {
                cursor.problem(Code::BadValue, node.at, "written twice".to_string());
                return None;
            }
            seen.push(word);
            Some(())
        })?;
        seen.sort_unstable();
        Some(seen)
    }

    /// Reads the required list of a document: every item that can be read, whatever is wrong with the others.
    pub(in crate::read) fn each<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        max: Limit,
        noun: Noun,
        read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Vec<T> {
        let list = self.required(fields, key, |cursor, node| cursor.named_items(node, max, noun, read));
        if list.is_none() || !fields.whole {
            self.unnamed(noun);
        }
        list.unwrap_or_default()
    }

    /// The same for a list that may be absent.
    pub(in crate::read) fn any<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        max: Limit,
        noun: Noun,
        read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Vec<T> {
        let list = self.optional(fields, key, |cursor, node| cursor.named_items(node, max, noun, read));
        if list.is_none() {
            self.unnamed(noun);
        }
        list.flatten().unwrap_or_default()
    }

    /// Reads items that define one name each, and notes what of them is lost.
    fn named_items<T>(
        &mut self,
        node: &'n Node<'n>,
        max: Limit,
        noun: Noun,
        read: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let before = self.named_so_far();
        let items = self.items(node, max, read)?;
        if items.iter().any(Option::is_none) {
            self.lost(noun);
        }
        if self.named_so_far() - before < items.len() {
            self.names.unnamed.insert(noun);
        }
        Some(items.into_iter().flatten().collect())
    }
}
