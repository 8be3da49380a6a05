//! Reading exports line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::opening::plain;
use crate::audit::export::{self, Header, LINE_BYTES_MAX};
use crate::audit::verify::Examined;

/// Compressed files begin so: the method is deflate, and there are no extra fields.
const GZIP: [u8; 4] = [0x1f, 0x8b, 8, 0];
const BUFFER_BYTES: usize = 128 * 1024;

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {file}{place}: {why}")]
pub struct Unreadable {
    file: String,
    place: String,
    why: String,
}

/// An export that is being read.
pub struct Export {
    file: String,
    /// Its first line.
    pub header: Header,
    last_note: Option<String>,
    lines: Box<dyn BufRead + Send>,
    line: u64,
}

/// What comes after some rows.
#[derive(Debug)]
pub enum Next {
    /// More rows.
    More,
    /// Nothing: the last line was read.
    End,
    /// A line that cannot be read.
    Unreadable(Unreadable),
}

impl Unreadable {
    fn of(file: &Path, why: &io::Error) -> Self {
        Self { file: file.display().to_string(), place: String::new(), why: why.to_string() }
    }
}

impl Export {
    /// Opens a file, reads a compressed one once to its end, and keeps the note of the last line.
    ///
    /// # Errors
    /// It cannot be read, is damaged as a compressed file, or does not begin like an export.
    pub fn open(file: &Path) -> Result<Self, Unreadable> {
        let unreadable = |error: io::Error| Unreadable::of(file, &error);
        let opened = open(file).map_err(unreadable)?;
        let tail = if opened.compressed {
            let mut tail = Tail::default();
            read_gzip(opened.file, &mut tail).map_err(unreadable)?;
            tail
        } else {
            read_tail(opened.file).map_err(unreadable)?
        };
        let last_note = tail.last_line().filter(|line| export::is_last(line)).and_then(|line| export::parse_last(line).ok());
        let again = open(file).map_err(unreadable)?;
        let lines: Box<dyn BufRead + Send> = if again.compressed {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, GzDecoder::new(again.file)))
        } else {
            Box::new(again.file)
        };
        let mut export =
            Self { file: file.display().to_string(), header: Header::none(), last_note: last_note.flatten(), lines, line: 0 };
        let first = export.line().map_err(|why| export.unreadable(&why))?.ok_or_else(|| export.unreadable("it is empty"))?;
        export.header = Header::parse(&first).map_err(|why| export.unreadable(&why))?;
        Ok(export)
    }

    /// The note in the last line.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.last_note.as_deref()
    }

    /// The file's name, as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The next rows, compared with their own bytes.
    pub fn rows(&mut self, at_most: usize) -> (Vec<Examined>, Next) {
        let mut rows = Vec::with_capacity(at_most);
        while rows.len() < at_most {
            match self.row_line() {
                Ok(Some(line)) => match export::examine_line(&line) {
                    Ok(row) if row.seq() > self.header.last => {
                        return (rows, Next::Unreadable(self.unreadable("a row behind the last one that the header names")));
                    }
                    Ok(row) => rows.push(row),
                    Err(why) => return (rows, Next::Unreadable(self.unreadable(&why))),
                },
                Ok(None) => return (rows, Next::End),
                Err(unreadable) => return (rows, Next::Unreadable(unreadable)),
            }
        }
        (rows, Next::More)
    }

    /// The next row's line; nothing behind the last line.
    ///
    /// # Errors
    /// The file ends before its last line, or goes on behind it.
    pub fn row_line(&mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        let line = self.line().map_err(|why| self.unreadable(&why))?;
        let line = line.ok_or_else(|| self.unreadable("it ends before its last line"))?;
        if !export::is_last(&line) {
            return Ok(Some(line));
        }
        export::parse_last(&line).map_err(|why| self.unreadable(&why))?;
        match self.line() {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err(self.unreadable("something follows its last line")),
            Err(why) => Err(self.unreadable(&why)),
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.line += 1;
        next_line(&mut self.lines)
    }

    fn unreadable(&self, why: &(impl ToString + ?Sized)) -> Unreadable {
        Unreadable { file: self.file.clone(), place: format!(", line {}", self.line), why: why.to_string() }
    }
}

/// The next line without its end; `None` at the end of the file.
pub(super) fn next_line(lines: &mut (impl BufRead + ?Sized)) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    lines.take(limit).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() >= LINE_BYTES_MAX => Err("a line of more than 1 MiB".to_owned()),
        Some(_) => Err("it is cut off in the middle of a line".to_owned()),
    }
}

struct Opened {
    file: BufReader<File>,
    compressed: bool,
}

fn open(file: &Path) -> io::Result<Opened> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, plain(file)?);
    let compressed = file.fill_buf()?.starts_with(&GZIP);
    Ok(Opened { file, compressed })
}

/// Decompresses everything and checks that nothing follows.
pub(super) fn read_gzip(file: impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let mut decoder = GzDecoder::new(file);
    io::copy(&mut decoder, to)?;
    if decoder.into_inner().fill_buf()?.is_empty() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "something follows the compressed data"))
    }
}

fn read_tail(mut file: BufReader<File>) -> io::Result<Tail> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let keep = u64::try_from(Tail::KEPT).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(bytes.saturating_sub(keep)))?;
    let mut tail = Tail::default();
    io::copy(&mut file.take(keep), &mut tail)?;
    Ok(tail)
}

/// Keeps the end of what is written to it.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// The longest line, and the ends of two.
    const KEPT: usize = LINE_BYTES_MAX + 2;

    fn last_line(&self) -> Option<&[u8]> {
        let lines = self.0.strip_suffix(b"\n")?;
        lines.rsplit(|byte| *byte == b'\n').next().filter(|line| line.len() <= LINE_BYTES_MAX)
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * Self::KEPT {
            self.0.drain(..self.0.len() - Self::KEPT);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
