//! Verification of the log in the file: reads it in ranges, several at once, and never more than a few in memory.
//!
//! Each range is a read of its own, so a verification of ten million rows does not hold back the write-ahead log. Rows written
//! meanwhile are left for the next time: the end is where the log stood at the beginning.

use std::collections::VecDeque;

use sqlx::SqlitePool;
use tokio::task::JoinHandle;

use super::Store;
use crate::audit::verify::{Chain, Examined, Fault, Options, PACKED, Report, examine};
use crate::audit::{Frontier, Hash};

/// One read. 512 of the largest rows are 32 MiB.
const RANGE_ROWS: u64 = 512;
/// Leaves one connection of the pool to everybody else.
const RANGES_AT_ONCE: usize = 3;

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Range = JoinHandle<Result<Vec<Examined>, Cause>>;

/// Where the log stands when the check begins.
struct Extent {
    rows: u64,
    frontier: Frontier,
}

impl Store {
    /// Verifies the log. Never fails: what could not be read is a report with exit code 2.
    pub async fn verify_log(&self, options: Options) -> Report {
        match check(&self.readers, options).await {
            Ok(report) => report,
            Err(cause) => Report::unreadable(format!("cannot read the audit log of {}: {cause}", self.file().display())),
        }
    }
}

async fn check(readers: &SqlitePool, options: Options) -> Result<Report, Cause> {
    let extent = extent(readers).await?;
    let size = extent.frontier.size();
    let first = options.from.unwrap_or(0);
    let end = options.to.map_or(size, |to| to.saturating_add(1));
    if first >= end && size > 0 {
        return Err(format!("no row lies between {first} and {}", end.saturating_sub(1)).into());
    }
    let whole = first == 0 && end == size;
    let mut chain = Chain::starting(first, hash_before(readers, first).await?);
    let mut fault = walk(readers, &mut chain, first, end).await?.err();
    if fault.is_none() {
        fault = chain.finish(end, whole.then_some(&extent.frontier)).err();
    }
    if fault.is_none() && whole && extent.rows > size {
        fault = Some(Fault::Beyond { seq: size });
    }
    Ok(Report::of(&chain, whole, fault.as_ref(), options.strict))
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
        if let Err(fault) = chain.follow(next.await??) {
            running.iter().for_each(JoinHandle::abort);
            return Ok(Err(fault));
        }
    }
}

async fn read_range(readers: SqlitePool, from: i64, to: i64) -> Result<Vec<Examined>, Cause> {
    let sql = format!(
        "SELECT CAST(coalesce(group_concat(row, ''), '') AS BLOB) FROM \
         (SELECT {PACKED} AS row FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq)"
    );
    let packed: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(from).bind(to).fetch_one(&readers).await?;
    Ok(tokio::task::spawn_blocking(move || examine(&packed)).await??)
}

async fn extent(readers: &SqlitePool) -> Result<Extent, Cause> {
    let (size, hashes, rows): (i64, Vec<u8>, i64) =
        sqlx::query_as("SELECT size, hashes, (SELECT coalesce(max(seq) + 1, 0) FROM audit_log) FROM audit_frontier WHERE id = 0")
            .fetch_one(readers)
            .await?;
    Ok(Extent { rows: u64::try_from(rows)?, frontier: Frontier::from_parts(u64::try_from(size)?, &hashes)? })
}

async fn hash_before(readers: &SqlitePool, first: u64) -> Result<Hash, Cause> {
    let Some(before) = first.checked_sub(1) else { return Ok([0; 32]) };
    let hash: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM audit_log WHERE seq = ?").bind(i64::try_from(before)?).fetch_optional(readers).await?;
    hash.and_then(|hash| hash.try_into().ok()).ok_or_else(|| format!("there is no row {before} to start from").into())
}
