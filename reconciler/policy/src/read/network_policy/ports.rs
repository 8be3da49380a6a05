//! `ports` of a rule.
//!
//! A port that cannot be read stays in the list without services: an empty list would mean every port.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::cursor::Cursor;
use super::super::limits::PORTS_PER_RULE_MAX;
use super::super::ports::{Written, of_policy};
use super::super::problem::Code;
use super::super::tree::Node;
use crate::model::{Named, Peer, Port, PortItem, Spot};
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{Direction, Family, ServiceRange};

pub(super) fn read<'n>(
    cursor: &mut Cursor<'n, '_>,
    node: &'n Node<'n>,
    direction: Direction,
    peers: &[Peer],
) -> Option<Vec<PortItem>> {
    let max = ("PORTS_PER_RULE_MAX", PORTS_PER_RULE_MAX);
    let items = cursor.items(node, max, |cursor, node| {
        let port = match of_policy(cursor, node) {
            Some(Written::Numbers(services)) => {
                can_match(cursor, node.at, services, peers);
                Port::Numbers(services)
            }
            Some(Written::Named(protocol, name)) => named(cursor, node.at, protocol, name, direction, peers),
            None => Port::Unreadable,
        };
        Some(PortItem { at: node.at, port })
    })?;
    Some(items.into_iter().map(|item| item.unwrap_or(PortItem { at: node.at, port: Port::Unreadable })).collect())
}

/// Endpoints declare names; an address block, or everybody, does not (S28).
fn named(cursor: &mut Cursor<'_, '_>, at: Spot, protocol: u8, name: Arc<str>, direction: Direction, peers: &[Peer]) -> Port {
    let blocks = peers.is_empty() || peers.iter().any(|peer| peer.block().is_some());
    if direction == Direction::Egress && blocks {
        let message = format!("the port name {name} is unresolved: an address block declares no names; write the number");
        cursor.problem(Code::BadPort, at, message);
        return Port::Unreadable;
    }
    Port::Named(Named { protocol, name, found: Arc::new([]) })
}

/// ICMP needs an IPv4 address on the other side, ICMPv6 an IPv6 address (S32). This is said of blocks only: whom a
/// selector matches may have other addresses tomorrow.
fn can_match(cursor: &mut Cursor<'_, '_>, at: Spot, services: ServiceRange, peers: &[Peer]) {
    let only = |family| !peers.is_empty() && peers.iter().all(|p| p.block().is_some_and(|b| b.cidr.family() == family));
    if let Some(message) = unmatched(services, only) {
        cursor.problem(Code::BadPort, at, message.to_string());
    }
}

/// Why no packet can match, if the peers hold addresses of one family only.
fn unmatched(services: ServiceRange, only: impl Fn(Family) -> bool) -> Option<&'static str> {
    if services.is_of(ICMP) && only(Family::V6) {
        Some("ICMP with IPv6 peers only: no packet can match; write ICMPv6")
    } else if services.is_of(ICMPV6) && only(Family::V4) {
        Some("ICMPv6 with IPv4 peers only: no packet can match; write ICMP")
    } else {
        None
    }
}
