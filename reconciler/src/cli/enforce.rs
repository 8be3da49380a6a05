//! `pci-segment enforce`: policy files on this host, without Git and without records.

use anyhow::bail;
use policy::compile::{Endpoint, compile};

use super::output::{Output, Tone};
use super::{EnforceArgs, Exit, explain, files, run, validate};
use crate::backend::ebpf::{Ebpf, Setup};
use crate::converge::{Managed, Target as _, judge_snapshot};

/// Enforces until Ctrl-C; `--keep` leaves the rules in force.
///
/// # Errors
/// Not compliant, not expressible, or the kernel refuses.
pub fn enforce(args: &EnforceArgs, out: Output) -> anyhow::Result<Exit> {
    let snapshot = files::load(&args.policies.files)?;
    let judgement = judge_snapshot(&snapshot, None, validate::today()?, None);
    let Some(admitted) = judgement.admitted.as_ref() else {
        out.note(format!(
            "{} errors; pci-segment validate -f {} shows them",
            judgement.counts().error,
            args.policies.files.join(" ")
        ));
        return Ok(Exit::Violations);
    };
    if args.failsafe.is_empty() && !args.no_failsafe {
        bail!("name who must never be locked out, for example --failsafe tcp/22@10.0.0.0/8, or say --no-failsafe");
    }
    let labels = explain::labels(&args.labels)?;
    if labels.is_empty() {
        bail!("no policy can select a host without labels; add for example --label pci-env=cde");
    }
    let failsafe = crate::run::failsafe_entries(&args.failsafe)?;
    let endpoint = Endpoint::host(labels);
    let setup = Setup { pins: &args.pin_dir, endpoint, interfaces: args.interfaces.clone(), failsafe, audit: args.audit };
    run::runtime()?.block_on(hold(setup, &compile(admitted), args, out))
}

async fn hold(setup: Setup<'_>, ruleset: &policy::compile::Ruleset, args: &EnforceArgs, out: Output) -> anyhow::Result<Exit> {
    let mut target = Managed::new(Ebpf::open(setup)?);
    if let Err(problems) = target.aim(ruleset) {
        bail!("this host cannot enforce it exactly: {}", problems.first().map_or("", |p| p.message.as_str()));
    }
    let plan = target.plan().await?;
    target.apply().await?;
    let rules = plan.map_or(0, |plan| plan.create.len() + plan.unchanged);
    let mode = if args.audit { "auditing" } else { "enforcing" };
    out.line(format!("{} {rules} rules on {}", out.paint(Tone::Good, mode), args.interfaces.join(", ")));
    if args.keep {
        out.note(format!("the rules stay in force; undo with: rm -r {}", args.pin_dir.display()));
        return Ok(Exit::Done);
    }
    out.note("Ctrl-C stops enforcing");
    tokio::signal::ctrl_c().await?;
    drop(target);
    enforcer::Enforcer::open(&args.pin_dir)?.remove_all()?;
    out.line("stopped: nothing is filtered by this command any more");
    Ok(Exit::Done)
}
