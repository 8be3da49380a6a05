//! `reconcile`, `confirm`, `suspend`, `resume`, `rollback` and `disable`: orders to a running controller on this host.

use std::path::PathBuf;

use super::output::{Output, Tone, escape};
use super::rescue::ask;
use super::{ConfirmArgs, DisableArgs, Exit, Moment, ReconcileArgs, RecordArgs, ResumeArgs, RollbackArgs, SuspendArgs};
use crate::config::Config;
use crate::run::control::{Order, order};

/// Looks now; accepts a head that was refused.
///
/// # Errors
/// No controller answers, or it refuses.
pub fn reconcile(args: &ReconcileArgs, out: Output) -> anyhow::Result<Exit> {
    let wish = match (&args.accept_head, &args.reason) {
        (Some(commit), Some(reason)) => Order::AcceptHead { commit: commit.clone(), reason: reason.clone() },
        _ => Order::Reconcile,
    };
    out.line(order(&folder(&args.records)?, &wish)?);
    Ok(Exit::Done)
}

/// Keeps what is on trial, or releases a held plan.
///
/// # Errors
/// No controller answers, or it refuses.
pub fn confirm(args: &ConfirmArgs, out: Output) -> anyhow::Result<Exit> {
    let wish = Order::Confirm { hash: args.hash.clone(), reason: args.reason.clone() };
    out.line(order(&folder(&args.records)?, &wish)?);
    Ok(Exit::Done)
}

/// Holds changes back.
///
/// # Errors
/// No controller answers, or it refuses.
pub fn suspend(args: &SuspendArgs, out: Output) -> anyhow::Result<Exit> {
    let wish = Order::Suspend { reason: args.reason.clone(), until: args.until.map(Moment::get) };
    out.line(escape(&order(&folder(&args.records)?, &wish)?));
    Ok(Exit::Done)
}

/// Ends what holds.
///
/// # Errors
/// No controller answers, or nothing holds.
pub fn resume(args: &ResumeArgs, out: Output) -> anyhow::Result<Exit> {
    let wish = Order::Resume { only: args.only, reason: args.reason.clone() };
    out.line(escape(&order(&folder(&args.records)?, &wish)?));
    Ok(Exit::Done)
}

/// Goes back to an earlier commit.
///
/// # Errors
/// No controller answers, or the commit cannot be gone back to.
pub fn rollback(args: &RollbackArgs, out: Output) -> anyhow::Result<Exit> {
    let wish = Order::Rollback { commit: args.commit.clone(), reason: args.reason.clone() };
    out.line(escape(&order(&folder(&args.records)?, &wish)?));
    Ok(Exit::Done)
}

/// Switches enforcement off for a time.
///
/// # Errors
/// A question was not answered, no controller answers, or it refuses.
pub fn disable(args: &DisableArgs, out: Output) -> anyhow::Result<Exit> {
    let until = args.until.get().strftime("%Y-%m-%d %H:%M:%S UTC");
    ask(&format!("Nothing will be dropped on this host until {until}. Go on?"), args.yes, out)?;
    let wish = Order::Disable { reason: args.reason.clone(), until: args.until.get() };
    let said = order(&folder(&args.records)?, &wish).inspect_err(|_| {
        out.note("nothing was switched off; where no controller answers there is pci-segment rescue audit");
    })?;
    out.line(out.paint(Tone::Bad, &escape(&said)));
    Ok(Exit::Done)
}

fn folder(args: &RecordArgs) -> anyhow::Result<PathBuf> {
    let database = database(args)?;
    Ok(database.parent().map(PathBuf::from).unwrap_or_default())
}

/// The database: named, or the configuration's.
///
/// # Errors
/// The configuration cannot be read.
pub fn database(args: &RecordArgs) -> anyhow::Result<PathBuf> {
    match &args.database {
        Some(file) => Ok(file.clone()),
        None => Ok(Config::load(&args.config)?.database.as_path().to_owned()),
    }
}
