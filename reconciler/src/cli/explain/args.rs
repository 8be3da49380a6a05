//! What `explain` can be asked.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::Format;

/// Which way a flow goes, seen from the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlowDirection {
    /// To the workload.
    Ingress,
    /// From the workload.
    Egress,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Files, folders or glob patterns; `-` is standard input
    #[arg(short, long = "file", num_args = 1.., value_name = "PATH", required_unless_present = "repo")]
    pub files: Vec<String>,
    /// A whole policy repository's folder
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    pub repo: Option<PathBuf>,
    /// A label of the workload; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The namespace of a workload known by its labels
    #[arg(long, value_name = "NAME", conflicts_with = "workload")]
    pub namespace: Option<String>,
    /// An endpoint of the Inventory instead of labels
    #[arg(long, value_name = "NAME", conflicts_with_all = ["labels", "flows"])]
    pub workload: Option<String>,
    /// Answers for each line of this file (JSON lines) instead; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["peer", "direction", "protocol", "port"])]
    pub flows: Option<PathBuf>,
    /// Which way the flow goes
    #[arg(long, value_enum, required_unless_present = "flows")]
    pub direction: Option<FlowDirection>,
    /// The other end's address
    #[arg(long, required_unless_present = "flows")]
    pub peer: Option<IpAddr>,
    /// tcp, udp, sctp, icmp, icmpv6, or a number from 0 to 255
    #[arg(long, required_unless_present = "flows")]
    pub protocol: Option<String>,
    /// The service's port (tcp, udp, sctp)
    #[arg(long)]
    pub port: Option<u16>,
    /// ICMP type
    #[arg(long)]
    pub icmp_type: Option<u8>,
    /// ICMP code
    #[arg(long)]
    pub icmp_code: Option<u8>,
    /// Answers as of this day (YYYY-MM-DD; default: today, UTC)
    #[arg(long, value_name = "DATE")]
    pub as_of: Option<String>,
    /// How to show the answer
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}
