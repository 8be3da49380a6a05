//! Files of the log: exports, sealed segments (which are exports, compressed), and notes kept in files.
//!
//! Reading is bounded by the longest line, whatever a file holds. A compressed file is read to its end before a line of it is used:
//! what a damaged one decompresses to before the damage is nobody's business.

mod check;
mod notes;
mod opening;
mod reader;
mod segment;
mod writer;

pub use check::Exports;
pub use notes::{beside, sink};
pub use reader::{Export, Next, Unreadable};
pub use segment::{Looked, leaves, look, sha256};
pub use writer::{Lines, Written, write_export};

use std::path::{Path, PathBuf};

/// Where segments are, unless the configuration says otherwise.
#[must_use]
pub fn segments_beside(database: &Path) -> PathBuf {
    database.parent().unwrap_or(Path::new(".")).join("segments")
}
