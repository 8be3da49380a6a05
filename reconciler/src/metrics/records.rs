//! What is on record, as numbers.

use jiff::Timestamp;

use super::{Family, Kind};
use crate::converge::AUDIT_HOLD;
use crate::store::{Measures, StatusSummary};

/// Families of the records.
#[must_use]
pub fn families(summary: &StatusSummary, measures: &Measures) -> Vec<Family> {
    let mut passes =
        Family::new(Kind::Counter, "pci_segment_passes", "Passes on record by how they ended; the same again counts once");
    for (outcome, count) in &measures.passes {
        passes.push(&[("outcome", outcome)], *count);
    }
    let mut drift = Family::new(
        Kind::Gauge,
        "pci_segment_drift_open",
        "Differences between what should be enforced and what is that are open now",
    );
    // An alert wants a number also where there is nothing wrong.
    for kind in ["missing", "extra", "changed", "detached"] {
        let count = measures.drift.iter().find(|(name, _)| name == kind).map_or(0, |(_, count)| *count);
        drift.push(&[("kind", kind)], count);
    }
    let mut rows = Family::new(Kind::Gauge, "pci_segment_store_rows", "Rows of the database's tables that grow");
    for (table, count) in &measures.rows {
        rows.push(&[("table", table)], *count);
    }
    let bytes = Family::new(Kind::Gauge, "pci_segment_store_bytes", "Size of the database with its write-ahead log")
        .with(&[], measures.bytes);
    let statuses = Family::new(Kind::Gauge, "pci_segment_statuses", "Commit statuses that wait to be sent, or that were given up")
        .with(&[("state", "waiting")], summary.outbox.queued)
        .with(&[("state", "given_up")], summary.outbox.dead);
    let mut all = vec![build(), passes, drift, rows, bytes, statuses, in_force(summary)];
    all.extend(signed(summary, Timestamp::now()));
    all
}

/// What is signed of the audit log, and whether anchors have it.
fn signed(summary: &StatusSummary, now: Timestamp) -> Vec<Family> {
    let size = Family::new(Kind::Gauge, "pci_segment_audit_size", "Rows of the audit log").with(&[], summary.audit.size);
    let checkpoint = summary.signed.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
    let checkpoint =
        Family::new(Kind::Gauge, "pci_segment_audit_checkpoint_size", "Rows of the newest signed checkpoint").with(&[], checkpoint);
    let mut lag = Family::new(
        Kind::Gauge,
        "pci_segment_audit_anchor_lag_seconds",
        "For how long a checkpoint has waited for this anchor; 0 where it has the newest",
    );
    for anchor in &summary.signed.anchors {
        lag.push(&[("sink", &anchor.sink)], anchor.lag_seconds(now));
    }
    let held = |what: &str| summary.switches.iter().any(|switch| switch.name == AUDIT_HOLD && switch.value == what);
    let disagrees = Family::new(
        Kind::Gauge,
        "pci_segment_audit_anchor_disagrees",
        "Whether an anchor has another log than this one, so that changes are stopped",
    )
    .with(&[], held("disagrees"));
    let unsound = Family::new(
        Kind::Gauge,
        "pci_segment_audit_unsound",
        "Whether the log was found to be other than it was written, so that nothing is signed and changes are stopped",
    )
    .with(&[], held("unsound"));
    vec![size, checkpoint, lag, disagrees, unsound]
}

/// What is in force and since when, target by target; `digest` tells whether the kernel has it.
fn in_force(summary: &StatusSummary) -> Family {
    let mut family = Family::new(
        Kind::Gauge,
        "pci_segment_in_force_timestamp_seconds",
        "When the commit in force was last put or found in force",
    );
    for row in &summary.enforced {
        let labels = [("target", row.target.as_str()), ("commit", row.commit.as_str())];
        family.push(&labels, row.verified_at.as_duration().as_secs_f64());
    }
    family
}

/// The generation in the kernel and the commit it comes from, where a record says which.
#[must_use]
pub fn generation(summary: &StatusSummary, target: &str, digest: [u8; 32]) -> Vec<Family> {
    let digest = crate::audit::hex(&digest);
    let row = summary.enforced.iter().find(|row| row.target == target && row.desired_hash == digest);
    let commit = row.map_or("", |row| row.commit.as_str());
    let info =
        Family::new(Kind::Info, "pci_segment_ebpf_generation", "The generation that judges now, and the commit it comes from")
            .with(&[("commit", commit), ("digest", &digest)], 1_u64);
    let mut at = Family::new(
        Kind::Gauge,
        "pci_segment_ebpf_generation_timestamp_seconds",
        "When the generation that judges now was put in force, or found to be, in seconds since 1970",
    );
    if let Some(row) = row {
        at.push(&[], row.verified_at.as_duration().as_secs_f64());
    }
    vec![info, at]
}

fn build() -> Family {
    Family::new(Kind::Info, "pci_segment_build", "This program")
        .with(&[("version", env!("CARGO_PKG_VERSION")), ("abi", &enforcer::ABI_VERSION.to_string())], 1_u64)
}
