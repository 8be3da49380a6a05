//! Traffic without which the link itself dies: neighbour discovery, listener discovery, the DHCP client.

use enforcer_abi::{Generation, IN, OUT, Reason, V4, V6};

use crate::{
    addr::{link_local6, unspecified},
    parse::{Headers, Kind, Part, proto},
};

/// The reason to pass `headers` in direction `dir` whatever the rules, if there is one; `flags` are those of the
/// generation, which may leave DHCP to the rules.
#[inline(always)]
#[must_use]
pub fn built_in(headers: &Headers, dir: u8, flags: u32) -> Option<Reason> {
    match (headers.family, headers.proto) {
        (V6, proto::ICMP6) if headers.kind == Kind::NOTICE => neighbour(headers, dir),
        (_, proto::UDP) if flags & Generation::NO_DHCP == 0 => dhcp(headers, dir),
        _ => None,
    }
}

/// RFC 4861, 6980 (hop limit 255, never fragmented) and RFC 2710, 3810 (hop limit 1, from this link).
#[inline(always)]
fn neighbour(headers: &Headers, dir: u8) -> Option<Reason> {
    let discovery = headers.hops == 255 && headers.part == Part::WHOLE;
    let listener = headers.hops == 1 && (link_local6(&headers.source) || unspecified(&headers.source));
    let passes = match (headers.icmp >> 8, dir) {
        (135 | 136, _) | (133, OUT) => discovery,
        (134, IN) => discovery && link_local6(&headers.source),
        (130, IN) | (131 | 132 | 143, OUT) => listener,
        _ => false,
    };
    passes.then_some(Reason::Neighbour)
}

/// RFC 2131 and 8415, the client's side.
#[inline(always)]
fn dhcp(headers: &Headers, dir: u8) -> Option<Reason> {
    let ports = (u16::from_be(headers.source_port), u16::from_be(headers.destination_port));
    let passes = match (headers.family, dir, ports) {
        (V4, OUT, (68, 67)) | (V4, IN, (67, 68)) | (V6, OUT, (546, 547)) => true,
        (V6, IN, (547, 546)) => link_local6(&headers.source),
        _ => false,
    };
    passes.then_some(Reason::Dhcp)
}
