//! Protocols and ports, wherever they are written.
//!
//! Policies may leave the protocol or the port out and may name a port; the other kinds write both, as numbers.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::cursor::{Cursor, Fields, Got};
use super::limits::PORTS_PER_LIST_MAX;
use super::problem::Code;
use super::scalar::{needs_quotes, shown, whole};
use super::tree::Node;
use crate::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::net::{Service, ServiceRange};

/// Each protocol with its word.
pub(super) const PROTOCOLS: [(&str, u8); 5] = [("TCP", TCP), ("UDP", UDP), ("SCTP", SCTP), ("ICMP", ICMP), ("ICMPv6", ICMPV6)];
const FIELDS: &[&str] = &["protocol", "port", "endPort", "icmpType", "icmpCode"];

/// What an item of `ports` says.
pub(super) enum Written {
    /// Services by number.
    Numbers(ServiceRange),
    /// A protocol and the name of a port.
    Named(u8, Arc<str>),
}

/// A list of `{protocol, port, endPort}` or `{protocol, icmpType, icmpCode}`: no names, nothing left out.
pub(super) fn numbers<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<ServiceRange>> {
    cursor.list(node, ("PORTS_PER_LIST_MAX", PORTS_PER_LIST_MAX), |cursor, node| {
        let fields = cursor.fields(node, FIELDS)?;
        let protocol = cursor.required(&fields, "protocol", protocol)?;
        let icmp_or_port = is_icmp(protocol) || cursor.needs(&fields, "port", "every port is written", "protocol").is_some();
        let written = services(cursor, &fields, protocol).filter(|_| icmp_or_port)?;
        match written {
            Written::Numbers(range) => Some(range),
            Written::Named(_, name) => {
                let at = fields.value_at("port").unwrap_or(node.at);
                cursor.problem(Code::BadPort, at, format!("{name} is the name of a port; write its number"));
                None
            }
        }
    })
}

/// An item of a policy's `ports`: TCP where no protocol is written, every port where none is (S26).
pub(super) fn of_policy<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Written> {
    let fields = cursor.fields(node, FIELDS)?;
    if cursor.map(node)?.is_empty() {
        cursor.problem(Code::BadPort, node.at, "an empty port names nothing; write a protocol and a port".to_string());
        return None;
    }
    let protocol = match cursor.field(&fields, "protocol", protocol) {
        Got::Absent => TCP,
        Got::Broken => return None,
        Got::Read(protocol) => protocol,
    };
    services(cursor, &fields, protocol)
}

/// One protocol, exactly.
pub(super) fn protocol<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<u8> {
    cursor.word(node, Code::BadPort, &PROTOCOLS)
}

pub(super) fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6)
}

fn services<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, protocol: u8) -> Option<Written> {
    let services =
        if is_icmp(protocol) { icmp(cursor, fields, protocol).map(Written::Numbers) } else { ports(cursor, fields, protocol) };
    // Under a misspelt key the port would be missing, and every port meant.
    services.filter(|_| fields.whole)
}

/// A port as it is written.
enum Number {
    Number(u16),
    Name(Arc<str>),
}

/// `port`, and `endPort` where it is a range (S24 to S26).
fn ports<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, protocol: u8) -> Option<Written> {
    let stray = foreign(cursor, fields, ["icmpType", "icmpCode"], "belongs to ICMP and ICMPv6");
    let first = cursor.field(fields, "port", port);
    let end = cursor.field(fields, "endPort", number);
    if stray {
        return None;
    }
    let range = |first, last| Some(Written::Numbers(ServiceRange::ports(protocol, first, last)));
    match (first, end) {
        (Got::Absent, Got::Absent) => Some(Written::Numbers(ServiceRange::protocol(protocol))),
        (Got::Read(Number::Number(port)), Got::Absent) => range(port, port),
        (Got::Read(Number::Name(name)), Got::Absent) => Some(Written::Named(protocol, name)),
        (Got::Read(Number::Number(first)), Got::Read(last)) if first <= last => range(first, last),
        (Got::Read(Number::Number(first)), Got::Read(last)) => {
            cursor.problem_of(Code::BadPort, fields, "endPort", format!("endPort {last} is below port {first}"));
            None
        }
        (Got::Absent | Got::Read(Number::Name(_)), Got::Read(_)) => {
            let at = fields.key_at("endPort").unwrap_or(fields.at);
            cursor.problem(Code::BadPort, at, "endPort needs a port number to begin at".to_string());
            None
        }
        (Got::Broken, _) | (_, Got::Broken) => None,
    }
}

/// A number from 1 to 65535, or a name.
fn port<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Number> {
    let (text, plain) = cursor.scalar(node, "a port")?;
    let name = is_port_name(text) && !(plain && needs_quotes(text));
    if name { Some(Number::Name(text.into())) } else { number(cursor, node).map(Number::Number) }
}

/// A number from 1 to 65535.
pub(super) fn number<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<u16> {
    let (text, plain) = cursor.scalar(node, "a port number")?;
    match whole(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0) {
        Some(number) if plain => return Some(number),
        Some(number) => {
            cursor.suggest(Code::BadPort, node.at, format!("remove the quotes: {number}"), Some(number.to_string()));
        }
        None => cursor.problem(Code::BadPort, node.at, format!("port {} is not a port; 1 to 65535", shown(text))),
    }
    None
}

/// A port's name: 1 to 15 of `a-z0-9-`, with a letter.
pub(super) fn port_name<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = cursor.ascii(node)?;
    let good = is_port_name(text);
    if !good {
        let message = format!("{} is not the name of a port: 1 to 15 of a-z, 0-9, '-', with a letter", shown(text));
        cursor.problem(Code::BadName, node.at, message);
    }
    good.then(|| text.into())
}

fn is_port_name(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    inner && (1..=15).contains(&text.len()) && text.bytes().any(|b| b.is_ascii_lowercase())
}

/// Any type, or one type, or one type and code (S31).
fn icmp<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, protocol: u8) -> Option<ServiceRange> {
    let stray = foreign(cursor, fields, ["port", "endPort"], "does not belong to ICMP; write icmpType and icmpCode");
    let kind = cursor.field(fields, "icmpType", byte);
    let code = cursor.field(fields, "icmpCode", byte);
    if stray {
        return None;
    }
    let number = |kind, code| Service::icmp(protocol, kind, code).port();
    match (kind, code) {
        (Got::Absent, Got::Absent) => Some(ServiceRange::protocol(protocol)),
        (Got::Read(kind), Got::Absent) => Some(ServiceRange::ports(protocol, number(kind, 0), number(kind, u8::MAX))),
        (Got::Read(kind), Got::Read(code)) => Some(ServiceRange::ports(protocol, number(kind, code), number(kind, code))),
        (Got::Absent, Got::Read(_)) => {
            let at = fields.key_at("icmpCode").unwrap_or(fields.at);
            cursor.problem(Code::BadPort, at, "icmpCode needs an icmpType".to_string());
            None
        }
        (Got::Broken, _) | (_, Got::Broken) => None,
    }
}

/// An ICMP type or code.
pub(super) fn byte<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<u8> {
    let (text, plain) = cursor.scalar(node, "a number")?;
    let number = whole(text).and_then(|n| u8::try_from(n).ok()).filter(|_| plain);
    if number.is_none() {
        cursor.problem(Code::BadPort, node.at, format!("{} is not a whole number from 0 to 255", shown(text)));
    }
    number
}

/// Fields of the other protocols.
pub(super) fn foreign(cursor: &mut Cursor<'_, '_>, fields: &Fields<'_>, keys: [&'static str; 2], why: &str) -> bool {
    let mut found = false;
    for (key, at) in keys.into_iter().filter_map(|key| fields.key_at(key).map(|at| (key, at))) {
        cursor.problem(Code::BadPort, at, format!("{key} {why}"));
        found = true;
    }
    found
}
