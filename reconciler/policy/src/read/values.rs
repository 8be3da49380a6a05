//! The types of single values that only documents besides policies have: days, people, addresses, numbers.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::net::IpAddr;

use super::cursor::Cursor;
use super::limits::LABELS_PER_OBJECT_MAX;
use super::names::Noun;
use super::problem::Code;
use super::scalar::{shown, whole};
use super::tree::Node;
use crate::date::Date;
use crate::digest::Digest;
use crate::model::Labels;
use crate::net::{Cidr, Family};

const WHO_BYTES_MAX: usize = 128;
const ID_BYTES_MAX: usize = 32;
const TOKEN_BYTES_MAX: usize = 512;

impl<'n> Cursor<'n, '_> {
    /// A day: `2026-01-12`.
    pub(super) fn date(&mut self, node: &'n Node<'n>) -> Option<Date> {
        let (text, _) = self.scalar(node, "a day")?;
        let date = Date::parse(text);
        if date.is_none() {
            self.problem(Code::BadValue, node.at, format!("{} is not a day; write YYYY-MM-DD", shown(text)));
        }
        date
    }

    /// `true` or `false`, without quotes.
    pub(super) fn bool(&mut self, node: &'n Node<'n>) -> Option<bool> {
        let (text, plain) = self.scalar(node, "true or false")?;
        let value = match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        if let (Some(value), true) = (value, plain) {
            return Some(value);
        }
        let lower = text.to_ascii_lowercase();
        let meant = matches!(&*lower, "true" | "false").then_some(lower);
        self.suggest(Code::BadValue, node.at, format!("{} is not true or false; write it without quotes", shown(text)), meant);
        None
    }

    /// A login, team or role.
    pub(super) fn who(&mut self, node: &'n Node<'n>) -> Option<String> {
        self.token(node, WHO_BYTES_MAX)
    }

    /// What another system calls something.
    pub(super) fn foreign_name(&mut self, node: &'n Node<'n>) -> Option<String> {
        self.token(node, TOKEN_BYTES_MAX)
    }

    fn token(&mut self, node: &'n Node<'n>, max: usize) -> Option<String> {
        let text = self.ascii(node)?;
        let good = (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            let message = format!("{} is not a name here: 1 to {max} printable ASCII characters without spaces", shown(text));
            self.problem(Code::BadValue, node.at, message);
        }
        good.then(|| text.to_owned())
    }

    /// `DF-12`.
    pub(super) fn id(&mut self, node: &'n Node<'n>) -> Option<Arc<str>> {
        let text = self.ascii(node)?;
        let inner = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
        let good = inner && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.len() <= ID_BYTES_MAX;
        if !good {
            let upper = text.to_ascii_uppercase();
            let message = format!("{} is not an id: A-Z first, then A-Z, 0-9, '-'; at most {ID_BYTES_MAX}", shown(text));
            let meant = (upper != text && upper.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')).then_some(upper);
            self.suggest(Code::BadName, node.at, message, meant);
        }
        good.then(|| text.into())
    }

    /// `sha256:` and 64 hexadecimal digits.
    pub(super) fn digest(&mut self, node: &'n Node<'n>) -> Option<Digest> {
        let text = self.ascii(node)?;
        let digest = Digest::parse(text);
        if digest.is_none() {
            let message = format!("{} is not a digest: sha256: and 64 lower-case hexadecimal digits", shown(text));
            self.problem(Code::BadValue, node.at, message);
        }
        digest
    }

    /// One canonical address.
    pub(super) fn address(&mut self, node: &'n Node<'n>) -> Option<IpAddr> {
        let (text, _) = self.scalar(node, "an address")?;
        match text.parse::<IpAddr>() {
            Ok(address) if is_mapped(address) => {
                let message = format!("{} is an IPv4 address inside IPv6; write it as IPv4", shown(text));
                self.suggest(Code::BadCidr, node.at, message, Some(address.to_canonical().to_string()));
                None
            }
            Ok(address) if address.to_string() == text => Some(address),
            Ok(address) => {
                self.suggest(Code::BadCidr, node.at, format!("write {address}, the canonical form"), Some(address.to_string()));
                Some(address)
            }
            Err(_) => {
                self.problem(Code::BadCidr, node.at, format!("{} is not an IPv4 or IPv6 address", shown(text)));
                None
            }
        }
    }

    /// One canonical address, or a prefix.
    pub(super) fn address_or_cidr(&mut self, node: &'n Node<'n>) -> Option<Cidr> {
        let (text, _) = self.scalar(node, "an address")?;
        if text.contains('/') {
            return self.cidr(node);
        }
        let address = self.address(node)?;
        Cidr::new(address, Family::of(address).bits())
    }

    /// A whole number between two others, both included.
    pub(super) fn number(&mut self, node: &'n Node<'n>, least: u64, most: u64) -> Option<u64> {
        let (text, plain) = self.scalar(node, "a whole number")?;
        let number = whole(text).filter(|n| (least..=most).contains(n));
        if let (Some(number), true) = (number, plain) {
            return Some(number);
        }
        let meant = number.map(|number| number.to_string());
        self.suggest(Code::BadValue, node.at, format!("{} is not a whole number from {least} to {most}", shown(text)), meant);
        None
    }

    /// A label that names something defined elsewhere in the set.
    pub(super) fn label_of(&mut self, node: &'n Node<'n>, noun: Noun) -> Option<Arc<str>> {
        let name: Arc<str> = self.dns_label(node)?.into();
        self.refer(noun, &name, node.at);
        Some(name)
    }

    /// A name of something defined elsewhere in the set.
    pub(super) fn name_of(&mut self, node: &'n Node<'n>, noun: Noun) -> Option<Arc<str>> {
        let name: Arc<str> = self.dns_name(node)?.into();
        self.refer(noun, &name, node.at);
        Some(name)
    }

    /// Labels of an endpoint or a namespace.
    pub(super) fn labels(&mut self, node: &'n Node<'n>) -> Option<Labels> {
        let entries = self.map(node)?;
        self.within(node.at, entries.len(), ("LABELS_PER_OBJECT_MAX", LABELS_PER_OBJECT_MAX));
        let mut labels = Labels::new();
        let mut whole = entries.len() <= LABELS_PER_OBJECT_MAX;
        for entry in entries {
            let key = if entry.is_refused() { None } else { self.label_key(entry.at, &entry.key) };
            let value = self.entry(entry, Self::label_value).read();
            match key.zip(value) {
                Some((key, value)) => drop(labels.insert(key, value)),
                None => whole = false,
            }
        }
        whole.then_some(labels)
    }

    /// Text for people, kept.
    pub(super) fn words_for_people(&mut self, node: &'n Node<'n>) -> Option<String> {
        self.text(node).map(ToOwned::to_owned)
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}
