//! The hooks of the configured interfaces.
//!
//! What does not exist yet is guarded as soon as it does, and keeps nothing from the others. Early drop is an advantage, never a
//! condition: where it cannot be had, everything is judged all the same, a little later, and the log says so.

use enforcer::{Enforcer, Error, XdpState};

use crate::chain::chain;

/// The interfaces that are there.
pub(super) fn present(interfaces: &[String]) -> Result<Vec<String>, Error> {
    let mut there = Vec::with_capacity(interfaces.len());
    for name in interfaces {
        if Enforcer::interface(name)?.is_some() {
            there.push(name.clone());
        }
    }
    Ok(there)
}

/// Refuses what can never be guarded.
pub(super) fn check_all(interfaces: &[String]) -> Result<(), Error> {
    present(interfaces)?.iter().try_for_each(|interface| Enforcer::check_interface(interface))
}

/// Attaches every interface that is there; one that cannot be attached does not keep the others from being guarded.
pub(super) fn attach_all(enforcer: &mut Enforcer, interfaces: &[String], xdp: bool) -> Result<(), Error> {
    let there = present(interfaces)?;
    let failed = there.iter().filter_map(|interface| enforcer.attach(interface).err()).next_back();
    there.iter().for_each(|interface| drop_early(enforcer, interface, xdp));
    // One that has just gone is seen to be absent by the next look.
    failed.filter(|error| !matches!(error, Error::NoInterface { .. })).map_or(Ok(()), Err)
}

/// Turns early drop on or off where rules are in force already: the configuration may be another one than at the last start.
pub(super) fn drop_early_where_guarded(enforcer: &mut Enforcer, interfaces: &[String], on: bool) -> Result<(), Error> {
    let seen = enforcer.glance()?;
    if seen.epoch != 0 {
        let guarded = |name: &&String| seen.attachments.iter().any(|hook| hook.ifname == **name);
        present(interfaces)?.iter().filter(guarded).for_each(|interface| drop_early(enforcer, interface, on));
    }
    Ok(())
}

/// Turns early drop of one interface on or off; says loudly where it was asked for and cannot be had.
pub(super) fn drop_early(enforcer: &mut Enforcer, interface: &str, on: bool) {
    let why = match enforcer.set_xdp(interface, on) {
        Ok(XdpState::Native | XdpState::Off) => return,
        Ok(XdpState::Busy { by }) => format!("{by} has the hook"),
        Ok(XdpState::Unsupported { why }) => why,
        Ok(XdpState::Detached) => "the program was detached".to_owned(),
        Err(error) => chain(&error),
    };
    if on {
        tracing::warn!(interface, "host.xdp: native has no effect: {why}; what no rule allows is dropped by TC, as without it");
    } else {
        tracing::warn!(interface, "early drop cannot be ended: {why}");
    }
}
