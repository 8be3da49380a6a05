//! What `rescue` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Format;

/// `rescue …`
#[derive(Debug, Subcommand)]
pub enum RescueCommand {
    /// What judges packets, what is on trial, where it is attached
    Status {
        /// Which firewall.
        #[command(flatten)]
        args: RescueArgs,
        /// How to show it
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Keeps the rules that are on trial
    Confirm(RescueArgs),
    /// Puts the rules before back in force; nftables keeps them only while others are on trial
    Rollback(RescueArgs),
    /// Drops nothing any more, and counts what would be; asks first
    Audit(RescueArgs),
    /// Ends audit: what no rule allows is dropped
    Enforce(RescueArgs),
    /// Removes every hook and every rule; asks first
    Detach(RescueArgs),
}

impl RescueCommand {
    /// Which firewall.
    #[must_use]
    pub fn args(&self) -> &RescueArgs {
        match self {
            Self::Status { args, .. }
            | Self::Confirm(args)
            | Self::Rollback(args)
            | Self::Audit(args)
            | Self::Enforce(args)
            | Self::Detach(args) => args,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Confirm(_) => "confirm",
            Self::Rollback(_) => "rollback",
            Self::Audit(_) => "audit",
            Self::Enforce(_) => "enforce",
            Self::Detach(_) => "detach",
        }
    }
}

/// Which firewall.
#[derive(Debug, Args)]
pub struct RescueArgs {
    /// Where eBPF programs and maps are pinned (default: as the configuration says, else /sys/fs/bpf/pci-segment)
    #[arg(long, value_name = "DIR")]
    pub pins: Option<PathBuf>,
    /// The controller's configuration; only for the record
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
}
