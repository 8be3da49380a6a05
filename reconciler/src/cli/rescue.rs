//! `pci-segment rescue`: the firewall itself, from a bare shell. Only the BPF file system is needed, or `nft` where nftables enforces: no
//! configuration, no database, no controller. What was done is put on record where that is possible, and where it is not, that is said.

mod args;
mod found;
mod show;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::json;

pub use self::args::{RescueArgs, RescueCommand};
use self::found::Found;
use self::show::show;
use super::output::Output;
use super::{Exit, run};
use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::chain::chain;
use crate::config::Config;
use crate::converge::DISABLED;
use crate::run::control::{Order, order, socket};
use crate::store::Store;

/// Where programs and maps are pinned unless something else is said.
const PINS: &str = "/sys/fs/bpf/pci-segment";

/// Looks at the firewall, or takes it in hand.
///
/// # Errors
/// Nothing is pinned there, the kernel refuses, or a question was not answered.
pub fn rescue(command: &RescueCommand, out: Output) -> anyhow::Result<Exit> {
    let args = command.args();
    let config = config_of(args);
    let pins = pins_of(args, config.as_ref());
    let found = Found::all(pins.clone(), args.pins.is_some())?;
    if found.is_empty() {
        let table = if args.pins.is_some() { "" } else { ", and there is no table inet pci_segment" };
        out.line(format!("nothing is pinned at {}{table}: this host is not filtered from there", pins.display()));
        return Ok(Exit::Done);
    }
    if let RescueCommand::Status { format, .. } = command {
        show(&found, *format, out)?;
        return Ok(Exit::Done);
    }
    may_go_on(command, config.as_ref(), out)?;
    if let RescueCommand::Audit(_) = command
        && let Err(error) = no_end(config.as_ref())
    {
        out.note(format!("if enforcement was off until a certain time, that is still on record: {}", chain(error.as_ref())));
    }
    let (mut done, mut failed) = (Vec::new(), None);
    for one in found {
        match act(command, one) {
            Ok(said) if done.contains(&said) => {}
            Ok(said) => done.push(said),
            Err(error) => failed = Some(error),
        }
    }
    let done = done.join("; ");
    if !done.is_empty() {
        out.line(&done);
        match on_record(config.as_ref(), command.word(), &done) {
            Ok(()) => out.note("on record in the audit log"),
            Err(error) => out.note(format!("NOT on record: {}", chain(error.as_ref()))),
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}

/// Asks where the host is opened.
fn may_go_on(command: &RescueCommand, config: Result<&Config, &anyhow::Error>, out: Output) -> anyhow::Result<()> {
    match command {
        RescueCommand::Audit(args) => {
            ask("Nothing will be dropped on this host until pci-segment rescue enforce. Go on?", args.yes, out)
        }
        RescueCommand::Detach(args) => {
            ask("Every hook and every rule will be removed; this host will not be filtered. Go on?", args.yes, out)?;
            warn_of_controller(config, out);
            Ok(())
        }
        RescueCommand::Status { .. } | RescueCommand::Confirm(_) | RescueCommand::Rollback(_) | RescueCommand::Enforce(_) => Ok(()),
    }
}

fn act(command: &RescueCommand, mut found: Found) -> anyhow::Result<String> {
    match command {
        RescueCommand::Confirm(_) => found.confirm(),
        RescueCommand::Rollback(_) => found.roll_back(),
        RescueCommand::Audit(_) => found.audit(),
        RescueCommand::Enforce(_) => found.enforce(),
        RescueCommand::Detach(_) => found.detach(),
        RescueCommand::Status { .. } => bail!("nothing is to be done for a look"),
    }
}

fn config_of(args: &RescueArgs) -> anyhow::Result<Config> {
    Config::load(&args.config).with_context(|| format!("{} cannot be read", args.config.display()))
}

fn pins_of(args: &RescueArgs, config: Result<&Config, &anyhow::Error>) -> PathBuf {
    match (&args.pins, config) {
        (Some(pins), _) => pins.clone(),
        (None, Ok(config)) => config.host.pin_dir.clone(),
        (None, Err(_)) => PathBuf::from(PINS),
    }
}

/// Asks on a terminal; elsewhere `--yes` is needed.
pub(super) fn ask(question: &str, yes: bool, out: Output) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        bail!("this opens the host; there is no terminal to ask on, so say --yes");
    }
    if !inquire::Confirm::new(question).with_default(false).prompt()? {
        bail!("nothing was changed");
    }
    out.note("going on");
    Ok(())
}

fn warn_of_controller(config: Result<&Config, &anyhow::Error>, out: Output) {
    let Ok(config) = config else { return };
    if std::os::unix::net::UnixStream::connect(socket(config.database.folder())).is_ok() {
        out.note("a controller runs on this host and will put the rules back; stop it first to stay unfiltered");
    }
}

/// A time for which enforcement was off ends with a firewall that drops: with audit that lasts, it must not be on record any more. That
/// is so before anything is touched, as the controller acts on what is on record.
fn no_end(config: Result<&Config, &anyhow::Error>) -> anyhow::Result<()> {
    let Ok(config) = config else { return Ok(()) };
    let folder = config.database.folder();
    if std::os::unix::net::UnixStream::connect(socket(folder)).is_ok() {
        return order(folder, &Order::Rescuing).map(drop);
    }
    if !config.database.as_path().exists() {
        return Ok(());
    }
    let (now, origin) = (Timestamp::now(), format!("host:{}", config.host_name()));
    run::runtime()?.block_on(async {
        let store = Store::open(config.database.as_path(), &origin, now).await?;
        store.switch_clear(DISABLED.to_owned(), uid(), "pci-segment rescue audit".to_owned(), now).await?;
        store.close().await;
        Ok(())
    })
}

fn uid() -> String {
    crate::run::control::actor(rustix::process::getuid().as_raw())
}

/// Through the controller that runs, else in its database; also in one on which no controller may start. Who opens a host in need is to
/// be on record anywhere, and the row hides nothing: a log that is cut and goes on never gives the root that was signed of it again.
fn on_record(config: Result<&Config, &anyhow::Error>, what: &str, outcome: &str) -> anyhow::Result<()> {
    let config = config.map_err(|error| anyhow::anyhow!("{}", chain(error.as_ref())))?;
    let folder = config.database.folder();
    if std::os::unix::net::UnixStream::connect(socket(folder)).is_ok() {
        return order(folder, &Order::Rescued { what: what.to_owned(), outcome: outcome.to_owned() }).map(drop);
    }
    if !config.database.as_path().exists() {
        bail!("there is no database at {}", config.database.as_path().display());
    }
    let (now, origin) = (Timestamp::now(), format!("host:{}", config.host_name()));
    let actor = uid();
    let payload = json!({ "what": what, "outcome": outcome });
    let draft = Draft { kind: kind::RESCUED, actor: &actor, origin: &origin, object: "firewall", ..Draft::at(now) };
    let event = AuditEvent::new(Draft { outcome: Ended::Done, payload, ..draft })?;
    run::runtime()?.block_on(async {
        let store = Store::open(config.database.as_path(), &origin, now).await?;
        store.append(event).await?;
        if what == "enforce" {
            // Whoever has the firewall enforce again does not want the next start to switch it off again.
            store.switch_clear(DISABLED.to_owned(), actor.clone(), "pci-segment rescue enforce".to_owned(), now).await?;
        }
        store.close().await;
        Ok(())
    })
}
