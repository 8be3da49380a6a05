//! What may be dropped before the rest of the kernel sees it.
//!
//! Only what TC ingress would drop as well, and of that only the plain case: a packet read to its end, of no flow, that no
//! rule allows. Everything else goes on to TC, which alone writes flow tables; so with or without XDP the same packets pass.

use enforcer_abi::{Generation, IN, Reason, TICK_SHIFT, Verdict};

use crate::{
    addr::{spoofed, unspecified},
    builtin::built_in,
    failsafe::failsafe,
    flow::Ends,
    judge::unopened,
    parse::{Carried, Headers, Kind, Packet, Part, Veil, carried, network4, network6, transport},
    rules::allowed,
    tcp::Flags,
    tell::{Refused, tell},
    world::{Place, World},
};

/// Whether an inbound `packet` goes on to TC.
#[inline(always)]
pub fn goes_on<W: World, P: Packet>(world: &W, packet: &P) -> bool {
    let word = world.control();
    let clock = world.clock();
    let now = (clock >> TICK_SHIFT) as u32;
    let (slot, audit) = word.in_force(now);
    let Some(generation) = world.generation(slot) else { return true };
    if !Generation::enforces(generation.flags, IN) || audit || word.learning() {
        return true;
    }
    let veil = Veil::new(clock);
    let Some(headers) = headers(packet, veil) else { return true };
    let Some((ends, reason)) = stranger(world, generation, &headers, slot) else { return true };
    world.count(headers.family, Verdict::Drop, reason.into());
    let refused = Refused { verdict: Verdict::Drop, reason: reason.into(), origin: IN, rule: 0, epoch: generation.epoch };
    tell(world, &refused, &ends, packet.interface(), now);
    false
}

/// The headers of a whole IP packet; none if it is anything else, or cannot be read.
#[inline(always)]
fn headers<P: Packet>(packet: &P, veil: Veil) -> Option<Headers> {
    let network = match carried(packet, veil).ok()? {
        Carried::V4(at) => network4(packet, at, veil).ok()?,
        Carried::V6(at) => network6(packet, at, veil).ok()?,
        Carried::Other => return None,
    };
    if network.headers.part != Part::WHOLE {
        return None;
    }
    Some(transport(packet, network, veil).ok()?.forget(veil))
}

/// Ends and reason of a packet that is of no flow and that nothing allows.
#[inline(always)]
fn stranger<W: World>(world: &W, generation: &Generation, headers: &Headers, slot: u32) -> Option<(Ends, Reason)> {
    // TC refuses these by themselves, and tells why.
    let unlikely = unspecified(&headers.source) || spoofed(headers.family, &headers.source, &headers.destination);
    if unlikely || headers.kind == Kind::ERROR || built_in(headers, IN, generation.flags).is_some() {
        return None;
    }
    let tcp = headers.kind == Kind::TCP;
    if tcp && !Flags(headers.flags).valid() {
        return None;
    }
    let ends = Ends::of(headers, IN);
    let known = if tcp {
        world.flow(Place::Tcp, &ends).is_some() || world.flow(Place::Half, &ends).is_some()
    } else {
        world.flow(Place::Other, &ends).is_some()
    };
    if known {
        return None;
    }
    let asked = if headers.kind == Kind::REPLY { ends.with_service(IN, headers.icmp) } else { ends };
    let found = allowed(world, slot, generation, IN, &asked, asked.service(IN));
    if !found.is_no() || failsafe(world, headers, IN) {
        return None;
    }
    Some((asked, unopened(headers)))
}
