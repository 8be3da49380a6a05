//! One entry of connection tracking, as ctnetlink shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::net::Family;
use policy::net::service::{ICMP, ICMPV6};

use super::netlink::{attributes, put};

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const NESTED: u16 = 0x8000;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) source_port: u16,
    /// For ICMP type and code.
    pub(super) destination_port: u16,
}

/// A flow, and what names it to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) original: Tuple,
    pub(super) reply: Tuple,
    /// Body of the request that deletes exactly this entry.
    pub(super) request: Vec<u8>,
}

/// The head of every ctnetlink message: family, version, zero.
pub(super) fn head(family: u8) -> Vec<u8> {
    vec![family, 0, 0, 0]
}

impl Entry {
    /// Reads one; `body` begins with the head.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let rows = body.get(4..)?;
        let find = |kind: u16| attributes(rows).find(|(own, _)| *own == kind).map(|(_, body)| body);
        let (orig, reply) = (find(TUPLE_ORIG)?, find(TUPLE_REPLY)?);
        let original = Tuple::read(orig)?;
        let mut request = head(*body.first()?);
        put(&mut request, TUPLE_ORIG | NESTED, orig);
        // With its number, so that a newer entry between the same ends is left alone.
        put(&mut request, ID, find(ID)?);
        if let Some(zone) = find(ZONE) {
            put(&mut request, ZONE, zone);
        }
        Some(Self { original, reply: Tuple::read(reply)?, request })
    }
}

impl Tuple {
    fn read(body: &[u8]) -> Option<Self> {
        let find = |rows: &'_ [u8], kind: u16| attributes(rows).find(|(own, _)| *own == kind).map(|(_, body)| body.to_vec());
        let (ip, proto) = (find(body, 1)?, find(body, 2)?);
        let v4 = |kind| find(&ip, kind).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
        let v6 = |kind| find(&ip, kind).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
        let protocol = *find(&proto, 1)?.first()?;
        let short = |kind| find(&proto, kind).and_then(|b| <[u8; 2]>::try_from(b).ok()).map(u16::from_be_bytes);
        let byte = |kind| find(&proto, kind).and_then(|b| b.first().copied());
        let message = |kind, code| Some(u16::from_be_bytes([byte(kind)?, byte(code)?]));
        let (source_port, destination_port) = match protocol {
            ICMP => (short(4), message(5, 6)),
            ICMPV6 => (short(7), message(8, 9)),
            _ => (short(2), short(3)),
        };
        Some(Self {
            source: v4(1).or_else(|| v6(3))?,
            destination: v4(2).or_else(|| v6(4))?,
            protocol,
            source_port: source_port.unwrap_or_default(),
            destination_port: destination_port.unwrap_or_default(),
        })
    }

    /// The service as rules number it, for the port at one end. Only some protocols have any.
    pub(super) fn service(&self, port: u16) -> u32 {
        let own = match (self.protocol, Family::of(self.source)) {
            (ICMP, Family::V6) | (ICMPV6, Family::V4) => 0,
            (ICMP | ICMPV6 | 6 | 17 | 132, _) => port,
            _ => 0,
        };
        u32::from(self.protocol) << 16 | u32::from(own)
    }
}
