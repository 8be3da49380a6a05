//! `audit …`: the tamper-evident log.

mod checkpoint;
mod export;
mod fork;
mod prove;
mod verify;

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use super::{AuditCommand, Exit};
use crate::archive;
use crate::config::Config;

pub use export::ExportArgs;
pub use prove::ProveArgs;
pub use verify::{VerifyArgs, report};

/// Where the log is.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// This database instead of the configuration's
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// Where sealed segments are, instead of the configuration's place, or `segments` beside the database
    #[arg(long, value_name = "DIR")]
    pub segments: Option<PathBuf>,
}

/// The files of a log.
struct Place {
    database: PathBuf,
    segments: PathBuf,
}

impl LogArgs {
    fn place(&self) -> anyhow::Result<Place> {
        let (database, configured) = match &self.database {
            Some(database) => (database.clone(), None),
            None => {
                let config = Config::load(&self.config)?;
                (config.database.as_path().to_owned(), config.audit.segments_dir.clone())
            }
        };
        let segments = self.segments.clone().or(configured).unwrap_or_else(|| archive::segments_beside(&database));
        Ok(Place { database, segments })
    }
}

pub use self::checkpoint::CheckpointArgs;
pub use self::fork::ForkArgs;

/// What is asked of the log.
///
/// # Errors
/// The configuration or the records cannot be read.
pub fn audit(command: &AuditCommand, out: Output) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify::verify(args, out),
        AuditCommand::Export(args) => export::export(args, out),
        AuditCommand::Prove(args) => prove::prove(args, out),
        AuditCommand::Checkpoint(args) => checkpoint::checkpoint(args, out),
        AuditCommand::Fork(args) => fork::fork(args, out),
    }
}
