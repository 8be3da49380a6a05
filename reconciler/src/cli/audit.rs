//! `audit …`: the tamper-evident log.

use super::operate::database;
use super::output::{Output, Tone};
use super::{AuditCommand, Exit, Format, VerifyArgs, run};
use crate::audit::verify::{Options, Report};
use crate::store::Store;

/// What is asked of the log.
///
/// # Errors
/// The configuration cannot be read.
pub fn audit(command: &AuditCommand, out: Output) -> anyhow::Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify(args, out),
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
