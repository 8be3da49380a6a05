//! Rules on trial, and the rehearsal before the first enforcement of a host.
//!
//! A rehearsal has the rules in the kernel and every hook attached, with audit and learning on: nothing is dropped, connections that
//! are open become known. It ends with one store that also begins the trial.

use std::collections::BTreeSet;
use std::time::Duration;

use enforcer::{Direction, Enforcer, Error, Installed, LiveFlow, Table, Took};

/// Puts `table` in force, on trial if a time is given; ends a rehearsal of the same table with one store. The generation, and how long
/// it took where one was built; none where enforcement was switched off meanwhile, and nothing is changed.
pub(super) fn put(
    enforcer: &mut Enforcer,
    table: &Table,
    digest: [u8; 32],
    within: Option<Duration>,
) -> Result<Option<(u32, Option<Took>)>, Error> {
    // Audit that has an end is no rehearsal: what ends it is its end, or whoever ordered it.
    if enforcer.disabled().is_some_and(|left| !left.is_zero()) {
        return Ok(None);
    }
    if enforcer.audits() {
        let held = hold(enforcer, table, digest)?;
        return Ok(Some((enforcer.end_rehearsal(within)?, held.map(|built| built.took))));
    }
    let built = match within {
        Some(within) => enforcer.install_on_trial(table, digest, 0, within)?,
        None => enforcer.install(table, digest, 0)?,
    };
    Ok(Some((built.epoch, Some(built.took))))
}

/// What was in force before may have been changed by hand: that is no way back, and the same rules once more take its place.
pub(super) fn with_way_back(
    enforcer: &mut Enforcer,
    table: &Table,
    digest: [u8; 32],
    put: (u32, Option<Took>),
) -> (u32, Option<Took>) {
    let again = match enforcer.way_back_is_whole() {
        Ok(true) => return put,
        Ok(false) => enforcer.install(table, digest, 0),
        Err(error) => Err(error),
    };
    match again {
        Ok(built) => (built.epoch, Some(built.took)),
        Err(error) => {
            tracing::warn!("the rules are in force, but their way back is not theirs: {}", crate::chain::chain(&error));
            put
        }
    }
}

/// Has `table` judge without dropping anything.
pub(super) fn rehearse(enforcer: &mut Enforcer, table: &Table, digest: [u8; 32]) -> Result<Option<Took>, Error> {
    // Before the rules, so that nothing is dropped even for a moment.
    enforcer.set_audit(true)?;
    enforcer.set_learning(true)?;
    Ok(hold(enforcer, table, digest)?.map(|built| built.took))
}

/// Has the kernel hold `table`, if it does not.
fn hold(enforcer: &mut Enforcer, table: &Table, digest: [u8; 32]) -> Result<Option<Installed>, Error> {
    let seen = enforcer.observe()?;
    let holds = seen.digest == digest && seen.table.as_ref() == Some(table);
    if holds { Ok(None) } else { enforcer.install(table, digest, 0).map(Some) }
}

/// What the rules would cut, in words: who holds it, who the peer is, which service. The port that the opener drew by lot is left out.
pub(super) fn cut(flows: &[LiveFlow]) -> Vec<String> {
    let lines: BTreeSet<String> = flows.iter().filter(|flow| !flow.allowed).map(words).collect();
    lines.into_iter().collect()
}

fn words(flow: &LiveFlow) -> String {
    let protocol = policy::net::Service::new(flow.proto, 0).protocol_name();
    let process = flow.process.as_ref().map_or_else(String::new, |process| format!("{process} "));
    match flow.origin {
        Direction::In => format!("{process}from {} to {protocol} port {}", flow.remote.ip(), flow.local.port()),
        Direction::Out => format!("{process}to {} {protocol} port {}", flow.remote.ip(), flow.remote.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(origin: Direction, allowed: bool, own: u16, peer: u16) -> LiveFlow {
        let (local, remote) = (([10, 0, 30, 11], own).into(), ([10, 0, 9, 11], peer).into());
        LiveFlow { local, remote, proto: 6, origin, allowed, process: Some("postgres (17)".to_owned()) }
    }

    #[test]
    fn what_would_be_cut_is_named_once_by_its_service_and_never_by_a_port_drawn_by_lot() {
        let flows = [
            flow(Direction::In, false, 8080, 40_001),
            flow(Direction::In, false, 8080, 40_002),
            flow(Direction::Out, false, 40_003, 443),
            flow(Direction::In, true, 5432, 40_004),
        ];
        assert_eq!(cut(&flows), ["postgres (17) from 10.0.9.11 to TCP port 8080", "postgres (17) to 10.0.9.11 TCP port 443"]);
    }
}
