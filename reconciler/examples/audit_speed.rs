//! How fast the log is written and verified on this disk: `cargo run --release --example audit_speed -- [ROWS] [FOLDER]`.

#![expect(clippy::print_stdout, reason = "it is a program that prints measurements")]

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use pci_segment::audit::{AuditEvent, Draft, Ended, kind, verify::Options};
use pci_segment::store::Store;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows written one after another, each with a commit of its own.
const SINGLE_ROWS: u32 = 500;
/// Requests that wait at the same time in the second part.
const WRITERS: usize = 512;

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
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write_some(store.clone(), rows / WRITERS))).collect();
    for writer in writers {
        writer.await??;
    }
    let grouped = u32::try_from(rows / WRITERS * WRITERS)?;
    report("rows/s, grouped", f64::from(grouped), start);

    let start = Instant::now();
    let verified = store.verify_log(Options::default()).await;
    println!("{}", verified.message);
    report("rows/s verified", f64::from(u32::try_from(verified.rows)?), start);

    store.close().await;
    std::fs::remove_dir_all(&folder)?;
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

fn report(what: &str, rows: f64, start: Instant) {
    println!("{:>12.0} {what}", rows / start.elapsed().as_secs_f64());
}
