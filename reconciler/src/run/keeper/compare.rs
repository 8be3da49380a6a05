//! How a log is not the one that was signed.

use crate::anchor::{Found, Ours};
use crate::audit::{Hash, hex};
use crate::store::{self, Store};

/// How a log is not the one that was signed.
pub(super) enum Difference {
    /// It has so many rows only.
    Shorter(u64),
    /// It says that it has enough, and this one is not there.
    Gap(u64),
    /// At the signed size it gives this root.
    Other(Hash),
    /// None of our keys has signed what stands there in our name.
    Foreign,
    /// The database calls the log so, and it was signed by another name.
    Named(String),
}

impl Difference {
    /// As it is told of an anchor.
    pub(super) fn told(&self, name: &str, found: &Found) -> String {
        let signed = &found.note.checkpoint;
        let size = signed.size;
        match self {
            Self::Shorter(rows) => format!("{name} has {size} rows signed, the log has {rows}"),
            Self::Gap(row) => format!("{name} has {size} rows signed, and row {row} of the log is missing"),
            Self::Other(root) => format!("{name} has root {} at {size} rows, the log gives {}", hex(&signed.root), hex(root)),
            Self::Foreign => format!("{name} has a note of {size} rows in the name of this log that none of its keys has signed"),
            Self::Named(origin) => {
                format!("{name} has {size} rows signed as {}, and the database calls its log {origin}", signed.origin)
            }
        }
    }
}

/// Compares the log with what was signed of it, from its first row on or from where it was signed before.
pub(super) async fn difference(
    store: &Store,
    ours: &Ours,
    found: &Found,
    from_the_first: bool,
) -> Result<Option<Difference>, store::Error> {
    if !ours.signed(&found.note) {
        return Ok(Some(Difference::Foreign));
    }
    let signed = &found.note.checkpoint;
    Ok(match store.root_at(signed.size, from_the_first).await? {
        None => {
            let rows = store.audit_head().await?.size;
            let missing = rows >= signed.size;
            Some(if missing { Difference::Gap(store.first_gap(signed.size).await?) } else { Difference::Shorter(rows) })
        }
        Some(root) if root != signed.root => Some(Difference::Other(root)),
        Some(_) => {
            let origin = store.log_origin().await?;
            (origin != signed.origin).then_some(Difference::Named(origin))
        }
    })
}

/// A log server takes notes and gives none back.
pub(super) fn gives_back(sink: &str) -> bool {
    !sink.starts_with("syslog:")
}

/// What an anchor says that had more of this log than it has now.
pub(super) fn vanished(name: &str, had: u64, has: Option<u64>) -> String {
    let has = has.map_or_else(|| "no note of it".to_owned(), |size| format!("only {size}"));
    format!("{name} had {had} rows of this log signed, and has {has} now")
}
