//! `pci-segment plan`: what a pass would change, without changing it.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use policy::admit::{Circumstances, admit};
use policy::compile::compile;
use policy::model::PolicySet;
use policy::read::read;
use policy::snapshot::CommitId;
use serde_json::json;

use super::output::{Output, Tone};
use super::{Exit, Format, PlanArgs, run, validate};
use crate::config::Config;
use crate::converge::{Head, NotLowered, Source as _, Target, TargetPlan};
use crate::run::{Purpose, git_config, settings, targets};
use crate::source::git::GitSource;
use crate::store::Store;

/// Plans a commit against what is there now.
///
/// # Errors
/// The repository or a target cannot be read, or the commit is not compliant. With `--detailed-exitcode` errors exit 1.
pub fn plan(args: &PlanArgs, out: Output) -> anyhow::Result<Exit> {
    let planned = run::runtime()?.block_on(make(args));
    let (commit, plans) = match planned {
        Ok(planned) => planned,
        Err(error) if args.detailed_exitcode => {
            out.error(&error);
            return Ok(Exit::Violations);
        }
        Err(error) => return Err(error),
    };
    match args.format {
        Format::Json => out.json(&json!({ "commit": commit.to_string(), "targets": plans })),
        Format::Human => show(commit, &plans, out),
    }
    let changes = plans.iter().any(|plan| !plan.is_empty());
    Ok(if args.detailed_exitcode && changes { Exit::CouldNotRun } else { Exit::Done })
}

async fn make(args: &PlanArgs) -> anyhow::Result<(CommitId, Vec<TargetPlan>)> {
    let config = Config::load(&args.config)?;
    let mut git = git_config(&config)?;
    // A mirror of its own: the running controller's is not shared.
    let scratch = Scratch::make()?;
    git.mirror = scratch.0.join("mirror.git");
    let source = GitSource::new(git)?;
    let head = match source.head().await? {
        Head::At(head) => head,
        Head::EmptyRepository => bail!("the repository is empty: push a first commit"),
        Head::BranchMissing => bail!("the branch {} does not exist", config.source.branch.as_str()),
    };
    let commit = match &args.commit {
        None => head,
        Some(text) => {
            text.parse().ok().with_context(|| format!("--commit {text}: write all digits of a commit id on the branch"))?
        }
    };
    let snapshot = source.snapshot(&commit).await?;
    let circumstances =
        Circumstances { enforced: enforced(&config, &source).await, ..settings(&config).circumstances(commit, validate::today()?) };
    let judgement = admit(read(&snapshot), &circumstances);
    let Some(admitted) = judgement.admitted.as_ref() else {
        bail!("{commit} is not compliant ({} errors) and would be rejected; see pci-segment validate", judgement.counts().error);
    };
    let mut targets = targets(&config, Purpose::Plan).await?;
    let mut plans = Vec::new();
    for target in &mut targets {
        plans.extend(plan_one(target.as_mut(), admitted).await?);
    }
    Ok((commit, plans))
}

/// The set in force, so that a commit is judged by what it changes; `None` where no controller has run here.
async fn enforced(config: &Config, source: &GitSource) -> Option<Arc<PolicySet>> {
    let store = Store::open_read_only(config.database.as_path()).await.ok()?;
    let commit = store.last_in_force().await.ok()??.commit;
    let snapshot = source.snapshot(&commit).await.ok()?;
    Some(Arc::new(read(&snapshot).set))
}

async fn plan_one(target: &mut dyn Target, admitted: &policy::admit::Admitted) -> anyhow::Result<Option<TargetPlan>> {
    target.survey().await?;
    match target.aim(&compile(admitted)) {
        Ok(()) => {}
        Err(NotLowered::Unsupported(problems)) => {
            let first = problems.first().map_or_else(String::new, |p| p.message.clone());
            bail!("{} cannot say this commit exactly: {first}", target.name());
        }
        Err(NotLowered::Failed(error)) => return Err(error.into()),
    }
    Ok(target.plan().await?)
}

fn show(commit: CommitId, plans: &[TargetPlan], out: Output) {
    out.line(format!("commit {commit}"));
    if plans.is_empty() {
        out.line("no target is configured: nothing would change; host.interfaces or clouds names one");
    }
    for plan in plans {
        let (creates, deletes) = (plan.create.len(), plan.delete.len());
        out.line(out.paint(
            Tone::Strong,
            &format!(
                "{} ({}): {creates} to put in force, {deletes} to remove, {} unchanged",
                plan.target, plan.backend, plan.unchanged
            ),
        ));
        for step in &plan.create {
            let before = if step.from.is_empty() { String::new() } else { format!(" (now: {})", step.from) };
            out.line(format!("  {} {}: {}{before}", out.paint(Tone::Good, "+"), step.key, step.to));
        }
        for step in &plan.delete {
            out.line(format!("  {} {}: {}", out.paint(Tone::Bad, "-"), step.key, step.from));
        }
        for damage in &plan.damage {
            out.line(format!("  {} {}: {}", out.paint(Tone::Warning, "!"), damage.key, damage.observed));
        }
    }
}

/// A folder that is removed when done.
pub(super) struct Scratch(pub(super) std::path::PathBuf);

impl Scratch {
    pub(super) fn make() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("pci-segment-plan-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
