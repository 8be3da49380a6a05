//! `audit verify`: recomputes the log and compares it with everything that was signed.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::super::output::{Output, Tone, escape};
use super::super::{Exit, Format, run};
use super::LogArgs;
use crate::archive::{Exports, sink};
use crate::audit::VerifierKey;
use crate::audit::verify::{Evidence, Options, Report, Witnessed};
use crate::store::Store;

/// `audit verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Where the log is.
    #[command(flatten)]
    pub log: LogArgs,
    /// Verifies exports instead of a database; several of one log, in order
    #[arg(long, value_name = "FILE", conflicts_with_all = ["database", "from", "segments"])]
    pub export: Vec<PathBuf>,
    /// Only signatures by this key count, as `audit checkpoint --key` prints it; several after a rotation or a fork
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// Compares with what an anchor holds: file:/PATH
    #[arg(long, value_name = "SINK")]
    pub anchor: Vec<String>,
    /// First row
    #[arg(long, value_name = "ROW")]
    pub from: Option<u64>,
    /// Last row
    #[arg(long, value_name = "ROW")]
    pub to: Option<u64>,
    /// Exits 1 unless the log is signed to its end and an anchor of the last 24 h vouches for it
    #[arg(long)]
    pub strict: bool,
    /// How to show the result
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// Recomputes the audit log from its bytes.
///
/// # Errors
/// The configuration cannot be read.
pub(super) fn verify(args: &VerifyArgs, out: Output) -> anyhow::Result<Exit> {
    let report = report(args)?;
    if args.format == Format::Json {
        out.json(&report);
    } else {
        let tone = if report.exit == 0 { Tone::Good } else { Tone::Bad };
        out.line(out.paint(tone, &escape(&report.message)));
    }
    Ok(Exit::Code(report.exit))
}

/// What the log, its notes and its anchors come to.
///
/// # Errors
/// The configuration cannot be read.
pub fn report(args: &VerifyArgs) -> anyhow::Result<Report> {
    Ok(checked(args)?.unwrap_or_else(Report::unreadable))
}

fn checked(args: &VerifyArgs) -> anyhow::Result<Result<Report, String>> {
    let options = Options { from: args.from, to: args.to, strict: args.strict, now: Timestamp::now() };
    let keys = args.key.iter().map(|key| VerifierKey::parse(key).map_err(|wrong| format!("--key {key}: {wrong}")));
    let keys = match keys.collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys,
        Err(why) => return Ok(Err(why)),
    };
    if args.export.is_empty() {
        return database(args, keys, options);
    }
    let exports = match Exports::open(&args.export) {
        Ok(exports) => exports,
        Err(unreadable) => return Ok(Err(unreadable.to_string())),
    };
    let keys = if keys.is_empty() { exports.keys() } else { keys };
    Ok(evidence(args, keys, &[]).map(|evidence| exports.verify(evidence, &options)))
}

fn database(args: &VerifyArgs, keys: Vec<VerifierKey>, options: Options) -> anyhow::Result<Result<Report, String>> {
    let place = args.log.place()?;
    Ok(run::runtime()?.block_on(async {
        let store = Store::open_read_only(&place.database).await.map_err(|error| crate::chain::chain(&error))?;
        let keys = if keys.is_empty() { store.log_keys().await.map_err(|report| report.message)? } else { keys };
        let evidence = evidence(args, keys, &[])?;
        let report = store.verify_log_with(evidence, options, &place.segments).await;
        store.close().await;
        Ok(report)
    }))
}

/// Notes of every sink that was named; `more` are of sinks that are not files.
fn evidence(args: &VerifyArgs, keys: Vec<VerifierKey>, more: &[Witnessed]) -> Result<Evidence, String> {
    let mut evidence = Evidence::by(keys);
    for name in &args.anchor {
        if more.iter().any(|witnessed| witnessed.sink == *name) {
            evidence.asked(name);
        } else {
            sink(name, &mut evidence)?;
        }
    }
    more.iter().for_each(|witnessed| evidence.witnessed(witnessed));
    Ok(evidence)
}
