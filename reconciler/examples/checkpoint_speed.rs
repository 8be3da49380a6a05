//! What a checkpoint over 10,000 new rows costs, beside a plain SHA-256 over the same bytes: `cargo run --release --example
//! checkpoint_speed -- [ROWS] [FOLDER]`.

#![expect(clippy::print_stdout, reason = "it is a program that prints measurements")]

use std::path::PathBuf;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use pci_segment::audit::{AuditEvent, Draft, Ended, NoteSigner, Trunk, kind};
use pci_segment::store::Store;
use sha2::{Digest as _, Sha256};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measurements of each; the middle one counts.
const ROUNDS: usize = 9;
/// Requests that wait at the same time while rows are written.
const WRITERS: usize = 250;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("checkpoint-speed-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let store = Store::open(&folder.join("state.db"), "host:bench", Timestamp::now()).await?;
    let signer = NoteSigner::new("example.com/pci-segment/bench", SigningKey::from_bytes(&[7; 32]))?;
    let (mut trunk, mut whole, mut plain) = (Trunk::default(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        write(&store, rows).await?;
        let start = Instant::now();
        let grown = store.grow(trunk).await??;
        let note = signer.sign(grown.frontier().size(), grown.frontier().root());
        store.keep_checkpoint(&note, grown.frontier(), vec!["file:/bench".to_owned()], Timestamp::now()).await?;
        whole.push(start.elapsed());
        trunk = grown;
        let size = trunk.frontier().size();
        let bytes = leaves(&store.rows_as_json(size - u64::try_from(rows / WRITERS * WRITERS)?, size).await?)?;
        let start = Instant::now();
        std::hint::black_box(bytes.iter().map(Sha256::digest).fold(0_u8, |sum, hash| sum ^ hash.first().unwrap_or(&0)));
        plain.push(start.elapsed());
    }
    for (what, mut times) in [("checkpoint, read back to durable", whole), ("SHA-256 of the same bytes, alone", plain)] {
        times.sort();
        let middle = times.get(ROUNDS / 2).copied().unwrap_or_default();
        println!("{:>9.2} ms {what} ({rows} rows)", middle.as_secs_f64() * 1000.0);
    }
    store.close().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// The bytes of rows.
fn leaves(rows: &[String]) -> Result<Vec<Vec<u8>>, Failure> {
    let leaf = |row: &String| -> Result<Vec<u8>, Failure> {
        let row: serde_json::Value = serde_json::from_str(row)?;
        Ok(STANDARD.decode(row.get("leaf").and_then(serde_json::Value::as_str).unwrap_or_default())?)
    };
    rows.iter().map(leaf).collect()
}

async fn write(store: &Store, rows: usize) -> Result<(), Failure> {
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write_some(store.clone(), rows / WRITERS))).collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

async fn write_some(store: Store, rows: usize) -> Result<(), Failure> {
    for _ in 0..rows {
        let payload = serde_json::json!({
            "verdict": "rejected", "findings": 3, "rule_ids": ["PCI-1.3.1-004", "PCI-1.2.5-001"], "judged_by": "pci-segment 0.1.0",
            "findings_sha256": "e049eb16838994e4b398f264661301230c4fde3543bc8b029aedebf4f0ae259d",
        });
        let draft = Draft { kind: kind::COMMIT_JUDGED, origin: "poll", object: "policy", ..Draft::at(Timestamp::now()) };
        store.append(AuditEvent::new(Draft { outcome: Ended::Refused, payload, ..draft })?).await?;
    }
    Ok(())
}
