//! Addresses, services and peers in words.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::model::{Peer, Port, Rule};
use crate::net::cidr::number;
use crate::net::service::{ICMP, ICMPV6};
use crate::net::{Cidr, Direction, Family, Service, ServiceRange};

/// Items of a list before "and n more".
const ITEMS_SHOWN_MAX: usize = 4;

/// From one address to another of the same family: a prefix if it is one, else `first-last`.
#[must_use]
pub fn span(first: IpAddr, last: IpAddr) -> String {
    let (low, high) = (number(first), number(last));
    let differing = low ^ high;
    let whole = differing & differing.wrapping_add(1) == 0 && low & differing == 0;
    let host_bits = u8::try_from(u128::BITS - differing.leading_zeros()).unwrap_or(u8::MAX);
    let length = Family::of(first).bits().checked_sub(host_bits).filter(|_| whole);
    match length.and_then(|length| Cidr::new(first, length)) {
        Some(cidr) => cidr.to_string(),
        None => format!("{first}-{last}"),
    }
}

/// Services as policies write them: `TCP 443`, `TCP 8000-8100`, `UDP`, `ICMP 8`, `every protocol`. One range may need several, since
/// protocols follow one another on its axis.
#[must_use]
pub fn services(range: ServiceRange) -> Vec<String> {
    if range == ServiceRange::ALL {
        return ["every protocol".to_string()].into();
    }
    let mut words = Vec::new();
    let mut whole: Option<(u8, u8)> = None;
    for protocol in 0..=u8::MAX {
        let all = ServiceRange::protocol(protocol);
        if !all.meets(range) {
            continue;
        }
        if range.covers(all) {
            whole = Some((whole.map_or(protocol, |(first, _)| first), protocol));
            continue;
        }
        words.extend(whole.take().map(protocols));
        words.push(within(protocol, range.lo().max(all.lo()) & 0xFFFF, range.hi().min(all.hi()) & 0xFFFF));
    }
    words.extend(whole.map(protocols));
    words
}

/// Several ranges, one after the other.
#[must_use]
pub fn all_services(ranges: &[ServiceRange]) -> Vec<String> {
    ranges.iter().flat_map(|range| services(*range)).collect()
}

fn name(protocol: u8) -> String {
    Service::new(protocol, 0).protocol_name()
}

fn protocols((first, last): (u8, u8)) -> String {
    match first == last {
        true if name(first) == first.to_string() => format!("protocol {first}"),
        true => name(first),
        false => format!("protocols {first}-{last}"),
    }
}

/// Ports, or ICMP types and codes, of one protocol.
fn within(protocol: u8, first: u32, last: u32) -> String {
    let protocol_name = protocols((protocol, protocol));
    if !matches!(protocol, ICMP | ICMPV6) {
        return if first == last { format!("{protocol_name} {first}") } else { format!("{protocol_name} {first}-{last}") };
    }
    let ((kind, code), (last_kind, last_code)) = ((first >> 8, first & 0xFF), (last >> 8, last & 0xFF));
    match (code == 0 && last_code == 0xFF, kind == last_kind) {
        (true, true) => format!("{protocol_name} {kind}"),
        (true, false) => format!("{protocol_name} {kind}-{last_kind}"),
        (false, _) if first == last => format!("{protocol_name} {kind}/{code}"),
        (false, _) => format!("{protocol_name} {kind}/{code}-{last_kind}/{last_code}"),
    }
}

/// A list in words, cut where it gets long.
#[must_use]
pub fn list(items: &[String]) -> String {
    let shown = items.get(..ITEMS_SHOWN_MAX).filter(|_| items.len() > ITEMS_SHOWN_MAX + 1);
    match shown {
        Some(shown) => format!("{} and {} more", shown.join(", "), items.len() - ITEMS_SHOWN_MAX),
        None => items.join(", "),
    }
}

/// Whom a rule is about: `from 10.0.1.0/24, 10.0.2.0/24`.
#[must_use]
pub fn peers(rule: &Rule, direction: Direction) -> String {
    let each: Vec<String> = rule.peers.iter().map(peer).collect();
    let whom = if each.is_empty() { "everybody".to_string() } else { list(&each) };
    format!("{} {whom}", direction.peers())
}

/// What a rule is about: `TCP 443, 8443`.
#[must_use]
pub fn ports(rule: &Rule) -> String {
    let each = rule.ports.iter().map(|item| match &item.port {
        Port::Numbers(range) => list(&services(*range)),
        Port::Named(named) => format!("{} {}", name(named.protocol), named.name),
        Port::Unreadable => "nothing".to_string(),
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { "every protocol".to_string() } else { list(&each) }
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Block(block) if block.except.is_empty() => block.cidr.to_string(),
        Peer::Block(block) => {
            let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
            format!("{} except {}", block.cidr, list(&except))
        }
        Peer::Selected(selected) => {
            let pods = selected.pods.as_ref().map(ToString::to_string);
            let spaces = selected.namespaces.as_ref().map(|spaces| format!("namespaces {spaces}"));
            match (pods, spaces) {
                (Some(pods), Some(spaces)) => format!("{pods} in {spaces}"),
                (one, other) => one.or(other).unwrap_or_else(|| "nobody".to_string()),
            }
        }
        Peer::Nobody { .. } => "nobody".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::service::{SERVICE_MAX, TCP, UDP};

    #[test]
    fn a_span_that_is_a_prefix_is_written_as_one() {
        for (first, last, text) in [
            ("10.0.0.0", "10.0.0.255", "10.0.0.0/24"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.7/32"),
            ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
            ("fd00::2", "fd00::3", "fd00::2/127"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2"),
            ("0.0.0.0", "9.255.255.255", "0.0.0.0-9.255.255.255"),
        ] {
            assert_eq!(span(first.parse().unwrap(), last.parse().unwrap()), text);
        }
    }

    #[test]
    fn services_are_written_as_policies_write_them() {
        let between = |lo, hi| ServiceRange::from_numbers(lo, hi).unwrap();
        for (range, words) in [
            (ServiceRange::ALL, &["every protocol"][..]),
            (ServiceRange::ports(TCP, 443, 443), &["TCP 443"]),
            (ServiceRange::ports(TCP, 0, 9), &["TCP 0-9"]),
            (ServiceRange::protocol(UDP), &["UDP"]),
            (ServiceRange::protocol(47), &["protocol 47"]),
            (ServiceRange::ports(ICMP, 0x0800, 0x08FF), &["ICMP 8"]),
            (ServiceRange::ports(ICMP, 0x0304, 0x0304), &["ICMP 3/4"]),
            (ServiceRange::ports(ICMPV6, 0x0000, 0x02FF), &["ICMPv6 0-2"]),
            (between(0, 0x0006_01BA), &["protocols 0-5", "TCP 0-442"]),
            (between(0x0006_01BC, SERVICE_MAX), &["TCP 444-65535", "protocols 7-255"]),
        ] {
            assert_eq!(services(range), words, "{range:?}");
        }
    }

    #[test]
    fn a_long_list_is_cut_where_that_saves_something() {
        let items = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(list(&items(5)), "0, 1, 2, 3, 4");
        assert_eq!(list(&items(6)), "0, 1, 2, 3 and 2 more");
    }
}
