//! `reconcile`, `confirm`, `suspend`, `resume`, `rollback` and `disable`: orders to a running controller on this host.

use std::path::PathBuf;

use jiff::Timestamp;

use super::output::{Output, Tone, escape};
use super::rescue::ask;
use super::{ConfirmArgs, DisableArgs, Exit, Moment, ReconcileArgs, RecordArgs, ResumeArgs, RollbackArgs, SuspendArgs};
use crate::config::Config;
use crate::run::control::{Order, actor, answers, order};
use crate::store::Store;

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

/// Gives an order to the controller; where none runs, does the same to the records, which are then taken for that time.
///
/// # Errors
/// The controller refuses, or the records cannot be taken.
pub(super) fn or_by_hand<W>(args: &RecordArgs, wish: &Order, work: impl FnOnce(Store, String) -> W) -> anyhow::Result<String>
where
    W: Future<Output = anyhow::Result<String>>,
{
    let folder = folder(args)?;
    if answers(&folder)? {
        return order(&folder, wish);
    }
    let file = database(args)?;
    let host = if args.database.is_none() { Config::load(&args.config)?.host_name() } else { "localhost".to_owned() };
    let runtime = super::run::runtime()?;
    runtime.block_on(async {
        // Looking first: opening would make a database where there is none.
        Store::open_read_only(&file).await?.close().await;
        crate::run::keeper::writable(&file).await?;
        let store = Store::open(&file, &format!("host:{host}"), Timestamp::now()).await?;
        let done = work(store.clone(), actor(rustix::process::getuid().as_raw())).await;
        store.close().await;
        done
    })
}

/// Does something to the records, and puts it on record as an order, also where it is refused.
///
/// # Errors
/// Why not.
pub(super) async fn by_hand<W>(
    store: Store,
    wish: &Order,
    who: String,
    work: impl FnOnce(Store, String) -> W,
) -> anyhow::Result<String>
where
    W: Future<Output = Result<String, String>>,
{
    let done = work(store.clone(), who.clone()).await;
    let said = done.as_ref().unwrap_or_else(|why| why);
    let asked = serde_json::to_value(wish)?;
    store.note_order(asked, &who, "command", done.is_ok(), said, Timestamp::now()).await?;
    done.map_err(anyhow::Error::msg)
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
