//! `drift`: differences between what should be enforced and what is.

use super::output::Output;
use super::records::open;
use super::{DriftArgs, Exit, Format};
use crate::store::DriftEntry;

/// Differences between what should be enforced and what is.
///
/// # Errors
/// The records cannot be read.
pub fn drift(args: &DriftArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let rows = runtime.block_on(store.drift(args.open))?;
    let open = rows.iter().any(|row| row.resolved_at.is_none());
    if args.records.format == Format::Json {
        out.json(&rows);
    } else if rows.is_empty() {
        out.line("no drift on record");
    } else {
        let cells = |row: &DriftEntry| {
            let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let ended = row.resolution.map_or("open", crate::store::Resolution::word).to_owned();
            vec![
                row.first_seen.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                row.target.clone(),
                row.kind.word().to_owned(),
                row.key.clone(),
                side(&row.expected),
                side(&row.observed),
                ended,
            ]
        };
        out.table(
            &["first seen (UTC)", "target", "kind", "key", "expected", "observed", "resolution"],
            rows.iter().map(cells).collect(),
        );
    }
    Ok(if open { Exit::Violations } else { Exit::Done })
}
