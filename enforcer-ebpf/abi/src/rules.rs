//! One generation of rules: its record, its prefixes and the intervals they point at.

/// A run of intervals: those of one prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Index of the first interval.
    pub first: u32,
    /// How many there are.
    pub len: u32,
}

/// Services a prefix may use, and the rule that says so. A slice is sorted and disjoint.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    /// First service, inclusive.
    pub lo: u32,
    /// Last service, inclusive.
    pub hi: u32,
    /// Number of the rule, 1 to [`RULE_ID_MAX`](crate::RULE_ID_MAX).
    pub rule: u32,
    /// [`Interval::ENFORCE`] or [`Interval::AUDIT`].
    pub mode: u32,
}

impl Interval {
    /// Allowed by an enforced policy.
    pub const ENFORCE: u32 = 0;
    /// Allowed by an audited policy only: opens nothing that enforced policies deny.
    pub const AUDIT: u32 = 1;
}

/// The record of a generation. All zero means that no policy selects this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// Grows with every generation; flows remember under which one they were judged.
    pub epoch: u32,
    /// Which directions are isolated, and how; see the associated constants.
    pub flags: u32,
    /// Services open to every peer, at [`any_index`].
    pub any: [Slice; 4],
    /// What was asked for, as a digest its owner chose.
    pub digest: [u8; 32],
}

impl Generation {
    /// An enforced policy isolates the inbound direction.
    pub const ENFORCE_IN: u32 = 1;
    /// An enforced policy isolates the outbound direction.
    pub const ENFORCE_OUT: u32 = 2;
    /// An audited policy isolates the inbound direction.
    pub const AUDIT_IN: u32 = 4;
    /// An audited policy isolates the outbound direction.
    pub const AUDIT_OUT: u32 = 8;
    /// DHCP needs rules like anything else.
    pub const NO_DHCP: u32 = 16;

    /// Whether a policy isolates any direction; if none does, everything passes unread.
    #[inline(always)]
    #[must_use]
    pub const fn isolates(flags: u32) -> bool {
        flags & (Self::ENFORCE_IN | Self::ENFORCE_OUT | Self::AUDIT_IN | Self::AUDIT_OUT) != 0
    }

    /// Whether an enforced policy isolates direction `dir`.
    #[inline(always)]
    #[must_use]
    pub const fn enforces(flags: u32, dir: u8) -> bool {
        flags & (Self::ENFORCE_IN << dir) != 0
    }

    /// Whether an audited policy isolates direction `dir`.
    #[inline(always)]
    #[must_use]
    pub const fn audits(flags: u32, dir: u8) -> bool {
        flags & (Self::AUDIT_IN << dir) != 0
    }
}

/// Index into [`Generation::any`]: IPv4 in, IPv4 out, IPv6 in, IPv6 out.
#[inline(always)]
#[must_use]
pub const fn any_index(family: u8, dir: u8) -> usize {
    ((family & 1) << 1 | dir & 1) as usize
}

/// Key of `hosts4`. Direction leads, so that one map serves both.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostKey4 {
    /// [`IN`](crate::IN) or [`OUT`](crate::OUT).
    pub dir: u8,
    /// Zero.
    pub zero: [u8; 3],
    /// The peer.
    pub addr: [u8; 4],
}

/// Key of `hosts6`.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostKey6 {
    /// [`IN`](crate::IN) or [`OUT`](crate::OUT).
    pub dir: u8,
    /// Zero.
    pub zero: [u8; 3],
    /// The peer.
    pub addr: [u8; 16],
}

/// Key of `nets4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetKey4 {
    /// 32 (the direction must match) + length of the prefix.
    pub prefix_len: u32,
    /// Direction and peer.
    pub host: HostKey4,
}

/// Key of `nets6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetKey6 {
    /// 32 (the direction must match) + length of the prefix.
    pub prefix_len: u32,
    /// Direction and peer.
    pub host: HostKey6,
}

/// Key of `failsafe`, a trie; the value is the entry's number. Matched without state, in both directions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Failsafe {
    /// 32 (side, protocol and port must match) + length of the peer's prefix.
    pub prefix_len: u32,
    /// Who opens the flow, and the family: `origin | family << 1`.
    pub side: u8,
    /// IP protocol.
    pub proto: u8,
    /// Port of the service (ICMP: `type << 8 | code`), network order.
    pub port: u16,
    /// The peer; IPv4 in the first four bytes, the rest zero.
    pub addr: [u8; 16],
}

const _: () = assert!(size_of::<Slice>() == 8 && align_of::<Slice>() == 4);
const _: () = assert!(size_of::<Interval>() == 16 && align_of::<Interval>() == 4);
const _: () = assert!(size_of::<Generation>() == 72 && align_of::<Generation>() == 4);
const _: () = assert!(size_of::<HostKey4>() == 8 && size_of::<HostKey6>() == 20);
const _: () = assert!(size_of::<NetKey4>() == 12 && size_of::<NetKey6>() == 24);
const _: () = assert!(size_of::<Failsafe>() == 24 && align_of::<Failsafe>() == 4);
