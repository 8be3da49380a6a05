//! The same rules without flows, for one packet and a slot that need not be in force: how a generation is tried out
//! before anything depends on it.

use enforcer_abi::{Generation, Reason, Verdict};

use crate::{
    addr::{spoofed, unspecified},
    builtin::built_in,
    flow::Ends,
    parse::{Carried, Headers, Kind, Packet, Part, Veil, carried, network4, network6, transport},
    rules::allowed,
    tcp::Flags,
    world::World,
};

/// What the generation in `slot` says about `packet` as the first of a flow in direction `dir`:
/// `verdict | reason << 8 | rule << 16`.
#[inline(always)]
pub fn check<W: World, P: Packet>(world: &W, packet: &P, dir: u8, slot: u32) -> u32 {
    let Some(generation) = world.generation(slot) else {
        return answer(Verdict::Drop, Reason::Internal, 0);
    };
    if !Generation::isolates(generation.flags) {
        return answer(Verdict::Pass, Reason::Unselected, 0);
    }
    let veil = Veil::new(world.clock());
    let network = match carried(packet, veil) {
        Ok(Carried::V4(at)) => network4(packet, at, veil),
        Ok(Carried::V6(at)) => network6(packet, at, veil),
        Ok(Carried::Other) => return answer(Verdict::Pass, Reason::NotIp, 0),
        Err(reason) => Err(reason),
    };
    let headers = match network {
        Ok(network) => transport(packet, network, veil),
        Err(reason) => Err(reason),
    };
    let refused = match headers {
        Ok(headers) => match decide(world, generation, &headers, dir, slot) {
            Ok((reason, rule)) => return answer(Verdict::Pass, reason, rule),
            Err(reason) => reason,
        },
        Err(reason) => reason,
    };
    let verdict = if Generation::enforces(generation.flags, dir) {
        Verdict::Drop
    } else if Generation::audits(generation.flags, dir) {
        Verdict::WouldDrop
    } else {
        Verdict::Pass
    };
    answer(verdict, refused, 0)
}

#[inline(always)]
fn answer(verdict: Verdict, reason: Reason, rule: u32) -> u32 {
    verdict as u32 | (reason as u32) << 8 | rule << 16
}

#[inline(always)]
fn decide<W: World>(world: &W, generation: &Generation, headers: &Headers, dir: u8, slot: u32) -> Result<(Reason, u32), Reason> {
    let built_in = built_in(headers, dir, generation.flags);
    let nowhere = unspecified(&headers.source) && built_in.is_none();
    if nowhere || spoofed(headers.family, &headers.source, &headers.destination) {
        return Err(Reason::Spoofed);
    }
    if headers.part == Part::LATER {
        return Err(Reason::Fragment);
    }
    if let Some(reason) = built_in {
        return Ok((reason, 0));
    }
    match headers.kind {
        Kind::ERROR => return Err(Reason::NoFlow),
        Kind::TCP if !Flags(headers.flags).valid() => return Err(Reason::TcpFlags),
        _ => {}
    }
    let ends = Ends::of(headers, dir);
    let service = match headers.kind {
        Kind::REPLY => u32::from(ends.proto) << 16 | u32::from(headers.icmp),
        _ => ends.service(dir),
    };
    let found = allowed(world, slot, generation, dir, &ends, service);
    if !found.permits(generation.flags, dir) {
        return Err(Reason::NoRule);
    }
    let reason = if found.is_audited() { Reason::AuditRule } else { Reason::New };
    Ok((reason, found.rule()))
}
