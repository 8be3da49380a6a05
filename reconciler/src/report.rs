//! The drift report: what an auditor reads about whether what is enforced was what should be (PCI DSS v4.0.1 1.2.8 and 11.5.2).
//!
//! Computed from records alone, as data first; [`html`] makes a page of it. It is written also where nothing differs, so that silence
//! is a fault, and a target that was not observed is said to be just that: such a report is never green.

pub mod html;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::store::{DriftDecision, DriftEntry, DriftVerdict, Gap, Observation, ReportFacts};

/// Name and version of the JSON document; fields may be added, their meaning does not change.
pub const SCHEMA: &str = "pci-segment/drift-report/1";
/// A target whose last look is older than this when the report is written is not observed: it is looked at every five minutes at least.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// Why a report was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Its time had come.
    Schedule,
    /// Its time came while no controller ran.
    Missed,
    /// Somebody asked.
    Asked,
}

/// What it comes to; the worst that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Something differs now.
    Drift,
    /// Nothing is known to differ, but not everything was observed all the time.
    Incomplete,
    /// Something differed in the period, and does no longer or is accepted.
    Settled,
    /// Everything was observed, nothing differed.
    Clean,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Drift => "what is enforced differs from what should be",
            Self::Incomplete => "not everything was observed",
            Self::Settled => "what differed is settled",
            Self::Clean => "no drift",
        }
    }
}

/// What it was written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// Every target was compared right before.
    Compared,
    /// Records alone: nobody looked now.
    Records,
}

/// What the report is about, beside the records.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Its id.
    pub id: String,
    /// The host.
    pub host: String,
    /// Targets that are configured.
    pub targets: Vec<String>,
    /// Why it is written.
    pub trigger: Trigger,
    /// What it is written from.
    pub grounds: Grounds,
    /// Who asked for it; `system` for the schedule.
    pub asked_by: String,
    /// Where the period begins.
    pub begins: Timestamp,
    /// Where it ends: now.
    pub ends: Timestamp,
}

/// A requirement it is evidence for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Requirement {
    /// Its number in PCI DSS v4.0.1.
    pub id: &'static str,
    /// What it asks for, in short.
    pub text: &'static str,
}

/// The requirements.
pub const REQUIREMENTS: [Requirement; 2] = [
    Requirement {
        id: "1.2.8",
        text: "Configuration files for network security controls are kept consistent with active network configurations",
    },
    Requirement {
        id: "11.5.2",
        text: "A change-detection mechanism alerts to unauthorised changes and compares at least once weekly",
    },
];

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetSeen {
    /// Its name.
    pub target: String,
    /// What enforces there; null where nothing ever was.
    pub backend: Option<String>,
    /// The commit in force there, in hexadecimal.
    pub commit: Option<String>,
    /// Whether it was observed when the report was written, and all the time before.
    pub observed: bool,
    /// The last look that gave an answer.
    pub last_observed: Option<Timestamp>,
    /// Why it is not observed.
    pub reason: Option<String>,
    /// When it was not, within the period.
    pub gaps: Vec<Gap>,
}

/// Where a difference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It lasts.
    Open,
    /// It lasts, and is healed no longer.
    Quarantined,
    /// It lasts, and a person accepts that.
    Accepted,
    /// It is over.
    Closed,
}

impl State {
    /// The word in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Quarantined => "quarantined",
            Self::Accepted => "accepted",
            Self::Closed => "closed",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// As `drift --format json` has it.
    #[serde(flatten)]
    pub row: DriftEntry,
    /// Where it stands.
    pub state: State,
    /// Whether it began in the period.
    pub opened_in_period: bool,
    /// How long it lasted, or has lasted.
    pub duration_seconds: i64,
}

/// Something that was decided and holds now.
#[derive(Debug, Clone, Serialize)]
pub struct Decided {
    /// Which target.
    pub target: String,
    /// Which rule.
    pub key: String,
    /// What is wrong with it.
    pub kind: &'static str,
    /// What was decided, by whom, why, until when.
    #[serde(flatten)]
    pub decision: DriftDecision,
}

/// Counts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What it comes to.
    pub verdict: Verdict,
    /// Targets.
    pub targets: usize,
    /// Targets that were not observed, or not all the time.
    pub targets_not_observed: usize,
    /// Differences that began in the period.
    pub opened: usize,
    /// Differences that ended in it.
    pub closed: usize,
    /// Differences that last and that nobody accepts.
    pub open: usize,
    /// Objects that are accepted for a time.
    pub accepted: usize,
    /// Objects that are healed no longer.
    pub quarantined: usize,
}

/// Where the audit log stood.
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// How many rows.
    pub size: u64,
    /// Hash of the last row, in hexadecimal.
    pub head: String,
    /// Root of the tree over all rows, in hexadecimal.
    pub root: String,
    /// The newest signed note about it; null where none was signed yet.
    pub checkpoint: Option<String>,
}

/// The commit in force.
#[derive(Debug, Clone, Serialize)]
pub struct InForce {
    /// In hexadecimal.
    pub commit: String,
    /// Since when.
    pub since: Timestamp,
}

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// A UUID.
    pub id: String,
    /// The host that wrote it.
    pub host: String,
    /// The program.
    pub version: &'static str,
    /// Why it was written.
    pub trigger: Trigger,
    /// Who asked for it; `system` for the schedule.
    pub asked_by: String,
    /// Where the period begins.
    pub begins: Timestamp,
    /// Where it ends, which is when it was written.
    pub ends: Timestamp,
    /// What it is evidence for.
    pub requirements: [Requirement; 2],
    /// Counts.
    pub summary: Summary,
    /// The commit in force; null for none.
    pub in_force: Option<InForce>,
    /// Every target, configured or on record.
    pub targets: Vec<TargetSeen>,
    /// Differences that lasted at any time in the period, newest first.
    pub rows: Vec<Listed>,
    /// Differences that ended in the period and are not listed, because there are too many; the oldest ones.
    pub rows_not_listed: u64,
    /// What is decided about differences now.
    pub decisions: Vec<Decided>,
    /// Where the audit log stood.
    pub audit: Log,
}

impl Report {
    /// From the records.
    #[must_use]
    pub fn new(occasion: Occasion, facts: ReportFacts) -> Self {
        let targets = targets(&occasion, &facts);
        let rows: Vec<Listed> = facts.rows.into_iter().map(|row| listed(row, &occasion)).collect();
        let held = facts.decisions.into_iter().filter(|held| held.decision != DriftVerdict::Released);
        let decisions: Vec<Decided> = held.map(decided).collect();
        let mut summary = summary(&targets, &rows, &decisions);
        summary.closed = summary.closed.saturating_add(usize::try_from(facts.rows_cut).unwrap_or(usize::MAX));
        Self {
            schema: SCHEMA,
            id: occasion.id,
            host: occasion.host,
            version: env!("CARGO_PKG_VERSION"),
            trigger: occasion.trigger,
            asked_by: occasion.asked_by,
            begins: occasion.begins,
            ends: occasion.ends,
            requirements: REQUIREMENTS,
            summary,
            in_force: facts.in_force.map(|last| InForce { commit: last.commit.to_string(), since: last.since }),
            targets,
            rows,
            rows_not_listed: facts.rows_cut,
            decisions,
            audit: Log { size: facts.audit.size, head: facts.audit.head, root: facts.audit.root, checkpoint: facts.checkpoint },
        }
    }
}

fn targets(occasion: &Occasion, facts: &ReportFacts) -> Vec<TargetSeen> {
    let mut names: Vec<String> = facts.enforced.iter().map(|row| row.target.clone()).collect();
    names.extend(occasion.targets.iter().cloned());
    names.extend(facts.observations.iter().map(|(name, _)| name.clone()));
    names.sort();
    names.dedup();
    let none = Observation::default();
    let seen = |target: String| {
        let known = facts.observations.iter().find(|(name, _)| *name == target).map_or(&none, |(_, known)| known);
        let gaps = known.gaps_between(occasion.begins, occasion.ends);
        let reason = not_observed(occasion, known, &target);
        let row = facts.enforced.iter().find(|row| row.target == target);
        TargetSeen {
            backend: row.map(|row| row.backend.clone()),
            commit: row.map(|row| row.commit.clone()),
            observed: reason.is_none() && gaps.is_empty(),
            last_observed: known.last,
            reason,
            gaps,
            target,
        }
    };
    names.into_iter().map(seen).collect()
}

/// Why a target is not observed when the report is written.
fn not_observed(occasion: &Occasion, known: &Observation, target: &str) -> Option<String> {
    if !occasion.targets.iter().any(|name| name == target) {
        return Some("it is configured no longer".to_owned());
    }
    match (&known.failing, known.last) {
        (Some(reason), _) => Some(reason.clone()),
        (None, None) => Some("nothing was ever in force there to compare it with".to_owned()),
        (None, Some(last)) if occasion.ends.duration_since(last).abs() > FRESH => Some("no controller has looked since".to_owned()),
        (None, Some(_)) if occasion.grounds == Grounds::Records => Some("no controller runs, so nobody looked now".to_owned()),
        (None, Some(_)) => None,
    }
}

fn listed(row: DriftEntry, occasion: &Occasion) -> Listed {
    let state = match (row.resolved_at, row.decision.as_ref().map(|held| held.decision)) {
        (Some(_), _) => State::Closed,
        (None, Some(DriftVerdict::Accepted)) => State::Accepted,
        (None, Some(DriftVerdict::Quarantined)) => State::Quarantined,
        (None, Some(DriftVerdict::Released) | None) => State::Open,
    };
    let until = row.resolved_at.unwrap_or(occasion.ends);
    let (opened_in_period, duration_seconds) =
        (row.first_seen >= occasion.begins, until.duration_since(row.first_seen).as_secs().max(0));
    Listed { state, opened_in_period, duration_seconds, row }
}

fn decided(decision: DriftDecision) -> Decided {
    Decided { target: decision.target.clone(), key: decision.key.clone(), kind: decision.kind.word(), decision }
}

fn summary(targets: &[TargetSeen], rows: &[Listed], decisions: &[Decided]) -> Summary {
    let count = |is: fn(&Listed) -> bool| rows.iter().filter(|row| is(row)).count();
    let of = |verdict| decisions.iter().filter(|held| held.decision.decision == verdict).count();
    let targets_not_observed = targets.iter().filter(|target| !target.observed).count();
    let open = count(|row| matches!(row.state, State::Open | State::Quarantined));
    let quarantined = of(DriftVerdict::Quarantined);
    let verdict = match () {
        () if open > 0 || quarantined > 0 => Verdict::Drift,
        // Nothing that could differ was looked at: that is no good news either.
        () if targets_not_observed > 0 || targets.is_empty() => Verdict::Incomplete,
        () if !rows.is_empty() => Verdict::Settled,
        () => Verdict::Clean,
    };
    Summary {
        verdict,
        targets: targets.len(),
        targets_not_observed,
        opened: count(|row| row.opened_in_period),
        closed: count(|row| row.state == State::Closed),
        open,
        accepted: of(DriftVerdict::Accepted),
        quarantined,
    }
}

#[cfg(test)]
pub(crate) mod tests;
