//! The verdict about one packet at an enforcing hook.
//!
//! [`decide`] only says pass or refuse, with a reason; [`settle`](Judge::settle) turns that into what happens, in one
//! place: the failsafe first, then drop where the direction is enforced, count where it is audited.

mod decide;

use enforcer_abi::{Generation, Reason, TICK_SHIFT, V4, Verdict};

use crate::{
    failsafe::failsafe,
    flow::Ends,
    parse::{Carried, Headers, Kind, Network, Packet, Part, Veil, carried, network4, network6, transport},
    tell::{Refused, tell},
    world::{Why, World},
};

pub(crate) use decide::unopened;

/// What was decided about a packet.
enum Outcome {
    /// Let it pass.
    Pass(Reason),
    /// Refuse it.
    Refuse(Refusal),
}

/// What is refused, as part of a flow of `origin`.
#[derive(Clone, Copy)]
struct Refusal {
    reason: Why,
    origin: u8,
    /// The rule that allowed the flow before.
    rule: u32,
    /// It would have opened a flow.
    opens: bool,
    /// Its flow goes on, because nothing is dropped here; the failsafe is not asked.
    tolerated: bool,
}

impl Refusal {
    /// The same, of which the verifier knows nothing any more: it would follow the rest once per reason.
    #[inline(always)]
    fn forget(self, veil: Veil) -> Self {
        let flag = |own: bool| veil.byte(u8::from(own)) & 1 != 0;
        Self {
            reason: self.reason.forget(veil),
            origin: veil.byte(self.origin) & 1,
            rule: veil.word(self.rule),
            opens: flag(self.opens),
            tolerated: flag(self.tolerated),
        }
    }
}

/// One packet, the generation that judges it, and everything around them.
struct Judge<'a, W, P> {
    world: &'a W,
    packet: &'a P,
    generation: &'a Generation,
    slot: u32,
    /// The host as a whole is only audited.
    audit: bool,
    learning: bool,
    now: u32,
    dir: u8,
    veil: Veil,
}

/// Whether `packet`, which crosses the host in direction `dir`, may go on.
#[inline(always)]
pub fn judge<W: World, P: Packet>(world: &W, packet: &P, dir: u8) -> bool {
    let word = world.control();
    let clock = world.clock();
    let now = (clock >> TICK_SHIFT) as u32;
    let (slot, audit) = word.in_force(now);
    let Some(generation) = world.generation(slot) else {
        world.count(V4, Verdict::Drop, Reason::Internal.into());
        return false;
    };
    if !Generation::isolates(generation.flags) {
        world.count(V4, Verdict::Pass, Reason::Unselected.into());
        return true;
    }
    let judge = Judge { world, packet, generation, slot, audit, learning: word.learning(), now, dir, veil: Veil::new(clock) };
    judge.hear()
}

impl<W: World, P: Packet> Judge<'_, W, P> {
    /// Reads the packet and settles what becomes of it.
    #[inline(always)]
    fn hear(&self) -> bool {
        let veil = self.veil;
        let heard = match carried(self.packet, veil) {
            Ok(Carried::V4(at)) => self.hear_from(network4(self.packet, at, veil), veil),
            Ok(Carried::V6(at)) => self.hear_from(network6(self.packet, at, veil), veil),
            Ok(Carried::Other) => {
                self.world.count(V4, Verdict::Pass, Reason::NotIp.into());
                Ok(())
            }
            Err(reason) => Err(self.unread(reason)),
        };
        match heard {
            Ok(()) => true,
            Err((headers, refusal)) => self.settle(&headers.forget(veil), Outcome::Refuse(refusal.forget(veil))),
        }
    }

    /// A packet of one family. TCP and the rest go their own ways through the same functions, which the compiler then fits
    /// to each; all that is refused meets again.
    #[inline(always)]
    fn hear_from(&self, network: Result<Network, Reason>, veil: Veil) -> Result<(), (Headers, Refusal)> {
        match network {
            Ok(network) if network.is_tcp() => self.hear_transport(network, veil),
            Ok(network) => self.hear_transport(network, veil),
            Err(reason) => Err(self.unread(reason)),
        }
    }

    /// What passes is settled at once.
    #[inline(always)]
    fn hear_transport(&self, network: Network, veil: Veil) -> Result<(), (Headers, Refusal)> {
        let headers = match transport(self.packet, network, veil) {
            Ok(headers) => headers,
            Err(reason) => return Err(self.unread(reason)),
        };
        match self.decide(&headers) {
            Outcome::Refuse(refusal) => Err((headers, refusal)),
            passed @ Outcome::Pass(_) => {
                self.settle(&headers, passed);
                Ok(())
            }
        }
    }

    #[inline(always)]
    fn unread(&self, reason: Reason) -> (Headers, Refusal) {
        (Headers::unread(), self.refusal(reason, false))
    }

    #[inline(always)]
    fn refusal(&self, reason: Reason, opens: bool) -> Refusal {
        Refusal { reason: reason.into(), origin: self.dir, rule: 0, opens, tolerated: false }
    }

    /// Whether what is refused in a flow of `origin` is dropped.
    #[inline(always)]
    fn drops(&self, origin: u8) -> bool {
        Generation::enforces(self.generation.flags, origin) && !self.audit
    }

    #[inline(always)]
    fn settle(&self, headers: &Headers, outcome: Outcome) -> bool {
        let passes = match outcome {
            Outcome::Pass(reason) => {
                self.world.count(headers.family, Verdict::Pass, reason.into());
                true
            }
            Outcome::Refuse(refusal) if !refusal.tolerated && failsafe(self.world, headers, self.dir) => {
                self.world.count(headers.family, Verdict::Pass, Reason::Failsafe.into());
                true
            }
            Outcome::Refuse(refusal) => self.refuse(headers, refusal),
        };
        if passes && headers.part == Part::FIRST {
            self.world.keep_fragment(headers, self.dir, self.generation.epoch, self.now);
        }
        passes
    }

    /// Drops where the flow's origin is enforced, counts where it is isolated at all, and tells of both; whether the packet
    /// passes. The one place where anything is dropped, but for a generation that cannot be missing.
    #[inline(always)]
    fn refuse(&self, headers: &Headers, refusal: Refusal) -> bool {
        let (reason, origin) = (refusal.reason, refusal.origin);
        let flags = self.generation.flags;
        let isolated = refusal.tolerated || Generation::enforces(flags, origin) || Generation::audits(flags, origin);
        let verdict = match (self.drops(origin) && !refusal.tolerated, isolated) {
            (true, _) => Verdict::Drop,
            (false, true) => Verdict::WouldDrop,
            (false, false) => Verdict::Pass,
        };
        self.world.count(headers.family, verdict, reason);
        let mut ends = Ends::of(headers, self.dir);
        if verdict != Verdict::Pass {
            // A reply to no query is what it is, not a service with the number of its identifier.
            if headers.kind == Kind::REPLY && origin == self.dir {
                ends = ends.with_service(origin, headers.icmp);
            }
            let refused = Refused { verdict, reason, origin, rule: refusal.rule, epoch: self.generation.epoch };
            tell(self.world, &refused, &ends, self.packet.interface(), self.now);
        }
        if verdict != Verdict::Drop && refusal.opens {
            self.remember(headers, &Ends::of(headers, self.dir), self.dir, true, 0);
        }
        verdict != Verdict::Drop
    }
}
