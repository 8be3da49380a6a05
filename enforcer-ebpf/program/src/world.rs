//! Everything the program knows besides the packet: maps, clock, counters.

use core::cell::Cell;

use enforcer_abi::{Control, Event, Flow, Generation, Hook, Reason, Refusal, RefusalKey, Slice, Verdict};

use crate::{
    addr::Addr,
    flow::{Ends, Live},
    parse::{Headers, Veil},
    rules::Allowed,
    tell::{Purse, Tally},
};

/// A [`Reason`] by its number, which can be hidden from the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why(u32);

impl From<Reason> for Why {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self(reason as u32)
    }
}

impl Why {
    /// Its number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u8 {
        (self.0 & (REASONS - 1)) as u8
    }

    #[inline(always)]
    pub(crate) fn forget(self, veil: Veil) -> Self {
        Self(veil.word(self.0) & (REASONS - 1))
    }
}

/// One more than any number of a reason; a power of two.
const REASONS: u32 = 32;

/// The table a flow is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// TCP whose opener has proved that it sees replies.
    Tcp,
    /// TCP whose opener has not.
    Half,
    /// Everything else.
    Other,
}

/// Maps, clock and counters.
pub trait World {
    /// The control word, read at the time of the call.
    fn control(&self) -> Control;
    /// The coarse monotonic clock, in nanoseconds.
    fn clock(&self) -> u64;
    /// The record of a slot.
    fn generation(&self, slot: u32) -> Option<&Generation>;
    /// The slice of the longest prefix that holds `peer`.
    fn slice(&self, slot: u32, family: u8, dir: u8, peer: &Addr) -> Option<Slice>;
    /// The slice of every peer, at `index` of [`any_index`](enforcer_abi::any_index).
    fn any(&self, generation: &Generation, index: usize) -> Slice;
    /// What the intervals of `slice` in `slot` say of `service`; see [`search`](crate::rules::search).
    fn search(&self, slot: u32, slice: Slice, service: u32) -> Allowed;
    /// A remembered flow.
    fn flow(&self, place: Place, ends: &Ends) -> Option<&Live>;
    /// Remembers a flow; false if the table took none.
    fn keep(&self, place: Place, ends: &Ends, flow: &Flow) -> bool;
    /// Forgets a flow.
    fn forget(&self, place: Place, ends: &Ends);
    /// Whether the first fragment of this datagram passed under `epoch`, not long before `now`.
    fn fragment_passed(&self, headers: &Headers, dir: u8, epoch: u32, now: u32) -> bool;
    /// Remembers that the first fragment of this datagram passed.
    fn keep_fragment(&self, headers: &Headers, dir: u8, epoch: u32, now: u32);
    /// Whether the failsafe has an entry for flows of `origin` between these ends.
    fn failsafe(&self, ends: &Ends, origin: u8) -> bool;
    /// Counts the packet.
    fn count(&self, family: u8, verdict: Verdict, why: Why);
    /// Counts a flow a rule opened.
    fn count_rule(&self, rule: u32);
    /// Where the packet met the program.
    fn hook(&self) -> Hook;
    /// What was added up of refusals under `key`.
    fn tally(&self, key: &RefusalKey) -> Option<&Tally>;
    /// Begins to add up under `key`, unless another CPU just has.
    fn keep_tally(&self, key: &RefusalKey, fresh: &Refusal);
    /// Adds one, whatever other CPUs add meanwhile.
    fn add(&self, count: &Cell<u64>);
    /// This CPU's tokens for records.
    fn purse(&self) -> Option<&Purse>;
    /// Writes a record for whoever listens, and with `wake` wakes it; false if there is no room.
    fn publish(&self, event: &Event, wake: bool) -> bool;
}
