//! `drift report`: what was reported, and a report now.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::args::ReportArgs;
use crate::cli::operate::or_by_hand;
use crate::cli::output::{Output, escape};
use crate::cli::records::open;
use crate::cli::{Exit, Format};
use crate::config::Config;
use crate::report::{Grounds, Trigger};
use crate::run::control::Order;
use crate::run::reports;
use crate::store::{ReportEntry, Store};

/// Lists reports, prints one, or has one written.
pub(super) fn report(args: &ReportArgs, out: Output) -> anyhow::Result<Exit> {
    match &args.id {
        Some(id) => print(args, id, out),
        None if args.now => now(args, out),
        None => list(args, out),
    }
}

fn list(args: &ReportArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.reports())?;
    if args.records.format == Format::Json {
        out.json(&rows);
    } else if rows.is_empty() {
        out.line("no report on record; drift.report_schedule says when one is written, drift report --now writes one");
    } else {
        out.table(&["id", "written (UTC)", "since", "open", "closed", "not observed", "verdict"], rows.iter().map(cells).collect());
    }
    Ok(Exit::Done)
}

fn cells(row: &ReportEntry) -> Vec<String> {
    let number = |name: &str| row.summary.get(name).map_or_else(String::new, ToString::to_string);
    let short = row.id.get(row.id.len().saturating_sub(8)..).unwrap_or(&row.id);
    vec![
        short.to_owned(),
        row.written_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        row.begins.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        number("open"),
        number("closed"),
        number("targets_not_observed"),
        row.summary.get("verdict").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
    ]
}

fn print(args: &ReportArgs, id: &str, out: Output) -> anyhow::Result<Exit> {
    let as_page = match args.output.as_deref().map(|file| (file, file.extension().and_then(|ending| ending.to_str()))) {
        None => args.records.format == Format::Human,
        Some((_, Some("html"))) => true,
        Some((_, Some("json"))) => false,
        Some((file, _)) => bail!("{} ends neither in .html nor in .json, so nobody knows what to write", file.display()),
    };
    let (runtime, store) = open(&args.records)?;
    let bytes = runtime.block_on(bytes(&store, id, as_page))?;
    match &args.output {
        Some(file) => write(file, &bytes)?,
        None => out.bytes(&bytes),
    }
    Ok(Exit::Done)
}

async fn bytes(store: &Store, id: &str, as_page: bool) -> anyhow::Result<Vec<u8>> {
    let rows = store.reports_like(id).await?;
    let row = match rows.as_slice() {
        [row] => row,
        [] => bail!("{id} names no report; pci-segment drift report lists them, six digits of an id are enough"),
        _ => bail!("{id} names more than one report; give more digits of the id"),
    };
    let hash = if as_page { &row.html_sha256 } else { &row.json_sha256 };
    let hash = policy::digest::Digest::parse(&format!("sha256:{hash}")).context("a report whose hash is none")?;
    store.evidence(&hash.0).await?.with_context(|| format!("the bytes of report {} are not there any more", row.id))
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// The controller looks before it writes one; where none runs, the records say what they say.
fn now(args: &ReportArgs, out: Output) -> anyhow::Result<Exit> {
    let config = if args.records.database.is_none() { Some(Config::load(&args.records.config)?) } else { None };
    let said = or_by_hand(&args.records, &Order::Report, |store, who| async move {
        let config = config.context("a report needs the configuration; leave --database out")?;
        reports::write(&store, &config, (Trigger::Asked, Grounds::Records), &who).await.map_err(Into::into)
    })?;
    out.line(escape(&said));
    Ok(Exit::Done)
}
