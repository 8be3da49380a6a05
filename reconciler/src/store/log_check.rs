//! Verification of the log in the file: reads it in ranges, several at once, and never more than a few in memory.
//!
//! Each range is a read of its own, so a verification of ten million rows does not hold back the write-ahead log. Notes are read
//! before the end of the log is looked up, and rows written meanwhile are left for the next time.

use std::collections::VecDeque;
use std::path::Path;

use jiff::Timestamp;
use sqlx::{Row as _, SqlitePool};
use tokio::task::JoinHandle;

use super::Store;
use crate::archive::{self, Looked};
use crate::audit::verify::{
    Chain, Evidence, Examined, Extent, Fault, Manifest, Options, PACKED, Report, State, check_places, check_roots, conclude,
    examine,
};
use crate::audit::{Frontier, Hash, VerifierKey, export};

/// One read. 512 of the largest rows are 32 MiB.
const RANGE_ROWS: u64 = 512;
/// Leaves one connection of the pool to everybody else.
const RANGES_AT_ONCE: usize = 3;
/// Checkpoints that are held as text at a time.
const NOTES_AT_ONCE: i64 = 1000;

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Range = JoinHandle<Read>;

/// Rows, and why there are no more of them.
struct Read {
    rows: Vec<Examined>,
    stopped: Option<Cause>,
}

/// Where the log stands when the check begins.
struct Stand {
    rows: u64,
    frontier: Frontier,
}

impl Store {
    /// Verifies the log against itself: keys, notes and segments as they lie in and beside the database.
    pub async fn verify_log(&self, options: Options) -> Report {
        match self.log_keys().await {
            Ok(keys) => self.verify_log_with(Evidence::by(keys), options, &archive::segments_beside(self.file())).await,
            Err(report) => report,
        }
    }

    /// Verifies the log. Never fails: what could not be read is a report with exit code 2.
    pub async fn verify_log_with(&self, evidence: Evidence, options: Options, segments: &Path) -> Report {
        let checked = match archive::beside(self.file()) {
            Ok(note) => {
                let mut evidence = evidence;
                note.iter().for_each(|note| evidence.witnessed(note));
                check(self, evidence, options, segments).await
            }
            Err(cause) => Err(cause.into()),
        };
        checked.unwrap_or_else(|cause| self.unreadable(&cause))
    }

    /// Verifies the log of a copy by its own keys and notes: the note that lies beside it is of the log that has grown since.
    pub(super) async fn verify_copy(&self, segments: &Path) -> Report {
        match self.log_keys().await {
            Ok(keys) => {
                let checked = check(self, Evidence::by(keys), Options::default(), segments).await;
                checked.unwrap_or_else(|cause| self.unreadable(&cause))
            }
            Err(report) => report,
        }
    }

    /// The keys by which the log says it is signed.
    ///
    /// # Errors
    /// A report that says why they cannot be read.
    pub async fn log_keys(&self) -> Result<Vec<VerifierKey>, Report> {
        let keys = async {
            let text = self.meta_get(super::AUDIT_KEYS).await?;
            let keys = export::named_keys(&text.unwrap_or_default())?;
            keys.iter().map(|key| VerifierKey::parse(key).map_err(Into::into)).collect::<Result<Vec<_>, Cause>>()
        };
        keys.await.map_err(|cause| self.unreadable(&cause))
    }

    fn unreadable(&self, cause: &Cause) -> Report {
        Report::unreadable(format!(
            "cannot read the audit log of {}: {}",
            self.file().display(),
            crate::chain::chain(cause.as_ref())
        ))
    }
}

async fn check(store: &Store, mut evidence: Evidence, mut options: Options, folder: &Path) -> Result<Report, Cause> {
    if options.now == Timestamp::UNIX_EPOCH {
        options.now = Timestamp::now();
    }
    let readers = &store.readers;
    let mut segments = Vec::new();
    if store.schema().await? >= super::RECORDS_SCHEMA {
        checkpoints(readers, &mut evidence).await?;
        segments = store.segments().await?;
    }
    let stand = stand(readers).await?;
    let size = stand.frontier.size();
    let first = options.from.unwrap_or(0);
    let end = options.end().unwrap_or(size);
    if first >= end && size > 0 {
        return Err(format!("no row lies between {first} and {}", end.saturating_sub(1)).into());
    }
    segments.retain(|segment| options.to.is_none() || segment.last < end);
    let whole = first == 0 && end == size;
    let mut chain = prepared(first, hash_before(readers, first).await?, &evidence, &segments);
    // Whoever asks for more rows than there are is told so, and not looked for in vain.
    let walked = walk(readers, &mut chain, first, end.min(size.max(stand.rows))).await?;
    let beyond = (whole && stand.rows > size).then_some(size);
    let extent = Extent { end, frontier: whole.then_some(&stand.frontier), beyond };
    let mut fault = conclude(&chain, walked, &extent, &evidence, &options);
    if fault.is_none() {
        fault = check_segments(segments, &chain, folder, &mut evidence).await?;
    }
    Ok(Report::of(&chain, &evidence, fault.as_ref(), &options))
}

fn prepared(first: u64, before: Hash, evidence: &Evidence, segments: &[Manifest]) -> Chain {
    let mut marks = evidence.sizes();
    marks.extend(segments.iter().flat_map(|segment| [segment.first, segment.last.saturating_add(1)]));
    let pruned = segments.iter().filter(|segment| segment.state == State::Pruned).map(|segment| (segment.first, segment.last));
    Chain::starting(first, before).with_pruned(pruned).with_marks(marks)
}

/// Manifests against rows, then files against manifests. A file that is gone is a fault only where nothing else has its rows.
async fn check_segments(
    segments: Vec<Manifest>,
    chain: &Chain,
    folder: &Path,
    evidence: &mut Evidence,
) -> Result<Option<Fault>, Cause> {
    if let Err(fault) = check_places(&segments).and_then(|()| check_roots(&segments, chain)) {
        return Ok(Some(fault));
    }
    for segment in segments {
        let (looked_at, folder) = (segment.clone(), folder.to_owned());
        let pruned = segment.state == State::Pruned;
        let looked = tokio::task::spawn_blocking(move || archive::look(&looked_at, &folder, pruned)).await?;
        match looked {
            Looked::Good => {}
            Looked::Missing if pruned => {
                let rows = format!("rows {} to {} are nowhere else", segment.first, segment.last);
                return Ok(Some(segment.fault(format!("its file {} is missing, and {rows}", segment.file))));
            }
            Looked::Missing => evidence.remark(format!("segment {}: its file {} is missing", segment.id, segment.file)),
            Looked::Differs => return Ok(Some(segment.fault("file does not match its manifest"))),
            Looked::Unreadable(why) => return Err(format!("segment {}: {why}", segment.id).into()),
        }
    }
    Ok(None)
}

async fn walk(readers: &SqlitePool, chain: &mut Chain, first: u64, end: u64) -> Result<Result<(), Fault>, Cause> {
    let mut ranges =
        (first..end).step_by(usize::try_from(RANGE_ROWS)?).map(|from| (from, end.min(from.saturating_add(RANGE_ROWS))));
    let mut running: VecDeque<Range> = VecDeque::new();
    loop {
        while running.len() < RANGES_AT_ONCE
            && let Some((from, to)) = ranges.next()
        {
            running.push_back(tokio::spawn(read_range(readers.clone(), i64::try_from(from)?, i64::try_from(to)?)));
        }
        let Some(next) = running.pop_front() else { return Ok(Ok(())) };
        let read = next.await?;
        let followed = chain.follow(read.rows);
        // A row that is wrong comes before a row that cannot be read.
        let stopped = followed.is_err() || read.stopped.is_some();
        if stopped {
            running.iter().for_each(JoinHandle::abort);
        }
        match (followed, read.stopped) {
            (Err(fault), _) => return Ok(Err(fault)),
            (Ok(()), Some(cause)) => return Err(cause),
            (Ok(()), None) => {}
        }
    }
}

/// Rows come in the order of their key, by which SQLite walks the table; to ask for the order would copy each of them once more, and
/// rows out of order would not pass.
async fn read_range(readers: SqlitePool, from: i64, to: i64) -> Read {
    let sql = format!("SELECT CAST(coalesce(group_concat({PACKED}, ''), '') AS BLOB) FROM audit_log WHERE seq >= ? AND seq < ?");
    match sqlx::query(sqlx::AssertSqlSafe(sql)).bind(from).bind(to).fetch_one(&readers).await {
        Ok(packed) => examined(packed.try_get(0)),
        Err(_) => read_one_by_one(&readers, from, to).await,
    }
}

/// What can be read of a range that cannot be read as a whole.
async fn read_one_by_one(readers: &SqlitePool, mut from: i64, to: i64) -> Read {
    let sql = format!("SELECT seq, CAST({PACKED} AS BLOB) FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT 1");
    let mut rows = Vec::new();
    loop {
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql.clone())).bind(from).bind(to);
        let found: Result<Option<(i64, Vec<u8>)>, _> = query.fetch_optional(readers).await;
        match found {
            Ok(None) => return Read { rows, stopped: None },
            Ok(Some((seq, packed))) => {
                let read = examined(Ok(&packed));
                rows.extend(read.rows);
                if read.stopped.is_some() {
                    return Read { rows, stopped: read.stopped };
                }
                from = seq.saturating_add(1);
            }
            Err(cause) => return Read { rows, stopped: Some(cause.into()) },
        }
    }
}

/// A fraction of a millisecond for rows of a usual size: less than it takes to hand them to another thread.
fn examined(packed: Result<&[u8], sqlx::Error>) -> Read {
    match packed {
        Ok(packed) => {
            let (rows, stopped) = examine(packed);
            Read { rows, stopped: stopped.map(Into::into) }
        }
        Err(cause) => Read { rows: Vec::new(), stopped: Some(cause.into()) },
    }
}

async fn checkpoints(readers: &SqlitePool, evidence: &mut Evidence) -> Result<(), Cause> {
    let (mut origin, mut size) = (String::new(), -1_i64);
    loop {
        let page: Vec<(String, i64, Vec<u8>, String)> = sqlx::query_as(
            "SELECT origin, size, root, note FROM audit_checkpoint WHERE (origin, size) > (?, ?) ORDER BY origin, size LIMIT ?",
        )
        .bind(&origin)
        .bind(size)
        .bind(NOTES_AT_ONCE)
        .fetch_all(readers)
        .await?;
        let Some(last) = page.last() else { return Ok(()) };
        (origin, size) = (last.0.clone(), last.1);
        for (origin, size, root, note) in &page {
            evidence.stored(u64::try_from(*size)?, note, Some((origin, root)));
        }
    }
}

async fn stand(readers: &SqlitePool) -> Result<Stand, Cause> {
    let (size, hashes, rows): (i64, Vec<u8>, i64) =
        sqlx::query_as("SELECT size, hashes, (SELECT coalesce(max(seq) + 1, 0) FROM audit_log) FROM audit_frontier WHERE id = 0")
            .fetch_one(readers)
            .await?;
    Ok(Stand { rows: u64::try_from(rows)?, frontier: Frontier::from_parts(u64::try_from(size)?, &hashes)? })
}

async fn hash_before(readers: &SqlitePool, first: u64) -> Result<Hash, Cause> {
    let Some(before) = first.checked_sub(1) else { return Ok([0; 32]) };
    let hash: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM audit_log WHERE seq = ?").bind(i64::try_from(before)?).fetch_optional(readers).await?;
    hash.and_then(|hash| hash.try_into().ok()).ok_or_else(|| format!("there is no row {before} to start from").into())
}
