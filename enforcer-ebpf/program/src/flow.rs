//! Flows: who may stay, for how long, and what each packet adds to what is known.
//!
//! Times are checked on lookup; nothing collects old entries but the table's own least-recently-used order.

use core::cell::Cell;

use enforcer_abi::{Flow, IN, OUT, ticks};

use crate::{
    addr::Addr,
    parse::{Headers, proto},
    tcp::Flags,
    world::Place,
};

/// Both ends of a packet or flow, seen from this host. Ports in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// [`V4`](enforcer_abi::V4) or [`V6`](enforcer_abi::V6).
    pub family: u8,
    /// IP protocol.
    pub proto: u8,
    /// Our address.
    pub local: Addr,
    /// The peer's.
    pub remote: Addr,
    /// Our port.
    pub local_port: u16,
    /// The peer's.
    pub remote_port: u16,
}

impl Ends {
    /// The ends of a packet that crosses the host in direction `dir`.
    #[inline(always)]
    #[must_use]
    pub fn of(headers: &Headers, dir: u8) -> Self {
        let (family, proto) = (headers.family, headers.proto);
        if dir == IN {
            let (local, remote) = (headers.destination, headers.source);
            Self { family, proto, local, remote, local_port: headers.destination_port, remote_port: headers.source_port }
        } else {
            let (local, remote) = (headers.source, headers.destination);
            Self { family, proto, local, remote, local_port: headers.source_port, remote_port: headers.destination_port }
        }
    }

    /// The same ends, with this port (host order) for the service a flow of `origin` uses, and none for the other.
    #[inline(always)]
    #[must_use]
    pub fn with_service(self, origin: u8, port: u16) -> Self {
        let port = port.to_be();
        let (local_port, remote_port) = if origin == IN { (port, 0) } else { (0, port) };
        Self { local_port, remote_port, ..self }
    }

    /// The service a flow of `origin` between these ends uses.
    #[inline(always)]
    #[must_use]
    pub fn service(&self, origin: u8) -> u32 {
        let port = if origin == IN { self.local_port } else { self.remote_port };
        u32::from(self.proto) << 16 | u32::from(u16::from_be(port))
    }
}

/// A [`Flow`] in its table, where other CPUs write too: each field is loaded and stored on its own.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Live {
    judged: Cell<u32>,
    last: Cell<u32>,
    created: Cell<u32>,
    rule: Cell<u32>,
    proof: Cell<u32>,
    origin: Cell<u8>,
    replied: Cell<u8>,
    fin_in: Cell<u8>,
    fin_out: Cell<u8>,
    reset: Cell<u8>,
    imported: Cell<u8>,
    zero: Cell<[u8; 2]>,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Live>() == size_of::<Flow>() && align_of::<Live>() == align_of::<Flow>());
    assert!(offset_of!(Live, judged) == offset_of!(Flow, judged));
    assert!(offset_of!(Live, last) == offset_of!(Flow, last));
    assert!(offset_of!(Live, proof) == offset_of!(Flow, proof));
    assert!(offset_of!(Live, origin) == offset_of!(Flow, origin));
    assert!(offset_of!(Live, reset) == offset_of!(Flow, reset));
    assert!(offset_of!(Live, imported) == offset_of!(Flow, imported));
};

/// `last` is written only when it is this old: once a second.
const REFRESH: u32 = ticks(1);
/// How far beyond the proof an acknowledgement may be: a window's worth.
const PROOF_WINDOW: u32 = 1 << 20;

impl Live {
    /// The entry as plain data.
    #[inline(always)]
    #[must_use]
    pub fn copy(&self) -> Flow {
        Flow {
            judged: self.judged.get(),
            last: self.last.get(),
            created: self.created.get(),
            rule: self.rule.get(),
            proof: self.proof.get(),
            origin: self.origin.get(),
            replied: self.replied.get(),
            fin_in: self.fin_in.get(),
            fin_out: self.fin_out.get(),
            reset: self.reset.get(),
            imported: self.imported.get(),
            zero: [0; 2],
        }
    }

    /// Who opened it.
    #[inline(always)]
    #[must_use]
    pub fn origin(&self) -> u8 {
        self.origin.get() & 1
    }

    /// The generation it was last judged under, and whether that denies it: one load.
    #[inline(always)]
    #[must_use]
    pub fn judged(&self) -> (u32, bool) {
        let judged = self.judged.get();
        (judged >> 1, judged & 1 != 0)
    }

    /// The rule that allowed it, before it was denied if it is; 0 for none.
    #[inline(always)]
    #[must_use]
    pub fn rule(&self) -> u32 {
        self.rule.get()
    }

    /// Records a judgement.
    #[inline(always)]
    pub fn judge(&self, epoch: u32, denied: bool, rule: u32) {
        self.rule.set(rule);
        self.judged.set(judged(epoch, denied));
    }

    /// Whether a TCP connection is over.
    #[inline(always)]
    #[must_use]
    pub fn closed(&self) -> bool {
        self.reset.get() != 0 || (self.fin_in.get() != 0 && self.fin_out.get() != 0)
    }

    /// Whether it has been idle for too long.
    #[inline(always)]
    #[must_use]
    pub fn expired(&self, place: Place, proto: u8, now: u32) -> bool {
        let idle = now.wrapping_sub(self.last.get());
        // A CPU whose clock lags sees a small negative age.
        idle < 1 << 31 && idle > self.lifetime(place, proto)
    }

    #[inline(always)]
    fn lifetime(&self, place: Place, proto: u8) -> u32 {
        if self.judged().1 {
            return if proto == proto::TCP { ticks(1800) } else { ticks(30) };
        }
        let replied = self.replied.get() != 0;
        match place {
            Place::Tcp | Place::Half if self.reset.get() != 0 => ticks(10),
            Place::Half if !replied => ticks(20),
            Place::Half => ticks(60),
            Place::Tcp if self.closed() => ticks(60),
            Place::Tcp if self.fin_in.get() | self.fin_out.get() != 0 => ticks(300),
            Place::Tcp => ticks(8100),
            Place::Other => other_lifetime(proto, replied),
        }
    }

    /// Adds what a packet shows. True if the opener has now proved that it sees replies.
    #[inline(always)]
    pub fn advance(&self, place: Place, headers: &Headers, dir: u8, now: u32) -> bool {
        // Not refreshed, so that what the rules deny is forgotten some time after it stops.
        if self.judged().1 {
            return false;
        }
        if now.wrapping_sub(self.last.get()) >= REFRESH {
            self.last.set(now);
        }
        let answer = dir != self.origin();
        if place == Place::Other {
            if answer {
                self.replied.set(1);
            }
            return false;
        }
        self.advance_tcp(place, headers, dir, answer)
    }

    #[inline(always)]
    fn advance_tcp(&self, place: Place, headers: &Headers, dir: u8, answer: bool) -> bool {
        let flags = Flags(headers.flags);
        if flags.rst() {
            self.reset.set(1);
        }
        if flags.fin() {
            if dir == IN { self.fin_in.set(1) } else { self.fin_out.set(1) }
        }
        if place == Place::Tcp || flags.rst() {
            return false;
        }
        if answer {
            if self.replied.get() == 0 {
                self.proof.set(headers.seq.wrapping_add(u32::from(flags.syn())));
                self.replied.set(1);
            }
            return false;
        }
        let proved = headers.ack.wrapping_sub(self.proof.get()) < PROOF_WINDOW;
        !flags.syn() && flags.ack() && self.replied.get() != 0 && self.reset.get() == 0 && proved
    }
}

#[cfg(test)]
impl From<Flow> for Live {
    fn from(flow: Flow) -> Self {
        Self {
            judged: Cell::new(flow.judged),
            last: Cell::new(flow.last),
            created: Cell::new(flow.created),
            rule: Cell::new(flow.rule),
            proof: Cell::new(flow.proof),
            origin: Cell::new(flow.origin),
            replied: Cell::new(flow.replied),
            fin_in: Cell::new(flow.fin_in),
            fin_out: Cell::new(flow.fin_out),
            reset: Cell::new(flow.reset),
            imported: Cell::new(flow.imported),
            zero: Cell::new(flow.zero),
        }
    }
}

#[inline(always)]
fn other_lifetime(proto: u8, replied: bool) -> u32 {
    match (proto, replied) {
        (proto::ICMP | proto::ICMP6, _) => ticks(30),
        (proto::UDP, true) => ticks(180),
        (proto::SCTP, true) => ticks(300),
        (_, true) => ticks(600),
        (_, false) => ticks(60),
    }
}

/// Epoch and denial as they are stored.
#[inline(always)]
#[must_use]
pub const fn judged(epoch: u32, denied: bool) -> u32 {
    epoch << 1 | denied as u32
}

/// A flow that begins now.
#[inline(always)]
#[must_use]
pub fn begin(epoch: u32, denied: bool, rule: u32, origin: u8, now: u32) -> Flow {
    Flow { judged: judged(epoch, denied), last: now, created: now, rule, origin, ..Flow::default() }
}

/// The other direction.
#[inline(always)]
#[must_use]
pub const fn other(dir: u8) -> u8 {
    if dir == IN { OUT } else { IN }
}
