//! What the host's own configuration lets through whatever the rules say: asked only about what is refused.

use crate::{
    flow::{Ends, other},
    parse::{Headers, Kind, Part},
    tcp::Flags,
    world::World,
};

/// Whether the host's failsafe names this packet, which crosses the host in direction `dir`, as part of a flow of either
/// end. A packet that opens a connection is never taken for the reply side.
#[inline(always)]
pub(crate) fn failsafe<W: World>(world: &W, headers: &Headers, dir: u8) -> bool {
    if matches!(headers.part, Part::LATER | Part::UNREAD) {
        return false;
    }
    let ends = Ends::of(headers, dir);
    let opens = headers.kind == Kind::TCP && Flags(headers.flags).opens();
    let mut origin = dir;
    for _ in 0..2 {
        if (!opens || origin == dir) && world.failsafe(&ends, origin) {
            return true;
        }
        origin = other(origin);
    }
    false
}
