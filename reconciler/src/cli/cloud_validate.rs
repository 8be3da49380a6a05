//! `pci-segment cloud-validate`: what the groups of a cloud let pass, and whether ours are what policy files say.

mod drift;
mod json;

use clap::Args;
use policy::admit::Judgement;
use policy::finding::Severity;

use self::drift::add_drift;
use super::cloud::{CloudArgs, Judged, plan};
use super::output::Output;
use super::validate::{Report, ValidateFormat, present};
use super::{Exit, run};
use crate::backend::cloud::{Opening, groups, open};
use crate::config::CloudConfig;
use crate::posture::{Posture, Scope, judge};

/// What `--help` says.
pub(super) const HELP: &str = "Reads every group of the cloud entry's networks and judges it by the rules and ids of `validate`, with the \
    Standard of the files. Judged as the CDE's are groups with our tag and those whose own tags are labels of the CDE (`pci-env: cde` \
    unless Standard.cdeLabels says otherwise); with --all every group. Default groups with rules and groups that nobody uses are reported \
    of all. A group is judged by itself: what two groups of one interface open together is not seen. Of Azure, what denies of a lower \
    number leave.\n\n\
    Then ours are compared with the files: what differs is RT-1.2.8-001. Nothing is changed.\n\n\
    --format json: {compliant, provider, groups, judged, standard, catalogue, date, counts, not_run, drift: [{target, key, kind, expected, \
    observed}], findings: [{rule_id, code, severity, requirements, also, group, group_name, network, group_rule, path, related, message, \
    remediation, witness, fingerprint, ...}]}; group_rule is null where a finding is about the group itself.\n\n\
    Exit codes: 0 compliant; 1 an error in a group that was judged, drift in ours, or policies that are not compliant; 2 could not run.";

/// `cloud-validate`
#[derive(Debug, Args)]
pub struct CloudValidateArgs {
    /// Policies and cloud.
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Judges every group as the CDE's, whatever its tags
    #[arg(long)]
    pub all: bool,
    /// Warnings count as errors
    #[arg(long)]
    pub strict: bool,
    /// How to show findings
    #[arg(long, value_enum, default_value_t = ValidateFormat::Human)]
    pub format: ValidateFormat,
}

/// Looks, judges, compares, prints.
///
/// # Errors
/// Files or cloud cannot be read.
pub fn cloud_validate(args: &CloudValidateArgs, out: Output) -> anyhow::Result<Exit> {
    let config = CloudConfig::load(&args.cloud.config)?;
    let judged = Judged::of(&args.cloud, &config)?;
    let Some(ruleset) = judged.ruleset(args.format, out) else { return Ok(Exit::Violations) };
    let (found, plans) = run::runtime()?.block_on(async {
        out.progress(format_args!("reading the groups of {}", config.label()));
        let found = groups(&config, &args.cloud.installation).await;
        out.progress("");
        let found = found?;
        let mut targets = open(&config, &Opening::of(&args.cloud.installation)).await?;
        let plans = plan(&mut targets, &ruleset, out).await?;
        anyhow::Ok((found, plans))
    })?;
    let scope = if args.all { Scope::All } else { Scope::Marked };
    let standard = judged.judgement.admitted.as_ref().map(|admitted| admitted.set().standard.clone()).unwrap_or_default();
    let mut posture = judge(&found, &standard, scope, judged.judgement.date);
    plans.iter().for_each(|plan| add_drift(&mut posture, plan));
    let judgement = whole(&posture, found.len(), &judged.judgement);
    let error = judgement.findings.iter().any(|finding| finding.severity == Severity::Error);
    let report = Report {
        judgement: &judgement,
        snapshot: &posture.shown,
        compliant: !error,
        strict: args.strict,
        complete: true,
        groups: Some(&posture.groups),
    };
    present(&report, args.format, &json::document(&report, &posture, &plans, config.provider.word()), out);
    Ok(report.exit())
}

/// What formats show, of groups instead of files.
fn whole(posture: &Posture, groups: usize, policies: &Judgement) -> Judgement {
    Judgement {
        findings: posture.findings.clone(),
        more_problems: 0,
        more_findings: 0,
        files: groups,
        skipped: 0,
        policies: posture.judged,
        profile: policy::model::Profile::Baseline,
        not_run: posture.not_run.clone(),
        admitted: None,
        ..policies.clone()
    }
}

#[cfg(test)]
mod tests;
