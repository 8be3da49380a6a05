//! What is told of packets that are refused, or would be.
//!
//! All are added up, exactly, under a [`RefusalKey`]. A record for whoever listens is written for a new key and then every few
//! seconds, as long as the CPU has a token for it: a flood costs additions, not records, and a listener that sleeps holds nobody
//! up. Tokens are asked for before room is, because finding room takes a lock that all CPUs share. Records left out are counted:
//! `suppressed` for want of a token, `lost` for want of room.
//!
//! A key's record time is claimed before its record is written, so that two CPUs at once hardly ever write it twice; it also
//! means that a key whose record was left out tries again only after the same pause.

use core::cell::Cell;

use enforcer_abi::{
    Bucket, EVENT_PAUSE_SECONDS, EVENTS_BURST, EVENTS_PER_SECOND, Event, Refusal, RefusalKey, TICK_SHIFT, Verdict, ticks,
};

use crate::{
    addr::octets,
    flow::Ends,
    world::{Why, World},
};

/// Ticks between two records of one key.
const PAUSE: u32 = ticks(EVENT_PAUSE_SECONDS);
/// Tokens a tick brings.
const TICK_TOKENS: u32 = ((EVENTS_PER_SECOND as u64 * (1 << TICK_SHIFT)) / 1_000_000_000) as u32;
/// Ticks that fill any bucket.
const FULL: u32 = EVENTS_BURST.div_ceil(TICK_TOKENS);
/// A listener is woken once in this many tokens of a CPU; it looks by itself every 100 ms. A power of two.
const WAKE_EVERY: u32 = 64;

/// A [`Refusal`] in its table, where other CPUs write too.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Tally {
    count: Cell<u64>,
    first: Cell<u32>,
    last: Cell<u32>,
    told: Cell<u32>,
    told_count: Cell<u32>,
}

/// A [`Bucket`] in its table; this CPU's own.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Purse {
    tokens: Cell<u32>,
    tick: Cell<u32>,
    suppressed: Cell<u64>,
    lost: Cell<u64>,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Tally>() == size_of::<Refusal>() && align_of::<Tally>() == align_of::<Refusal>());
    assert!(offset_of!(Tally, count) == offset_of!(Refusal, count));
    assert!(offset_of!(Tally, first) == offset_of!(Refusal, first));
    assert!(offset_of!(Tally, last) == offset_of!(Refusal, last));
    assert!(offset_of!(Tally, told) == offset_of!(Refusal, told));
    assert!(offset_of!(Tally, told_count) == offset_of!(Refusal, told_count));
    assert!(size_of::<Purse>() == size_of::<Bucket>() && align_of::<Purse>() == align_of::<Bucket>());
    assert!(offset_of!(Purse, tokens) == offset_of!(Bucket, tokens));
    assert!(offset_of!(Purse, tick) == offset_of!(Bucket, tick));
    assert!(offset_of!(Purse, suppressed) == offset_of!(Bucket, suppressed));
    assert!(offset_of!(Purse, lost) == offset_of!(Bucket, lost));
};

/// A packet that is refused, or would be.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Drop or would drop.
    pub verdict: Verdict,
    /// Why.
    pub reason: Why,
    /// Who opened the flow it belongs to; the packet's direction where it belongs to none.
    pub origin: u8,
    /// The rule that allowed its flow before; 0 for none.
    pub rule: u32,
    /// The generation that judged.
    pub epoch: u32,
}

/// Adds up `refused` between `ends`, which crossed interface `ifindex`, and tells of it if it is time to.
#[inline(always)]
pub fn tell<W: World>(world: &W, refused: &Refused, ends: &Ends, ifindex: u32, now: u32) {
    let remote = octets(&ends.remote);
    let (dir, reason, family) = (refused.origin, refused.reason.number(), ends.family);
    let key = RefusalKey { remote, service: ends.service(dir), dir, reason, family, zero: 0 };
    let mut tally = world.tally(&key);
    if tally.is_none() {
        world.keep_tally(&key, &Refusal { first: now, last: now, told: now.wrapping_sub(PAUSE), ..Refusal::default() });
        tally = world.tally(&key);
    }
    let Some(tally) = tally else {
        // The table took none: then nothing but a record can tell of it.
        publish(world, refused, ends, ifindex, now, 1);
        return;
    };
    world.add(&tally.count);
    tally.last.set(now);
    if now.wrapping_sub(tally.told.get()) < PAUSE {
        return;
    }
    tally.told.set(now);
    let count = tally.count.get() as u32;
    if publish(world, refused, ends, ifindex, now, count.wrapping_sub(tally.told_count.get())) {
        tally.told_count.set(count);
    }
}

/// Writes a record about `count` refusals, if there is a token and room for it.
#[inline(always)]
fn publish<W: World>(world: &W, refused: &Refused, ends: &Ends, ifindex: u32, now: u32, count: u32) -> bool {
    let Some(purse) = world.purse() else { return false };
    let Some(left) = purse.take(now) else {
        purse.suppressed.set(purse.suppressed.get() + 1);
        return false;
    };
    let event = Event {
        at_ns: world.clock(),
        epoch: refused.epoch,
        ifindex,
        local: octets(&ends.local),
        remote: octets(&ends.remote),
        count,
        rule: refused.rule,
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        proto: ends.proto,
        verdict: refused.verdict as u8,
        reason: refused.reason.number(),
        bits: Event::bits(refused.origin, ends.family, world.hook()),
    };
    let written = world.publish(&event, left & (WAKE_EVERY - 1) == 0);
    if !written {
        purse.lost.set(purse.lost.get() + 1);
    }
    written
}

impl Purse {
    /// Takes a token, and says how many are left; none if there was none.
    #[inline(always)]
    fn take(&self, now: u32) -> Option<u32> {
        let elapsed = now.wrapping_sub(self.tick.get());
        let mut tokens = self.tokens.get();
        if elapsed != 0 {
            self.tick.set(now);
            tokens = if elapsed >= FULL { EVENTS_BURST } else { EVENTS_BURST.min(tokens + elapsed * TICK_TOKENS) };
        }
        let left = tokens.checked_sub(1);
        self.tokens.set(left.unwrap_or(0));
        left
    }
}

#[cfg(test)]
impl From<Refusal> for Tally {
    fn from(refusal: Refusal) -> Self {
        Self {
            count: Cell::new(refusal.count),
            first: Cell::new(refusal.first),
            last: Cell::new(refusal.last),
            told: Cell::new(refusal.told),
            told_count: Cell::new(refusal.told_count),
        }
    }
}

#[cfg(test)]
impl Tally {
    pub(crate) fn copy(&self) -> Refusal {
        Refusal {
            count: self.count.get(),
            first: self.first.get(),
            last: self.last.get(),
            told: self.told.get(),
            told_count: self.told_count.get(),
        }
    }
}

#[cfg(test)]
impl Purse {
    pub(crate) fn copy(&self) -> Bucket {
        Bucket { tokens: self.tokens.get(), tick: self.tick.get(), suppressed: self.suppressed.get(), lost: self.lost.get() }
    }
}
