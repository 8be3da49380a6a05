//! The lines of an export: a header, one JSON object per row, the newest checkpoint.
//!
//! Everything but `leaf` is a copy for readers; whoever checks an export recomputes from `leaf`. A sealed segment is an export of its
//! rows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::leaf::{Leaf, NotALeaf};
use super::verify::{Examined, Fault, Fork};
use super::{Hash, VerifierKey, hex, kind, leaf};

/// A leaf has at most 64 KiB; in base64, and its payload escaped once more, it stays far below this.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How the last line begins.
const LAST_LINE: &[u8] = b"{\"checkpoint\"";
const VERSION: u8 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    v: u8,
    /// By which origin the log signs now.
    pub origin: String,
    /// Verifier keys, as the log itself knows them.
    pub keys: Vec<String>,
    /// First row.
    pub first: u64,
    /// Last row.
    pub last: u64,
    /// Hash of the row before the first, in hexadecimal.
    pub prev: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    seq: u64,
    ts_ns: i64,
    epoch: u64,
    event_id: String,
    prev: String,
    kind: String,
    actor: String,
    origin: String,
    object: String,
    outcome: u8,
    commit: Option<String>,
    plan: Option<String>,
    payload: String,
    leaf: String,
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    checkpoint: Option<String>,
}

/// A line that is none of an export.
#[derive(Debug, thiserror::Error)]
pub enum NotALine {
    /// Another form.
    #[error("not a line of an export: {0}")]
    Form(#[from] serde_json::Error),
    /// A value no header has.
    #[error("not a header of an export: {0}")]
    Header(&'static str),
}

impl Header {
    /// The header over these rows.
    #[must_use]
    pub fn new(origin: String, keys: Vec<String>, rows: (u64, u64), prev: &Hash) -> Self {
        Self { v: VERSION, origin, keys, first: rows.0, last: rows.1, prev: hex(prev) }
    }

    /// Before the first line is read.
    pub(crate) fn none() -> Self {
        Self::new(String::new(), Vec::new(), (0, 0), &[0; 32])
    }

    /// Reads a first line.
    ///
    /// # Errors
    /// It is none, or of a version this program does not know.
    pub fn parse(line: &[u8]) -> Result<Self, NotALine> {
        let header: Self = serde_json::from_slice(line)?;
        if header.v != VERSION {
            return Err(NotALine::Header("this program knows version 1"));
        }
        if header.last < header.first || header.last == u64::MAX {
            return Err(NotALine::Header("its last row comes before its first"));
        }
        header.before().ok_or(NotALine::Header("prev is not a hash"))?;
        header.verifiers().ok_or(NotALine::Header("a key that is none"))?;
        Ok(header)
    }

    /// The hash before the first row.
    #[must_use]
    pub fn before(&self) -> Option<Hash> {
        unhex(&self.prev)
    }

    /// The keys; `None` if one of them is none.
    #[must_use]
    pub fn verifiers(&self) -> Option<Vec<VerifierKey>> {
        self.keys.iter().map(|key| VerifierKey::parse(key).ok()).collect()
    }

    /// As it is written, without the end of the line.
    ///
    /// # Errors
    /// Never for these fields; the library's signature has one.
    pub fn line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// The keys a log names as its own: a JSON list of them, or one a line.
///
/// # Errors
/// A list that is none.
pub fn named_keys(text: &str) -> serde_json::Result<Vec<String>> {
    if text.starts_with('[') {
        return serde_json::from_str(text);
    }
    Ok(text.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// One row as it is written, without the end of the line.
///
/// # Errors
/// The bytes are not a row.
pub fn row_line(bytes: &[u8]) -> Result<String, NotALeaf> {
    let decoded = Leaf::decode(bytes)?;
    let row = Row::of(&decoded, bytes);
    serde_json::to_string(&row).map_err(|_| NotALeaf::Malformed("payload"))
}

/// The last line as it is written.
///
/// # Errors
/// Never for these fields; the library's signature has one.
pub fn last_line(checkpoint: Option<String>) -> serde_json::Result<String> {
    serde_json::to_string(&Last { checkpoint })
}

/// Whether a line is the last one of an export.
#[must_use]
pub fn is_last(line: &[u8]) -> bool {
    line.starts_with(LAST_LINE)
}

/// The note in the last line.
///
/// # Errors
/// Another form.
pub fn parse_last(line: &[u8]) -> Result<Option<String>, NotALine> {
    Ok(serde_json::from_slice::<Last>(line)?.checkpoint)
}

/// The bytes of a row, for whoever needs them and not only their soundness.
///
/// # Errors
/// Another form.
pub fn leaf_of(line: &[u8]) -> Result<Option<Vec<u8>>, NotALine> {
    let row: Row = serde_json::from_slice(line)?;
    Ok(STANDARD.decode(row.leaf).ok())
}

/// Compares a row with its own bytes.
///
/// # Errors
/// The line is no row at all.
pub fn examine_line(line: &[u8]) -> Result<Examined, NotALine> {
    let row: Row = serde_json::from_slice(line)?;
    let seq = row.seq;
    let Ok(bytes) = STANDARD.decode(&row.leaf) else {
        return Ok(Examined::broken(seq, Fault::NotBase64 { seq }));
    };
    let hash = leaf::hash(&bytes);
    if row.hash != hex(&hash) {
        let stored = unhex(&row.hash).map_or_else(|| row.hash.into_bytes(), Vec::from);
        return Ok(Examined::broken(seq, Fault::Hash { seq, stored, computed: hash }));
    }
    let decoded = match Leaf::decode(&bytes) {
        Ok(decoded) => decoded,
        Err(cause) => return Ok(Examined::broken(seq, Fault::Bytes { seq, cause })),
    };
    let copy = row.differing_field(&Row::of(&decoded, &[])).map(|name| Fault::Column { seq, name });
    let fork = (decoded.kind == kind::LOG_FORKED).then(|| Fork::read(seq, decoded.payload));
    Ok(Examined::sound(seq, decoded.prev, hash, copy, fork))
}

impl Row {
    fn of(leaf: &Leaf<'_>, bytes: &[u8]) -> Self {
        let optional = |bytes: &[u8]| (!bytes.is_empty()).then(|| hex(bytes));
        Self {
            seq: leaf.seq,
            ts_ns: leaf.ts_ns,
            epoch: leaf.epoch,
            event_id: hex(&leaf.event_id),
            prev: hex(&leaf.prev),
            kind: leaf.kind.to_owned(),
            actor: leaf.actor.to_owned(),
            origin: leaf.origin.to_owned(),
            object: leaf.object.to_owned(),
            outcome: leaf.outcome as u8,
            commit: optional(leaf.commit),
            plan: optional(leaf.plan),
            payload: leaf.payload.to_owned(),
            leaf: STANDARD.encode(bytes),
            hash: hex(&leaf::hash(bytes)),
        }
    }

    fn differing_field(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("seq", self.seq == other.seq),
            ("ts_ns", self.ts_ns == other.ts_ns),
            ("epoch", self.epoch == other.epoch),
            ("event_id", self.event_id == other.event_id),
            ("prev", self.prev == other.prev),
            ("kind", self.kind == other.kind),
            ("actor", self.actor == other.actor),
            ("origin", self.origin == other.origin),
            ("object", self.object == other.object),
            ("outcome", self.outcome == other.outcome),
            ("commit", self.commit == other.commit),
            ("plan", self.plan == other.plan),
            ("payload", self.payload == other.payload),
        ];
        fields.into_iter().find(|(_, equal)| !equal).map(|(name, _)| name)
    }
}

/// A hash from 64 lower-case digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Hash> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes.filter(|_| rest.is_empty())?.try_into().ok()
}
