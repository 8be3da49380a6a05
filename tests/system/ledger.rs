//! The database as an auditor's own tools would read it: by SQL, beside the controller or without one.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

/// A database that is only read.
pub(crate) struct Ledger {
    runtime: tokio::runtime::Runtime,
    file: PathBuf,
}

impl Ledger {
    pub(crate) fn of(file: &Path) -> Self {
        Self { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), file: file.to_owned() }
    }

    async fn open(&self) -> Option<SqliteConnection> {
        SqliteConnectOptions::new().filename(&self.file).read_only(true).connect().await.ok()
    }

    /// The one number that a question has as its answer; nothing while it cannot be asked.
    pub(crate) fn number(&self, sql: &str) -> Option<i64> {
        self.runtime.block_on(async {
            let mut connection = self.open().await?;
            let answer = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.ok();
            let _ = connection.close().await;
            answer
        })
    }

    /// The first column, as text.
    pub(crate) fn texts(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let mut connection = self.open().await.unwrap();
            let answer = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
            let _ = connection.close().await;
            answer
        })
    }

    /// What `audit verify` exits with, and its words, without a process for it.
    pub(crate) fn verify(&self) -> (u8, String) {
        self.runtime.block_on(async {
            let store = pci_segment::store::Store::open_read_only(&self.file).await.unwrap();
            let report = store.verify_log(pci_segment::audit::verify::Options::default()).await;
            store.close().await;
            (report.exit, report.message)
        })
    }
}
