//! The verdict about one packet at an enforcing hook.
//!
//! [`decide`] only says pass or refuse, with a reason; [`refuse`](Judge::refuse) turns a refusal into what happens, in one
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
///
/// All of it is words, always written, and it is not small: what fits in registers the compiler packs there, with gaps that the
/// verifier takes for what was never written.
#[derive(Clone, Copy)]
struct Outcome {
    reason: Why,
    passes: u32,
    /// Who opened the flow it is part of; of what is refused, like the rest.
    origin: u32,
    /// The rule that allowed the flow before.
    rule: u32,
    /// It would have opened a flow.
    opens: u32,
    /// Its flow goes on, because nothing is dropped here; the failsafe is not asked.
    tolerated: u32,
}

impl Outcome {
    #[inline(always)]
    fn pass(reason: Reason) -> Self {
        Self { reason: reason.into(), passes: 1, origin: 0, rule: 0, opens: 0, tolerated: 0 }
    }

    #[inline(always)]
    fn refuse(reason: Reason, origin: u8) -> Self {
        Self { passes: 0, origin: u32::from(origin), ..Self::pass(reason) }
    }

    /// The same, of which the verifier knows nothing any more: it would follow the rest once per reason.
    #[inline(always)]
    fn forget(self, veil: Veil) -> Self {
        Self {
            reason: self.reason.forget(veil),
            passes: self.passes,
            origin: veil.word(self.origin) & 1,
            rule: veil.word(self.rule),
            opens: veil.word(self.opens) & 1,
            tolerated: veil.word(self.tolerated) & 1,
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
        let (headers, outcome) = match carried(self.packet, veil) {
            Ok(Carried::V4(at)) => self.hear_from(network4(self.packet, at, veil), veil),
            Ok(Carried::V6(at)) => self.hear_from(network6(self.packet, at, veil), veil),
            Ok(Carried::Other) => {
                self.world.count(V4, Verdict::Pass, Reason::NotIp.into());
                return true;
            }
            Err(reason) => self.unread(reason),
        };
        outcome.passes != 0 || self.refuse(&headers.forget(veil), &outcome.forget(veil))
    }

    /// A packet of one family. TCP and the rest go their own ways through the same functions, which the compiler then fits
    /// to each; all that is refused meets again.
    #[inline(always)]
    fn hear_from(&self, network: Result<Network, Reason>, veil: Veil) -> (Headers, Outcome) {
        match network {
            Ok(network) if network.is_tcp() => self.hear_transport(network, veil),
            Ok(network) => self.hear_transport(network, veil),
            Err(reason) => self.unread(reason),
        }
    }

    /// What passes is settled at once.
    #[inline(always)]
    fn hear_transport(&self, network: Network, veil: Veil) -> (Headers, Outcome) {
        let headers = match transport(self.packet, network, veil) {
            Ok(headers) => headers,
            Err(reason) => return self.unread(reason),
        };
        let outcome = self.decide(&headers);
        if outcome.passes != 0 {
            self.pass(&headers, outcome.reason);
        }
        (headers, outcome)
    }

    #[inline(always)]
    fn unread(&self, reason: Reason) -> (Headers, Outcome) {
        (Headers::unread(), Outcome::refuse(reason, self.dir))
    }

    /// Whether what is refused in a flow of `origin` is dropped.
    #[inline(always)]
    fn drops(&self, origin: u8) -> bool {
        Generation::enforces(self.generation.flags, origin) && !self.audit
    }

    #[inline(always)]
    fn pass(&self, headers: &Headers, reason: Why) {
        self.world.count(headers.family, Verdict::Pass, reason);
        self.expect_more(headers);
    }

    /// What passes in fragments passes to its end.
    #[inline(always)]
    fn expect_more(&self, headers: &Headers) {
        if headers.part == Part::FIRST {
            self.world.keep_fragment(headers, self.dir, self.generation.epoch, self.now);
        }
    }

    /// What the failsafe does not let through is dropped where the flow's origin is enforced, counted where it is isolated at
    /// all, and told of in both cases; whether the packet passes. The one place where anything is dropped, but for a generation
    /// that cannot be missing.
    #[inline(always)]
    fn refuse(&self, headers: &Headers, outcome: &Outcome) -> bool {
        let tolerated = outcome.tolerated != 0;
        if !tolerated && failsafe(self.world, headers, self.dir) {
            self.pass(headers, Reason::Failsafe.into());
            return true;
        }
        let (reason, origin) = (outcome.reason, outcome.origin as u8);
        let flags = self.generation.flags;
        let isolated = tolerated || Generation::enforces(flags, origin) || Generation::audits(flags, origin);
        let verdict = match (self.drops(origin) && !tolerated, isolated) {
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
            let refused = Refused { verdict, reason, origin, rule: outcome.rule, epoch: self.generation.epoch };
            tell(self.world, &refused, &ends, self.packet.interface(), self.now);
        }
        if verdict == Verdict::Drop {
            return false;
        }
        if outcome.opens != 0 {
            self.remember(headers, &Ends::of(headers, self.dir), self.dir, true, 0);
        }
        self.expect_more(headers);
        true
    }
}
