//! `drift accept` and `drift release`: orders to the controller, or decisions put straight into the records where none runs.

use super::args::{AcceptArgs, ReleaseArgs};
use crate::cli::Exit;
use crate::cli::operate::{by_hand, or_by_hand};
use crate::cli::output::{Output, escape};
use crate::run::control::Order;
use crate::run::control::differences;

/// Accepts a difference for a time.
pub(super) fn accept(args: &AcceptArgs, out: Output) -> anyhow::Result<Exit> {
    let AcceptArgs { id, reason, until, records } = args;
    let (until, wish) = (until.get(), Order::AcceptDrift { id: id.clone(), reason: reason.clone(), until: until.get() });
    let said = or_by_hand(records, &wish, |store, who| {
        by_hand(store, &wish, who, |store, who| async move { differences::accept(&store, id, reason, until, who).await })
    })?;
    out.line(escape(&said));
    Ok(Exit::Done)
}

/// Ends what was decided about a difference.
pub(super) fn release(args: &ReleaseArgs, out: Output) -> anyhow::Result<Exit> {
    let ReleaseArgs { id, reason, records } = args;
    let wish = Order::ReleaseDrift { id: id.clone(), reason: reason.clone() };
    let said = or_by_hand(records, &wish, |store, who| {
        by_hand(store, &wish, who, |store, who| async move { differences::release(&store, id, reason, who).await })
    })?;
    out.line(escape(&said));
    Ok(Exit::Done)
}
