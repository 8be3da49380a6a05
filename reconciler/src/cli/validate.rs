//! `pci-segment validate`: what a good assessor would say of a change, before it is pushed.
//!
//! Each format is a module that gets the same `Report` and prints it; what a format promises stands in its module. The exit code is
//! decided here, once, for all of them.

mod args;
mod github;
pub(super) mod human;
mod junit;
mod sarif;
mod source;
pub(super) mod words;
mod xml;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use policy::admit::{Circumstances, Judgement, admit};
use policy::date::Date;
use policy::finding::Severity;
use policy::model::PolicySet;
use policy::model::inventory::Enforcer;
use policy::snapshot::Snapshot;

use super::Exit;
use super::files::{self, Loaded};
use super::output::{Output, escape};
use crate::posture::Subject;
use crate::reading::read_named;

pub use args::{Backend, Profile, ValidateArgs, ValidateFormat};

/// What every format shows.
pub(super) struct Report<'a> {
    pub(super) judgement: &'a Judgement,
    /// What places lead to.
    pub(super) snapshot: &'a Snapshot,
    /// Whether nothing forbids it.
    pub(super) compliant: bool,
    /// Whether warnings count as errors.
    pub(super) strict: bool,
    /// Whether everything that was named could be read.
    pub(super) complete: bool,
    /// Where findings are not in files but in groups of a cloud: what places mean.
    pub(super) groups: Option<&'a BTreeMap<Arc<str>, Subject>>,
}

impl Report<'_> {
    /// Compliant with the rules that ran: no error, and with `--strict` no warning.
    pub(super) fn passes(&self) -> bool {
        // What was only counted may hold warnings.
        let warned = self.judgement.counts().warning + self.judgement.more_findings > 0;
        self.compliant && !(self.strict && warned)
    }

    /// Whether a finding of this severity fails the run.
    fn fails(&self, severity: Severity) -> bool {
        severity == Severity::Error || self.strict && severity == Severity::Warning
    }

    /// How the process ends; what could not be read wins over what was found.
    pub(super) fn exit(&self) -> Exit {
        let found_something = self.groups.is_some() || self.judgement.policies > 0 || !self.judgement.findings.is_empty();
        match (self.complete && found_something, self.passes()) {
            (false, _) => Exit::CouldNotRun,
            (true, true) => Exit::Done,
            (true, false) => Exit::Violations,
        }
    }
}

/// Reads, judges, prints.
///
/// # Errors
/// Wrong usage, or nothing that could be read.
pub fn validate(args: &ValidateArgs, out: Output) -> anyhow::Result<Exit> {
    let patterns = files::named(&args.files, args.repo.as_deref())?;
    let today = day(args.as_of.as_deref())?;
    let Loaded { snapshot, hidden, errors: unreadable } = files::load_readable(&patterns)?;
    let mut judgement = admit(read_named(&snapshot), &circumstances(args, today)?);
    judgement.skipped += hidden;
    let report = Report {
        judgement: &judgement,
        snapshot: &snapshot,
        compliant: judgement.compliant(),
        strict: args.strict,
        complete: unreadable.is_empty(),
        groups: None,
    };
    present(&report, args.format, &judgement, out);
    unreadable.iter().for_each(|error| out.error(error));
    if judgement.policies == 0 && judgement.findings.is_empty() {
        bail!("no NetworkPolicy found in {}: nothing would be enforced", patterns.join(", "));
    }
    Ok(report.exit())
}

/// Prints a report; `json` is its JSON document.
pub(super) fn present(report: &Report<'_>, format: ValidateFormat, json: &impl serde::Serialize, out: Output) {
    match format {
        ValidateFormat::Human => human::print(report, out),
        ValidateFormat::Json => out.json(json),
        ValidateFormat::Sarif => sarif::print(report, out),
        ValidateFormat::Junit => junit::print(report, out),
        ValidateFormat::Github => github::print(report, out),
    }
}

/// What is known besides the files.
fn circumstances(args: &ValidateArgs, today: Date) -> anyhow::Result<Circumstances> {
    let enforced = if args.against.is_empty() { None } else { Some(in_force(&args.against)?) };
    let backends: Vec<Enforcer> = args.target.iter().map(|backend| enforcer(*backend)).collect();
    Ok(Circumstances {
        pinned_profile: args.profile.map(profile),
        backends: (!backends.is_empty()).then_some(backends),
        enforced,
        ..Circumstances::on(today)
    })
}

/// The set in force. Half of one would make every change look like another.
fn in_force(paths: &[String]) -> anyhow::Result<Arc<PolicySet>> {
    let reading = read_named(&files::load(paths)?);
    if let Some(first) = reading.problems.first() {
        let (place, message) = (&first.place, escape(&first.message));
        bail!("--against cannot be read whole: {}:{}:{}: {message}", place.file, place.spot.line, place.spot.column);
    }
    Ok(Arc::new(reading.set))
}

/// The core's name for a backend.
fn enforcer(backend: Backend) -> Enforcer {
    match backend {
        Backend::Ebpf => Enforcer::Ebpf,
        Backend::Nftables => Enforcer::Nftables,
        Backend::Aws => Enforcer::Aws,
        Backend::Azure => Enforcer::Azure,
    }
}

/// Judges files that somebody named. Unlike in a repository, a path may then lead through folders that begin with a dot.
#[must_use]
pub fn judge_named(snapshot: &Snapshot, today: Date, pinned: Option<Profile>) -> Judgement {
    admit(read_named(snapshot), &Circumstances { pinned_profile: pinned.map(profile), ..Circumstances::on(today) })
}

/// The day of `--as-of`, or today in UTC.
///
/// # Errors
/// What was written is not a date.
pub fn day(as_of: Option<&str>) -> anyhow::Result<Date> {
    match as_of {
        Some(text) => Date::parse(text).with_context(|| format!("--as-of {text} is not a date; write YYYY-MM-DD")),
        None => today(),
    }
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

#[cfg(test)]
mod tests {
    use policy::finding::Waived;
    use policy::snapshot::Entry;

    use super::*;

    /// How formats name the Waiver of [`waived_report`].
    pub(super) const WAIVER: &str = "vendor-range, until 2026-05-01: The vendor moves in \"April\" & not before.";

    /// A set whose one error is waived.
    pub(super) fn waived_report(check: impl FnOnce(&Report<'_>)) {
        let text = "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: cde, annotations: {pci-dss: \"Req 1.3.1\"}}\n\
                    spec: {podSelector: {matchLabels: {pci-env: cde}}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: \
                    {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}]}\n";
        let snapshot = Snapshot { entries: [("p.yaml".to_owned(), Entry::File(text.into()))].into() };
        let day = Date::new(2026, 2, 1).unwrap();
        let mut judgement = judge_named(&snapshot, day, None);
        for finding in judgement.findings.iter_mut().filter(|finding| finding.severity == Severity::Error) {
            let reason = "The vendor moves in \"April\" & not before.".to_owned();
            finding.waiver = Some(Waived {
                name: "vendor-range".into(),
                reason,
                approved_by: "Ada Example".to_owned(),
                expires_at: Date::new(2026, 5, 1).unwrap(),
            });
        }
        assert_eq!((judgement.findings.len(), judgement.counts().waived), (1, 1));
        check(&Report { judgement: &judgement, snapshot: &snapshot, compliant: true, strict: false, complete: true, groups: None });
    }
}
