//! The table of the eBPF host firewall.
//!
//! Per direction, a prefix carries every service that an address with this longest match may use; `Any` carries what every address
//! of a family may use. Membership in each block and exception is constant over one longest match, so it is decided here, once: no
//! deny entries reach the kernel, and a hidden shorter prefix loses nothing, because its permissions are already in.

mod flatten;
pub mod ids;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::compile::{Endpoint, Ruleset};
use crate::digest::{Canonical, count};
use crate::lower::Unsupported;
use crate::model::Mode;
use crate::net::{Cidr, Direction, Family};

pub use ids::RuleIds;

/// Full-length prefixes of one family, both directions together: entries of a host map.
pub const HOSTS_MAX: usize = 262_144;
/// Other prefixes of one family, both directions together: entries of a network map.
pub const NETS_MAX: usize = 131_072;
/// Intervals of all distinct slices together.
pub const INTERVALS_MAX: usize = 1_048_576;
/// Intervals of one slice: the program's binary search takes at most 17 steps.
pub const SLICE_INTERVALS_MAX: usize = 131_071;

/// What a rule of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Present exactly if a policy isolates this host in the direction, enforced or audited.
    Isolation {
        /// The direction.
        direction: Direction,
    },
    /// Services that every address of a family may use.
    Any {
        /// The direction.
        direction: Direction,
        /// The family.
        family: Family,
    },
    /// Services that the addresses with this longest match may use.
    Prefix {
        /// The direction.
        direction: Direction,
        /// The prefix.
        prefix: Cidr,
    },
}

/// What the table says under a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Under [`Key::Isolation`]: whether refused packets are dropped or only counted.
    Isolation(Mode),
    /// Under the other keys: sorted, disjoint intervals; empty takes away what a shorter prefix gives.
    Services(Arc<[Interval]>),
}

/// Services from `lo` to `hi`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The lowest service number.
    pub lo: u32,
    /// The highest.
    pub hi: u32,
    /// The rule that allows it, for counters.
    pub rule: u32,
    /// Only audited policies allow it.
    pub audit: bool,
}

/// All that one host enforces.
pub type Table = BTreeMap<Key, Rule>;

/// The table for one host.
///
/// # Errors
/// The limits that the table would pass, with the counts.
pub fn lower(ruleset: &Ruleset, endpoint: &Endpoint, ids: &RuleIds) -> Result<Table, Vec<Unsupported>> {
    flatten::table(ruleset, endpoint, ids)
}

impl Canonical for Key {
    fn canonical(&self, out: &mut Vec<u8>) {
        let direction = |d: Direction| u8::from(d == Direction::Egress);
        match *self {
            Self::Isolation { direction: d } => out.extend_from_slice(&[0, direction(d)]),
            Self::Any { direction: d, family } => out.extend_from_slice(&[1, direction(d), family.bits()]),
            Self::Prefix { direction: d, prefix } => {
                out.extend_from_slice(&[2, direction(d), prefix.family().bits(), prefix.length()]);
                out.extend_from_slice(&prefix.bounds().0.to_be_bytes());
            }
        }
    }
}

impl Canonical for Rule {
    fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Isolation(mode) => out.extend_from_slice(&[0, u8::from(*mode == Mode::Audit)]),
            Self::Services(intervals) => {
                out.push(1);
                count(out, intervals.len());
                for interval in intervals.iter() {
                    out.extend_from_slice(&interval.lo.to_be_bytes());
                    out.extend_from_slice(&interval.hi.to_be_bytes());
                    out.extend_from_slice(&interval.rule.to_be_bytes());
                    out.push(u8::from(interval.audit));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
