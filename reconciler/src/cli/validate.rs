//! `pci-segment validate`: what a good assessor would say of a change, before it is pushed.

mod github;
mod human;

use anyhow::{Context as _, bail};
use policy::admit::{Circumstances, Judgement, admit};
use policy::date::Date;
use policy::finding::Severity;
use policy::snapshot::Snapshot;

use super::files;
use super::output::Output;
use super::{Exit, Profile, ValidateArgs, ValidateFormat};
use crate::reading::read_named;

/// Reads, judges, prints.
///
/// # Errors
/// Wrong usage, or a path that cannot be read.
pub fn validate(args: &ValidateArgs, out: Output) -> anyhow::Result<Exit> {
    let patterns = match &args.repo {
        Some(folder) => vec![folder.to_str().context("--repo is not UTF-8")?.to_owned()],
        None => args.files.clone(),
    };
    let today = match &args.as_of {
        Some(text) => Date::parse(text).with_context(|| format!("--as-of {text} is not a date; write YYYY-MM-DD"))?,
        None => today()?,
    };
    let snapshot = files::load(&patterns)?;
    let judgement = judge_named(&snapshot, today, args.profile);
    match args.format {
        ValidateFormat::Human => human::print(&judgement, &snapshot, out),
        ValidateFormat::Json => out.json(&judgement),
        ValidateFormat::Github => github::print(&judgement, out),
    }
    if judgement.policies == 0 && judgement.findings.is_empty() {
        bail!("no document found in {}", patterns.join(", "));
    }
    Ok(if passes(&judgement, args.strict) { Exit::Done } else { Exit::Violations })
}

/// Judges files that somebody named. Unlike in a repository, a path may then lead through folders that begin with a dot.
#[must_use]
pub fn judge_named(snapshot: &Snapshot, today: Date, pinned: Option<Profile>) -> Judgement {
    admit(read_named(snapshot), &Circumstances { pinned_profile: pinned.map(profile), ..Circumstances::on(today) })
}

fn passes(judgement: &Judgement, strict: bool) -> bool {
    let warned = judgement.findings.iter().any(|f| f.severity == Severity::Warning);
    judgement.compliant() && !(strict && warned)
}

/// Today in UTC.
///
/// # Errors
/// The clock is outside of what a date can hold.
pub fn today() -> anyhow::Result<Date> {
    let date = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    Date::parse(&date.to_string()).with_context(|| format!("the clock says {date}, which is not a date for policies"))
}

/// The core's name for a profile.
#[must_use]
pub fn profile(name: Profile) -> policy::model::Profile {
    match name {
        Profile::Baseline => policy::model::Profile::Baseline,
        Profile::PciDss401 => policy::model::Profile::PciDss401,
    }
}
