//! `pci-segment rescue`: the firewall itself, from a bare shell. Only the BPF file system is needed: no configuration, no database, no
//! controller. What was done is put on record where that is possible, and where it is not, that is said.

mod args;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use enforcer::{AttachmentState, Enforcer, Observed};
use jiff::Timestamp;
use serde_json::json;

pub use self::args::{RescueArgs, RescueCommand};
use super::output::{Output, Tone};
use super::{Exit, Format, run};
use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::chain::chain;
use crate::config::Config;
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
    let Some(mut firewall) = Enforcer::open_existing(&pins)? else {
        out.line(format!("nothing is pinned at {}: this host is not filtered from there", pins.display()));
        return Ok(Exit::Done);
    };
    let done = match command {
        RescueCommand::Status { format, .. } => {
            show(&firewall, &pins, *format, out)?;
            return Ok(Exit::Done);
        }
        RescueCommand::Confirm(_) => confirm(&mut firewall)?,
        RescueCommand::Rollback(_) => roll_back(&mut firewall)?,
        RescueCommand::Audit(args) => {
            ask("Nothing will be dropped on this host until pci-segment rescue enforce. Go on?", args, out)?;
            audit(&mut firewall)?
        }
        RescueCommand::Enforce(_) => {
            firewall.set_learning(false)?;
            firewall.set_audit(false)?;
            "what no rule allows is dropped again".to_owned()
        }
        RescueCommand::Detach(args) => {
            ask("Every hook and every rule will be removed; this host will not be filtered. Go on?", args, out)?;
            warn_of_controller(config.as_ref(), out);
            firewall.remove_all()?;
            "every hook and every rule is removed: this host is not filtered".to_owned()
        }
    };
    out.line(&done);
    match on_record(config.as_ref(), command.word(), &done) {
        Ok(()) => out.note("on record in the audit log"),
        Err(error) => out.note(format!("NOT on record: {}", chain(error.as_ref()))),
    }
    Ok(Exit::Done)
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
fn ask(question: &str, args: &RescueArgs, out: Output) -> anyhow::Result<()> {
    if args.yes {
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

fn confirm(firewall: &mut Enforcer) -> anyhow::Result<String> {
    Ok(match firewall.confirm()? {
        Some(epoch) => format!("generation {epoch} stays in force"),
        None => "nothing is on trial".to_owned(),
    })
}

fn roll_back(firewall: &mut Enforcer) -> anyhow::Result<String> {
    let Some(epoch) = firewall.roll_back()? else { bail!("there is no way back: no other generation was in force here") };
    let audited = if firewall.audits() { ", and nothing is dropped" } else { "" };
    Ok(format!("generation {epoch} is in force{audited}"))
}

/// A trial ends first: its deadline would take audit back.
fn audit(firewall: &mut Enforcer) -> anyhow::Result<String> {
    if firewall.trial()?.is_some() {
        firewall.roll_back()?;
    }
    firewall.set_audit(true)?;
    Ok("nothing is dropped; what would be is counted".to_owned())
}

fn warn_of_controller(config: Result<&Config, &anyhow::Error>, out: Output) {
    let Ok(config) = config else { return };
    if std::os::unix::net::UnixStream::connect(socket(config.database.folder())).is_ok() {
        out.note("a controller runs on this host and will put the rules back; stop it first to stay unfiltered");
    }
}

/// Through the controller that runs, else in its database.
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
    let actor = format!("uid:{}", rustix::process::getuid().as_raw());
    let payload = json!({ "what": what, "outcome": outcome });
    let draft = Draft { kind: kind::RESCUED, actor: &actor, origin: &origin, object: "firewall", ..Draft::at(now) };
    let event = AuditEvent::new(Draft { outcome: Ended::Done, payload, ..draft })?;
    run::runtime()?.block_on(async {
        let store = Store::open(config.database.as_path(), &origin, now).await?;
        store.append(event).await?;
        store.close().await;
        Ok(())
    })
}

fn show(firewall: &Enforcer, pins: &Path, format: Format, out: Output) -> anyhow::Result<()> {
    let seen = firewall.observe()?;
    let failsafe = firewall.failsafe()?;
    let entry =
        |own: &enforcer::FailsafeEntry| format!("{} protocol {} port {} {}", own.direction.label(), own.proto, own.port, own.peer);
    let failsafe: Vec<String> = failsafe.iter().map(entry).collect();
    if format == Format::Json {
        out.json(&as_json(&seen, &failsafe));
        return Ok(());
    }
    out.line(format!("pinned at     {}", pins.display()));
    match &seen.table {
        Some(_) if seen.audit => {
            out.line(format!("generation    {} {}", seen.epoch, out.paint(Tone::Warning, "audited: nothing is dropped")));
        }
        Some(_) => out.line(format!("generation    {} {}", seen.epoch, out.paint(Tone::Good, "in force"))),
        None => out.line(out.paint(Tone::Warning, "generation    none: everything passes")),
    }
    match &seen.trial {
        None => out.line("trial         nothing is on trial"),
        Some(trial) if trial.is_over() => out.line(format!(
            "trial         generation {} was not confirmed in time; generation {} judges packets",
            trial.epoch, trial.fallback
        )),
        Some(trial) => out.line(format!(
            "trial         generation {} for {} s more, then {}; rescue confirm keeps it",
            trial.epoch,
            trial.left.as_secs(),
            if trial.fallback == trial.epoch { "nothing is dropped".to_owned() } else { format!("generation {}", trial.fallback) }
        )),
    }
    for hook in &seen.attachments {
        let good = hook.state == AttachmentState::Attached;
        let state = format!("{:?}", hook.state).to_lowercase();
        let state = out.paint(if good { Tone::Good } else { Tone::Bad }, &state);
        out.line(format!("hook          {} {} {state}", hook.ifname, hook.direction.label()));
    }
    if seen.attachments.is_empty() {
        out.line(out.paint(Tone::Warning, "hook          none: nothing is filtered"));
    }
    for found in &seen.tampering {
        out.line(format!("{} {:?}: {}", out.paint(Tone::Bad, "damage       "), found.kind, super::output::escape(&found.detail)));
    }
    for line in &failsafe {
        out.line(format!("failsafe      {line}"));
    }
    Ok(())
}

fn as_json(seen: &Observed, failsafe: &[String]) -> serde_json::Value {
    let trial =
        seen.trial.map(|trial| json!({ "epoch": trial.epoch, "fallback": trial.fallback, "seconds_left": trial.left.as_secs() }));
    let hooks = seen.attachments.iter().map(|hook| {
        json!({ "interface": hook.ifname, "direction": hook.direction.label(), "state": format!("{:?}", hook.state).to_lowercase() })
    });
    json!({
        "epoch": seen.epoch,
        "enforcing": seen.table.is_some() && !seen.audit,
        "audit": seen.audit,
        "trial": trial,
        "attachments": hooks.collect::<Vec<_>>(),
        "damage": seen.tampering.iter().map(|found| format!("{:?}: {}", found.kind, found.detail)).collect::<Vec<_>>(),
        "failsafe": failsafe,
    })
}
