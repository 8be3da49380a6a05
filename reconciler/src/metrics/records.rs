//! What is on record, as numbers.

use jiff::Timestamp;

use super::{Family, Kind};
use crate::converge::AUDIT_HOLD;
use crate::store::{Measures, StatusSummary, Vitals};

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
    for (kind, class, count) in &measures.drift {
        drift.push(&[("kind", kind.word()), ("class", class.word())], *count);
    }
    let decided = [
        Family::new(Kind::Gauge, "pci_segment_drift_accepted", "Differences that a person accepts for a time")
            .with(&[], summary.drift_accepted),
        Family::new(
            Kind::Gauge,
            "pci_segment_drift_quarantined",
            "Objects that are healed no longer because somebody changes them back each time",
        )
        .with(&[], summary.drift_quarantined),
    ];
    let mut reported = Family::new(
        Kind::Gauge,
        "pci_segment_drift_report_timestamp_seconds",
        "When the newest drift report was written, in seconds since 1970",
    );
    if let Some(at) = summary.last_report {
        reported.push(&[], at.as_duration().as_secs_f64());
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
    let [accepted, quarantined] = decided;
    let mut all =
        vec![build(), passes, drift, accepted, quarantined, reported, rows, bytes, statuses, in_force(summary), failed(summary)];
    all.extend(signed(summary, Timestamp::now()));
    all
}

/// How the database fares: told even where it cannot be read.
#[must_use]
pub fn vitals(vitals: &Vitals, jumps: u64) -> Vec<Family> {
    let gauge = |name, help| Family::new(Kind::Gauge, name, help);
    let full =
        gauge("pci_segment_store_disk_full", "Whether the disk of the database is full: nothing is changed until there is room");
    let held = gauge("pci_segment_store_held", "Whether changes are held because the disk failed twice within ten minutes");
    let wal = gauge("pci_segment_store_wal_bytes", "Size of the write-ahead log of the database");
    let clock = Family::new(Kind::Counter, "pci_segment_clock_jumps", "How often the clock of this host was set since the start");
    let mut sound =
        gauge("pci_segment_store_sound_timestamp_seconds", "When the whole database was last looked through and found sound");
    if let Some(at) = vitals.sound_at {
        sound.push(&[], at.as_duration().as_secs_f64());
    }
    vec![
        full.with(&[], vitals.full),
        held.with(&[], vitals.held.is_some()),
        wal.with(&[], vitals.wal_bytes),
        clock.with(&[], jumps),
        sound,
    ]
}

/// Controls that do not work now.
fn failed(summary: &StatusSummary) -> Family {
    let mut family = Family::new(Kind::Gauge, "pci_segment_control_failed", "Controls that do not work now");
    for failure in &summary.failures {
        family.push(&[("control", failure.control.as_str())], 1_u64);
    }
    family
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
