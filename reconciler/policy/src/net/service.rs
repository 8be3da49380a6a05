//! What a flow asks for, as one number: `protocol << 16 | port`, for ICMP `protocol << 16 | type << 8 | code`.

use alloc::string::{String, ToString};
use core::fmt;

use serde::{Deserialize, Serialize};

/// Which way a flow crosses the endpoint's border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the endpoint.
    Ingress,
    /// Out of the endpoint.
    Egress,
}

impl Direction {
    /// Both, ingress first.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// `ingress` or `egress`, as the field of a policy is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// `from` or `to`, as the peers of a rule are called.
    #[must_use]
    pub const fn peers(self) -> &'static str {
        match self {
            Self::Ingress => "from",
            Self::Egress => "to",
        }
    }
}

/// One protocol and port (ICMP: type and code) as a 24-bit number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service(u32);

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// The highest service number.
pub const SERVICE_MAX: u32 = 0x00FF_FFFF;

impl Service {
    /// A protocol number and a destination port; 0 where the protocol has none.
    #[must_use]
    pub fn new(protocol: u8, port: u16) -> Self {
        Self(u32::from(protocol) << 16 | u32::from(port))
    }

    /// An ICMP message: protocol [`ICMP`] or [`ICMPV6`], type and code.
    #[must_use]
    pub fn icmp(protocol: u8, kind: u8, code: u8) -> Self {
        Self(u32::from(protocol) << 16 | u32::from(kind) << 8 | u32::from(code))
    }

    /// From its number; `None` beyond 24 bits.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        (number <= SERVICE_MAX).then_some(Self(number))
    }

    /// The 24-bit number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The IP protocol number.
    #[must_use]
    pub fn protocol(self) -> u8 {
        let [_, protocol, _, _] = self.0.to_be_bytes();
        protocol
    }

    /// The destination port, for ICMP `type << 8 | code`.
    #[must_use]
    pub fn port(self) -> u16 {
        let [_, _, high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Whether this is ICMP of either family.
    #[must_use]
    pub fn is_icmp(self) -> bool {
        matches!(self.protocol(), ICMP | ICMPV6)
    }

    /// The protocol's name as policies write it, else its number.
    #[must_use]
    pub fn protocol_name(self) -> String {
        match self.protocol() {
            ICMP => "ICMP".to_string(),
            TCP => "TCP".to_string(),
            UDP => "UDP".to_string(),
            ICMPV6 => "ICMPv6".to_string(),
            SCTP => "SCTP".to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, kind, code] = self.0.to_be_bytes();
        if self.is_icmp() {
            write!(f, "{} {kind}/{code}", self.protocol_name())
        } else {
            write!(f, "{} {}", self.protocol_name(), self.port())
        }
    }
}

/// Services from `lo` to `hi`, both included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRange {
    lo: u32,
    hi: u32,
}

impl ServiceRange {
    /// Every protocol, every port.
    pub const ALL: Self = Self { lo: 0, hi: SERVICE_MAX };

    /// Whether every service in it is of this protocol.
    #[must_use]
    pub fn is_of(self, protocol: u8) -> bool {
        let all = Self::protocol(protocol);
        all.lo <= self.lo && self.hi <= all.hi
    }

    /// Whether the two share a service.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }

    /// Whether every service of the other is in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.lo <= other.lo && other.hi <= self.hi
    }

    /// Every port (or type and code) of one protocol.
    #[must_use]
    pub fn protocol(protocol: u8) -> Self {
        let lo = u32::from(protocol) << 16;
        Self { lo, hi: lo | 0xFFFF }
    }

    /// Ports `first` to `last` of one protocol; swapped if given the wrong way round.
    #[must_use]
    pub fn ports(protocol: u8, first: u16, last: u16) -> Self {
        let base = u32::from(protocol) << 16;
        Self { lo: base | u32::from(first.min(last)), hi: base | u32::from(first.max(last)) }
    }

    /// From one service to another, both included; swapped if given the wrong way round.
    #[must_use]
    pub fn between(a: Service, b: Service) -> Self {
        Self { lo: a.number().min(b.number()), hi: a.number().max(b.number()) }
    }

    /// From one service number to another, both included; nothing if that is empty or beyond 24 bits.
    #[must_use]
    pub fn from_numbers(lo: u32, hi: u32) -> Option<Self> {
        (lo <= hi && hi <= SERVICE_MAX).then_some(Self { lo, hi })
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn through(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// The lowest service number in it.
    #[must_use]
    pub fn lo(self) -> u32 {
        self.lo
    }

    /// The highest service number in it.
    #[must_use]
    pub fn hi(self) -> u32 {
        self.hi
    }

    /// Whether it holds this service.
    #[must_use]
    pub fn contains(self, service: Service) -> bool {
        self.lo <= service.number() && service.number() <= self.hi
    }
}
