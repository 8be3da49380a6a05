//! `backup` and `restore`: the database as one file that can be relied on, and back.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::operate::database;
use super::output::{Output, Tone, escape};
use super::{Exit, Format, RecordArgs, run};
use crate::run::control::{Order, order, socket};
use crate::store::{self, BackedUp, Store};

/// What `backup --help` says.
pub(super) const HELP: &str = "Copies the database with SQLite's own means, never file by file: looked through (integrity_check), its audit log \
    verified, on the disk, mode 0600. Nothing is overwritten. Who made it, its SHA-256 and size are a row of the audit log; where that \
    row cannot be written the copy is kept and the command exits 2. A running controller goes on meanwhile.";

/// What `restore --help` says.
pub(super) const RESTORE_HELP: &str = "Puts a backup in the place of the database: it must be a sound database of pci-segment, not newer than this \
    program, with a log that verifies. The database from before is moved aside, never deleted. The log then ends where the backup was \
    made; where anchors know a later end, the next start says so and asks for `audit fork`. What is enforced stays enforced.";

/// `backup`
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where to; nothing may be there
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
}

/// `restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
}

/// Copies the database and checks the copy.
///
/// # Errors
/// The copy cannot be made, is not good, or is not on record.
pub fn backup(args: &BackupArgs, out: Output) -> anyhow::Result<Exit> {
    let database = database(&args.records)?;
    let made = run::runtime()?.block_on(async {
        // Nobody is to be told that a log is good which the note beside it contradicts.
        crate::run::keeper::writable(&database).await.context("no backup was made")?;
        anyhow::Ok(store::copy(&database, &args.file).await?)
    })?;
    let recorded = on_record(&database, &made);
    if args.records.format == Format::Json {
        out.json(&made);
    } else {
        let line =
            format!("backup {}: {} rows of the log, {} bytes, SHA-256 {}", made.file.display(), made.rows, made.bytes, made.sha256);
        out.line(out.paint(Tone::Good, &escape(&line)));
    }
    match recorded {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(error.context("the copy is good and is kept, but that it was made is not on record")),
    }
}

/// Through the controller that runs, else in its database.
fn on_record(database: &Path, made: &BackedUp) -> anyhow::Result<()> {
    let folder = database.parent().unwrap_or(Path::new(""));
    if std::os::unix::net::UnixStream::connect(socket(folder)).is_ok() {
        return order(folder, &Order::BackedUp(made.clone())).map(drop);
    }
    let now = Timestamp::now();
    run::runtime()?.block_on(async {
        crate::run::keeper::writable(database).await?;
        let store = Store::open(database, "shell", now).await?;
        let noted = store.note_backup(made, &uid(), "shell", now).await;
        store.close().await;
        Ok(noted?)
    })
}

/// Puts a backup in the place of the database.
///
/// # Errors
/// A controller runs, or the backup cannot be used.
pub fn restore(args: &RestoreArgs, out: Output) -> anyhow::Result<Exit> {
    let database = database(&args.records)?;
    let done = run::runtime()?.block_on(store::restore(&args.file, &database, &uid(), Timestamp::now()))?;
    if args.records.format == Format::Json {
        out.json(&done);
        return Ok(Exit::Done);
    }
    let line = format!("restored {}: {} rows of the log, SHA-256 {}", done.database.display(), done.rows, done.sha256);
    out.line(out.paint(Tone::Good, &escape(&line)));
    if let Some(aside) = &done.aside {
        out.line(escape(&format!("the database from before is {}", aside.display())));
    }
    out.note(
        "the log ends where the backup was made; where anchors know a later end, the next start asks for: pci-segment audit fork",
    );
    Ok(Exit::Done)
}

fn uid() -> String {
    crate::run::control::actor(rustix::process::getuid().as_raw())
}
