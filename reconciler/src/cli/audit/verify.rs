//! `audit verify`: recomputes the log and compares it with everything that was signed.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::super::output::{Output, Tone, escape};
use super::super::{Exit, Format, run};
use super::LogArgs;
use crate::archive::{Exports, sink};
use crate::audit::VerifierKey;
use crate::audit::verify::{Evidence, Options, Report};
use crate::config::Config;
use crate::run::keeper::witnesses;
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
    /// Compares with what an anchor holds: file:/PATH, or git:REF of the configuration's repository. Without it, a database of the
    /// configuration is compared with the anchors configured there, as far as they answer
    #[arg(long, value_name = "SINK")]
    pub anchor: Vec<String>,
    /// Asks no anchor
    #[arg(long, conflicts_with = "anchor")]
    pub no_anchors: bool,
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
    let evidence = run::runtime()?.block_on(evidence(args, keys))?;
    Ok(evidence.map(|evidence| exports.verify(evidence, &options)))
}

fn database(args: &VerifyArgs, keys: Vec<VerifierKey>, options: Options) -> anyhow::Result<Result<Report, String>> {
    let place = args.log.place()?;
    run::runtime()?.block_on(async {
        let store = match Store::open_read_only(&place.database).await {
            Ok(store) => store,
            Err(error) => return Ok(Err(crate::chain::chain(&error))),
        };
        let keys = match store.log_keys().await {
            _ if !keys.is_empty() => keys,
            Ok(keys) => keys,
            Err(report) => return Ok(Err(report.message)),
        };
        // Anchors first: the log of a controller at work has grown by the time it is read.
        let evidence = match evidence(args, keys).await? {
            Ok(evidence) => evidence,
            Err(why) => return Ok(Err(why)),
        };
        let report = store.verify_log_with(evidence, options, &place.segments).await;
        store.close().await;
        Ok(Ok(report))
    })
}

/// Notes of every sink that was named; without any, of those that are configured for the database.
async fn evidence(args: &VerifyArgs, keys: Vec<VerifierKey>) -> anyhow::Result<Result<Evidence, String>> {
    let mut evidence = Evidence::by(keys.clone());
    for name in &args.anchor {
        let Some(reference) = name.strip_prefix("git:") else {
            if let Err(why) = sink(name, &mut evidence) {
                return Ok(Err(why));
            }
            continue;
        };
        let folder = mirrors()?;
        let anchor = witnesses::in_ref(&Config::load(&args.log.config)?, reference, folder.path())?;
        evidence.asked(name);
        match witnesses::notes(&anchor, &keys).await {
            Ok(notes) => notes.iter().for_each(|note| evidence.witnessed(note)),
            Err(why) => return Ok(Err(format!("cannot read the anchor {name}: {why}"))),
        }
    }
    let configured = args.anchor.is_empty() && !args.no_anchors && args.export.is_empty() && args.log.database.is_none();
    if configured {
        let folder = mirrors()?;
        let anchors = witnesses::readable(&Config::load(&args.log.config)?, folder.path())?;
        witnesses::ask(&anchors, &keys, &mut evidence).await;
    }
    Ok(Ok(evidence))
}

/// Mirrors of its own: whoever verifies may not write where the controller does, and leaves nothing there.
fn mirrors() -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a folder for a copy of the anchors; set TMPDIR to one that can be written")
}
