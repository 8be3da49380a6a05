//! The types of single values: names, labels, texts, prefixes, words of an enumeration.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use super::cursor::Cursor;
use super::guess::nearest;
use super::problem::Code;
use super::scalar::{needs_quotes, shown};
use super::tree::Node;
use crate::model::Spot;
use crate::net::Cidr;

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const TEXT_BYTES_MAX: usize = 2_048;

impl<'n> Cursor<'n, '_> {
    /// A scalar of a string field: quoted where it must be, and ASCII.
    pub(super) fn ascii(&mut self, node: &'n Node<'n>) -> Option<&'n str> {
        let (text, plain) = self.scalar(node, "text")?;
        if plain && needs_quotes(text) {
            let quoted = format!("\"{}\"", shown(text));
            self.suggest(Code::NeedsQuotes, node.at, format!("write {quoted} in quotes"), Some(quoted));
            return None;
        }
        self.only_ascii(node, text)
    }

    fn only_ascii(&mut self, node: &'n Node<'n>, text: &'n str) -> Option<&'n str> {
        let Some(c) = text.chars().find(|c| !c.is_ascii()) else {
            return Some(text);
        };
        let message = format!("{} is U+{:04X}, not the letter it looks like; names are ASCII", shown(&c.to_string()), u32::from(c));
        self.problem(Code::NotAscii, node.at, message);
        None
    }

    /// A DNS-1123 subdomain.
    pub(super) fn dns_name(&mut self, node: &'n Node<'n>) -> Option<&'n str> {
        let text = self.ascii(node)?;
        let good = is_subdomain(text);
        if !good {
            let message =
                format!("{} is not a DNS-1123 name: lower-case letters, digits, '-', '.'; at most {NAME_BYTES_MAX}", shown(text));
            self.problem(Code::BadName, node.at, message);
        }
        good.then_some(text)
    }

    /// A DNS-1123 label.
    pub(super) fn dns_label(&mut self, node: &'n Node<'n>) -> Option<&'n str> {
        let text = self.ascii(node)?;
        let good = text.len() <= LABEL_BYTES_MAX && is_dns_label(text);
        if !good {
            let message =
                format!("{} is not a DNS-1123 label: lower-case letters, digits, '-'; at most {LABEL_BYTES_MAX}", shown(text));
            self.problem(Code::BadName, node.at, message);
        }
        good.then_some(text)
    }

    /// A label's key: an optional `subdomain/`, then up to 63 of `A-Za-z0-9-_.`.
    pub(super) fn label_key(&mut self, at: Spot, text: &str) -> Option<String> {
        let name = match text.split_once('/') {
            Some((prefix, name)) if is_subdomain(prefix) => name,
            Some(_) => "",
            None => text,
        };
        let good = !name.is_empty() && is_label_part(name);
        if !good {
            let message = format!(
                "{} is not a label key: letters, digits, '-', '_', '.', alphanumeric at both ends, at most 63",
                shown(text)
            );
            self.problem(Code::BadName, at, message);
        }
        good.then(|| text.to_owned())
    }

    /// A label's value: up to 63 of `A-Za-z0-9-_.`, or nothing.
    pub(super) fn label_value(&mut self, node: &'n Node<'n>) -> Option<String> {
        let text = self.ascii(node)?;
        let good = text.is_empty() || is_label_part(text);
        if !good {
            let message = format!(
                "{} is not a label value: letters, digits, '-', '_', '.', alphanumeric at both ends, at most 63",
                shown(text)
            );
            self.problem(Code::BadValue, node.at, message);
        }
        good.then(|| text.to_owned())
    }

    /// Text for people: 1 to 2,048 bytes of printable Unicode and line breaks.
    pub(super) fn text(&mut self, node: &'n Node<'n>) -> Option<&'n str> {
        let (text, plain) = self.scalar(node, "text")?;
        if plain && needs_quotes(text) {
            let quoted = format!("\"{}\"", shown(text));
            self.suggest(Code::NeedsQuotes, node.at, format!("write {quoted} in quotes"), Some(quoted));
            return None;
        }
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            self.problem(Code::BadValue, node.at, format!("a text of {} bytes; 1 to {TEXT_BYTES_MAX}", text.len()));
            return None;
        }
        Some(text)
    }

    /// One of these words, exactly.
    pub(super) fn word<T: Copy>(&mut self, node: &'n Node<'n>, code: Code, words: &[(&'static str, T)]) -> Option<T> {
        let (text, _) = self.scalar(node, "a word")?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let legal: alloc::vec::Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let meant = nearest(text, &legal);
        let hint = meant.map_or(String::new(), |word| format!(" Did you mean {word}?"));
        let message = format!("{} is not one of {}.{hint}", shown(text), legal.join(", "));
        self.suggest(code, node.at, message, meant.map(ToString::to_string));
        None
    }

    /// A prefix. One that can be repaired is told, and read as repaired, so that the rules still see it.
    pub(super) fn cidr(&mut self, node: &'n Node<'n>) -> Option<Cidr> {
        let (text, _) = self.scalar(node, "an address block")?;
        let wrong = match Cidr::parse(text) {
            Ok(cidr) => return Some(cidr),
            Err(wrong) => wrong,
        };
        match wrong.repaired {
            Some(meant) => {
                let message = format!("write {meant} ({})", wrong.why);
                self.suggest(Code::BadCidr, node.at, message, Some(meant.to_string()));
            }
            None => self.problem(Code::BadCidr, node.at, format!("{} is not an address block: {}", shown(text), wrong.why)),
        }
        wrong.repaired
    }
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    inner && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_label_part(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    inner && ends && text.len() <= LABEL_BYTES_MAX
}
