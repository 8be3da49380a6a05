//! Logs written by the store, signed as the controller signs, and damaged behind its back.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use pci_segment::audit::{AuditEvent, Draft, Frontier, Hash, Leaf, NoteSigner, kind, leaf};
use pci_segment::store::Store;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "example.com/pci-segment/lab";

/// A folder with `state.db`, `audit.head` and `anchor.jsonl`.
pub(crate) struct Lab {
    folder: TempDir,
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn signer(origin: &str, seed: u8) -> NoteSigner {
    NoteSigner::new(origin, SigningKey::from_bytes(&[seed; 32])).unwrap()
}

/// The key every lab signs with.
pub(crate) fn key() -> String {
    signer(ORIGIN, 1).verifier().to_string()
}

fn event(n: u64) -> AuditEvent {
    let payload = json!({ "n": n, "text": "ä \"quoted\" \\ \u{1f512}\n" });
    let draft = Draft { kind: kind::HEARTBEAT, origin: "host:lab", object: "controller", payload, ..Draft::at(Timestamp::now()) };
    AuditEvent::new(draft).unwrap()
}

/// A row of another time.
pub(crate) fn event_at(at: Timestamp) -> AuditEvent {
    AuditEvent::new(Draft { kind: kind::HEARTBEAT, origin: "host:lab", ..Draft::at(at) }).unwrap()
}

/// What a forger writes instead; a fork stays what it is.
fn another(row: u64, old: &[u8]) -> AuditEvent {
    let old = Leaf::decode(old).unwrap();
    if old.kind != kind::LOG_FORKED {
        return event(row + 1_000_000);
    }
    let payload = serde_json::from_str(old.payload).unwrap();
    AuditEvent::new(Draft { kind: kind::LOG_FORKED, origin: "host:lab", payload, ..Draft::at(Timestamp::now()) }).unwrap()
}

impl Lab {
    /// A log of so many rows, with a checkpoint each so many, kept with it, beside it and in the anchor.
    pub(crate) fn new(rows: u64, each: u64) -> Self {
        let lab = Self { folder: tempfile::tempdir().unwrap() };
        run(async {
            let store = lab.open().await;
            let appended: Vec<_> = (1..rows)
                .map(|n| {
                    let store = store.clone();
                    tokio::spawn(async move { store.append(event(n)).await.unwrap() })
                })
                .collect();
            for one in appended {
                one.await.unwrap();
            }
            store.meta_set("audit_keys".to_owned(), json!([key()]).to_string(), Timestamp::now()).await.unwrap();
            store.meta_set("audit_origin".to_owned(), ORIGIN.to_owned(), Timestamp::now()).await.unwrap();
            store.close().await;
        });
        let sizes: Vec<u64> = (1..=rows).filter(|size| size.is_multiple_of(each)).collect();
        lab.sign(&signer(ORIGIN, 1), &sizes, true);
        lab
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("state.db")
    }

    /// The database's name as an argument.
    pub(crate) fn db(&self) -> String {
        self.database().to_str().unwrap().to_owned()
    }

    /// The anchor's name as an argument.
    pub(crate) fn anchor(&self) -> String {
        format!("file:{}", self.folder().join("anchor.jsonl").display())
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.database(), "host:lab", Timestamp::now()).await.unwrap()
    }

    /// Another folder with the same files.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["state.db", "state.db-wal", "audit.head", "anchor.jsonl"] {
            if self.folder().join(name).exists() {
                std::fs::copy(self.folder().join(name), copy.folder().join(name)).unwrap();
            }
        }
        copy
    }

    /// Runs statements with the guards of the log taken down.
    pub(crate) fn damage(&self, statements: &[&str]) {
        run(async {
            let mut intruder = self.intruder().await;
            for statement in statements {
                sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned())).execute(&mut intruder).await.unwrap();
            }
            intruder.close().await.unwrap();
        });
    }

    async fn intruder(&self) -> SqliteConnection {
        let mut intruder = SqliteConnectOptions::new().filename(self.database()).connect().await.unwrap();
        for trigger in ["audit_log_is_never_updated", "audit_log_is_never_deleted"] {
            let drop = format!("DROP TRIGGER IF EXISTS {trigger}");
            sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut intruder).await.unwrap();
        }
        intruder
    }

    /// Signs the rows as they are now and keeps the notes with the log; `anchored` also beside it and in the anchor.
    pub(crate) fn sign(&self, signer: &NoteSigner, sizes: &[u64], anchored: bool) {
        run(async {
            let mut intruder = self.intruder().await;
            let trees = trees(&mut intruder).await;
            for size in sizes {
                let root = trees[usize::try_from(*size).unwrap()].root();
                let note = signer.sign(*size, root).to_string();
                sqlx::query("INSERT OR REPLACE INTO audit_checkpoint (origin, size, root, note, cut_at) VALUES (?, ?, ?, ?, 0)")
                    .bind(signer.verifier().name())
                    .bind(i64::try_from(*size).unwrap())
                    .bind(root.as_slice())
                    .bind(&note)
                    .execute(&mut intruder)
                    .await
                    .unwrap();
                if anchored {
                    std::fs::write(self.folder().join("audit.head"), &note).unwrap();
                    self.put(&note);
                }
            }
            intruder.close().await.unwrap();
        });
    }

    /// Puts a note into the anchor.
    pub(crate) fn put(&self, note: &str) {
        let file = self.folder().join("anchor.jsonl");
        let mut text = std::fs::read_to_string(&file).unwrap_or_default();
        text.push_str(&json!({ "put_at": Timestamp::now().to_string(), "note": note }).to_string());
        text.push('\n');
        std::fs::write(file, text).unwrap();
    }

    /// Everything from this row on becomes another story with hashes that are right.
    pub(crate) fn rewrite_from(&self, first: u64) {
        run(async {
            let mut intruder = self.intruder().await;
            let rows: Vec<(i64, Vec<u8>)> =
                sqlx::query_as("SELECT seq, leaf FROM audit_log ORDER BY seq").fetch_all(&mut intruder).await.unwrap();
            let mut prev: Hash = [0; 32];
            sqlx::query("BEGIN").execute(&mut intruder).await.unwrap();
            for (seq, old) in rows {
                let row = u64::try_from(seq).unwrap();
                let bytes = if row < first { old } else { leaf::encode(&another(row, &old), row, &prev) };
                prev = leaf::hash(&bytes);
                let decoded = Leaf::decode(&bytes).unwrap();
                sqlx::query("UPDATE audit_log SET leaf = ?, hash = ?, event_id = ?, ts = ?, kind = ? WHERE seq = ?")
                    .bind(bytes.as_slice())
                    .bind(prev.as_slice())
                    .bind(decoded.event_id.as_slice())
                    .bind(decoded.ts_ns)
                    .bind(decoded.kind)
                    .bind(seq)
                    .execute(&mut intruder)
                    .await
                    .unwrap();
            }
            set_frontier(&mut intruder).await;
            sqlx::query("COMMIT").execute(&mut intruder).await.unwrap();
            intruder.close().await.unwrap();
        });
    }

    /// The log ends before this row, and every trace of more is gone from its own file.
    pub(crate) fn cut_at(&self, size: u64) {
        let (rows, notes) =
            (format!("DELETE FROM audit_log WHERE seq >= {size}"), format!("DELETE FROM audit_checkpoint WHERE size > {size}"));
        self.damage(&[&rows, &notes]);
        run(async {
            let mut intruder = self.intruder().await;
            set_frontier(&mut intruder).await;
            intruder.close().await.unwrap();
        });
    }

    /// An export by the program itself.
    pub(crate) fn export(&self, name: &str, more: &[&str]) -> String {
        let file = self.folder().join(name);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pci-segment"))
            .args(["audit", "export", "--database", &self.db(), "--output", file.to_str().unwrap()])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        file.to_str().unwrap().to_owned()
    }
}

/// The tree after each row.
async fn trees(connection: &mut SqliteConnection) -> Vec<Frontier> {
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM audit_log ORDER BY seq").fetch_all(connection).await.unwrap();
    let mut trees = vec![Frontier::default()];
    for hash in hashes {
        let mut tree = trees[trees.len() - 1].clone();
        tree.push(hash.try_into().unwrap());
        trees.push(tree);
    }
    trees
}

async fn set_frontier(connection: &mut SqliteConnection) {
    let trees = trees(connection).await;
    let tree = &trees[trees.len() - 1];
    sqlx::query("UPDATE audit_frontier SET size = ?, hashes = ?")
        .bind(i64::try_from(tree.size()).unwrap())
        .bind(tree.to_bytes())
        .execute(connection)
        .await
        .unwrap();
}
