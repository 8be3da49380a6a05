//! `audit …`: the tamper-evident log.

mod checkpoint;
mod fork;

use super::operate::database;
use super::output::{Output, Tone};
use super::{AuditCommand, Exit, Format, VerifyArgs, run};
use crate::audit::verify::{Options, Report};
use crate::store::Store;

pub use self::checkpoint::CheckpointArgs;
pub use self::fork::ForkArgs;

/// What is asked of the log.
///
/// # Errors
/// The configuration or the records cannot be read.
pub fn audit(command: &AuditCommand, out: Output) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify(args, out),
        AuditCommand::Checkpoint(args) => checkpoint::checkpoint(args, out),
        AuditCommand::Fork(args) => fork::fork(args, out),
    }
}

/// Recomputes the audit log from its bytes.
///
/// # Errors
/// The configuration cannot be read.
fn verify(args: &VerifyArgs, out: Output) -> anyhow::Result<Exit> {
    let file = database(&args.records)?;
    let report = run::runtime()?.block_on(async {
        match Store::open_read_only(&file).await {
            Ok(store) => store.verify_log(Options::default()).await,
            Err(error) => Report::unreadable(crate::chain::chain(&error)),
        }
    });
    if args.records.format == Format::Json {
        out.json(&report);
    } else {
        let tone = if report.exit == 0 { Tone::Good } else { Tone::Bad };
        out.line(out.paint(tone, &super::output::escape(&report.message)));
    }
    Ok(Exit::Code(report.exit))
}
