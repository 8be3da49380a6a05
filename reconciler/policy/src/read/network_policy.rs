//! `kind: NetworkPolicy`.

mod peers;
mod ports;
mod selector;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::{Cursor, Fields, Got};
use super::document::{Document, Metadata};
use super::limits::{ITEMS, RULES_PER_DIRECTION_MAX};
use super::names::Noun;
use super::problem::Code;
use super::tree::Node;
use crate::model::{NetworkPolicy, Peer, Port, PortItem, Rule, Rules, Spot, Types};
use crate::net::Direction;

/// Reads `spec`. A policy whose name or selector cannot be read is left out: nobody knows which it is, or whom it means.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, metadata: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["podSelector", "policyTypes", "ingress", "egress"])?;
    let selector = cursor.required(&fields, "podSelector", selector::read);
    let types = cursor.field(&fields, "policyTypes", types).read();
    let mut names = Names::new();
    let ingress = rules(cursor, &fields, Direction::Ingress, &mut names);
    let egress = rules(cursor, &fields, Direction::Egress, &mut names);
    let (metadata, selector) = (metadata?, selector?);
    Some(Document::NetworkPolicy(Box::new(NetworkPolicy {
        file: cursor.file(),
        at: metadata.at,
        name: metadata.name,
        namespace: metadata.namespace.unwrap_or_else(|| "default".into()),
        requirements: metadata.requirements,
        mode: metadata.mode,
        means_deny: metadata.means_deny,
        selector,
        spec_at: fields.at,
        selector_at: fields.value_at("podSelector").unwrap_or(fields.at),
        types: types.unwrap_or(Types { written: false, ingress: true, egress: true }),
        ingress,
        egress,
    })))
}

/// Not empty, no repeats (S8).
fn types<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Types> {
    const WORDS: [(&str, Direction); 2] = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
    let mut seen: Vec<Direction> = Vec::new();
    let items = cursor.items(node, ITEMS, |cursor, node| {
        let direction = cursor.word(node, Code::BadValue, &WORDS)?;
        if seen.contains(&direction) {
            cursor.problem(Code::BadValue, node.at, "written twice".to_string());
            return None;
        }
        seen.push(direction);
        Some(())
    })?;
    if items.is_empty() {
        let message = "an empty list isolates nothing; leave policyTypes out, or name Ingress, Egress or both";
        cursor.problem(Code::BadValue, node.at, message.to_string());
    }
    let whole = !items.is_empty() && items.iter().all(Option::is_some);
    let says = |direction| seen.contains(&direction);
    whole.then(|| Types { written: true, ingress: says(Direction::Ingress), egress: says(Direction::Egress) })
}

type Names = BTreeMap<Arc<str>, Spot>;

fn rules<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, direction: Direction, names: &mut Names) -> Rules {
    let max = ("RULES_PER_DIRECTION_MAX", RULES_PER_DIRECTION_MAX);
    let list = cursor.optional(fields, direction.name(), |cursor, node| {
        let list = cursor.items(node, max, |cursor, node| Some(rule(cursor, node, direction, names)))?;
        if list.iter().any(Option::is_none) {
            cursor.unnamed(Noun::Rule);
        }
        Some(list)
    });
    if list.is_none() {
        cursor.unnamed(Noun::Rule);
    }
    let list = list.flatten().unwrap_or_default().into_iter();
    Rules { key_at: fields.key_at(direction.name()), list: list.map(|r| r.unwrap_or_else(|| nothing(fields.at))).collect() }
}

/// A rule in place of one that could not be read. It keeps the numbers of the others and matches nothing.
fn nothing(at: Spot) -> Rule {
    Rule { at, name: None, peers: [Peer::Nobody { at }].into(), ports: Vec::new(), ports_at: None }
}

fn rule<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, direction: Direction, names: &mut Names) -> Rule {
    let known: &'static [&'static str] = match direction {
        Direction::Ingress => &["name", "from", "ports"],
        Direction::Egress => &["name", "to", "ports"],
    };
    let Some(fields) = cursor.fields(node, known) else {
        cursor.unnamed(Noun::Rule);
        return nothing(node.at);
    };
    let name = cursor.optional(&fields, "name", |cursor, node| {
        let name: Arc<str> = cursor.dns_label(node)?.into();
        unique(cursor, node.at, &name, names);
        Some(name)
    });
    if name.is_none() {
        cursor.unnamed(Noun::Rule);
    }
    let peers = match cursor.field(&fields, direction.peers(), peers::read) {
        Got::Absent if fields.whole => Vec::new(),
        Got::Absent | Got::Broken => nothing(node.at).peers,
        Got::Read(peers) => peers,
    };
    let ports = match cursor.field(&fields, "ports", |cursor, node| ports::read(cursor, node, direction, &peers)) {
        Got::Absent if fields.whole => Vec::new(),
        Got::Absent | Got::Broken => [PortItem { at: node.at, port: Port::Unreadable }].into(),
        Got::Read(ports) => ports,
    };
    Rule { at: node.at, name: name.flatten(), peers, ports, ports_at: fields.value_at("ports") }
}

fn unique(cursor: &mut Cursor<'_, '_>, at: Spot, name: &Arc<str>, names: &mut Names) {
    if let Some(first) = names.get(name).copied() {
        let message = format!("the rule name {name} is also used at {}:{}", first.line, first.column);
        cursor.relate(Code::DuplicateName, at, message, None, Some(first));
        return;
    }
    names.insert(name.clone(), at);
}
