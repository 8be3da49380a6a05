//! `audit fork`: a new origin for a log that is not the one that was signed.

use clap::Args;

use crate::cli::output::{Output, escape};
use crate::cli::{Exit, run};
use crate::config::Config;
use crate::run::keeper;

/// `audit fork`
#[derive(Debug, Args)]
pub struct ForkArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: std::path::PathBuf,
    /// Why; the first row of the new origin has it, with what every anchor has of the old one
    #[arg(long)]
    pub reason: String,
}

/// Goes on under a new origin.
///
/// # Errors
/// A controller runs, or the log contradicts itself.
pub(super) fn fork(args: &ForkArgs, out: Output) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config)?;
    let actor = format!("uid:{}", rustix::process::getuid().as_raw());
    let (old, new, row) = run::runtime()?.block_on(keeper::fork(&config, &args.reason, &actor))?;
    let old = if old.is_empty() { "a log without a name" } else { &old };
    out.line(escape(&format!("row {row} says why: {old} ends, {new} begins")));
    out.note("its key: pci-segment audit checkpoint --key; keep it where the old one is kept");
    Ok(Exit::Done)
}
