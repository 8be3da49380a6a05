//! Sealing and pruning: rows that cannot change any more go to a compressed file of their own, and later only there.
//!
//! A month is sealed a day after its end, and a million rows as soon as they are there. A segment counts only after its file was
//! read back from the disk and every row in it recomputed. Bodies leave the database after 100 days and only while somebody looked
//! at the file within 24 h; hashes stay, so that proofs and roots need no file. Files are never deleted here, however old: whoever
//! does that after `retention_days` knows what the law of the place asks.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::archive::{self, Looked};
use crate::audit::Frontier;
use crate::audit::verify::{Manifest, State};
use crate::store::{NotPruned, Store, copy_rows};

/// More rows than this are sealed before the month is over.
const SEGMENT_ROWS_MAX: u64 = 1_000_000;
/// Time for late rows and for clocks that are set.
const SETTLES: SignedDuration = SignedDuration::from_hours(24);

/// The end of the month a moment lies in, in UTC.
fn month_end(at: Timestamp) -> Option<Timestamp> {
    let date = at.to_zoned(TimeZone::UTC).date();
    let next = Date::new(date.year(), date.month(), 1).ok()?.checked_add(1.month()).ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The rows of the next segment, if there are any to be sealed.
///
/// # Errors
/// The database cannot be read.
pub async fn due(store: &Store, now: Timestamp) -> anyhow::Result<Option<(u64, u64)>> {
    let size = store.log_tree().await?.size();
    let first = store.segments().await?.last().map_or(0, |segment| segment.last + 1);
    if size.saturating_sub(first) > SEGMENT_ROWS_MAX {
        return Ok(Some((first, first + SEGMENT_ROWS_MAX - 1)));
    }
    let Some(end) = store.log_time(first).await?.and_then(month_end) else { return Ok(None) };
    if now.duration_since(end) < SETTLES {
        return Ok(None);
    }
    // A month is over in the log once a row of a later one is there.
    let later = store.log_first_since(first, end).await?;
    Ok(later.and_then(|later| later.checked_sub(1)).filter(|last| *last >= first).map(|last| (first, last)))
}

/// Seals every segment that is due; answers how many.
///
/// # Errors
/// The folder cannot be written, the log or the database not be read. What was sealed before stays.
pub async fn seal(store: &Store, folder: &Path, now: Timestamp) -> anyhow::Result<u64> {
    let mut sealed = 0;
    while let Some((first, last)) = due(store, now).await? {
        let id = store.segments().await?.last().map_or(1, |segment| segment.id + 1);
        let manifest = write(store, folder, id, (first, last)).await?;
        let (folder, looked_at) = (folder.to_owned(), manifest.clone());
        let looked = tokio::task::spawn_blocking(move || archive::look(&looked_at, &folder, true)).await?;
        if looked != Looked::Good {
            bail!("segment {id} was written, but reads back otherwise ({looked:?}); check the disk, and try again");
        }
        store.seal_segment(manifest, now).await?;
        sealed += 1;
    }
    Ok(sealed)
}

/// Writes the file of a segment under its final name and says what is in it.
async fn write(store: &Store, folder: &Path, id: u64, rows: (u64, u64)) -> anyhow::Result<Manifest> {
    let cannot = || format!("cannot write segments in {}; name another folder with audit.segments_dir", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(cannot)?;
    let name = format!("segment-{id:06}.jsonl.gz");
    let (temporary, file) = (folder.join(format!("{name}.tmp")), folder.join(&name));
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).with_context(cannot)?;
    let header = store.export_header(rows.0, rows.1).await?;
    let head_in = header.before().unwrap_or_default();
    let encoder = GzEncoder::new(BufWriter::new(made), Compression::default());
    let lines = copy_rows(store, folder, archive::write_export(&header, encoder)?).await?;
    let (encoder, written) = lines.finish(None)?;
    finish(encoder, &temporary, &file, folder).with_context(cannot)?;
    let mut tree = Frontier::default();
    store.log_hashes(rows.1 + 1, |hash| tree.push(hash)).await?;
    Ok(Manifest {
        id,
        first: rows.0,
        last: rows.1,
        head_in,
        head_out: written.head,
        root: tree.root(),
        sha256: archive::sha256(&file)?,
        file: name,
        newest_ts: written.newest_ts,
        state: State::Sealed,
    })
}

fn finish(encoder: GzEncoder<BufWriter<File>>, temporary: &Path, file: &Path, folder: &Path) -> io::Result<()> {
    let mut buffered = encoder.finish()?;
    buffered.flush()?;
    buffered.get_ref().sync_all()?;
    std::fs::rename(temporary, file)?;
    File::open(folder)?.sync_all()
}

/// Looks at the files of old segments and lets go of the bodies of those that may be pruned. Answers how many were pruned, and why
/// others that are old enough were not.
///
/// # Errors
/// The database cannot be read or written.
pub async fn prune(store: &Store, folder: &Path, now: Timestamp) -> anyhow::Result<(u64, Vec<String>)> {
    let (mut pruned, mut kept) = (0, Vec::new());
    for mut segment in store.segment_records().await? {
        match segment.may_be_pruned(now) {
            Err(NotPruned::Already(_)) => {
                if store.has_bodies(&segment.manifest).await? {
                    store.drop_bodies(&segment.manifest).await?;
                }
                continue;
            }
            Err(NotPruned::Young(_)) => continue,
            Err(NotPruned::Unverified(_)) | Ok(()) => {}
        }
        // Also where somebody looked lately: a file is let alone with its rows only after a look now.
        let (looked_at, place) = (segment.manifest.clone(), folder.to_owned());
        let looked = tokio::task::spawn_blocking(move || archive::look(&looked_at, &place, true)).await?;
        let name = &segment.manifest.file;
        match looked {
            Looked::Good => {
                store.segment_looked_at(segment.manifest.id, now).await?;
                segment.verified_at = Some(now);
                match store.prune_segment(&segment, now).await? {
                    Ok(()) => pruned += 1,
                    Err(refused) => kept.push(refused.to_string()),
                }
            }
            Looked::Missing => kept.push(format!("its bodies stay: {name} is missing in {}; put it back", folder.display())),
            Looked::Differs => kept.push(format!("its bodies stay: {name} does not match its manifest; put the right file back")),
            Looked::Unreadable(why) => kept.push(format!("its bodies stay: {name} cannot be read: {why}")),
        }
    }
    Ok((pruned, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_with_the_first_moment_of_the_next() {
        for (at, end) in [
            ("2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z"),
            ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            assert_eq!(month_end(at.parse().unwrap()), Some(end.parse().unwrap()), "{at}");
        }
    }
}
