//! The command line: what can be said, and which function answers.
//!
//! Parsing is clap's; each command has one module that returns an [`Exit`] and writes through [`output`], the only place that
//! prints. Data goes to standard output, everything else to standard error.

pub mod demo;
pub mod diff;
pub mod doctor;
pub mod enforce;
pub mod explain;
pub mod files;
pub mod init;
pub mod operate;
pub mod output;
pub mod plan;
pub mod records;
pub mod rules;
pub mod run;
mod status;
pub mod usage;
pub mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::FailsafePeer;

pub use diff::DiffArgs;
pub use explain::{ExplainArgs, FlowDirection};
pub use init::{Forge, InitArgs};
pub use rules::RulesArgs;
pub use usage::Age;
pub use validate::{Profile, ValidateArgs, ValidateFormat};

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
    /// Shows what is enforced, and what is waiting
    Status(RecordArgs),
    /// Lists what became of each commit, newest first
    History(HistoryArgs),
    /// Lists differences between what should be enforced and what is
    Drift(DriftArgs),
    /// Lists the rules in force with how often they are used, the longest unused first
    Usage(UsageArgs),
    /// Makes a running controller look now, or accept a head it refused
    Reconcile(ReconcileArgs),
    /// Releases a plan that was held because it changes too much
    Confirm(ConfirmArgs),
    /// The tamper-evident log
    #[command(subcommand)]
    Audit(AuditCommand),
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

/// `enforce`
#[derive(Debug, Args)]
pub struct EnforceArgs {
    /// Which policies.
    #[command(flatten)]
    pub policies: PolicyFiles,
    /// Where packets are judged; repeat for more
    #[arg(long = "interface", required = true, value_name = "IF", num_args = 1..)]
    pub interfaces: Vec<String>,
    /// A label of this host, where the files have no Inventory; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The name under which the Inventory knows this host (default: the kernel's host name)
    #[arg(long, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Counts what would be dropped, drops nothing
    #[arg(long)]
    pub audit: bool,
    /// Always allowed inbound, for example tcp/22@10.0.0.0/8; repeat for more
    #[arg(long, value_name = "PROTO/PORT@CIDR")]
    pub failsafe: Vec<FailsafePeer>,
    /// Enforces without any way back in
    #[arg(long, conflicts_with = "failsafe")]
    pub no_failsafe: bool,
    /// Leaves the rules in force when this command ends
    #[arg(long)]
    pub keep: bool,
    /// Where programs and maps are pinned
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/pci-segment-enforce")]
    pub pin_dir: PathBuf,
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

/// `history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// How many rows at most
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// `drift`
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Only differences that are still there
    #[arg(long)]
    pub open: bool,
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
    /// The held plan's hash, as `status` shows it
    pub hash: String,
    /// Where the controller is.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Why; kept in the audit log
    #[arg(long)]
    pub reason: String,
}

/// `audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recomputes the log from its bytes and names the first row that does not hold
    Verify(VerifyArgs),
}

/// `audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
}

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
