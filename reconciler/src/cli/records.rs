//! `status`: what is on record, read beside a running controller or without one.

use jiff::Timestamp;

use super::operate::database;
use super::output::{Output, Tone};
use super::status::Kernel;
use super::{Exit, Format, RecordArgs, run, waiting};
use crate::config::{CloudConfig, Config, HostMode};
use crate::converge::DISABLED;
use crate::store::{DriftEntry, DriftKind, Outcome, StatusSummary, Store, TrialSummary};

/// The records, to be read only.
pub(super) fn open(args: &RecordArgs) -> anyhow::Result<(tokio::runtime::Runtime, Store)> {
    let file = database(args)?;
    let runtime = run::runtime()?;
    let store = runtime.block_on(Store::open_read_only(&file))?;
    Ok((runtime, store))
}

/// `status --format json`.
#[derive(serde::Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    records: &'a StatusSummary,
    /// Null where it cannot be asked, or nothing is enforced.
    kernel: Option<&'a Kernel>,
}

/// What is enforced, and what waits.
///
/// # Errors
/// The records cannot be read.
pub fn status(args: &RecordArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(args)?;
    let summary = runtime.block_on(store.status_summary())?;
    let open = runtime.block_on(store.drift(true))?;
    let config = if args.database.is_none() { Some(Config::load(&args.config)?) } else { None };
    // What the kernel says is more than what is on record, and not everybody who may read the one may ask the other.
    let kernel = config.as_ref().map_or(Ok(None), Kernel::ask);
    if args.format == Format::Json {
        out.json(&Everything { records: &summary, kernel: kernel.as_ref().ok().and_then(Option::as_ref) });
        return Ok(exit(&summary, &open));
    }
    waiting::show_switches(&summary.switches, out);
    waiting::show_failures(&summary.failures, out);
    show_enforced(&summary, &open, config.as_ref(), out);
    if let Some(trial) = &summary.on_trial {
        show_trial(trial, out);
    }
    match &kernel {
        Ok(Some(kernel)) => kernel.show(out),
        Ok(None) if config.as_ref().is_none_or(|config| config.host.interfaces.is_empty()) => {}
        Ok(None) => out.line("kernel       nothing of this controller's is in place here"),
        Err(reason) => out.line(format!("kernel       cannot be asked: {}", super::output::escape(reason))),
    }
    show_rest(&summary, out);
    Ok(exit(&summary, &open))
}

/// A host on which enforcement is off is not as it should be, whatever else is.
fn exit(summary: &StatusSummary, open: &[DriftEntry]) -> Exit {
    let off = summary.switches.iter().any(|switch| switch.name == DISABLED);
    if off || open.iter().any(DriftEntry::is_audit) { Exit::Violations } else { Exit::Done }
}

/// What is in force, and loudly where it is not what it seems.
fn show_enforced(summary: &StatusSummary, open: &[DriftEntry], config: Option<&Config>, out: Output) {
    let audited = config.is_some_and(|config| config.host.mode == HostMode::Audit);
    let clouds: Option<Vec<String>> = config.map(|config| config.clouds.iter().flat_map(CloudConfig::targets).collect());
    let is_cloud = |name: &str| clouds.as_ref().is_none_or(|all| all.iter().any(|one| one == name));
    let configured = config.filter(|config| !config.host.interfaces.is_empty()).map(Config::target);
    let is_host = |name: &str| configured.as_deref() == Some(name);
    let nobody = config.is_some_and(|config| config.host.interfaces.is_empty() && config.clouds.iter().all(|cloud| cloud.dry_run));
    if summary.enforced.is_empty() || nobody {
        out.line(out.paint(Tone::Warning, "nothing is enforced by this controller"));
    }
    for row in &summary.enforced {
        let commit = short(&row.commit);
        let detached = open.iter().any(|drift| drift.target == row.target && drift.kind == DriftKind::Detached);
        let by_hand = open.iter().any(|drift| drift.target == row.target && drift.is_audit());
        let off = summary.switches.iter().any(|switch| switch.name == DISABLED);
        // Being switched off, audit and hooks are the host's.
        let of_cloud = !is_host(&row.target) && is_cloud(&row.target) && config.is_some();
        let (off, audited) = (off && !of_cloud, audited && !of_cloud);
        let word = match (is_host(&row.target) || is_cloud(&row.target), detached, audited) {
            (false, _, _) => out.paint(Tone::Warning, "no longer configured:"),
            (true, _, _) if off => out.paint(Tone::Bad, "NOT ENFORCED (switched off):"),
            (true, _, _) if by_hand => out.paint(Tone::Bad, "NOT ENFORCED (audit was turned on by hand):"),
            (true, true, _) => out.paint(Tone::Bad, "NOT ENFORCED (a hook is gone):"),
            (true, false, true) => out.paint(Tone::Warning, "audited, nothing is dropped:"),
            (true, false, false) => out.paint(Tone::Good, "in force    "),
        };
        out.line(format!(
            "{word} {commit} on {} ({}, generation {}), verified {}",
            row.target,
            row.backend,
            row.generation,
            when(row.verified_at)
        ));
    }
}

/// What judges packets now without anybody having vouched for it.
fn show_trial(trial: &TrialSummary, out: Output) {
    let commit = short(&trial.commit);
    let line = match trial.until {
        Some(until) if until > Timestamp::now() => {
            let word = out.paint(Tone::Warning, "on trial    ");
            format!("{word} {commit} until {}; keep it with pci-segment confirm {}", when(until), trial.hash)
        }
        Some(_) => format!(
            "{} {commit} was not confirmed in time; what was in force before is again",
            out.paint(Tone::Bad, "trial over  ")
        ),
        None => format!("{} {commit} is being put in force", out.paint(Tone::Warning, "on trial    ")),
    };
    out.line(line);
}

fn show_rest(summary: &StatusSummary, out: Output) {
    if let Some(pass) = &summary.last_pass {
        let commit = pass.commit.as_deref().map_or("-", short);
        out.line(format!("last pass    {} {commit} {}", painted(pass.outcome, out), when(pass.started_at)));
        if !pass.reason.is_empty() {
            out.line(format!("             {}", super::output::escape(&pass.reason)));
        }
    }
    let drift = if summary.open_drift == 0 {
        "none".to_owned()
    } else {
        out.paint(Tone::Bad, &format!("{} open; see pci-segment drift", summary.open_drift))
    };
    let decided = [
        (summary.drift_accepted, "accepted for a time", Tone::Warning),
        (summary.drift_quarantined, "QUARANTINED, healed no longer", Tone::Bad),
    ];
    let decided =
        decided.iter().filter(|(count, ..)| *count > 0).map(|(count, what, tone)| out.paint(*tone, &format!(", {count} {what}")));
    out.line(format!("drift        {drift}{}", decided.collect::<String>()));
    if let Some(at) = summary.last_report {
        out.line(format!("drift report {}", when(at)));
    }
    waiting::show(summary, out);
    out.line(format!("audit log    {} rows, head {}", summary.audit.size, short(&summary.audit.head)));
    waiting::show_signed(summary, out);
}

pub(super) fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// The first so many characters, the last of them a sign that there are more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

pub(super) fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(super) fn painted_plain(outcome: Option<Outcome>) -> String {
    outcome.map_or("running", Outcome::word).to_owned()
}

fn painted(outcome: Option<Outcome>, out: Output) -> String {
    let tone = match outcome {
        Some(Outcome::InForce) => Tone::Good,
        Some(Outcome::Held) | None => Tone::Warning,
        Some(Outcome::Rejected | Outcome::Inexpressible | Outcome::Failed) => Tone::Bad,
    };
    out.paint(tone, &painted_plain(outcome))
}
