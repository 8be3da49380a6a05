//! `drift`: differences between what should be enforced and what is, what is decided about them, and reports.

mod args;
mod decide;
mod report;
mod show;

pub use self::args::{DriftArgs, DriftCommand};

use super::output::Output;
use super::records::{cut, open};
use super::{Exit, Format};
use crate::store::{DriftEntry, DriftVerdict};

/// Differences between what should be enforced and what is.
///
/// # Errors
/// The records cannot be read; an order is refused.
pub fn drift(args: &DriftArgs, out: Output) -> anyhow::Result<Exit> {
    match (&args.command, &args.id) {
        (Some(DriftCommand::Accept(accept)), _) => decide::accept(accept, out),
        (Some(DriftCommand::Release(release)), _) => decide::release(release, out),
        (Some(DriftCommand::Report(wish)), _) => report::report(wish, out),
        (None, Some(id)) => show::show(&args.records, id, out),
        (None, None) => list(args, out),
    }
}

fn list(args: &DriftArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.drift(args.open))?;
    let open = rows.iter().any(DriftEntry::is_open);
    if args.records.format == Format::Json {
        out.json(&rows);
    } else if rows.is_empty() {
        out.line("no drift on record");
    } else {
        let headings = ["id", "since (UTC)", "kind", "key", "expected", "observed", "state"];
        out.table(&headings, rows.iter().map(cells).collect());
        out.line("one in full: pci-segment drift ID");
    }
    Ok(if open { Exit::Violations } else { Exit::Done })
}

/// A line of at most a hundred columns: what is longer is told by `drift ID`.
fn cells(row: &DriftEntry) -> Vec<String> {
    let side = |text: &Option<String>| cut(text.as_deref().unwrap_or("-"), 12);
    vec![
        row.short().to_owned(),
        row.first_seen.strftime("%m-%d %H:%M:%S").to_string(),
        row.kind.word().to_owned(),
        cut(&row.key, 20),
        side(&row.expected),
        side(&row.observed),
        state(row),
    ]
}

/// In one word.
fn state(row: &DriftEntry) -> String {
    match row.resolution {
        Some(how) => how.word().to_owned(),
        None if row.is(DriftVerdict::Accepted) => DriftVerdict::Accepted.word().to_owned(),
        None if row.is(DriftVerdict::Quarantined) => DriftVerdict::Quarantined.word().to_owned(),
        None => "open".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::entry;
    use crate::store::Resolution;

    #[test]
    fn a_line_of_the_table_fits_into_a_hundred_columns_whatever_is_in_it() {
        let long = "ingress 2001:db8:1234:5678:9abc:def0:1234:5678/128".repeat(3);
        let row = DriftEntry {
            expected: Some(long.clone()),
            observed: Some("TCP 5432, TCP 8080, UDP 53".to_owned()),
            kind: crate::store::DriftKind::Detached,
            ..entry(&long, None)
        };
        let cells = cells(&row);
        let widest = DriftVerdict::Quarantined.word().len();
        let width: usize = cells.iter().take(6).map(|cell| cell.chars().count().max(8) + 2).sum::<usize>() + widest;
        assert!(width <= 100, "{width}: {cells:?}");
        assert_eq!((cells[0].as_str(), cells[6].as_str()), ("0000cafe", "open"));
        assert_eq!(state(&entry("a", Some(Resolution::Healed))), "healed");
    }
}
