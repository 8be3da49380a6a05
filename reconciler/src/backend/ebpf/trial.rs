//! Rules on trial, and the rehearsal before the first enforcement of a host.
//!
//! A rehearsal has the rules in the kernel and every hook attached, with audit and learning on: nothing is dropped, connections that
//! are open become known. It ends with one store that also begins the trial.

use std::time::Duration;

use enforcer::{Enforcer, Error, Table};

/// Puts `table` in force, on trial if a time is given; ends a rehearsal of the same table with one store.
pub(super) fn put(enforcer: &mut Enforcer, table: &Table, digest: [u8; 32], within: Option<Duration>) -> Result<u32, Error> {
    if enforcer.audits() {
        hold(enforcer, table, digest)?;
        return enforcer.end_rehearsal(within);
    }
    Ok(match within {
        Some(within) => enforcer.install_on_trial(table, digest, 0, within)?.epoch,
        None => enforcer.install(table, digest, 0)?.epoch,
    })
}

/// Has `table` judge without dropping anything.
pub(super) fn rehearse(enforcer: &mut Enforcer, table: &Table, digest: [u8; 32]) -> Result<(), Error> {
    // Before the rules, so that nothing is dropped even for a moment.
    enforcer.set_audit(true)?;
    enforcer.set_learning(true)?;
    hold(enforcer, table, digest)
}

/// Has the kernel hold `table`, if it does not.
fn hold(enforcer: &mut Enforcer, table: &Table, digest: [u8; 32]) -> Result<(), Error> {
    let seen = enforcer.observe()?;
    if seen.digest != digest || seen.table.as_ref() != Some(table) {
        enforcer.install(table, digest, 0)?;
    }
    Ok(())
}
