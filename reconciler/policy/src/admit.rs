//! The gate: only what passes here can be compiled, and so enforced.
//!
//! [`Admitted`] has a private field and one door, [`admit`]; what came through it once and is in force stays admitted
//! ([`Admitted::in_force`]). Judging is pure: what it needs to know of the world is in
//! [`Circumstances`]. Rules that lack their facts are listed under `not_run`: silence is never success.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::date::Date;
use crate::digest::Digest;
use crate::finding::{Finding, Severity};
use crate::model::inventory::Enforcer;
use crate::model::{PolicySet, Profile};
use crate::read::Reading;
use crate::rules;
use crate::snapshot::CommitId;

/// The version of the rule catalogue.
pub const CATALOGUE: &str = "1.0";
/// The standard that the rules cite.
pub const STANDARD: &str = "PCI DSS v4.0.1";

/// What the rules need to know besides the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// Today in UTC.
    pub today: Date,
    /// A profile the controller's configuration insists on; a commit with a weaker one is rejected.
    pub pinned_profile: Option<Profile>,
    /// The commit, if the set comes from one; only printed.
    pub commit: Option<CommitId>,
    /// The backends that will enforce the set, if they are known.
    pub backends: Option<Vec<Enforcer>>,
    /// The set in force, if it is known.
    pub enforced: Option<Arc<PolicySet>>,
    /// How the set came about, if that is known.
    pub change: Option<Change>,
}

impl Circumstances {
    /// Nothing is known but the day.
    #[must_use]
    pub fn on(today: Date) -> Self {
        Self { today, pinned_profile: None, commit: None, backends: None, enforced: None, change: None }
    }
}

/// What is known of the merge that brought a commit (PCI DSS v4.0.1 6.5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Who wrote it.
    pub author: String,
    /// Whether a known key signed it.
    pub signed: bool,
    /// Who approved it.
    pub approved_by: Vec<String>,
    /// The change ticket.
    pub ticket: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it affects.
    pub impact: Option<String>,
    /// How to go back.
    pub back_out: Option<String>,
}

/// A set that passed every check. Only [`admit`] lets a new one through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    set: PolicySet,
    today: Date,
}

impl Admitted {
    /// A set that is in force: it was admitted when it was applied, and the calendar takes back nothing of it but the rules that have
    /// ended. The caller has the record that says so. `None` if it cannot be read whole, or holds no policy.
    #[must_use]
    pub fn in_force(reading: Reading, today: Date) -> Option<Self> {
        let whole = reading.problems.is_empty() && reading.more_problems == 0 && !reading.set.policies.is_empty();
        whole.then_some(Self { set: reading.set, today })
    }

    /// The policies.
    #[must_use]
    pub fn set(&self) -> &PolicySet {
        &self.set
    }

    /// The policies, to keep.
    #[must_use]
    pub fn into_set(self) -> PolicySet {
        self.set
    }

    /// The day it was judged on: rules that have expired by then mean nothing.
    #[must_use]
    pub fn today(&self) -> Date {
        self.today
    }
}

/// A rule that was not asked, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotRun {
    /// The rule.
    pub rule_id: &'static str,
    /// What it, or a part of it, would need.
    pub needs: Vec<&'static str>,
}

/// How many findings of each severity there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Errors.
    pub error: usize,
    /// Warnings.
    pub warning: usize,
    /// Information.
    pub info: usize,
    /// Findings that a Waiver covers.
    pub waived: usize,
}

/// What the rules say of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// All findings, sorted by file, line, column, rule, code.
    pub findings: Vec<Finding>,
    /// Problems and errors beyond the limits, counted and not listed. One is enough to refuse the set.
    pub more_problems: usize,
    /// Warnings and information beyond the limit, counted and not listed.
    pub more_findings: usize,
    /// Files read.
    pub files: usize,
    /// Files skipped because of their name.
    pub skipped: usize,
    /// Policies read.
    pub policies: usize,
    /// The profile that ran.
    pub profile: Profile,
    /// Rules that did not run.
    pub not_run: Vec<NotRun>,
    /// The day the set was judged on.
    pub date: Date,
    /// The commit, if known.
    pub commit: Option<CommitId>,
    /// SHA-256 over the files read.
    pub inputs: Digest,
    /// The version of the set's Standard, if it has one.
    pub standard_version: Option<String>,
    /// The set, if nothing forbids it. A set without any policy is never admitted.
    pub admitted: Option<Admitted>,
}

impl Judgement {
    /// Whether there is at least one policy and no error.
    #[must_use]
    pub fn compliant(&self) -> bool {
        self.admitted.is_some()
    }

    /// Findings by severity.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |severity| self.findings.iter().filter(|f| f.severity == severity && f.waiver.is_none()).count();
        Counts {
            error: of(Severity::Error) + self.more_problems,
            warning: of(Severity::Warning),
            info: of(Severity::Info),
            waived: self.findings.iter().filter(|f| f.waiver.is_some()).count(),
        }
    }
}

/// Judges a set.
#[must_use]
pub fn admit(reading: Reading, circumstances: &Circumstances) -> Judgement {
    let profile = reading.set.standard.profile;
    let mut findings: Vec<Finding> = reading.problems.iter().map(rules::from_problem).collect();
    let judged = rules::judge(&reading.set, profile, circumstances);
    findings.extend(judged.findings);
    let more_problems = reading.more_problems + judged.more.errors;
    rules::sort(&mut findings);
    let refused = more_problems > 0 || findings.iter().any(|f| f.severity == Severity::Error && f.waiver.is_none());
    Judgement {
        findings,
        more_problems,
        more_findings: judged.more.others,
        files: reading.files,
        skipped: reading.skipped,
        policies: reading.set.policies.len(),
        profile,
        not_run: judged.not_run,
        date: circumstances.today,
        commit: circumstances.commit,
        inputs: reading.digest,
        standard_version: reading.set.standard.origin.as_ref().map(|_| reading.set.standard.version.clone()),
        admitted: (!refused && !reading.set.policies.is_empty())
            .then_some(Admitted { set: reading.set, today: circumstances.today }),
    }
}

#[derive(Serialize)]
struct Inputs {
    commit: Option<String>,
    set: Digest,
    standard_version: Option<String>,
}

impl Serialize for Judgement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Judgement", 14)?;
        out.serialize_field("compliant", &self.compliant())?;
        out.serialize_field("files", &self.files)?;
        out.serialize_field("skipped", &self.skipped)?;
        out.serialize_field("policies", &self.policies)?;
        out.serialize_field("profile", &self.profile)?;
        out.serialize_field("standard", STANDARD)?;
        out.serialize_field("catalogue", CATALOGUE)?;
        out.serialize_field("date", &self.date)?;
        let commit = self.commit.map(|c| c.to_string());
        out.serialize_field("inputs", &Inputs { commit, set: self.inputs, standard_version: self.standard_version.clone() })?;
        out.serialize_field("counts", &self.counts())?;
        out.serialize_field("more_problems", &self.more_problems)?;
        out.serialize_field("more_findings", &self.more_findings)?;
        out.serialize_field("not_run", &self.not_run)?;
        out.serialize_field("findings", &self.findings)?;
        out.end()
    }
}
