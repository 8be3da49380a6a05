//! Checking a log: every row against its own bytes, every row against the one before, all of them against the frontier and against
//! everything that was ever signed.
//!
//! This is the part without a database and without files. Rows come packed or as lines of an export; buffers are examined in any
//! order and on any thread, because a row's link to the one before lies in its own bytes. Only [`Chain`] goes row by row, and all it
//! does is compare.
//!
//! The order of the checks decides the exit code, and the verifier in `deploy/verify_audit.py` has the same: rows (10, 11, 15); a
//! tail that is missing (13 where a note covers it, else 15); the frontier (10); notes kept elsewhere (14, 13), stored ones (12, 13),
//! notes nobody known signed (12); sealed segments (15).

mod chain;
mod evidence;
mod fault;
mod packed;
mod segment;

pub use chain::{Chain, Examined, Fork};
pub use evidence::{ANCHOR_HOURS_MAX, BESIDE, Evidence, Newest, Witnessed};
pub use fault::Fault;
pub use packed::{NotPacked, PACKED, examine};
pub use segment::{Manifest, State, check_places, check_roots};

use jiff::Timestamp;

use super::{Frontier, hex};
use fault::short;

/// What is to be checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// First row; its link is compared with the stored hash of the row before it.
    pub from: Option<u64>,
    /// Last row.
    pub to: Option<u64>,
    /// Be content only with a log somebody else vouches for.
    pub strict: bool,
    /// The time, for the age of anchors.
    pub now: Timestamp,
}

impl Options {
    /// How many rows there should be, where that was said.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        self.to.map(|to| to.saturating_add(1))
    }
}

/// What came of it: one line for people, the rest for scripts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The exit code: 0 good, 1 good but, 2 could not read, 10 a row, 11 the chain, 12 a signature, 13 a lost tail, 14 two
    /// histories, 15 missing rows or segments.
    pub exit: u8,
    /// One line.
    pub message: String,
    /// How many rows were found good.
    pub rows: u64,
    /// Hash of the last good row.
    pub head: Option<String>,
    /// Root of the tree over all rows; null where only a part was checked or something is wrong.
    pub root: Option<String>,
    /// The first row that is wrong.
    pub bad_row: Option<u64>,
    /// How many signatures hold.
    pub signatures: u64,
    /// The newest anchor that agrees.
    pub anchor: Option<String>,
    /// Rows at which the log took another origin.
    pub forks: Vec<u64>,
}

/// What the rows should come to.
#[derive(Debug, Default)]
pub struct Extent<'a> {
    /// How many rows there should be, counted from row 0.
    pub end: u64,
    /// The frontier stored beside them, where there is one and all rows were read.
    pub frontier: Option<&'a Frontier>,
    /// A row behind the frontier.
    pub beyond: Option<u64>,
}

/// After the last row that could be followed: what is wrong with the log, if anything is. `walked` is what stopped the walk.
#[must_use]
pub fn conclude(
    chain: &Chain,
    walked: Result<(), Fault>,
    extent: &Extent<'_>,
    evidence: &Evidence,
    options: &Options,
) -> Option<Fault> {
    if let Err(fault) = walked {
        return Some(fault);
    }
    if chain.next() < extent.end {
        let missing = || Fault::Missing { first: chain.next(), last: extent.end - 1 };
        return Some(evidence.longer(chain, options.end()).unwrap_or_else(missing));
    }
    if let (Some(stored), Some(rows)) = (extent.frontier, chain.frontier()) {
        let (stored, computed) = (stored.root(), rows.root());
        if stored != computed {
            return Some(Fault::Root { seq: extent.end.saturating_sub(1), stored, computed });
        }
    }
    if let Some(seq) = extent.beyond {
        return Some(Fault::Beyond { seq });
    }
    evidence.judge(chain, options.end()).err()
}

impl Report {
    /// The log could not be read.
    #[must_use]
    pub fn unreadable(why: String) -> Self {
        Self::nothing(2, why)
    }

    fn nothing(exit: u8, message: String) -> Self {
        Self { exit, message, rows: 0, head: None, root: None, bad_row: None, signatures: 0, anchor: None, forks: Vec::new() }
    }

    /// What a check came to.
    #[must_use]
    pub fn of(chain: &Chain, evidence: &Evidence, fault: Option<&Fault>, options: &Options) -> Self {
        let rows = chain.rows();
        let head = (rows > 0).then(|| hex(chain.head()));
        let forks: Vec<u64> = chain.forks().iter().map(|fork| fork.seq).collect();
        if let Some(fault) = fault {
            return Self { rows, head, bad_row: fault.row(), forks, ..Self::nothing(fault.exit(), fault.to_string()) };
        }
        let newest = evidence.newest();
        let good = good(chain, evidence, newest.as_ref(), options.now);
        let weakness = if options.strict { evidence.weakness(chain, options.now) } else { None };
        let (exit, message) = match weakness {
            Some(weakness) => (1, format!("verified, but {weakness}: {good}")),
            None => (0, format!("verified {good}")),
        };
        let root = chain.frontier().map(|tree| hex(&tree.root()));
        let anchor = newest.map(|newest| newest.sink);
        Self { rows, head, root, signatures: evidence.signatures(), anchor, forks, ..Self::nothing(exit, message) }
    }
}

fn good(chain: &Chain, evidence: &Evidence, newest: Option<&Newest>, now: Timestamp) -> String {
    let rows = chain.rows();
    let head = if rows > 0 { short(chain.head()) } else { "none".to_owned() };
    let anchor = newest.map_or_else(
        || "no anchor".to_owned(),
        |newest| {
            let old = newest.at.map_or_else(String::new, |at| format!(" ({} old)", age(now.duration_since(at).as_secs())));
            format!("newest anchor {} at {}{old}", newest.sink, newest.size)
        },
    );
    let mut text = format!("{rows} rows, head {head}, {} signatures, {anchor}", evidence.signatures());
    if chain.frontier().is_none() {
        text.push_str("; only a part was read, so roots were not compared");
    }
    for fork in chain.forks() {
        text.push_str(&format!("; forked at row {} from {}", fork.seq, fork.old_origin));
    }
    for remark in evidence.remarks() {
        text.push_str("; ");
        text.push_str(remark);
    }
    text
}

fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
