//! Sealed segments in their files.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::opening::plain;
use super::reader::{Export, Next};
use crate::audit::Hash;
use crate::audit::export;
use crate::audit::verify::{Chain, Manifest};

const ROWS_AT_ONCE: usize = 512;
const READ_BYTES: usize = 256 * 1024;

/// What a look at a segment's file showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// The bytes of the manifest; if they were asked for, also rows that lead from the one head to the other.
    Good,
    /// There is no such file.
    Missing,
    /// It is another file.
    Differs,
    /// It cannot be read.
    Unreadable(String),
}

/// Looks at a segment's file; `rows` also recomputes every row in it.
#[must_use]
pub fn look(manifest: &Manifest, folder: &Path, rows: bool) -> Looked {
    // A name from the database must not lead anywhere else.
    if manifest.file.contains('/') || manifest.file.starts_with('.') || manifest.file.is_empty() {
        return Looked::Differs;
    }
    let file = folder.join(&manifest.file);
    match sha256(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Looked::Missing,
        Err(error) => Looked::Unreadable(error.to_string()),
        Ok(found) if found != manifest.sha256 => Looked::Differs,
        Ok(_) if rows && !holds(manifest, &file) => Looked::Differs,
        Ok(_) => Looked::Good,
    }
}

/// SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub fn sha256(file: &Path) -> io::Result<Hash> {
    let mut file = plain(file)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn holds(manifest: &Manifest, file: &Path) -> bool {
    let Ok(mut export) = Export::open(file) else { return false };
    if (export.header.first, export.header.last) != (manifest.first, manifest.last) {
        return false;
    }
    let mut chain = Chain::starting(manifest.first, manifest.head_in);
    loop {
        let (rows, next) = export.rows(ROWS_AT_ONCE);
        if chain.follow(rows).is_err() {
            return false;
        }
        match next {
            Next::More => {}
            Next::Unreadable(_) => return false,
            Next::End => return chain.next() == manifest.last.saturating_add(1) && *chain.head() == manifest.head_out,
        }
    }
}

/// The bytes of some rows of a segment, in order, from its file.
///
/// # Errors
/// The file is missing, is another one, or lacks a row.
pub fn leaves(
    manifest: &Manifest,
    folder: &Path,
    first: u64,
    last: u64,
    each: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("segment {}: {why}", manifest.id));
    match look(manifest, folder, false) {
        Looked::Good => {}
        Looked::Missing => return Err(wrong(format!("its file {} is missing in {}", manifest.file, folder.display()))),
        Looked::Differs => return Err(wrong("file does not match its manifest".to_owned())),
        Looked::Unreadable(why) => return Err(wrong(why)),
    }
    let mut export = Export::open(&folder.join(&manifest.file)).map_err(|error| wrong(error.to_string()))?;
    let mut seq = export.header.first;
    while let Some(line) = export.row_line().map_err(|error| wrong(error.to_string()))? {
        if (first..=last).contains(&seq) {
            let leaf = export::leaf_of(&line).map_err(|error| wrong(error.to_string()))?;
            each(leaf.ok_or_else(|| wrong(format!("row {seq} cannot be read")))?)?;
        }
        seq += 1;
    }
    if seq > last { Ok(()) } else { Err(wrong(format!("row {seq} is missing"))) }
}
