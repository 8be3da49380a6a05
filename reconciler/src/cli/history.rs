//! `history`: what became of each commit.

use super::output::Output;
use super::records::{open, painted_plain, short};
use super::{Exit, Format, HistoryArgs};
use crate::store::HistoryEntry;

/// What became of each commit.
///
/// # Errors
/// The records cannot be read.
pub fn history(args: &HistoryArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.history(args.limit))?;
    if args.records.format == Format::Json {
        out.json(&rows);
        return Ok(Exit::Done);
    }
    let cells = |row: &HistoryEntry| {
        let commit = row.commit.as_deref().map_or("-", short).to_owned();
        let what = if row.rule_ids.is_empty() { row.reason.clone() } else { row.rule_ids.join(" ") };
        vec![
            row.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            commit,
            painted_plain(row.outcome),
            row.changes.to_string(),
            row.subject.clone().unwrap_or_default(),
            what,
        ]
    };
    out.table(&["when (UTC)", "commit", "outcome", "changes", "subject", "why"], rows.iter().map(cells).collect());
    Ok(Exit::Done)
}
