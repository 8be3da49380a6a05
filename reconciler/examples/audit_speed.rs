//! How fast the log is written and verified on this disk: `cargo run --release --example audit_speed -- [ROWS] [FOLDER]`.
//!
//! On two virtual cores with SHA extensions, shared with builds that kept some eight processes waiting: 566 rows/s with a commit
//! each, 20,913 rows/s grouped, and rows of about 400 bytes verified at 1.50 processor seconds per million with 22 MiB of memory.
//! By the clock these were 538,611 rows/s; two cores with nothing else to do have two such seconds in each.

#![expect(clippy::print_stdout, reason = "it is a program that prints measurements")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use pci_segment::audit::{AuditEvent, Draft, Ended, Frontier, Hash, Leaf, kind, leaf, verify::Options};
use pci_segment::store::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows written one after another, each with a commit of its own.
const SINGLE_ROWS: u32 = 500;
/// Requests that wait at the same time in the second part.
const WRITERS: usize = 512;
/// Rows written by them; the rest is only there to be read.
const GROUPED_ROWS: usize = 100_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(200_000), |text| text.parse())?;
    let folder =
        arguments.next().map_or_else(std::env::temp_dir, PathBuf::from).join(format!("audit-speed-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let store = Store::open(&folder.join("state.db"), "host:bench", Timestamp::now()).await?;

    let start = Instant::now();
    for _ in 0..SINGLE_ROWS {
        store.append(event()?).await?;
    }
    report("rows/s, one commit each", f64::from(SINGLE_ROWS), start);

    let start = Instant::now();
    let grouped = rows.min(GROUPED_ROWS);
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write_some(store.clone(), grouped / WRITERS))).collect();
    for writer in writers {
        writer.await??;
    }
    let grouped = u32::try_from(grouped / WRITERS * WRITERS)?;
    report("rows/s, grouped", f64::from(grouped), start);

    store.close().await;
    fill(&folder.join("state.db"), rows).await?;

    let store = Store::open_read_only(&folder.join("state.db")).await?;
    let (start, spent) = (Instant::now(), processor_seconds()?);
    let verified = store.verify_log(Options::default()).await;
    println!("{}", verified.message);
    let rows = f64::from(u32::try_from(verified.rows)?);
    report("rows/s verified", rows, start);
    println!("{:>12.2} processor seconds per million rows verified", (processor_seconds()? - spent) / rows * 1e6);
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown"));

    store.close().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Adds rows until there are so many, in one transaction behind the store's back: what is measured is reading.
async fn fill(file: &Path, rows: usize) -> Result<(), Failure> {
    let mut into = SqliteConnectOptions::new().filename(file).connect().await?;
    let (size, hashes): (i64, Vec<u8>) = sqlx::query_as("SELECT size, hashes FROM audit_frontier").fetch_one(&mut into).await?;
    let last: Vec<u8> = sqlx::query_scalar("SELECT hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetch_one(&mut into).await?;
    let mut tree = Frontier::from_parts(u64::try_from(size)?, &hashes)?;
    let mut prev = Hash::try_from(last).map_err(|_| "a hash of another length")?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut into).await?;
    while tree.size() < u64::try_from(rows)? {
        let (seq, at) = (tree.size(), Timestamp::now());
        let bytes = leaf::encode(&event()?, seq, &prev);
        prev = leaf::hash(&bytes);
        tree.push(prev);
        let decoded = Leaf::decode(&bytes)?;
        sqlx::query("INSERT INTO audit_log (seq, event_id, ts, kind, leaf, hash) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(i64::try_from(seq)?)
            .bind(decoded.event_id.as_slice())
            .bind(decoded.ts_ns)
            .bind(decoded.kind)
            .bind(bytes.as_slice())
            .bind(prev.as_slice())
            .execute(&mut into)
            .await?;
        if seq % 1_000_000 == 0 {
            println!("{seq} rows at {at}");
        }
    }
    let update =
        sqlx::query("UPDATE audit_frontier SET size = ?, hashes = ?").bind(i64::try_from(tree.size())?).bind(tree.to_bytes());
    update.execute(&mut into).await?;
    sqlx::query("COMMIT").execute(&mut into).await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut into).await?;
    into.close().await?;
    Ok(())
}

async fn write_some(store: Store, rows: usize) -> Result<(), Failure> {
    for _ in 0..rows {
        store.append(event()?).await?;
    }
    Ok(())
}

fn event() -> Result<AuditEvent, Failure> {
    let payload = serde_json::json!({
        "verdict": "rejected", "findings": 3, "rule_ids": ["PCI-1.3.1-004", "PCI-1.2.5-001"], "judged_by": "pci-segment 0.1.0",
        "findings_sha256": "e049eb16838994e4b398f264661301230c4fde3543bc8b029aedebf4f0ae259d",
    });
    let draft = Draft {
        kind: kind::COMMIT_JUDGED,
        origin: "poll",
        object: "policy",
        outcome: Ended::Refused,
        ..Draft::at(Timestamp::now())
    };
    Ok(AuditEvent::new(Draft { payload, ..draft })?)
}

/// What the whole process has spent on all processors: others at work change this less than the time by the clock. Linux counts it
/// in hundredths, behind the program's name and eleven more fields.
fn processor_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let spent = fields.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(spent / 100.0)
}

fn report(what: &str, rows: f64, start: Instant) {
    println!("{:>12.0} {what}", rows / start.elapsed().as_secs_f64());
}
