//! What is to be enforced, in the words of this backend: one table per host.
//!
//! A table maps (direction, prefix) to the services open to that prefix, and (direction, family) to those open to
//! every peer. It is plain data: building, comparing and checking one needs no kernel.

mod verdict;

use std::net::IpAddr;

use enforcer_abi::{HOSTS_MAX, INTERVALS_MAX, NETS_MAX, RULE_ID_MAX, SERVICE_MAX, SLICE_INTERVALS_MAX};

pub(crate) use verdict::{Meaning, Meant};

/// Direction of a flow's first packet, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Opened by a peer.
    In,
    /// Opened by this host.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// Its number in the ABI.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::In => enforcer_abi::IN,
            Self::Out => enforcer_abi::OUT,
        }
    }

    /// Its name in pins, messages and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// How an isolated direction is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// What no rule allows is dropped.
    Enforce,
    /// What no rule allows is counted.
    Audit,
}

/// A prefix whose bits beyond its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    addr: IpAddr,
    len: u8,
}

impl Cidr {
    /// The prefix of `len` bits of `addr`, or none if `addr` has bits beyond it or `len` exceeds the family's.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let clear = match addr {
            IpAddr::V4(v4) => len <= 32 && u64::from(v4.to_bits()) << len & 0xFFFF_FFFF == 0,
            IpAddr::V6(v6) => len <= 128 && v6.to_bits().checked_shl(u32::from(len)).unwrap_or(0) == 0,
        };
        clear.then_some(Self { addr, len })
    }

    /// The prefix that is exactly `addr`.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        let len = match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { addr, len }
    }

    /// Its first address.
    #[must_use]
    pub const fn addr(self) -> IpAddr {
        self.addr
    }

    /// Its length in bits.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.len
    }

    /// Whether it is a single address.
    #[must_use]
    pub fn is_host(self) -> bool {
        self == Self::host(self.addr)
    }

    /// Whether `addr` is in it.
    #[must_use]
    pub fn contains(self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - u32::from(self.len)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(self.len)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// Services `lo` to `hi`, allowed by rule `rule`. A service is `protocol << 16 | port`, for ICMP
/// `protocol << 16 | type << 8 | code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// First service, inclusive.
    pub lo: u32,
    /// Last service, inclusive.
    pub hi: u32,
    /// Number of the rule, 1 to [`RULE_ID_MAX`].
    pub rule: u32,
    /// Allowed by an audited policy only.
    pub audit: bool,
}

/// Everything one host enforces. Lists of intervals are sorted and disjoint; prefixes are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// How the inbound direction is isolated; not at all if none.
    pub isolate_in: Option<Mode>,
    /// How the outbound direction is isolated; not at all if none.
    pub isolate_out: Option<Mode>,
    /// DHCP needs rules like anything else. Otherwise a host's own requests and their answers always pass, because a lost lease
    /// is a lock-out.
    pub no_dhcp: bool,
    /// Services open to every peer: IPv4 in, IPv4 out, IPv6 in, IPv6 out.
    pub any: [Vec<Interval>; 4],
    /// Services open to a prefix. The longest prefix that holds a peer decides; shorter ones do not add to it.
    pub prefixes: Vec<(Direction, Cidr, Vec<Interval>)>,
}

/// Why a table cannot be enforced; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More of something than the kernel side holds.
    #[error("the table needs {count} {what}, and {max} is the most this host can hold")]
    OverBudget {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: u64,
        /// The limit.
        max: u32,
    },
    /// A list of intervals that is not sorted, disjoint and within bounds.
    #[error("the services of {of} are not sorted, disjoint and within bounds at {lo:#08x}")]
    Unordered {
        /// The prefix or "every peer".
        of: String,
        /// Where.
        lo: u32,
    },
    /// The same prefix twice in one direction.
    #[error("prefix {prefix} occurs twice in direction {direction}")]
    Repeated {
        /// The prefix.
        prefix: Cidr,
        /// The direction.
        direction: &'static str,
    },
}

impl Table {
    /// The isolation of `direction`.
    #[must_use]
    pub const fn isolation(&self, direction: Direction) -> Option<Mode> {
        match direction {
            Direction::In => self.isolate_in,
            Direction::Out => self.isolate_out,
        }
    }

    /// Puts prefixes in order, so that equal tables compare equal.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.prefixes.sort_by_key(|(direction, cidr, _)| (*direction, *cidr));
        self
    }

    /// Checks what the program relies on, and the limits, before the kernel is touched.
    ///
    /// # Errors
    /// The first thing found to be wrong.
    pub fn check(&self) -> Result<(), TableError> {
        for list in &self.any {
            check_intervals(list, || "every peer".to_owned())?;
        }
        for (_, cidr, list) in &self.prefixes {
            check_intervals(list, || cidr.to_string())?;
        }
        self.check_repeated()?;
        self.check_budget()
    }

    /// Sorted tables, the usual ones, need no set of what was seen.
    fn check_repeated(&self) -> Result<(), TableError> {
        if self.prefixes.is_sorted_by(|(direction, cidr, _), (other, next, _)| (direction, cidr) < (other, next)) {
            return Ok(());
        }
        let mut seen = std::collections::HashSet::with_capacity(self.prefixes.len());
        let repeated = self.prefixes.iter().find(|(direction, cidr, _)| !seen.insert((*direction, *cidr)));
        repeated
            .map_or(Ok(()), |(direction, prefix, _)| Err(TableError::Repeated { prefix: *prefix, direction: direction.label() }))
    }

    fn check_budget(&self) -> Result<(), TableError> {
        let mut counts = [0_usize; 4];
        for (_, cidr, _) in &self.prefixes {
            let [hosts4, hosts6, nets4, nets6] = &mut counts;
            let count = match (cidr.addr, cidr.len) {
                (IpAddr::V4(_), 32) => hosts4,
                (IpAddr::V4(_), _) => nets4,
                (IpAddr::V6(_), 128) => hosts6,
                (IpAddr::V6(_), _) => nets6,
            };
            *count += 1;
        }
        let [hosts4, hosts6, nets4, nets6] = counts;
        within("IPv4 addresses", hosts4, HOSTS_MAX)?;
        within("IPv6 addresses", hosts6, HOSTS_MAX)?;
        within("IPv4 prefixes", nets4, NETS_MAX)?;
        within("IPv6 prefixes", nets6, NETS_MAX)?;
        if self.lists().map(<[Interval]>::len).sum::<usize>() <= INTERVALS_MAX as usize {
            return Ok(());
        }
        let distinct: std::collections::HashSet<&[Interval]> = self.lists().collect();
        within("intervals", distinct.into_iter().map(<[Interval]>::len).sum(), INTERVALS_MAX)
    }

    /// Every list of intervals: those of all peers first, then prefix by prefix.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &[Interval]> {
        self.any.iter().map(Vec::as_slice).chain(self.prefixes.iter().map(|(_, _, list)| list.as_slice()))
    }
}

fn within(what: &'static str, count: usize, max: u32) -> Result<(), TableError> {
    let count = count as u64;
    if count > u64::from(max) {
        return Err(TableError::OverBudget { what, count, max });
    }
    Ok(())
}

fn check_intervals(list: &[Interval], of: impl Fn() -> String) -> Result<(), TableError> {
    within("intervals for one prefix", list.len(), SLICE_INTERVALS_MAX)?;
    let mut free_from = 0;
    for interval in list {
        let numbered = (1..=RULE_ID_MAX).contains(&interval.rule);
        if interval.lo < free_from || interval.hi < interval.lo || interval.hi > SERVICE_MAX || !numbered {
            return Err(TableError::Unordered { of: of(), lo: interval.lo });
        }
        free_from = interval.hi + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{Cidr, Direction, HOSTS_MAX, INTERVALS_MAX, Interval, NETS_MAX, SLICE_INTERVALS_MAX, Table, TableError};

    fn service(lo: u32, hi: u32) -> Interval {
        Interval { lo, hi, rule: 1, audit: false }
    }

    #[test]
    fn a_prefix_with_bits_beyond_its_length_is_refused() {
        assert!(Cidr::new("10.0.0.1".parse().unwrap(), 8).is_none());
        assert!(Cidr::new("10.0.0.0".parse().unwrap(), 33).is_none());
        assert!(Cidr::new("fd00::1".parse().unwrap(), 127).is_none());
        assert!(Cidr::new("0.0.0.0".parse().unwrap(), 0).is_some());
        assert!(Cidr::new("fd00::1".parse().unwrap(), 128).unwrap().is_host());
    }

    #[test]
    fn a_prefix_holds_its_first_and_last_address_and_no_neighbour() {
        let cidr = Cidr::new("10.1.2.0".parse().unwrap(), 24).unwrap();
        assert!(cidr.contains("10.1.2.0".parse().unwrap()));
        assert!(cidr.contains("10.1.2.255".parse().unwrap()));
        assert!(!cidr.contains("10.1.3.0".parse().unwrap()));
        assert!(!cidr.contains("fd00::".parse().unwrap()));
        assert!(Cidr::new("::".parse().unwrap(), 0).unwrap().contains("fd00::".parse().unwrap()));
    }

    #[test]
    fn intervals_that_overlap_are_refused() {
        let mut table = Table::default();
        table.any[0] = vec![service(1, 5), service(5, 9)];
        assert!(matches!(table.check(), Err(TableError::Unordered { lo: 5, .. })));
    }

    #[test]
    fn a_prefix_that_occurs_twice_is_refused() {
        let cidr = Cidr::new("10.0.0.0".parse().unwrap(), 8).unwrap();
        let entry = (Direction::In, cidr, vec![service(1, 5)]);
        let table = Table { prefixes: vec![entry.clone(), entry], ..Table::default() };
        assert!(matches!(table.check(), Err(TableError::Repeated { .. })));
        let mut apart = table.clone();
        apart.prefixes.insert(1, (Direction::Out, cidr, vec![]));
        assert!(matches!(apart.check(), Err(TableError::Repeated { .. })), "in a table that is not sorted too");
    }

    /// `count` prefixes of `len` bits, from the first on.
    fn prefixes(count: u32, v6: bool, len: u8) -> Table {
        let prefix = |n: u32| {
            let addr: IpAddr =
                if v6 { Ipv6Addr::from(u128::from(n) << (128 - len)).into() } else { Ipv4Addr::from(n << (32 - len)).into() };
            (Direction::In, Cidr::new(addr, len).unwrap(), vec![])
        };
        Table { prefixes: (0..count).map(prefix).collect(), ..Table::default() }
    }

    #[test]
    fn h02_as_many_prefixes_as_a_map_holds_are_taken_and_one_more_is_refused_with_both_numbers() {
        for (what, max, v6, len) in [
            ("IPv4 addresses", HOSTS_MAX, false, 32),
            ("IPv6 addresses", HOSTS_MAX, true, 128),
            ("IPv4 prefixes", NETS_MAX, false, 31),
            ("IPv6 prefixes", NETS_MAX, true, 64),
        ] {
            assert_eq!(prefixes(max, v6, len).check(), Ok(()), "{what}");
            let count = u64::from(max) + 1;
            assert_eq!(prefixes(max + 1, v6, len).check(), Err(TableError::OverBudget { what, count, max }));
        }
    }

    fn services(count: u32, rule: u32) -> Vec<Interval> {
        (0..count).map(|n| Interval { lo: n * 2, hi: n * 2, rule, audit: false }).collect()
    }

    #[test]
    fn h02_a_prefix_has_as_many_intervals_as_the_search_reaches_and_not_one_more() {
        let table = |count| Table { any: [services(count, 1), vec![], vec![], vec![]], ..Table::default() };
        assert_eq!(table(SLICE_INTERVALS_MAX).check(), Ok(()));
        assert!(matches!(table(SLICE_INTERVALS_MAX + 1).check(), Err(TableError::OverBudget { count: 131_072, .. })));
    }

    #[test]
    fn h02_intervals_are_counted_once_however_many_prefixes_share_them() {
        let size = INTERVALS_MAX / 16;
        let mut table = prefixes(20, false, 24);
        for ((_, _, list), rule) in table.prefixes.iter_mut().zip((1..=16).cycle()) {
            *list = services(size, rule);
        }
        assert_eq!(table.check(), Ok(()));
        table.any[0] = services(1, 17);
        let over = TableError::OverBudget { what: "intervals", count: u64::from(INTERVALS_MAX) + 1, max: INTERVALS_MAX };
        assert_eq!(table.check(), Err(over));
    }
}
