//! The command line: what can be said, and which function answers.
//!
//! Parsing is clap's; each command has one module that returns an [`Exit`] and writes through [`output`], the only place that
//! prints. Data goes to standard output, everything else to standard error.

pub mod audit;
pub mod backup;
pub mod boot;
mod cloud;
pub mod cloud_sync;
pub mod cloud_validate;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod drift;
mod early;
pub mod enforce;
pub mod events;
pub mod explain;
pub mod files;
pub mod history;
pub mod init;
pub mod operate;
mod operate_args;
pub mod output;
pub mod plan;
pub mod records;
pub mod rescue;
pub mod rules;
pub mod run;
mod status;
pub mod usage;
pub mod validate;
mod waiting;
pub mod webhook;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Interval;

pub use audit::{CheckpointArgs, ForkArgs};
pub use audit::{ExportArgs, ProveArgs, VerifyArgs};
pub use backup::{BackupArgs, RestoreArgs};
pub use cloud::CloudArgs;
pub use cloud_sync::CloudSyncArgs;
pub use cloud_validate::CloudValidateArgs;
pub use diff::DiffArgs;
pub use drift::DriftArgs;
pub use enforce::EnforceArgs;
pub use explain::{ExplainArgs, FlowDirection};
pub use history::HistoryArgs;
pub use init::{Forge, InitArgs};
pub use operate_args::{DisableArgs, Moment, ResumeArgs, RollbackArgs, SuspendArgs};
pub use rescue::{RescueArgs, RescueCommand};
pub use rules::RulesArgs;
pub use usage::Age;
pub use validate::{Profile, ValidateArgs, ValidateFormat};
pub use webhook::{HookForge, WebhookCommand, WebhookTestArgs};

/// Keeps network segmentation in Git: validates it against PCI DSS v4.0.1, enforces it, and proves it.
#[derive(Debug, Parser)]
#[command(name = "pci-segment", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Shows the whole chain of causes of an error, and more of what the controller does.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the product in a sandbox: a push enforced, a bad one rejected, tampering found
    Demo(DemoArgs),
    /// Scaffolds a policy repository and a commented configuration
    Init(InitArgs),
    /// Checks policy files against PCI DSS v4.0.1
    Validate(ValidateArgs),
    /// Lists the rules that `validate` asks, or explains one with an example and its repair
    Rules(RulesArgs),
    /// Says what a set of policies means for one flow, and which rule says so
    Explain(ExplainArgs),
    /// Says in flows what two sets of policies, or two revisions, mean differently
    Diff(DiffArgs),
    /// Shows what a pass would change, without changing it
    Plan(PlanArgs),
    /// Runs the controller: follow, validate, enforce, watch drift
    Run(RunArgs),
    /// Enforces policy files on this host, without Git
    Enforce(EnforceArgs),
    /// Brings the groups of a cloud to what policy files say: the plan first, then what adds, then what takes away
    #[command(long_about = cloud_sync::HELP)]
    CloudSync(CloudSyncArgs),
    /// Judges the groups of a cloud by the rules of `validate`, and compares ours with policy files
    #[command(long_about = cloud_validate::HELP)]
    CloudValidate(CloudValidateArgs),
    /// Shows what is enforced, and what is waiting
    Status(RecordArgs),
    /// Lists what became of each commit, newest first; `history show` tells everything of one
    History(HistoryArgs),
    /// Lists differences between what should be enforced and what is, accepts them for a time, and reports on them
    Drift(DriftArgs),
    /// Shows what was refused, by whom and why; with --follow as it happens
    Events(EventsArgs),
    /// Lists the rules in force with how often they are used, the longest unused first
    Usage(UsageArgs),
    /// Makes a running controller look now, or accept a head it refused
    Reconcile(ReconcileArgs),
    /// Keeps the rules that are on trial, or releases a plan that was held
    Confirm(ConfirmArgs),
    /// Holds changes back; judging, statuses, drift and enforcement go on
    Suspend(SuspendArgs),
    /// Ends a suspension, a rollback, or the time for which enforcement is off
    Resume(ResumeArgs),
    /// Goes back to a commit that was in force before, and holds it against newer heads until `resume`
    Rollback(RollbackArgs),
    /// Switches enforcement off on this host for a time: nothing is dropped; asks first
    #[command(long_about = DISABLE_HELP)]
    Disable(DisableArgs),
    /// Puts the last confirmed rules in force before the network comes up; for a start of the host
    #[command(long_about = BOOT_HELP)]
    Boot(BootArgs),
    /// Looks at the firewall itself or takes it in hand, from a bare shell
    #[command(subcommand, long_about = RESCUE_HELP)]
    Rescue(RescueCommand),
    /// Tries the webhook receivers
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// The tamper-evident log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copies the database to a file, beside a running controller or without one, and checks the copy
    #[command(long_about = backup::HELP)]
    Backup(BackupArgs),
    /// Puts a backup in the place of the database; no controller may run
    #[command(long_about = backup::RESTORE_HELP)]
    Restore(RestoreArgs),
    /// Checks this host and a configuration, and says how to mend what is missing
    Doctor(DoctorArgs),
    /// Prints a completion script for a shell
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Prints the manual page (roff)
    #[command(hide = true)]
    Man,
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leaves the sandbox in place and says how to look around in it
    #[arg(long)]
    pub keep: bool,
}

/// How records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON document.
    Json,
}

/// Which policy files.
#[derive(Debug, Args)]
pub struct PolicyFiles {
    /// Files, folders or glob patterns
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    pub files: Vec<String>,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// This commit instead of the branch's head
    #[arg(long, value_name = "REV")]
    pub commit: Option<String>,
    /// Exits 2 if something would change, 0 if not, 1 on errors
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// How to show the plan
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// Makes one pass and exits: 0 in force, 1 rejected or held, 2 could not run
    #[arg(long)]
    pub once: bool,
    /// How to write the log
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line an event.
    Human,
    /// One JSON object an event.
    Json,
}

/// Where the records are.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// This database instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// How to show them
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// Reads what is pinned there, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    pub pins: Option<PathBuf>,
    /// Shows packets as they are refused, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// How to show them; with --follow JSON is one line each
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `usage`
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Only rules that nothing has used for this long, for example 90d
    #[arg(long, value_name = "TIME")]
    pub unused_for: Option<Age>,
}

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Accepts this head although it does not descend from the commit in force; once
    #[arg(long, value_name = "COMMIT", requires = "reason")]
    pub accept_head: Option<String>,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: Option<String>,
}

/// `confirm`
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The hash that `status` shows, of what is on trial or of a held plan; without it, what is on trial
    pub hash: Option<String>,
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log. A held plan needs one
    #[arg(long)]
    pub reason: Option<String>,
}

const BOOT_HELP: &str = "Puts the last confirmed rules in force, from the database alone: no Git, no network, nothing is written. \
    What was on trial does not come back. A host that was never enforced is left alone (exit 0). Rules that were in force and cannot be \
    read any more: everything is denied but the failsafe list, or only counted where host.mode is audit (exit 1). Interfaces that do not \
    exist yet are waited for, then left to `run`. Meant for a one-shot unit before network-pre.target.";

const DISABLE_HELP: &str = "Break-glass: nothing is dropped on this host until the time given, at most 24 h ahead. Rules and hooks stay in \
    place, so that enforcement comes back with one step: by itself when the time is over, in the kernel, whether the controller runs or \
    not, or with `resume`. It survives a restart of the controller and, with `boot` or the controller's start, one of the host. New \
    commits are judged and wait. The log says every minute that enforcement is off; `status`, `doctor`, /readyz and the metric \
    pci_segment_enforcement say so too. Where no controller runs there is `rescue audit`.";

const RESCUE_HELP: &str = "Looks at the firewall itself or takes it in hand. Needs only the BPF file system, or nft where nftables \
    enforces: no configuration, no database, no controller. Each change is put in the audit log if the configuration's database can be opened; else it says that it is \
    not. A controller that runs sees the change: rules taken back are not tried again, audit is left to whoever turned it on.";

/// `boot`
#[derive(Debug, Args)]
pub struct BootArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// How long to wait for interfaces that do not exist yet
    #[arg(long, value_name = "TIME", default_value = "3s")]
    pub wait: Interval,
}

/// `audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recomputes the log from its bytes and names the first row that does not hold
    #[command(long_about = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Shows the newest signed checkpoint, or the key that others verify with
    Checkpoint(CheckpointArgs),
    /// Starts a new origin for a log that is not the one its anchors have; only while no controller runs
    Fork(ForkArgs),
    /// Writes rows as JSON lines that anybody can recompute
    Export(ExportArgs),
    /// Proves that a row is in the newest signed checkpoint, or checks such a proof
    Prove(ProveArgs),
}

const VERIFY_HELP: &str = "Recomputes the log from its bytes: each row, the chain, the tree, every signed checkpoint, sealed segments, and \
    what anchors have seen. Reads only. Exit codes: 0 good; 1 good, but (--strict) forked, not signed to its end, or without an anchor \
    of the last 24 h; 2 could not read; 10 a row is not what was written; 11 the chain is broken; 12 a checkpoint is not signed by a \
    known key, or signs other rows; 13 rows at the end are missing; 14 two histories; 15 rows or a segment are missing. \
    deploy/verify_audit.py gives the same codes without this program.";

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also checks what this configuration needs
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to show the result
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, compliant.
    Done,
    /// 1: violations, drift, or a denied confirmation.
    Violations,
    /// 2: wrong usage, or could not run. Also `plan --detailed-exitcode` with changes.
    CouldNotRun,
    /// A code of its own (`audit verify`).
    Code(u8),
}

impl Exit {
    /// As a shell sees it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Violations => 1,
            Self::CouldNotRun => 2,
            Self::Code(code) => code,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
