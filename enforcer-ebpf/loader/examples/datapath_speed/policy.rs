//! The policy that is measured: so many peers, each with TCP 443 and 8443 to this host; everything else is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer::{Cidr, Direction, Interval, Mode, Table};

/// What the peers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    Hosts,
    Nets,
}

impl Peers {
    pub(crate) const BOTH: [Self; 2] = [Self::Hosts, Self::Nets];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Nets => "nets",
        }
    }
}

/// The services.
pub(crate) const PORTS: [u16; 2] = [443, 8443];
/// One that no rule names.
pub(crate) const OTHER_PORT: u16 = 22;

/// The address of peer `number`; with `Nets` one within its network.
pub(crate) fn peer(number: usize, peers: Peers, v6: bool) -> IpAddr {
    let number = number as u32;
    let four = match peers {
        Peers::Hosts => 0x0A00_0000 + (number << 1),
        Peers::Nets => 0x0A00_0000 + (number << 7) + 9,
    };
    if v6 { Ipv6Addr::from_bits(0xFD00_u128 << 112 | u128::from(four) << 32 | 9).into() } else { Ipv4Addr::from_bits(four).into() }
}

/// The prefix of peer `number`.
pub(crate) fn prefix(number: usize, peers: Peers, v6: bool) -> Cidr {
    match (peer(number, peers, v6), peers) {
        (address, Peers::Hosts) => Cidr::host(address),
        (IpAddr::V4(address), Peers::Nets) => Cidr::new(Ipv4Addr::from_bits(address.to_bits() & !127).into(), 25).unwrap(),
        (IpAddr::V6(address), Peers::Nets) => Cidr::new(Ipv6Addr::from_bits(address.to_bits() >> 32 << 32).into(), 96).unwrap(),
    }
}

/// `count` peers, of one family.
pub(crate) fn table(count: usize, peers: Peers, v6: bool) -> Table {
    let prefix = |number: usize| {
        let rule = (number % 16_000) as u32 + 1;
        let list =
            PORTS.map(|port| 6 << 16 | u32::from(port)).map(|service| Interval { lo: service, hi: service, rule, audit: false });
        (Direction::In, prefix(number, peers, v6), list.to_vec())
    };
    Table {
        isolate_in: Some(Mode::Enforce),
        isolate_out: Some(Mode::Enforce),
        prefixes: (0..count).map(prefix).collect(),
        ..Table::default()
    }
}

/// The same with nobody allowed.
pub(crate) fn nobody() -> Table {
    Table { isolate_in: Some(Mode::Enforce), isolate_out: Some(Mode::Enforce), ..Table::default() }
}
