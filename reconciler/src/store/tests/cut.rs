//! What a loss of power can leave of the write-ahead log: its end cut off, or torn inside a sector. Every such file opens, verifies,
//! and holds what was written up to some moment and nothing else.
//!
//! Sectors here are 512 bytes, the unit a disk writes whole. That flushes are where they belong is SQLite's part; replaying a log of a
//! block device to each flush needs a machine of its own and is not done here.

use super::*;
use crate::audit::verify::Options;

const SECTOR: usize = 512;
/// Sectors at the end that are cut and torn one by one.
const SECTORS: usize = 40;

async fn opened_rows(database: &[u8], wal: &[u8], what: &str) -> u64 {
    let left = Place::new();
    std::fs::write(left.file(), database).unwrap();
    std::fs::write(files::beside(&left.file(), "-wal"), wal).unwrap();
    let store = Store::open(&left.file(), "host:test", at(0)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = store.verify_log(Options::default()).await;
    assert_eq!(report.exit, 0, "{what}: {}", report.message);
    assert_eq!(soundness::integrity(&left.file()).await.unwrap(), None, "{what}");
    store.close().await;
    report.rows
}

#[tokio::test]
async fn d04_a_write_ahead_log_cut_or_torn_at_any_sector_opens_with_a_prefix_of_what_was_written() {
    let place = Place::new();
    let store = place.open().await;
    let mut sizes = Vec::new();
    for n in 0..12 {
        store.append(event(&format!("{n} {}", "x".repeat(700)))).await.unwrap();
        sizes.push(std::fs::metadata(files::beside(&place.file(), "-wal")).unwrap().len());
    }
    let database = std::fs::read(place.file()).unwrap();
    let wal = std::fs::read(files::beside(&place.file(), "-wal")).unwrap();
    store.close().await;
    assert_eq!(opened_rows(&database, &wal, "whole").await, 13);
    let sectors = wal.len().div_ceil(SECTOR);
    let mut last = 13;
    for sector in (sectors.saturating_sub(SECTORS)..sectors).rev() {
        let at = sector * SECTOR;
        // What was synced before this point is there whatever happens after it.
        let synced = sizes.iter().filter(|size| **size <= at as u64).count() as u64 + 1;
        let cut = opened_rows(&database, &wal[..at], &format!("cut at {at}")).await;
        assert!((synced..=last).contains(&cut), "cut at {at}: {cut} rows, {synced} were synced");
        last = cut;
        let mut torn = wal.clone();
        torn[at..].iter_mut().take(SECTOR).for_each(|byte| *byte = !*byte);
        let torn = opened_rows(&database, &torn, &format!("torn at {at}")).await;
        assert!((synced..=13).contains(&torn), "torn at {at}: {torn} rows, {synced} were synced");
    }
    assert!(last < 13, "something was cut off");
}
