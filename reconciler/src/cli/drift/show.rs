//! `drift ID`: one difference in full.

use crate::cli::output::{Output, escape};
use crate::cli::records::{open, when};
use crate::cli::{Exit, Format, RecordArgs};
use crate::store::DriftEntry;

/// One difference in full.
pub(super) fn show(records: &RecordArgs, id: &str, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(records)?;
    let mut found = runtime.block_on(store.drift_like(id))?.into_iter();
    let row = match (found.next(), found.next()) {
        (Some(row), None) => row,
        (Some(_), Some(_)) => anyhow::bail!("{id} names more than one difference; give more digits of the id"),
        (None, _) => anyhow::bail!("{id} names no difference; pci-segment drift lists them, six digits of an id are enough"),
    };
    if records.format == Format::Json {
        out.json(&row);
    } else {
        for (name, text) in lines(&row) {
            out.line(format!("{name:<12} {}", escape(&text)));
        }
    }
    Ok(if row.is_open() { Exit::Violations } else { Exit::Done })
}

fn lines(row: &DriftEntry) -> Vec<(&'static str, String)> {
    let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    let ours = match row.ours {
        Some(true) => "ours",
        Some(false) => "somebody else's",
        None => "nobody can tell whose",
    };
    let mut lines = vec![
        ("id", row.id.clone()),
        ("target", row.target.clone()),
        ("key", row.key.clone()),
        ("kind", format!("{}, {}, {ours}", row.kind.word(), row.class.word())),
        ("expected", side(&row.expected)),
        ("observed", side(&row.observed)),
        ("first seen", when(row.first_seen)),
        ("last seen", format!("{} ({} times on record)", when(row.last_seen), row.times_seen)),
        ("in force", row.commit.clone().unwrap_or_else(|| "nothing".to_owned())),
        ("changed by", row.actor.clone().unwrap_or_else(|| "not known to the backend".to_owned())),
        ("evidence", row.evidence.clone().unwrap_or_else(|| "none".to_owned())),
        ("state", super::state(row)),
    ];
    if let (Some(how), Some(at)) = (row.resolution, row.resolved_at) {
        let pass = row.pass.as_ref().map_or_else(String::new, |pass| format!(" by pass {pass}"));
        lines.push(("ended", format!("{} {}{pass}", how.word(), when(at))));
    }
    if let Some(held) = &row.decision {
        let until = held.until.map_or_else(|| "it is released".to_owned(), when);
        lines.push(("decision", format!("{} by {} at {}, until {until}", held.decision.word(), held.who, when(held.set_at))));
        lines.push(("because", held.why.clone()));
    }
    lines
}
