//! Refused packets: how they are added up, and the records that tell of them.
//!
//! Every refusal is counted under its [`RefusalKey`]; a record is written only for a new key or some seconds after its last one, and
//! only while the CPU's [`Bucket`] has a token, because the ring buffer has one lock for all CPUs.

/// What refusals are added up by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RefusalKey {
    /// The peer; IPv4 in the first four bytes, the rest zero.
    pub remote: [u8; 16],
    /// The service that was asked for, as in [`Interval`](crate::Interval); 0 where the packet could not be read that far.
    pub service: u32,
    /// Who opened the flow; of a packet that belongs to none, its direction.
    pub dir: u8,
    /// A [`Reason`](crate::Reason).
    pub reason: u8,
    /// [`V4`](crate::V4) or [`V6`](crate::V6).
    pub family: u8,
    /// Zero.
    pub zero: u8,
}

/// Refusals of one key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// How many.
    pub count: u64,
    /// Tick of the first.
    pub first: u32,
    /// Tick of the last.
    pub last: u32,
    /// Tick at which a record was last due, whether it could be written or not.
    pub told: u32,
    /// `count` as the last record told it, its lower 32 bits; 0 if none was written yet.
    pub told_count: u32,
}

/// One record of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Coarse monotonic clock, nanoseconds.
    pub at_ns: u64,
    /// Generation that judged.
    pub epoch: u32,
    /// Interface it crossed.
    pub ifindex: u32,
    /// Our end; IPv4 in the first four bytes, the rest zero.
    pub local: [u8; 16],
    /// The peer, likewise.
    pub remote: [u8; 16],
    /// Refusals of this key since its last record, this one included.
    pub count: u32,
    /// The rule that allowed the flow before it was revoked; 0 for none.
    pub rule: u32,
    /// Network order; 0 where there is none. As in [`FlowKey4`](crate::FlowKey4) for ICMP, but for a reply without a query:
    /// that has its own `type << 8 | code` as the port of the service, and no other.
    pub local_port: u16,
    /// Network order.
    pub remote_port: u16,
    /// IP protocol; 0 where the packet could not be read that far.
    pub proto: u8,
    /// A [`Verdict`](crate::Verdict): drop or would drop.
    pub verdict: u8,
    /// A [`Reason`](crate::Reason).
    pub reason: u8,
    /// Direction, as in [`RefusalKey`], in bit 0, family in bit 1, [`Hook`](crate::Hook) in bits 2 and 3.
    pub bits: u8,
}

impl Event {
    /// Packs direction, family and hook.
    #[inline(always)]
    #[must_use]
    pub const fn bits(dir: u8, family: u8, hook: crate::Hook) -> u8 {
        (dir & 1) | (family & 1) << 1 | (hook as u8) << 2
    }
}

/// Tokens for records, on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Records that may be written now.
    pub tokens: u32,
    /// Tick of the last refill.
    pub tick: u32,
    /// Records not written for want of a token.
    pub suppressed: u64,
    /// Records the ring buffer had no room for.
    pub lost: u64,
}

/// Records one CPU may write a second.
pub const EVENTS_PER_SECOND: u32 = 1_000;
/// Records one CPU may write at once.
pub const EVENTS_BURST: u32 = 2_000;
/// Seconds between two records of one key.
pub const EVENT_PAUSE_SECONDS: u32 = 5;
/// Bytes of the ring buffer.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Keys refusals are added up by, before the oldest is forgotten.
pub const REFUSALS_MAX: u32 = 16_384;

const _: () = assert!(size_of::<RefusalKey>() == 24 && align_of::<RefusalKey>() == 4);
const _: () = assert!(size_of::<Refusal>() == 24 && align_of::<Refusal>() == 8);
const _: () = assert!(size_of::<Event>() == 64 && align_of::<Event>() == 8);
const _: () = assert!(size_of::<Bucket>() == 24 && align_of::<Bucket>() == 8);
