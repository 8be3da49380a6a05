//! Puts events together into nodes, and checks keys.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::limits::SCALAR_BYTES_MAX;
use super::super::problem::{Code, Problem, Problems};
use super::super::scalar::{is_null, needs_quotes, shown};
use super::super::text::is_forbidden;
use super::{Entry, Node, Value};
use crate::model::{Place, Spot};

/// Lists and mappings that are open, outermost first.
#[derive(Default)]
pub(super) struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
}

struct Open<'a> {
    at: Spot,
    inside: Inside<'a>,
    /// It stands where a key should.
    as_key: bool,
}

enum Inside<'a> {
    List(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>, Key<'a>),
}

/// What a mapping waits for.
enum Key<'a> {
    Wanted,
    Read(Cow<'a, str>, Spot),
    /// The key was refused; its value goes too.
    Refused,
}

impl<'a> Builder<'a> {
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the next node is a key.
    pub(super) fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { inside: Inside::Map(_, Key::Wanted), .. }))
    }

    pub(super) fn finish(&mut self) -> Option<Node<'a>> {
        self.open.clear();
        self.root.take()
    }

    pub(super) fn scalar(&mut self, text: Cow<'a, str>, plain: bool, at: Spot, explicit: bool, problems: &mut Problems) {
        if self.wants_key() {
            let key = if key_is_good(&text, plain, at, explicit, problems) { Key::Read(text, at) } else { Key::Refused };
            self.set_key(key);
            return;
        }
        let value = if scalar_is_good(&text, plain, at, problems) { Value::Scalar { text, plain } } else { Value::Broken };
        self.value(Node { at, value });
    }

    pub(super) fn open(&mut self, at: Spot, map: bool, problems: &mut Problems) {
        let as_key = self.wants_key();
        if as_key {
            problems.add(Code::YamlFeature, at, "keys that are not text are not part of pci-segment/v1".to_string());
        }
        let inside = if map { Inside::Map(Vec::new(), Key::Wanted) } else { Inside::List(Vec::new()) };
        self.open.push(Open { at, inside, as_key });
    }

    pub(super) fn close(&mut self, problems: &mut Problems) {
        let Some(Open { at, inside, as_key }) = self.open.pop() else {
            return;
        };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Map(mut entries, _) => {
                refuse_duplicates(&mut entries, problems);
                Value::Map(entries)
            }
        };
        if as_key {
            self.set_key(Key::Refused);
        } else {
            self.value(Node { at, value });
        }
    }

    fn set_key(&mut self, new: Key<'a>) {
        if let Some(Open { inside: Inside::Map(_, key), .. }) = self.open.last_mut() {
            *key = new;
        }
    }

    /// Puts a value where it belongs. An alias may stand for a key: then the key is refused.
    pub(super) fn value(&mut self, node: Node<'a>) {
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map(entries, key)) => match core::mem::replace(key, Key::Wanted) {
                Key::Wanted => *key = Key::Refused,
                Key::Read(text, at) => entries.push(Entry { key: text, at, value: node }),
                // A mapping that lost a key must not look as if it never had it.
                Key::Refused => {
                    entries.push(Entry { key: Cow::Borrowed(""), at: node.at, value: Node { at: node.at, value: Value::Broken } });
                }
            },
        }
    }
}

fn key_is_good(text: &str, plain: bool, at: Spot, explicit: bool, problems: &mut Problems) -> bool {
    let message = if explicit {
        "`? key` is not part of pci-segment/v1; write `key: value`".to_string()
    } else if plain && text == "<<" {
        "merge keys are not part of pci-segment/v1; write the value out".to_string()
    } else if plain && is_null(text) {
        "keys that are not text are not part of pci-segment/v1".to_string()
    } else if plain && needs_quotes(text) {
        problems.add(Code::NeedsQuotes, at, format!("write \"{}\" in quotes", shown(text)));
        return false;
    } else {
        return scalar_is_good(text, plain, at, problems);
    };
    problems.add(Code::YamlFeature, at, message);
    false
}

/// Size, and what escapes may have smuggled in.
fn scalar_is_good(text: &str, plain: bool, at: Spot, problems: &mut Problems) -> bool {
    if text.len() > SCALAR_BYTES_MAX {
        problems.add(Code::Limit, at, format!("a text of {} bytes; SCALAR_BYTES_MAX is 8 KiB ({SCALAR_BYTES_MAX})", text.len()));
        return false;
    }
    if plain {
        return true;
    }
    match text.chars().find(|c| *c == '\t' || is_forbidden(*c)) {
        None => true,
        Some('\t') => {
            problems.add(Code::Tab, at, "tab character; use spaces".to_string());
            false
        }
        Some(c) => {
            problems.add(Code::ControlCharacter, at, format!("U+{:04X} is not allowed, not even as an escape", u32::from(c)));
            false
        }
    }
}

/// Entries that are compared each with each; more are sorted.
const FEW: usize = 8;

/// Reports keys that stand twice; neither value is used.
fn refuse_duplicates(entries: &mut [Entry<'_>], problems: &mut Problems) {
    let twice_in = |(i, entry): (usize, &Entry<'_>)| entries.iter().take(i).any(|before| before.key == entry.key);
    if entries.len() <= FEW && !entries.iter().enumerate().any(twice_in) {
        return;
    }
    let mut order: Vec<usize> = (0..entries.len()).filter(|i| entries.get(*i).is_some_and(|e| !e.is_refused())).collect();
    let key = |i: &usize| entries.get(*i).map(|e| (&e.key, e.at));
    order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    let mut refused = Vec::new();
    for same in order.chunk_by(|a, b| key(a).map(|k| k.0) == key(b).map(|k| k.0)) {
        let [first, later @ ..] = same else { continue };
        let Some((text, first_at)) = key(first).filter(|_| !later.is_empty()) else {
            continue;
        };
        refused.push(*first);
        for (index, at) in later.iter().filter_map(|i| key(i).map(|k| (*i, k.1))) {
            refused.push(index);
            problems.push(twice(text, at, first_at, problems));
        }
    }
    for index in refused {
        if let Some(entry) = entries.get_mut(index) {
            entry.value.value = Value::Broken;
        }
    }
}

fn twice(key: &str, at: Spot, first: Spot, problems: &Problems) -> Problem {
    Problem {
        code: Code::DuplicateKey,
        place: Place { file: problems.file(), spot: at },
        path: None,
        policy: None,
        message: format!("{} is written twice; first at {}:{}", shown(key), first.line, first.column),
        did_you_mean: None,
        related: [Place { file: problems.file(), spot: first }].into(),
    }
}
