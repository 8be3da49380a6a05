//! What commands about one cloud share: its file, the policies, the targets.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use policy::admit::{Circumstances, Judgement, admit};
use policy::compile::{Ruleset, compile};
use policy::model::inventory::Enforcer;
use policy::snapshot::Snapshot;

use super::files;
use super::output::Output;
use super::validate::{self, Report, ValidateFormat};
use crate::config::{CloudConfig, CloudProvider};
use crate::converge::{BackendError, NotLowered, Target, TargetPlan};
use crate::reading::read_named;

/// Which policies, and which cloud.
#[derive(Debug, Args)]
pub struct CloudArgs {
    /// Policy files, folders or glob patterns
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    pub files: Vec<String>,
    /// The cloud's file: one entry of `clouds:` on its own
    #[arg(short, long, value_name = "CLOUD")]
    pub config: PathBuf,
    /// Whose groups these are: the value of the tag `pci-segment` on ours
    #[arg(long, value_name = "ID", default_value = "cloud-sync", value_parser = installation)]
    pub installation: String,
}

/// What a tag of either cloud can hold.
const INSTALLATION_CHARS_MAX: usize = 128;

fn installation(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=INSTALLATION_CHARS_MAX).contains(&text.len()) && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err(format!("write 1 to {INSTALLATION_CHARS_MAX} of a-z, A-Z, 0-9, '-', '_', '.'")),
    }
}

/// The core's name for a provider.
pub(super) const fn enforcer(provider: CloudProvider) -> Enforcer {
    match provider {
        CloudProvider::Aws => Enforcer::Aws,
        CloudProvider::Azure => Enforcer::Azure,
    }
}

/// Policies that were read and judged for one cloud.
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    pub(super) snapshot: Snapshot,
}

impl Judged {
    /// Reads and judges.
    pub(super) fn of(args: &CloudArgs, cloud: &CloudConfig) -> anyhow::Result<Self> {
        let snapshot = files::load(&args.files)?;
        let backends = Some(vec![enforcer(cloud.provider)]);
        let judgement = admit(read_named(&snapshot), &Circumstances { backends, ..Circumstances::on(validate::today()?) });
        if judgement.policies == 0 && judgement.findings.is_empty() {
            bail!("no NetworkPolicy found in {}: nothing would be enforced", args.files.join(", "));
        }
        Ok(Self { judgement, snapshot })
    }

    /// What they mean; `None`, once shown why, where they are not compliant.
    pub(super) fn ruleset(&self, format: ValidateFormat, out: Output) -> Option<Ruleset> {
        if let Some(admitted) = &self.judgement.admitted {
            return Some(compile(admitted));
        }
        let report = Report {
            judgement: &self.judgement,
            snapshot: &self.snapshot,
            compliant: false,
            strict: false,
            complete: true,
            groups: None,
        };
        validate::present(&report, format, &self.judgement, out);
        None
    }
}

/// Aims targets at what policies mean, and plans.
pub(super) async fn plan(targets: &mut [Box<dyn Target>], ruleset: &Ruleset, out: Output) -> anyhow::Result<Vec<TargetPlan>> {
    let mut plans = Vec::new();
    for target in targets {
        out.progress(format_args!("looking at {}", target.name()));
        let planned = plan_one(target.as_mut(), ruleset).await;
        out.progress("");
        plans.push(planned?);
    }
    Ok(plans)
}

async fn plan_one(target: &mut dyn Target, ruleset: &Ruleset) -> anyhow::Result<TargetPlan> {
    target.survey().await?;
    match target.aim(ruleset) {
        Ok(()) => {}
        Err(NotLowered::Unsupported(problems)) => {
            let all: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
            bail!("{} cannot say these policies exactly: {}", target.name(), all.join("; "));
        }
        Err(NotLowered::Failed(error)) => return Err(error.into()),
    }
    let unknown = || BackendError { doing: "nothing is known of what should be enforced".to_owned(), cause: None };
    target.plan().await?.ok_or_else(unknown).with_context(|| format!("cannot plan {}", target.name()))
}
