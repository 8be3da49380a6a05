//! Writing exports.

use std::io::{self, Write};

use crate::audit::Hash;
use crate::audit::export::{self, Header};
use crate::audit::leaf::{self, Leaf};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Hash of the last row.
    pub head: Hash,
    /// Time of the newest row.
    pub newest_ts: i64,
}

/// Writes the rows one by one as they are handed over, and the last line when it is finished.
pub struct Lines<W> {
    to: W,
    next: u64,
    last: u64,
    written: Written,
}

/// Begins an export with its header.
///
/// # Errors
/// It cannot be written.
pub fn write_export<W: Write>(header: &Header, mut to: W) -> io::Result<Lines<W>> {
    writeln!(to, "{}", header.line()?)?;
    let head = header.before().unwrap_or_default();
    Ok(Lines { to, next: header.first, last: header.last, written: Written { head, newest_ts: i64::MIN } })
}

impl<W: Write> Lines<W> {
    /// The next row by its bytes.
    ///
    /// # Errors
    /// The bytes are no row, not the next one, or cannot be written.
    pub fn row(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wrong = |why: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("row {}: {why}; see pci-segment audit verify", self.next))
        };
        let decoded = Leaf::decode(bytes).map_err(|why| wrong(format!("its bytes are not a row: {why}")))?;
        if decoded.seq != self.next || decoded.prev != self.written.head {
            return Err(wrong("it does not follow the row before".to_owned()));
        }
        let line = export::row_line(bytes).map_err(|why| wrong(why.to_string()))?;
        writeln!(self.to, "{line}")?;
        self.written = Written { head: leaf::hash(bytes), newest_ts: self.written.newest_ts.max(decoded.ts_ns) };
        self.next += 1;
        Ok(())
    }

    /// Which row comes next; `None` after the last.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        (self.next <= self.last).then_some(self.next)
    }

    /// The last row that belongs to it.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The last line.
    ///
    /// # Errors
    /// Rows are missing, or it cannot be written.
    pub fn finish(mut self, checkpoint: Option<String>) -> io::Result<(W, Written)> {
        if let Some(seq) = self.wanted() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("row {seq} is missing")));
        }
        writeln!(self.to, "{}", export::last_line(checkpoint)?)?;
        self.to.flush()?;
        Ok((self.to, self.written))
    }
}
