//! Rows by their bytes, wherever these are: in the database, or in the file of a pruned segment.

use std::io::{self, Write};
use std::path::Path;

use super::{Error, RawRow, Store};
use crate::archive::{self, Lines};
use crate::audit::export::{Header, named_keys};
use crate::audit::verify::{Manifest, State};

impl Store {
    /// The first line of an export of these rows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn export_header(&self, first: u64, last: u64) -> Result<Header, Error> {
        let keys = self.meta_get(super::AUDIT_KEYS).await?;
        let keys = named_keys(&keys.unwrap_or_default()).unwrap_or_default();
        Ok(Header::new(self.log_origin().await?, keys, (first, last), &self.log_hash_before(first).await?))
    }

    /// The pruned segment a row is in.
    async fn pruned_segment(&self, seq: u64) -> Result<Option<Manifest>, Error> {
        if self.schema().await? < super::RECORDS_SCHEMA {
            return Ok(None);
        }
        let holds = |segment: &Manifest| segment.state == State::Pruned && (segment.first..=segment.last).contains(&seq);
        Ok(self.segments().await?.into_iter().find(holds))
    }
}

/// Writes all rows an export wants.
///
/// # Errors
/// A row is missing or is not what it should be; a segment's file is; or it cannot be written.
pub async fn copy_rows<W: Write + Send + 'static>(store: &Store, segments: &Path, mut lines: Lines<W>) -> anyhow::Result<Lines<W>> {
    while let Some(next) = lines.wanted() {
        let page = store.log_page(next, lines.last()).await?;
        anyhow::ensure!(!page.is_empty(), "row {next} is missing; see pci-segment audit verify");
        let bare = page.first().is_some_and(|row| row.leaf.is_empty());
        let pruned = if bare { store.pruned_segment(next).await? } else { None };
        let folder = segments.to_owned();
        lines = tokio::task::spawn_blocking(move || {
            match pruned {
                Some(manifest) => from_segment(&manifest, &folder, next, &mut lines),
                None => from_page(&page, &mut lines),
            }
            .map(|()| lines)
        })
        .await??;
    }
    Ok(lines)
}

/// A page may run into a pruned segment; the rest is then taken from there.
fn from_page<W: Write>(page: &[RawRow], lines: &mut Lines<W>) -> io::Result<()> {
    let first = page.first().map(|row| row.seq);
    for row in page {
        if row.leaf.is_empty() && Some(row.seq) != first {
            return Ok(());
        }
        lines.row(&row.leaf)?;
    }
    Ok(())
}

fn from_segment<W: Write>(manifest: &Manifest, folder: &Path, first: u64, lines: &mut Lines<W>) -> io::Result<()> {
    let last = manifest.last.min(lines.last());
    archive::leaves(manifest, folder, first, last, &mut |bytes| lines.row(&bytes))
}

/// The bytes of one row.
///
/// # Errors
/// It is missing, or its segment's file is.
pub async fn bytes_of(store: &Store, segments: &Path, seq: u64) -> anyhow::Result<Vec<u8>> {
    let row = store.log_page(seq, seq).await?.pop();
    let row = row.ok_or_else(|| anyhow::anyhow!("row {seq} is missing; see pci-segment audit verify"))?;
    if !row.leaf.is_empty() {
        return Ok(row.leaf);
    }
    let manifest = store.pruned_segment(seq).await?;
    let manifest = manifest.ok_or_else(|| anyhow::anyhow!("row {seq} has no bytes; see pci-segment audit verify"))?;
    let folder = segments.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        archive::leaves(&manifest, &folder, seq, seq, &mut |bytes| {
            found = bytes;
            Ok(())
        })?;
        Ok(found)
    })
    .await?
}
