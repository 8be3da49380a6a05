//! `history`: what became of each commit, and everything about one.

mod show;

use clap::{Args, Subcommand};

use super::output::Output;
use super::records::{open, painted_plain, short};
use super::{Exit, Format, RecordArgs};
use crate::store::{HistoryEntry, OrderRow};

/// `history`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HistoryArgs {
    /// What to do instead of listing
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// How many rows at most
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// `history …`
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Tells everything of one commit: who, approved by whom, what the rules said, which plan, what each target answered
    Show(ShowArgs),
    /// Lists what operators have ordered, newest first: who, from where, what, and what came of it, also where it was refused
    Orders(OrdersArgs),
}

/// `history orders`
#[derive(Debug, Args)]
pub struct OrdersArgs {
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
    /// How many rows at most
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// `history show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The commit, by seven or more of its digits
    pub commit: String,
    /// Where the records are.
    #[command(flatten)]
    pub records: RecordArgs,
}

/// What became of each commit.
///
/// # Errors
/// The records cannot be read, or nobody knows the commit.
pub fn history(args: &HistoryArgs, out: Output) -> anyhow::Result<Exit> {
    match &args.command {
        Some(HistoryCommand::Show(wish)) => return show::show(wish, out),
        Some(HistoryCommand::Orders(wish)) => return orders(wish, out),
        None => {}
    }
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

fn orders(args: &OrdersArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.orders(args.limit))?;
    if args.records.format == Format::Json {
        out.json(&rows);
        return Ok(Exit::Done);
    }
    let cells = |row: &OrderRow| {
        vec![
            row.row.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            row.row.actor.clone(),
            row.row.origin.clone(),
            row.order.clone(),
            row.row.outcome.to_owned(),
            row.answer.clone().unwrap_or_default(),
        ]
    };
    out.table(&["when (UTC)", "who", "from", "order", "outcome", "answer"], rows.iter().map(cells).collect());
    Ok(Exit::Done)
}
