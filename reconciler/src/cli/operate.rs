//! `reconcile` and `confirm`: orders to a running controller on this host.

use std::path::PathBuf;

use super::output::Output;
use super::{ConfirmArgs, Exit, ReconcileArgs, RecordArgs};
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
