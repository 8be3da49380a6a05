//! `pci-segment cloud-sync`: policy files into the groups of a cloud, without a controller.

mod apply;
mod show;

use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Args;
use policy::digest::Digest;
use policy::plan::Limits;
use serde_json::json;

use self::apply::{Done, apply};
use super::cloud::{CloudArgs, Judged, plan};
use super::output::{Output, escape};
use super::validate::ValidateFormat;
use super::{Exit, Format, run};
use crate::backend::cloud::{Opening, open};
use crate::config::CloudConfig;
use crate::converge::{Target, TargetPlan};

/// What `--help` says.
pub(super) const HELP: &str = "Validates the files, shows what would change, asks, and changes it: groups and rules that allow first, read \
    back twice, then what is taken away. At every moment passes what old and new rules both allow. A call that fails stops the rest; what \
    was added stays, nothing more is removed, and the next run begins by looking.\n\n\
    Only groups with the tag pci-segment=ID are touched, where ID is --installation. A controller (`run`) has an id of its own: the two \
    refuse each other's groups, so keep one of them for a network, or give this command the controller's id while that does not run. \
    Nothing is recorded here; `run` keeps an audit log.\n\n\
    A plan that would remove or change more than 30 % of the rules, more than 200, or all of them, waits for --confirm with the hash that \
    is shown. Without a terminal to ask on, --yes is needed.\n\n\
    Exit codes: 0 in force, or nothing to do; 1 not compliant, or not confirmed; 2 could not run.";

/// `cloud-sync`
#[derive(Debug, Args)]
pub struct CloudSyncArgs {
    /// Policies and cloud.
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Shows what would change, and changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Does not ask; needed where there is no terminal
    #[arg(short, long)]
    pub yes: bool,
    /// Confirms a plan that is over the limits, by the hash that was shown
    #[arg(long, value_name = "HASH")]
    pub confirm: Option<String>,
    /// How to show plan and result
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// What became of a run, beside its plan.
enum Ended {
    /// Nothing was to be done, or only shown.
    Shown,
    /// Over the limits, and not confirmed.
    Held(Vec<String>),
    Applied(Vec<Done>),
}

/// Plans, asks, applies.
///
/// # Errors
/// Files or cloud cannot be read, a call fails, or there is nobody to ask.
pub fn cloud_sync(args: &CloudSyncArgs, out: Output) -> anyhow::Result<Exit> {
    let config = CloudConfig::load(&args.cloud.config)?;
    let judged = Judged::of(&args.cloud, &config)?;
    let format = match args.format {
        Format::Human => ValidateFormat::Human,
        Format::Json => ValidateFormat::Json,
    };
    let Some(ruleset) = judged.ruleset(format, out) else { return Ok(Exit::Violations) };
    run::runtime()?.block_on(async {
        let mut targets = open(&config, &Opening::of(&args.cloud.installation)).await?;
        let plans = plan(&mut targets, &ruleset, out).await?;
        if args.format == Format::Human {
            plans.iter().for_each(|plan| show::plan(plan, out));
        }
        let ended = carry_out(args, config.dry_run, &mut targets, &plans, out).await?;
        finish(args, &plans, &ended, out)
    })
}

async fn carry_out(
    args: &CloudSyncArgs,
    dry_run: bool,
    targets: &mut [Box<dyn Target>],
    plans: &[TargetPlan],
    out: Output,
) -> anyhow::Result<Ended> {
    if let Some(problem) = targets.iter().find_map(|target| target.narrow().first()) {
        bail!("nothing was changed: {}", problem.message);
    }
    if args.dry_run || dry_run || plans.iter().all(TargetPlan::is_empty) {
        return Ok(Ended::Shown);
    }
    let why = over_limits(targets);
    let hash = whole(plans);
    if !why.is_empty() && args.confirm.as_deref() != Some(&hash) {
        return Ok(Ended::Held(why));
    }
    if !args.yes {
        ask()?;
        // Somebody may have been faster than the answer.
        for (target, shown) in targets.iter_mut().zip(plans) {
            let now = target.plan().await?.map(|plan| plan.hash);
            if now != Some(shown.hash) {
                bail!("{} has changed since the plan was shown; run this again", target.name());
            }
        }
    }
    Ok(Ended::Applied(apply(targets, plans, args.format, out).await))
}

/// What a person has to confirm.
fn over_limits(targets: &[Box<dyn Target>]) -> Vec<String> {
    let limits = Limits::default();
    let of = |target: &dyn Target| {
        let excess = target.excess(&limits).map(|excess| excess.to_string());
        excess.or_else(|| target.excess_of_group(&limits)).or_else(|| target.waits()).map(|why| format!("{}: {why}", target.name()))
    };
    targets.iter().filter_map(|target| of(target.as_ref())).collect()
}

/// All plans as one hash.
fn whole(plans: &[TargetPlan]) -> String {
    let bytes: Vec<u8> = plans.iter().flat_map(|plan| plan.hash.0).collect();
    format!("{:.12}", Digest::of(&bytes))
}

fn ask() -> anyhow::Result<()> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        bail!("there is no terminal to ask on: look at the plan with --dry-run, then say --yes");
    }
    match inquire::Confirm::new("Make these changes?").with_default(false).prompt()? {
        true => Ok(()),
        false => bail!("nothing was changed"),
    }
}

fn finish(args: &CloudSyncArgs, plans: &[TargetPlan], ended: &Ended, out: Output) -> anyhow::Result<Exit> {
    let hash = whole(plans);
    let (held, done) = match ended {
        Ended::Shown => (&[][..], &[][..]),
        Ended::Held(why) => (why.as_slice(), &[][..]),
        Ended::Applied(done) => (&[][..], done.as_slice()),
    };
    match args.format {
        Format::Json => out.json(&json!({
            "hash": hash,
            "applied": matches!(ended, Ended::Applied(_)) && done.iter().all(|one| one.error.is_none()),
            "held": held,
            "targets": plans,
            "results": done,
        })),
        Format::Human => show::end(plans, ended, out),
    }
    let first = done.iter().find_map(|one| one.error.as_deref().map(|error| (one, error)));
    match (first, held) {
        (Some((one, error)), _) => bail!("{}: {}; run this again: it begins with what is there", one.target, escape(error)),
        (None, []) => Ok(Exit::Done),
        (None, _) => {
            out.note(format_args!("nothing was changed: read the plan, then say --confirm {hash}"));
            Ok(Exit::Violations)
        }
    }
}
