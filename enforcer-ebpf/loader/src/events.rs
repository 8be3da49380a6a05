//! What the programs tell of packets they refuse: records as they come, sums by peer and service, and what was left out.
//!
//! The ring buffer has one reading position for everybody, so [`Events`] is held by one process at a time: a second one is refused
//! rather than given every other record. Sums and losses can be read by anybody, beside it.
//!
//! Deliberately absent: waiting for the kernel alone. The programs wake a reader for one record in 64, so [`Events::wait`] looks
//! by itself ten times a second.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant, SystemTime},
};

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use enforcer_abi::{Event, Hook, REFUSALS_MAX, RULE_ID_MAX, Reason, Refusal, RefusalKey, TICK_SHIFT, V6, Verdict};

use crate::{
    enforcer::Enforcer,
    error::Error,
    object::{self, map_error},
    pin::Layout,
    sys,
    table::Direction,
};

/// The longest sleep between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Records answered at once, so that a flood cannot keep the caller from its other work.
const BATCH_MAX: usize = 4_096;
/// A table that others write to may begin anew under the reader; this many entries are read at most.
const STEPS_MAX: usize = 4 * REFUSALS_MAX as usize;

/// Packets that were refused, or would have been: one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// When the last of them came, to a few milliseconds.
    pub at: SystemTime,
    /// How many of this peer, service, direction and reason since their last record.
    pub count: u32,
    /// `drop` or `would_drop`.
    pub verdict: &'static str,
    /// Why: a label of the metrics.
    pub reason: &'static str,
    /// Where the last of them crossed: `tc_in`, `tc_out` or `xdp`.
    pub hook: &'static str,
    /// The interface it crossed.
    pub ifindex: u32,
    /// Who opened the flow; of a packet that belongs to none, its direction.
    pub direction: Direction,
    /// Our end; unspecified where it could not be read.
    pub local: IpAddr,
    /// The peer; unspecified where it could not be read.
    pub remote: IpAddr,
    /// Our port; for ICMP `type << 8 | code` where the peer asked.
    pub local_port: u16,
    /// The peer's port; for ICMP `type << 8 | code` where we asked.
    pub remote_port: u16,
    /// IP protocol; 0 where it could not be read.
    pub proto: u8,
    /// The rule that allowed the flow before it was revoked; 0 for none.
    pub rule: u32,
    /// The generation that judged.
    pub epoch: u32,
}

impl DropEvent {
    /// Port of the service that was asked for; for ICMP `type << 8 | code`.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.direction {
            Direction::In => self.local_port,
            Direction::Out => self.remote_port,
        }
    }
}

/// Refusals added up by peer, service, direction and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The peer; unspecified where it could not be read.
    pub remote: IpAddr,
    /// IP protocol; 0 where it could not be read.
    pub proto: u8,
    /// Port of the service; for ICMP `type << 8 | code`.
    pub port: u16,
    /// Who opened the flow; of a packet that belongs to none, its direction.
    pub direction: Direction,
    /// Why: a label of the metrics.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// How many of them no record has told of yet.
    pub untold: u32,
    /// When the first came, to 0.2 s.
    pub first: SystemTime,
    /// When the last came, likewise.
    pub last: SystemTime,
}

/// Records that were not written. The refusals themselves are counted all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Because a CPU had written as many as it may.
    pub suppressed: u64,
    /// Because nobody had read the buffer empty.
    pub lost: u64,
}

/// The records, for the one process that reads them. Dropping it leaves what was not read to the next.
pub struct Events {
    ring: RingBuf<MapData>,
    /// Held as long as this is.
    _turn: OwnedFd,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Enforcer {
    /// The records of refused packets, which one process at a time can read.
    ///
    /// # Errors
    /// If another process reads them, or the kernel refuses.
    pub fn events(&self) -> Result<Events, Error> {
        Events::open(&self.layout)
    }

    /// What was refused, or would have been, added up by peer, service, direction and reason; of the many sums there can be, the
    /// kernel forgets those used longest ago.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn refusals(&self) -> Result<Vec<Refused>, Error> {
        refusals(&self.layout)
    }

    /// How many records of refused packets were not written.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn event_losses(&self) -> Result<Losses, Error> {
        losses(&self.layout)
    }

    /// How many flows each rule has opened, by its number; only rules that opened any.
    ///
    /// # Errors
    /// If the kernel cannot be read.
    pub fn rule_flows(&self) -> Result<Vec<(u32, u64)>, Error> {
        rule_flows(&self.layout)
    }
}

impl Events {
    fn open(layout: &Layout) -> Result<Self, Error> {
        let turn = layout.turn()?;
        let ring = RingBuf::try_from(Map::RingBuf(object::map(layout, "events")?));
        Ok(Self { ring: ring.map_err(|error| map_error("map the ring buffer of events", error))?, _turn: turn })
    }

    /// Records as soon as there are any, at most a few thousand at once; none if there are none for `longest`, or a signal came.
    ///
    /// # Errors
    /// If the kernel refuses to be asked.
    pub fn wait(&mut self, longest: Duration) -> Result<Vec<DropEvent>, Error> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let until = Instant::now() + longest;
        loop {
            let found = self.drain();
            let left = until.saturating_duration_since(Instant::now());
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
            let sleep = Timespec::try_from(left.min(LOOK)).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.ring, PollFlags::IN)], Some(&sleep)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
                Err(error) => return Err(Error::kernel("wait for events", error)),
            }
        }
    }

    fn drain(&mut self) -> Vec<DropEvent> {
        let clock = Clock::now();
        let mut found = Vec::new();
        while found.len() < BATCH_MAX
            && let Some(record) = self.ring.next()
        {
            found.extend(sys::read::<Event>(&record).map(|event| decode(&event, clock)));
        }
        found
    }
}

/// Now, by the programs' clock and by the wall's.
#[derive(Clone, Copy)]
struct Clock {
    nanoseconds: u64,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { nanoseconds: sys::coarse_clock(), wall: SystemTime::now() }
    }

    fn wall(self, nanoseconds: u64) -> SystemTime {
        let ago = Duration::from_nanos(self.nanoseconds.saturating_sub(nanoseconds));
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The wall's time of a tick, which wraps after 18 years.
    fn wall_of_tick(self, tick: u32) -> SystemTime {
        #[expect(clippy::cast_possible_truncation, reason = "ticks wrap")]
        let now = (self.nanoseconds >> TICK_SHIFT) as u32;
        let ago = now.wrapping_sub(tick);
        // A tick that began just after this clock was read.
        let ago = if ago > u32::MAX / 2 { 0 } else { u64::from(ago) };
        self.wall(self.nanoseconds.saturating_sub(ago << TICK_SHIFT))
    }
}

fn decode(event: &Event, clock: Clock) -> DropEvent {
    let v6 = event.bits >> 1 & 1 == V6;
    DropEvent {
        at: clock.wall(event.at_ns),
        count: event.count,
        verdict: if event.verdict == Verdict::WouldDrop as u8 { Verdict::WouldDrop.label() } else { Verdict::Drop.label() },
        reason: reason(event.reason),
        hook: hook(event.bits >> 2 & 3),
        ifindex: event.ifindex,
        direction: direction(event.bits & 1),
        local: address(event.local, v6),
        remote: address(event.remote, v6),
        local_port: u16::from_be(event.local_port),
        remote_port: u16::from_be(event.remote_port),
        proto: event.proto,
        rule: event.rule,
        epoch: event.epoch,
    }
}

fn reason(number: u8) -> &'static str {
    Reason::ALL.get(usize::from(number)).map_or("unknown", |reason| reason.label())
}

fn hook(number: u8) -> &'static str {
    let named = [(Hook::TcIn, "tc_in"), (Hook::TcOut, "tc_out"), (Hook::Xdp, "xdp")];
    named.iter().find(|(hook, _)| *hook as u8 == number).map_or("unknown", |(_, name)| name)
}

fn direction(number: u8) -> Direction {
    if number == enforcer_abi::IN { Direction::In } else { Direction::Out }
}

fn address(octets: [u8; 16], v6: bool) -> IpAddr {
    if v6 {
        return Ipv6Addr::from(octets).into();
    }
    let [a, b, c, d, ..] = octets;
    Ipv4Addr::new(a, b, c, d).into()
}

/// Everything that is still added up; the kernel forgets the sums used longest ago.
fn refusals(layout: &Layout) -> Result<Vec<Refused>, Error> {
    let map = object::map(layout, "refusals")?;
    let entries: Vec<(RefusalKey, Refusal)> =
        sys::some_entries(map.fd().as_fd(), STEPS_MAX).map_err(|error| Error::kernel("read the refused packets", error))?;
    let clock = Clock::now();
    // While others write, an entry may be read twice.
    let latest: HashMap<RefusalKey, Refusal> = entries.into_iter().collect();
    // One that another CPU has just made, and not counted yet.
    let counted = latest.into_iter().filter(|(_, refusal)| refusal.count > 0);
    Ok(counted.map(|(key, refusal)| refused(&key, &refusal, clock)).collect())
}

fn refused(key: &RefusalKey, refusal: &Refusal, clock: Clock) -> Refused {
    let [_, proto, high, low] = key.service.to_be_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "what was told is kept in 32 bits, which wrap")]
    let count = refusal.count as u32;
    Refused {
        remote: address(key.remote, key.family == V6),
        proto,
        port: u16::from_be_bytes([high, low]),
        direction: direction(key.dir),
        reason: reason(key.reason),
        count: refusal.count,
        untold: count.wrapping_sub(refusal.told_count),
        first: clock.wall_of_tick(refusal.first),
        last: clock.wall_of_tick(refusal.last),
    }
}

/// Records that were not written, over all CPUs, since the maps were made.
fn losses(layout: &Layout) -> Result<Losses, Error> {
    let failed = |error: MapError| map_error("read what was not told", error);
    let bucket = PerCpuArray::<_, [u64; 3]>::try_from(Map::PerCpuArray(object::map(layout, "bucket")?)).map_err(failed)?;
    let mut losses = Losses::default();
    for [_, suppressed, lost] in bucket.get(&0, 0).map_err(failed)?.iter() {
        losses.suppressed += suppressed;
        losses.lost += lost;
    }
    Ok(losses)
}

/// Flows that each rule opened, over all CPUs, since the maps were made; only rules that opened any.
fn rule_flows(layout: &Layout) -> Result<Vec<(u32, u64)>, Error> {
    let failed = |error: MapError| map_error("read the flows of each rule", error);
    let flows = PerCpuArray::<_, u64>::try_from(Map::PerCpuArray(object::map(layout, "rule_flows")?)).map_err(failed)?;
    let mut found = Vec::new();
    for rule in 1..=RULE_ID_MAX {
        let count: u64 = flows.get(&rule, 0).map_err(failed)?.iter().sum();
        if count > 0 {
            found.push((rule, count));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use enforcer_abi::{TICK_SHIFT, ticks};

    use super::Clock;

    #[test]
    fn times_of_the_programs_clock_are_told_by_the_walls() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = Clock { nanoseconds: 500_000_000_000, wall };
        assert_eq!(clock.wall(499_000_000_000), wall - Duration::from_secs(1));
        assert_eq!(clock.wall(600_000_000_000), wall, "a record written after the clock was read");
        let now = u32::try_from(clock.nanoseconds >> TICK_SHIFT).unwrap();
        let ago = |tick: u32| wall.duration_since(clock.wall_of_tick(tick)).unwrap().as_millis();
        assert_eq!((ago(now), ago(now + 1)), (0, 0));
        assert!((59_800..=60_200).contains(&ago(now - ticks(60))), "{}", ago(now - ticks(60)));
    }
}
