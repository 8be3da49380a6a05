//! `history`: what became of each commit, and everything about one.

mod show;

use clap::{Args, Subcommand};

use super::output::Output;
use super::records::{cut, open, painted_plain, short};
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
    out.table(&["when (UTC)", "commit", "outcome", "changes", "subject", "why"], rows.iter().map(cells).collect());
    Ok(Exit::Done)
}

/// A line of at most a hundred columns: what is longer is told by `history show`.
fn cells(row: &HistoryEntry) -> Vec<String> {
    let what = if row.rule_ids.is_empty() { row.reason.clone() } else { row.rule_ids.join(" ") };
    vec![
        row.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        row.commit.as_deref().map_or("-", short).to_owned(),
        painted_plain(row.outcome),
        row.changes.to_string(),
        cut(row.subject.as_deref().unwrap_or_default(), 16),
        cut(&what, 22),
    ]
}

fn orders(args: &OrdersArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.orders(args.limit))?;
    if args.records.format == Format::Json {
        out.json(&rows);
        return Ok(Exit::Done);
    }
    out.table(&["when (UTC)", "who", "from", "order", "outcome", "answer"], rows.iter().map(order_cells).collect());
    if !rows.is_empty() {
        out.line("in full: pci-segment history orders --format json");
    }
    Ok(Exit::Done)
}

/// A line of at most a hundred columns.
fn order_cells(row: &OrderRow) -> Vec<String> {
    vec![
        row.row.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        cut(&row.row.actor, 14),
        cut(&row.row.origin, 12),
        cut(&row.order, 14),
        row.row.outcome.to_owned(),
        cut(row.answer.as_deref().unwrap_or_default(), 20),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{AuditRow, Outcome};

    fn width(cells: &[String], headings: &[&str]) -> usize {
        let cells = cells.iter().zip(headings).map(|(cell, heading)| cell.chars().count().max(heading.len()) + 2);
        cells.sum::<usize>().saturating_sub(2)
    }

    #[test]
    fn lines_of_the_tables_fit_into_a_hundred_columns_whatever_is_in_them() {
        let long = "no rule names 2001:db8:1234:5678:9abc:def0:1234:5678 ".repeat(5);
        let at = jiff::Timestamp::UNIX_EPOCH;
        let entry = HistoryEntry {
            commit: Some("1c".repeat(32)),
            outcome: Some(Outcome::Inexpressible),
            subject: Some(long.clone()),
            reason: long.clone(),
            changes: 50_000,
            started_at: at,
            ..HistoryEntry::default()
        };
        let headings = ["when (UTC)", "commit", "outcome", "changes", "subject", "why"];
        assert!(width(&cells(&entry), &headings) <= 100, "{:?}", cells(&entry));
        let row = AuditRow {
            seq: 1,
            at,
            kind: "order.given".to_owned(),
            actor: long.clone(),
            origin: long.clone(),
            outcome: crate::audit::Ended::Refused.word(),
        };
        let row = OrderRow { order: long.clone(), row, asked: json!({}), answer: Some(long) };
        let headings = ["when (UTC)", "who", "from", "order", "outcome", "answer"];
        assert!(width(&order_cells(&row), &headings) <= 100, "{:?}", order_cells(&row));
    }
}
