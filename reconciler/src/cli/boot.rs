//! `pci-segment boot`: the last confirmed rules, before the network comes up.

use super::output::{Output, Tone, escape};
use super::{BootArgs, Exit, run};
use crate::config::{Config, HostMode};
use crate::run::{Booted, boot as bring_up};

/// Puts the last confirmed rules in force from the database alone.
///
/// # Errors
/// The configuration cannot be read, or the kernel does not allow it.
pub fn boot(args: &BootArgs, out: Output) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config)?;
    let booted = run::runtime()?.block_on(bring_up(&config, args.wait.get()))?;
    let (exit, missing) = match booted {
        Booted::NeverEnforced { why } => {
            out.line(format!("nothing is enforced: {why}"));
            (Exit::Done, Vec::new())
        }
        Booted::Already { missing } => {
            out.line("rules are in force already; nothing was replaced");
            (Exit::Done, missing)
        }
        Booted::Restored { commit, rules, missing } => {
            let word = out.paint(Tone::Good, "in force again");
            let on: Vec<&str> = config.host.interfaces.iter().filter(|name| !missing.contains(name)).map(String::as_str).collect();
            out.line(format!("{word}: {rules} rules of {commit} on {}", list(&on)));
            (Exit::Done, missing)
        }
        Booted::Off { what, missing } => {
            out.line(out.paint(Tone::Bad, &format!("ENFORCEMENT IS OFF, nothing is dropped {}", escape(&what))));
            out.note("the rules are in place and come back by themselves; end it with pci-segment resume");
            (Exit::Violations, missing)
        }
        Booted::Closed { why, missing } => {
            let closed = match config.host.mode {
                HostMode::Enforce => "CLOSED: everything is denied but the failsafe list",
                HostMode::Audit => "the last rules are lost; nothing is dropped, because host.mode is audit",
            };
            out.line(out.paint(Tone::Bad, closed));
            out.note(format!(
                "{why}; pci-segment run puts the head of the branch in force, pci-segment rescue detach opens the host"
            ));
            (Exit::Violations, missing)
        }
    };
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        out.note(format!("not there yet: {}; pci-segment run attaches what comes later", list(&names)));
    }
    Ok(exit)
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no interface yet".to_owned() } else { names.join(", ") }
}
