//! What `validate` can be asked.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ValidateFormat {
    /// For people.
    #[value(alias = "text")]
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// JUnit XML, a test case for each rule and document.
    Junit,
    /// Workflow annotations.
    Github,
}

/// A rule profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// What always runs.
    Baseline,
    /// Everything.
    #[value(name = "pci-dss-4.0.1")]
    PciDss401,
}

/// What would enforce the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// eBPF on the hosts themselves.
    Ebpf,
    /// nftables on the hosts themselves.
    Nftables,
    /// AWS security groups.
    Aws,
    /// Azure network security groups.
    Azure,
}

/// `validate`
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Files, folders or glob patterns; `-` is standard input
    #[arg(short, long = "file", num_args = 1.., value_name = "PATH", required_unless_present = "repo")]
    pub files: Vec<String>,
    /// A whole policy repository's folder
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    pub repo: Option<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    pub strict: bool,
    /// Refuses a weaker profile than this
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Also judges what these backends could not say exactly
    #[arg(long, value_enum, value_delimiter = ',', value_name = "BACKEND")]
    pub target: Vec<Backend>,
    /// The set in force, so that the change is judged too: what it does to the border of the CDE, and what only grew old
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub against: Vec<String>,
    /// Judges as of this day (YYYY-MM-DD; default: today, UTC)
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<String>,
    /// How to show findings
    #[arg(long, value_enum, default_value_t = ValidateFormat::Human)]
    pub format: ValidateFormat,
}
