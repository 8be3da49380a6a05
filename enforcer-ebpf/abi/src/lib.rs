//! What the eBPF program and its loader share: map keys and values, the control word, limits.
//!
//! Every struct is plain bytes without padding: a hash key with garbage in it never matches, and a value read back
//! must compare equal to what was written. Addresses and ports are in network order, all other integers in host
//! order. Sizes are asserted at compile time; a change of any layout **or of its meaning** raises [`ABI_VERSION`],
//! which is part of the path maps are pinned at, so that no program ever reads maps written for another meaning.
//!
//! Deliberately absent: anything that needs a kernel, an allocator or another crate.
#![no_std]

mod control;
mod event;
mod flow;
mod reason;
mod rules;

pub use control::{Control, TICK_SHIFT, ticks};
pub use event::{
    Bucket, EVENT_PAUSE_SECONDS, EVENTS_BURST, EVENTS_BYTES, EVENTS_PER_SECOND, Event, REFUSALS_MAX, Refusal, RefusalKey,
};
pub use flow::{Flow, FlowKey4, FlowKey6, Frag, FragKey4, FragKey6};
pub use reason::{Hook, Reason, Verdict, count_index};
pub use rules::{Failsafe, Generation, HostKey4, HostKey6, Interval, NetKey4, NetKey6, Slice, any_index};

/// Version of all layouts and of their meaning; part of the pin path.
///
/// 2: refusals, events and their buckets; a generation says whether DHCP passes.
pub const ABI_VERSION: u32 = 2;

/// Direction of a packet, or of the first packet of a flow, seen from this host: towards it.
pub const IN: u8 = 0;
/// Direction of a packet, or of the first packet of a flow, seen from this host: away from it.
pub const OUT: u8 = 1;

/// Address family in keys and indexes: IPv4.
pub const V4: u8 = 0;
/// Address family in keys and indexes: IPv6.
pub const V6: u8 = 1;

/// Generations the kernel can hold: active, fallback, one being built, one spare.
pub const SLOTS: u32 = 4;
/// Full-length prefixes of one generation and family; keeps the hash below 32 MiB.
pub const HOSTS_MAX: u32 = 262_144;
/// Shorter prefixes of one generation and family; a trie node costs 64 bytes, twice.
pub const NETS_MAX: u32 = 131_072;
/// Intervals of one generation.
pub const INTERVALS_MAX: u32 = 1_048_576;
/// Steps of the binary search in the program.
pub const SEARCH_STEPS: u32 = 17;
/// Intervals of one prefix: what [`SEARCH_STEPS`] halvings can tell apart.
pub const SLICE_INTERVALS_MAX: u32 = (1 << SEARCH_STEPS) - 1;
/// Largest rule number; 0 means "no rule", and per-rule counters exist for 1 to this.
pub const RULE_ID_MAX: u32 = 16_384;
/// Largest service number: protocol in the upper 8 bits, port or ICMP type and code in the lower 16.
pub const SERVICE_MAX: u32 = 0x00FF_FFFF;
/// Failsafe entries a host may have.
pub const FAILSAFE_MAX: u32 = 64;
/// Entries of the per-CPU `counts` array: hooks × families × verdicts × reasons.
pub const COUNTS: u32 = 3 * 2 * 4 * 32;

/// Creation flag of `intervals` arrays: lets arrays of differing size share one outer map (`BPF_F_INNER_MAP`).
pub const BPF_F_INNER_MAP: u32 = 0x1000;
/// Creation flag every LPM trie needs (`BPF_F_NO_PREALLOC`).
pub const BPF_F_NO_PREALLOC: u32 = 1;
/// Creation flag of the control word's array (`BPF_F_MMAPABLE`).
pub const BPF_F_MMAPABLE: u32 = 0x400;

/// Packets and bytes of one (hook, family, verdict, reason) on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, a segmented one counted once.
    pub packets: u64,
    /// Bytes, link-layer header included.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Count>() == 16 && align_of::<Count>() == 8);
