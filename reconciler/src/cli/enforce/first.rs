//! From policy files to rules in force: open connections are learnt first on a host that was never enforced, and rules on trial wait
//! for somebody to confirm them.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::bail;
use enforcer::Enforcer;
use policy::compile::Ruleset;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::Ends;
use crate::cli::EnforceArgs;
use crate::cli::output::Output;
use crate::converge::{NotLowered, Target};

/// How long open connections are learnt.
const LEARNING: Duration = Duration::from_secs(30);
/// Between two looks at a trial.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How far it came.
pub(super) enum Put {
    /// This many rules are in force.
    InForce(usize),
    /// They are, for a while.
    OnTrial { rules: usize, within: Duration },
    /// A signal came, or somebody said no, before anything was dropped.
    Stopped,
}

impl Put {
    /// How many rules judge packets.
    pub(super) fn in_force(&self) -> Option<usize> {
        match self {
            Self::InForce(rules) | Self::OnTrial { rules, .. } => Some(*rules),
            Self::Stopped => None,
        }
    }
}

/// One run of the command.
pub(super) struct Work<'a> {
    pub guarded: bool,
    pub args: &'a EnforceArgs,
    pub out: Output,
    pub ends: &'a mut Ends,
}

impl Work<'_> {
    /// Every interface is checked before anything changes.
    pub(super) async fn put_in_force(&mut self, target: &mut dyn Target, ruleset: &Ruleset) -> anyhow::Result<Put> {
        let args = self.args;
        if target.backend() == "ebpf" {
            args.interfaces.iter().try_for_each(|interface| Enforcer::check_interface(interface))?;
        }
        match target.aim(ruleset) {
            Ok(()) => {}
            Err(NotLowered::Unsupported(problems)) => {
                bail!("this host cannot enforce it exactly: {}", problems.first().map_or("", |p| p.message.as_str()));
            }
            Err(NotLowered::Failed(error)) => return Err(error.into()),
        }
        let plan = target.plan().await?;
        let rules = plan.map_or(0, |plan| plan.create.len() + plan.unchanged);
        if !self.guarded && !args.audit && !args.no_learning && !self.learnt(target).await? {
            return Ok(Put::Stopped);
        }
        let within = args.confirm_within.map(crate::config::Interval::get);
        target.apply(within).await?;
        Ok(within.map_or(Put::InForce(rules), |within| Put::OnTrial { rules, within }))
    }

    /// Learns open connections with nothing dropped, lists what would be cut, and asks where there is somebody to ask. False: not now.
    async fn learnt(&mut self, target: &mut dyn Target) -> anyhow::Result<bool> {
        target.rehearse().await?;
        self.out.note(format!(
            "learning open connections for {} s, nothing is dropped yet; --no-learning skips this, Ctrl-C stops",
            LEARNING.as_secs()
        ));
        tokio::select! {
            () = tokio::time::sleep(LEARNING) => {}
            () = self.ends.wait() => return Ok(false),
        }
        let cut = target.rehearse().await?.cut;
        for line in &cut {
            self.out.note(format!("cuts {line}"));
        }
        if cut.is_empty() || !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Ok(true);
        }
        let asked = tokio::task::spawn_blocking(|| inquire::Confirm::new("Cut them?").with_default(false).prompt());
        Ok(asked.await??)
    }

    /// Waits for Enter, or for `pci-segment rescue confirm`, until the time is over or a signal comes.
    pub(super) async fn confirmed(&mut self, target: &mut dyn Target, within: Duration) -> anyhow::Result<bool> {
        let seconds = within.as_secs();
        let pins = format!(" --pins {}", self.args.pin_dir.display());
        let which = if target.backend() == "ebpf" { pins.as_str() } else { "" };
        self.out.note(format!("on trial for {seconds} s: press Enter to keep the rules, or say pci-segment rescue confirm{which}"));
        let mut line = String::new();
        let mut keys = BufReader::new(tokio::io::stdin());
        let mut listening = true;
        loop {
            tokio::select! {
                read = keys.read_line(&mut line), if listening => match read {
                    // Nobody is there to press anything.
                    Ok(0) | Err(_) => listening = false,
                    Ok(_) => {
                        target.confirm().await?;
                        self.out.note("confirmed");
                        return Ok(true);
                    }
                },
                () = tokio::time::sleep(LOOK_AGAIN) => match target.trial().await? {
                    // Somebody else ended the trial: with audit, if it was taken back on a host without rules before.
                    None => return Ok(!target.plan().await?.is_some_and(|plan| plan.audited)),
                    Some(trial) if trial.is_over() => break,
                    Some(_) => {}
                },
                () = self.ends.wait() => break,
            }
        }
        target.roll_back().await?;
        Ok(false)
    }
}
