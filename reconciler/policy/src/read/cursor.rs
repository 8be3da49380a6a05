//! A cursor over nodes: which fields there are, of which type, and where.
//!
//! Everything a document of any kind needs in order to be read field by field, with every problem told and none hiding the next.
//! Absent and broken are different things: only the first may fall back to a default.

mod lists;
mod names;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::guess::nearest;
use super::names::Names;
use super::problem::{Code, Problem, Problems};
use super::scalar::{is_null, shown};
use super::tree::{Entry, Node, Value};
use crate::model::{Origin, Place, Spot};

/// A field or an item on the way to the current node.
#[derive(Clone, Copy)]
enum Step<'n> {
    Field(&'n str),
    Item(usize),
}

/// Where the reading of a document stands.
pub(super) struct Cursor<'n, 'p> {
    problems: &'p mut Problems,
    names: &'p mut Names,
    policy: Option<Arc<str>>,
    path: Vec<Step<'n>>,
}

/// The entries of a mapping whose keys are all known.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    pub(super) at: Spot,
    known: &'static [&'static str],
    entries: &'n [Entry<'n>],
    /// Every key was understood. If not, a field that seems absent may only be misspelt.
    pub(super) whole: bool,
}

/// What came of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got<T> {
    Absent,
    Broken,
    Read(T),
}

impl<T> Got<T> {
    pub(super) fn read(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Broken => None,
        }
    }
}

impl<'n> Fields<'n> {
    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry<'n>> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Where the value of a field stands.
    pub(super) fn value_at(&self, key: &str) -> Option<Spot> {
        self.entry(key).map(|e| e.value.at)
    }

    /// Where a key stands.
    pub(super) fn key_at(&self, key: &str) -> Option<Spot> {
        self.entry(key).map(|e| e.at)
    }
}

impl<'n, 'p> Cursor<'n, 'p> {
    pub(super) fn new(problems: &'p mut Problems, names: &'p mut Names) -> Self {
        Self { problems, names, policy: None, path: Vec::new() }
    }

    pub(super) fn file(&self) -> Arc<str> {
        self.problems.file()
    }

    /// From here on problems are about this policy.
    pub(super) fn name(&mut self, policy: Arc<str>) {
        self.policy = Some(policy);
    }

    pub(super) fn problem(&mut self, code: Code, at: Spot, message: String) {
        self.suggest(code, at, message, None);
    }

    pub(super) fn suggest(&mut self, code: Code, at: Spot, message: String, meant: Option<String>) {
        self.relate(code, at, message, meant, None);
    }

    /// A problem with a second place in the same file.
    pub(super) fn relate(&mut self, code: Code, at: Spot, message: String, did_you_mean: Option<String>, other: Option<Spot>) {
        let place = |spot| Place { file: self.problems.file(), spot };
        let problem = Problem {
            code,
            place: place(at),
            path: Some(self.pointer()),
            policy: self.policy.clone(),
            message,
            did_you_mean,
            related: other.map(place).into_iter().collect(),
        };
        self.problems.push(problem);
    }

    /// A problem with a field, told at its value.
    pub(super) fn problem_of(&mut self, code: Code, fields: &Fields<'n>, field: &'static str, message: String) {
        let at = fields.value_at(field).unwrap_or(fields.at);
        self.path.push(Step::Field(field));
        self.problem(code, at, message);
        self.path.pop();
    }

    /// Two fields that exclude each other, told at the first.
    pub(super) fn contradiction(&mut self, fields: &Fields<'n>, field: &'static str, other: &'static str, message: String) {
        let at = fields.value_at(field).unwrap_or(fields.at);
        self.path.push(Step::Field(field));
        self.relate(Code::Contradiction, at, message, None, fields.value_at(other));
        self.path.pop();
    }

    /// Where an item stands, and each of its fields.
    pub(super) fn origin(&self, fields: &Fields<'n>) -> Origin {
        let spots = fields.known.iter().filter_map(|key| fields.value_at(key).map(|at| (*key, at)));
        let place = Place { file: self.problems.file(), spot: fields.at };
        let document = self.policy.clone().unwrap_or_default();
        Origin { place, document, path: self.pointer(), fields: spots.collect() }
    }

    fn pointer(&self) -> String {
        let mut pointer = String::with_capacity(8 * self.path.len());
        for step in &self.path {
            pointer.push('/');
            match step {
                Step::Field(key) if key.contains(['~', '/']) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Step::Field(key) => pointer.push_str(key),
                Step::Item(index) => {
                    // Writing to a text never fails.
                    let _ = write!(pointer, "{index}");
                }
            }
        }
        pointer
    }

    /// The entries of a mapping, whatever their keys.
    pub(super) fn map(&mut self, node: &'n Node<'n>) -> Option<&'n [Entry<'n>]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            other @ (Value::Scalar { .. } | Value::List(_) | Value::Broken) => self.wrong_type(node.at, "a mapping", other),
        }
    }

    /// A mapping with these fields and no others.
    pub(super) fn fields(&mut self, node: &'n Node<'n>, known: &'static [&'static str]) -> Option<Fields<'n>> {
        let entries = self.map(node)?;
        let mut whole = true;
        for entry in entries.iter().filter(|e| !known.contains(&&*e.key)) {
            whole = false;
            if !entry.is_refused() {
                self.unknown(entry, known);
            }
        }
        Some(Fields { at: node.at, known, entries, whole })
    }

    /// A key that is not in the schema.
    pub(super) fn unknown(&mut self, entry: &'n Entry<'n>, known: &[&str]) {
        if self.problems.is_full() {
            self.problems.one_more();
            return;
        }
        let meant = match (&*entry.key, known) {
            ("to", _) if known.contains(&"from") => Some("from"),
            ("from", _) if known.contains(&"to") => Some("to"),
            (key, _) => nearest(key, known),
        };
        let hint = match meant {
            Some(word) => format!("Did you mean {word}?"),
            None => format!("Known here: {}.", known.join(", ")),
        };
        self.path.push(Step::Field(&entry.key));
        let message = format!("field {} is not known here. {hint}", shown(&entry.key));
        self.suggest(Code::UnknownField, entry.at, message, meant.map(ToString::to_string));
        self.path.pop();
    }

    /// Reads one field, if it is there.
    pub(super) fn field<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Got<T> {
        fields.entry(key).map_or(Got::Absent, |entry| self.entry(entry, read))
    }

    /// Reads the value of an entry.
    pub(super) fn entry<T>(&mut self, entry: &'n Entry<'n>, read: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>) -> Got<T> {
        self.path.push(Step::Field(&entry.key));
        let value = if self.has_value(&entry.value, entry.at) { read(self, &entry.value) } else { None };
        self.path.pop();
        value.map_or(Got::Broken, Got::Read)
    }

    /// Reads one field that must be there.
    pub(super) fn required<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<T> {
        if fields.entry(key).is_none() {
            let whose = if self.path.is_empty() { "the document".to_string() } else { self.pointer() };
            self.problem(Code::MissingField, fields.at, format!("{whose} needs the field {key}"));
        }
        self.field(fields, key, read).read()
    }

    /// Reads a field that may be absent: `None` if it is written and cannot be read, or if it may be there under a misspelt key.
    pub(super) fn optional<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.field(fields, key, read) {
            Got::Absent => fields.whole.then_some(None),
            Got::Broken => None,
            Got::Read(value) => Some(Some(value)),
        }
    }

    /// Reads a field whose default is as strict as anything that could be written.
    pub(super) fn or_default<T>(
        &mut self,
        fields: &Fields<'n>,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
        default: T,
    ) -> T {
        self.field(fields, key, read).read().unwrap_or(default)
    }

    /// A field that another one requires.
    pub(super) fn needs(&mut self, fields: &Fields<'n>, key: &'static str, because: &'static str, of: &'static str) -> Option<()> {
        if fields.entry(key).is_some() {
            return Some(());
        }
        let message = format!("{} needs the field {key}: {because}", self.pointer());
        self.relate(Code::MissingField, fields.at, message, None, fields.value_at(of));
        None
    }

    /// Tells if there are too many of something.
    pub(super) fn within(&mut self, at: Spot, count: usize, (name, max): Limit) {
        if count > max {
            self.problem(Code::Limit, at, format!("{count} items; {name} is {max}"));
        }
    }

    /// The text of a scalar, and whether it is written plainly.
    pub(super) fn scalar(&mut self, node: &'n Node<'n>, expected: &str) -> Option<(&'n str, bool)> {
        match &node.value {
            Value::Scalar { text, plain } => Some((text, *plain)),
            other @ (Value::List(_) | Value::Map(_) | Value::Broken) => self.wrong_type(node.at, expected, other),
        }
    }

    fn has_value(&mut self, node: &'n Node<'n>, at: Spot) -> bool {
        match &node.value {
            Value::Scalar { text, plain: true } if is_null(text) => {
                let what = match self.path.last() {
                    Some(Step::Field(key)) => shown(key),
                    Some(Step::Item(_)) | None => "the item".to_string(),
                };
                self.problem(Code::NullValue, at, format!("{what} has no value; leave the key out, or write [] or {{}}"));
                false
            }
            Value::Broken => false,
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => true,
        }
    }

    fn wrong_type<T>(&mut self, at: Spot, expected: &str, found: &Value<'_>) -> Option<T> {
        let found = match found {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => return None,
        };
        self.problem(Code::WrongType, at, format!("expected {expected}, found {found}"));
        None
    }
}

/// A limit's name and value.
pub(super) type Limit = (&'static str, usize);
