//! What `enforce` is told.

use std::path::PathBuf;

use clap::Args;

use crate::cli::PolicyFiles;
use crate::config::{FailsafePeer, HostBackend, Interval};

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
    /// Takes the rules back unless they are confirmed in this time, with Enter or pci-segment rescue confirm
    #[arg(long, value_name = "TIME")]
    pub confirm_within: Option<Interval>,
    /// Drops at once on a host that was never enforced, without learning open connections for 30 s
    #[arg(long)]
    pub no_learning: bool,
    /// What enforces
    #[arg(long, value_enum, default_value_t)]
    pub backend: HostBackend,
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
