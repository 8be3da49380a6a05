//! What `drift` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{Moment, RecordArgs};

/// `drift`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DriftArgs {
    /// What to do instead of listing
    #[command(subcommand)]
    pub command: Option<DriftCommand>,
    /// Shows this difference in full: its id, or six or more of the id's last digits
    pub id: Option<String>,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Only differences that are still there
    #[arg(long)]
    pub open: bool,
}

/// `drift …`
#[derive(Debug, Subcommand)]
pub enum DriftCommand {
    /// Accepts a difference for a time: it is neither healed nor counted as open, and stays in the list
    Accept(AcceptArgs),
    /// Ends an acceptance, or a quarantine of something that was changed back again and again
    Release(ReleaseArgs),
    /// Lists the drift reports, prints one, or writes one now
    Report(ReportArgs),
}

/// `drift accept`
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The difference: its id, or six or more of the id's last digits
    pub id: String,
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
    /// When it counts again by itself, at most one year ahead: a span of time (2h, 720h) or a moment (2026-01-31T18:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub until: Moment,
}

/// `drift release`
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The difference: its id, or six or more of the id's last digits
    pub id: String,
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
}

/// `drift report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Prints this report: its id, or six or more of the id's last digits. Without, lists them
    pub id: Option<String>,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Writes the report to a file instead, by its ending as a page (.html) or as data (.json)
    #[arg(short, long, value_name = "FILE", requires = "id")]
    pub output: Option<PathBuf>,
    /// Has a report written now
    #[arg(long, conflicts_with = "id")]
    pub now: bool,
}
