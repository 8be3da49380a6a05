//! `ports`.
//!
//! A port that cannot be read stays in the list without services: an empty list would mean every port.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::super::cursor::{Cursor, Fields, Got};
use super::super::limits::PORTS_PER_RULE_MAX;
use super::super::problem::Code;
use super::super::scalar::{shown, whole};
use super::super::tree::Node;
use crate::model::{Peer, Port, PortItem, Spot};
use crate::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use crate::net::{Direction, Family, Service, ServiceRange};

pub(super) fn read<'n>(
    cursor: &mut Cursor<'n, '_>,
    node: &'n Node<'n>,
    direction: Direction,
    peers: &[Peer],
) -> Option<Vec<PortItem>> {
    let max = ("PORTS_PER_RULE_MAX", PORTS_PER_RULE_MAX);
    let items = cursor.items(node, max, |cursor, node| {
        let services = item(cursor, node, direction);
        if let Some(services) = services {
            can_match(cursor, node.at, services, peers);
        }
        Some(PortItem { at: node.at, port: services.map_or(Port::Unreadable, Port::Numbers) })
    })?;
    Some(items.into_iter().map(|item| item.unwrap_or(PortItem { at: node.at, port: Port::Unreadable })).collect())
}

fn item<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, direction: Direction) -> Option<ServiceRange> {
    const PROTOCOLS: [(&str, u8); 5] = [("TCP", TCP), ("UDP", UDP), ("SCTP", SCTP), ("ICMP", ICMP), ("ICMPv6", ICMPV6)];
    let fields = cursor.fields(node, &["protocol", "port", "endPort", "icmpType", "icmpCode"])?;
    if cursor.map(node)?.is_empty() {
        cursor.problem(Code::BadPort, node.at, "an empty port names nothing; write a protocol and a port".to_string());
        return None;
    }
    let whole = fields.whole;
    let protocol = match cursor.field(&fields, "protocol", |cursor, node| cursor.word(node, Code::BadPort, &PROTOCOLS)) {
        Got::Absent => TCP,
        Got::Broken => return None,
        Got::Read(protocol) => protocol,
    };
    let services = if matches!(protocol, ICMP | ICMPV6) {
        icmp(cursor, &fields, protocol)
    } else {
        ports(cursor, &fields, protocol, direction)
    };
    // Under a misspelt key the port would be missing, and every port meant.
    services.filter(|_| whole)
}

/// `port`, and `endPort` where it is a range (S24 to S26).
fn ports<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, protocol: u8, direction: Direction) -> Option<ServiceRange> {
    let stray = foreign(cursor, fields, ["icmpType", "icmpCode"], "belongs to ICMP and ICMPv6");
    let port = cursor.field(fields, "port", |cursor, node| port(cursor, node, Some(direction)));
    let end = cursor.field(fields, "endPort", |cursor, node| self::port(cursor, node, None));
    if stray {
        return None;
    }
    match (port, end) {
        (Got::Absent, Got::Absent) => Some(ServiceRange::protocol(protocol)),
        (Got::Read(port), Got::Absent) => Some(ServiceRange::ports(protocol, port, port)),
        (Got::Read(first), Got::Read(last)) if first <= last => Some(ServiceRange::ports(protocol, first, last)),
        (Got::Read(first), Got::Read(last)) => {
            let at = fields.value_at("endPort").unwrap_or(fields.at);
            cursor.problem(Code::BadPort, at, format!("endPort {last} is below port {first}"));
            None
        }
        (Got::Absent, Got::Read(_)) => {
            let at = fields.key_at("endPort").unwrap_or(fields.at);
            cursor.problem(Code::BadPort, at, "endPort needs a port to begin at".to_string());
            None
        }
        (Got::Broken, _) | (_, Got::Broken) => None,
    }
}

/// A number from 1 to 65535. Names resolve through an Inventory only, and never at the end of a range.
fn port<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, direction: Option<Direction>) -> Option<u16> {
    let (text, plain) = cursor.scalar(node, "a port number")?;
    let number = whole(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    if let (Some(number), true) = (number, plain) {
        return Some(number);
    }
    let message = match (number, direction) {
        (Some(number), _) => {
            cursor.suggest(Code::BadPort, node.at, format!("remove the quotes: {number}"), Some(number.to_string()));
            return None;
        }
        (None, Some(Direction::Ingress)) if is_port_name(text) => {
            format!("no Inventory resolves the port name {text}; write the number")
        }
        (None, Some(Direction::Egress)) if is_port_name(text) => {
            format!("the port name {text} is unresolved: an address block declares no names; write the number")
        }
        _ => format!("port {} is not a port; 1 to 65535", shown(text)),
    };
    cursor.problem(Code::BadPort, node.at, message);
    None
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

fn byte<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<u8> {
    let (text, plain) = cursor.scalar(node, "a number")?;
    let number = whole(text).and_then(|n| u8::try_from(n).ok()).filter(|_| plain);
    if number.is_none() {
        cursor.problem(Code::BadPort, node.at, format!("{} is not a whole number from 0 to 255", shown(text)));
    }
    number
}

/// Fields of the other protocols.
fn foreign(cursor: &mut Cursor<'_, '_>, fields: &Fields<'_>, keys: [&'static str; 2], why: &str) -> bool {
    let mut found = false;
    for (key, at) in keys.into_iter().filter_map(|key| fields.key_at(key).map(|at| (key, at))) {
        cursor.problem(Code::BadPort, at, format!("{key} {why}"));
        found = true;
    }
    found
}

/// ICMP needs an IPv4 address on the other side, ICMPv6 an IPv6 address (S32).
fn can_match(cursor: &mut Cursor<'_, '_>, at: Spot, services: ServiceRange, peers: &[Peer]) {
    let only = |family| !peers.is_empty() && peers.iter().all(|p| p.block().is_some_and(|b| b.cidr.family() == family));
    let inside =
        |protocol| ServiceRange::protocol(protocol).lo() <= services.lo() && services.hi() <= ServiceRange::protocol(protocol).hi();
    if inside(ICMP) && only(Family::V6) {
        cursor.problem(Code::BadPort, at, "ICMP with IPv6 blocks only: no packet can match; write ICMPv6".to_string());
    } else if inside(ICMPV6) && only(Family::V4) {
        cursor.problem(Code::BadPort, at, "ICMPv6 with IPv4 blocks only: no packet can match; write ICMP".to_string());
    }
}
