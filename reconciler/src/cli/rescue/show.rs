//! What a firewall is like, as lines and as JSON.

use enforcer::{AttachmentState, Enforcer, Observed};
use serde_json::{Value, json};

use super::found::Found;
use crate::backend::nftables::firewall::Standing;
use crate::cli::Format;
use crate::cli::output::{Output, Tone, escape};

/// Shows all of them.
pub(super) fn show(found: &[Found], format: Format, out: Output) -> anyhow::Result<()> {
    if format == Format::Json {
        let all = found.iter().map(as_json).collect::<anyhow::Result<Vec<Value>>>()?;
        let mut all = all.into_iter();
        let mut first = all.next().unwrap_or_default();
        // Two at once is a host that changes from one to the other.
        if let (Some(fields), Some(other)) = (first.as_object_mut(), all.next()) {
            fields.insert("beside".to_owned(), other);
        }
        out.json(&first);
        return Ok(());
    }
    for one in found {
        match one {
            Found::Pins(pins, enforcer) => {
                out.line(format!("pinned at     {}", pins.display()));
                pinned(enforcer, out)?;
            }
            Found::Table(firewall) => {
                out.line("nftables      table inet pci_segment");
                table(&firewall.standing()?, out);
            }
        }
    }
    Ok(())
}

/// One generation in words.
fn generation(epoch: Option<u64>, audited: bool, out: Output) {
    match epoch {
        Some(epoch) if audited => {
            out.line(format!("generation    {epoch} {}", out.paint(Tone::Warning, "audited: nothing is dropped")));
        }
        Some(epoch) => out.line(format!("generation    {epoch} {}", out.paint(Tone::Good, "in force"))),
        None => out.line(out.paint(Tone::Warning, "generation    none: everything passes")),
    }
}

/// What is on trial: which, what comes after it, how many seconds are left.
fn trial(trial: Option<(u64, Option<u64>, u64)>, out: Output) {
    let after = |fallback: Option<u64>| fallback.map_or_else(|| "nothing is dropped".to_owned(), |old| format!("generation {old}"));
    out.line(match trial {
        None => "trial         nothing is on trial".to_owned(),
        Some((epoch, fallback, 0)) => {
            let now = fallback.map_or_else(|| "nothing is dropped".to_owned(), |old| format!("generation {old} judges packets"));
            format!("trial         generation {epoch} was not confirmed in time; {now}")
        }
        Some((epoch, fallback, left)) => {
            format!("trial         generation {epoch} for {left} s more, then {}; rescue confirm keeps it", after(fallback))
        }
    });
}

fn failsafe(list: &[String], out: Output) {
    list.iter().for_each(|line| out.line(format!("failsafe      {line}")));
}

fn table(seen: &Standing, out: Output) {
    generation(seen.epoch, seen.audited, out);
    trial(seen.trial.map(|trial| (trial.epoch, trial.fallback, trial.left.as_secs())), out);
    if seen.interfaces.is_empty() {
        out.line(out.paint(Tone::Warning, "interface     none: nothing is filtered"));
    }
    seen.interfaces.iter().for_each(|name| out.line(format!("interface     {}", escape(name))));
    for found in &seen.damage {
        out.line(format!("{} {}: {}", out.paint(Tone::Bad, "damage       "), escape(&found.key), escape(&found.observed)));
    }
    failsafe(&seen.failsafe, out);
}

fn pinned(enforcer: &Enforcer, out: Output) -> anyhow::Result<()> {
    let seen = enforcer.observe()?;
    generation(seen.table.as_ref().map(|_| u64::from(seen.epoch)), seen.audit, out);
    trial(of(&seen), out);
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
        out.line(format!("{} {:?}: {}", out.paint(Tone::Bad, "damage       "), found.kind, escape(&found.detail)));
    }
    failsafe(&entries(enforcer)?, out);
    Ok(())
}

/// The trial of a pinned firewall; what falls back to itself falls back to being audited.
fn of(seen: &Observed) -> Option<(u64, Option<u64>, u64)> {
    seen.trial.as_ref().map(|trial| {
        let fallback = (trial.fallback != trial.epoch).then(|| u64::from(trial.fallback));
        (u64::from(trial.epoch), fallback, if trial.is_over() { 0 } else { trial.left.as_secs().max(1) })
    })
}

fn entries(enforcer: &Enforcer) -> anyhow::Result<Vec<String>> {
    let entry =
        |own: &enforcer::FailsafeEntry| format!("{} protocol {} port {} {}", own.direction.label(), own.proto, own.port, own.peer);
    Ok(enforcer.failsafe()?.iter().map(entry).collect())
}

fn as_json(found: &Found) -> anyhow::Result<Value> {
    let trial = |trial: Option<(u64, Option<u64>, u64)>| {
        trial.map(|(epoch, fallback, left)| json!({ "epoch": epoch, "fallback": fallback.unwrap_or(epoch), "seconds_left": left }))
    };
    match found {
        Found::Pins(_, enforcer) => {
            let seen = enforcer.observe()?;
            let hooks = seen.attachments.iter().map(|hook| {
                let state = format!("{:?}", hook.state).to_lowercase();
                json!({ "interface": hook.ifname, "direction": hook.direction.label(), "state": state })
            });
            Ok(json!({
                "backend": "ebpf",
                "epoch": seen.epoch,
                "enforcing": seen.table.is_some() && !seen.audit,
                "audit": seen.audit,
                "trial": trial(of(&seen)),
                "attachments": hooks.collect::<Vec<_>>(),
                "damage": seen.tampering.iter().map(|found| format!("{:?}: {}", found.kind, found.detail)).collect::<Vec<_>>(),
                "failsafe": entries(enforcer)?,
            }))
        }
        Found::Table(firewall) => {
            let seen = firewall.standing()?;
            let hooks = seen.interfaces.iter().flat_map(|name| {
                ["in", "out"].map(|direction| json!({ "interface": name, "direction": direction, "state": "attached" }))
            });
            Ok(json!({
                "backend": "nftables",
                "epoch": seen.epoch.unwrap_or_default(),
                "enforcing": seen.epoch.is_some() && !seen.audited,
                "audit": seen.audited,
                "trial": trial(seen.trial.map(|trial| (trial.epoch, trial.fallback, trial.left.as_secs()))),
                "attachments": hooks.collect::<Vec<_>>(),
                "damage": seen.damage.iter().map(|found| format!("{}: {}", found.key, found.observed)).collect::<Vec<_>>(),
                "failsafe": seen.failsafe,
            }))
        }
    }
}
