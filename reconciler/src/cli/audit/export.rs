//! `audit export`: rows as JSON lines that anybody can recompute.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::output::Output;
use super::super::{Exit, run};
use super::LogArgs;
use crate::archive::{self, Written};
use crate::store::{Store, copy_rows};

/// `audit export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Where the log is.
    #[command(flatten)]
    pub log: LogArgs,
    /// First row
    #[arg(long, value_name = "ROW", default_value_t = 0)]
    pub from: u64,
    /// Last row; without it, the last there is
    #[arg(long, value_name = "ROW")]
    pub to: Option<u64>,
    /// Writes this file, which must not be there yet, instead of standard output; compressed if its name ends in .gz
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Writes rows of the log.
///
/// # Errors
/// The log cannot be read, or the file not be written.
pub(super) fn export(args: &ExportArgs, out: Output) -> anyhow::Result<Exit> {
    let place = args.log.place()?;
    let runtime = run::runtime()?;
    let store = runtime.block_on(Store::open_read_only(&place.database))?;
    let Some(file) = &args.output else {
        runtime.block_on(rows(&store, args, &place.segments, BufWriter::new(out.writer_owned())))?;
        return Ok(Exit::Done);
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let made = made.with_context(|| format!("cannot make {}", file.display()))?;
    let written = runtime.block_on(to_file(&store, args, &place.segments, made, file));
    if written.is_err() {
        // Half an export is none; nobody else's file can be meant, as it was made just now.
        let _ = std::fs::remove_file(file);
    }
    written?;
    Ok(Exit::Done)
}

async fn to_file(store: &Store, args: &ExportArgs, segments: &Path, made: File, name: &Path) -> anyhow::Result<()> {
    let written = if name.extension().is_some_and(|ending| ending == "gz") {
        let encoder = GzEncoder::new(BufWriter::new(made), Compression::default());
        rows(store, args, segments, encoder).await?.0.finish()?
    } else {
        rows(store, args, segments, BufWriter::new(made)).await?.0
    };
    written.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

async fn rows<W: Write + Send + 'static>(store: &Store, args: &ExportArgs, segments: &Path, to: W) -> anyhow::Result<(W, Written)> {
    let size = store.log_tree().await?.size();
    let last = args.to.or(size.checked_sub(1)).filter(|last| *last < size && args.from <= *last);
    let Some(last) = last else { bail!("the log has {size} rows, from row 0 on; none lies where --from and --to say") };
    let header = store.export_header(args.from, last).await?;
    let lines = archive::write_export(&header, to)?;
    let lines = copy_rows(store, segments, lines).await?;
    let note = store.checkpoint_within(last + 1).await?.map(|checkpoint| checkpoint.note);
    Ok(lines.finish(note)?)
}
