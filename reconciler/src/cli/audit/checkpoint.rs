//! `audit checkpoint`: what is signed of the log, and by which key.

use clap::Args;

use crate::audit::{Note, VerifierKey, hex};
use crate::cli::operate::database;
use crate::cli::output::Output;
use crate::cli::records::{open, when};
use crate::cli::{Exit, Format, RecordArgs};
use crate::run::control::{Order, order, socket};
use crate::run::keeper::known_keys;
use crate::store::{AUDIT_ORIGIN, KeptNote};

/// `audit checkpoint`
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// Shows the key that others verify with, instead of the newest note; keep it off this host
    #[arg(long)]
    pub key: bool,
}

/// Shows the newest checkpoint; with a running controller one over the log as it is now.
///
/// # Errors
/// The records cannot be read, or nothing is signed yet.
pub(super) fn checkpoint(args: &CheckpointArgs, out: Output) -> anyhow::Result<Exit> {
    if args.key {
        return key(&args.records, out);
    }
    let folder = database(&args.records)?.parent().map(std::path::PathBuf::from).unwrap_or_default();
    let refusal = match socket(&folder).exists().then(|| order(&folder, &Order::Checkpoint)) {
        Some(Ok(note)) => {
            show(&note, None, &args.records, out)?;
            return Ok(Exit::Done);
        }
        Some(Err(error)) => Some(format!("no new checkpoint: {error:#}")),
        None => None,
    };
    let Some(stored) = newest(&args.records)? else {
        if let Some(refusal) = refusal {
            anyhow::bail!(refusal);
        }
        anyhow::bail!("nothing is signed yet; the first checkpoint is cut within a minute of the first start of the controller");
    };
    show(&stored.note, Some(&stored), &args.records, out)?;
    let why = refusal.as_deref().unwrap_or("no controller runs that could cut a new one");
    out.note(format!("this one was cut {}; {why}", when(stored.cut_at)));
    // Whoever asked for one over the log as it is now did not get it.
    Ok(if refusal.is_some() { Exit::Violations } else { Exit::Done })
}

fn newest(records: &RecordArgs) -> anyhow::Result<Option<KeptNote>> {
    let (runtime, store) = open(records)?;
    runtime.block_on(async {
        let Some(origin) = store.meta_get(AUDIT_ORIGIN).await? else { return Ok(None) };
        Ok(store.newest_checkpoint(&origin).await?)
    })
}

fn show(text: &str, stored: Option<&KeptNote>, records: &RecordArgs, out: Output) -> anyhow::Result<()> {
    let note = Note::parse(text)?;
    if records.format == Format::Json {
        let checkpoint = &note.checkpoint;
        out.json(&serde_json::json!({ "origin": checkpoint.origin, "size": checkpoint.size, "root": hex(&checkpoint.root),
            "cut_at": stored.map(|stored| stored.cut_at), "note": text }));
    } else {
        out.bytes(note.to_string().as_bytes());
    }
    Ok(())
}

fn key(records: &RecordArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(records)?;
    let keys = runtime.block_on(known_keys(&store))?;
    let Some((newest, older)) = keys.split_last() else {
        anyhow::bail!("the log has no key yet; it is made by the first start of the controller");
    };
    if records.format == Format::Json {
        let all: Vec<String> = keys.iter().map(VerifierKey::to_string).collect();
        out.json(&serde_json::json!({ "key": newest.to_string(), "origin": newest.name(), "all": all }));
        return Ok(Exit::Done);
    }
    out.line(newest.to_string());
    if !older.is_empty() {
        out.note(format!("{} older keys signed before it; --format json lists them", older.len()));
    }
    Ok(Exit::Done)
}
