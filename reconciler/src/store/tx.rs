//! The connection of the writer, and the head of the log inside the running transaction.
//!
//! Rows of the log are added here and nowhere else, and the frontier is written with the `COMMIT` that keeps them.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::Notify;

use super::Error;
use super::health::Health;
use super::open::{check_settings, write_options};
use crate::audit::{AuditEvent, Draft, Frontier, Hash, leaf};

/// The connection, and where the log stands inside the running transaction.
pub(super) struct Tx {
    connection: SqliteConnection,
    pub(super) log: Log,
    file: Arc<Path>,
    origin: Arc<str>,
    pub(super) broken: bool,
    /// Something was queued for the forge in the running transaction.
    pub(super) has_news: bool,
    /// Who sends it.
    pub(super) news: Arc<Notify>,
    /// What stands in the way of writing.
    pub(super) health: Arc<Health>,
}

/// The head of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    frontier: Frontier,
    last: Hash,
    grown: bool,
}

impl Tx {
    pub(super) fn new(connection: SqliteConnection, log: Log, file: &Arc<Path>, origin: &str) -> Self {
        Self {
            connection,
            log,
            file: Arc::clone(file),
            origin: origin.into(),
            broken: false,
            has_news: false,
            news: Arc::default(),
            health: Arc::default(),
        }
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Where rows of the controller itself come from.
    pub(super) fn origin(&self) -> Arc<str> {
        Arc::clone(&self.origin)
    }

    pub(super) fn log_size(&self) -> u64 {
        self.log.frontier.size()
    }

    /// Checks a draft and adds it to the log.
    pub(super) async fn log(&mut self, draft: Draft<'_>) -> Result<u64, Error> {
        self.append_once(&AuditEvent::new(draft)?).await
    }

    /// Adds a row unless its event is in the log already.
    pub(super) async fn append_once(&mut self, event: &AuditEvent) -> Result<u64, Error> {
        let seq = self.log.frontier.size();
        let bytes = leaf::encode(event, seq, &self.log.last);
        let hash = leaf::hash(&bytes);
        let done = sqlx::query(
            "INSERT INTO audit_log (seq, event_id, ts, kind, leaf, hash) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(event.id().as_slice())
        .bind(event.ts_ns())
        .bind(event.kind())
        .bind(bytes.as_slice())
        .bind(hash.as_slice())
        .execute(&mut self.connection)
        .await
        .map_err(|e| Error::sqlite("cannot write an audit row", e))?;
        if done.rows_affected() == 0 {
            return self.place_of(event).await;
        }
        self.log.frontier.push(hash);
        self.log.last = hash;
        self.log.grown = true;
        Ok(seq)
    }

    async fn place_of(&mut self, event: &AuditEvent) -> Result<u64, Error> {
        let seq: i64 = sqlx::query_scalar("SELECT seq FROM audit_log WHERE event_id = ?")
            .bind(event.id().as_slice())
            .fetch_one(&mut self.connection)
            .await
            .map_err(|e| Error::sqlite("cannot look for an audit row", e))?;
        Ok(u64::try_from(seq).unwrap_or(0))
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.execute("BEGIN IMMEDIATE").await
    }

    /// Writes the frontier beside the rows it covers and commits both.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        if self.log.grown {
            sqlx::query("UPDATE audit_frontier SET size = ?, hashes = ? WHERE id = 0")
                .bind(i64::try_from(self.log.frontier.size()).unwrap_or(i64::MAX))
                .bind(self.log.frontier.to_bytes())
                .execute(&mut self.connection)
                .await?;
        }
        self.execute("COMMIT").await?;
        self.log.grown = false;
        Ok(())
    }

    pub(super) async fn execute(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(statement).execute(&mut self.connection).await.map(drop)
    }

    /// After an error: a new connection, and the head of the log as the file has it.
    pub(super) async fn mend(&mut self) -> Result<(), sqlx::Error> {
        if !self.broken {
            return Ok(());
        }
        let mut fresh = write_options(&self.file).connect().await?;
        let settled = async {
            check_settings(&mut fresh).await?;
            Log::load(&mut fresh).await
        };
        self.log = settled.await.map_err(|cause| sqlx::Error::Configuration(Box::new(cause)))?;
        self.connection = fresh;
        self.broken = false;
        Ok(())
    }

    /// Empties the write-ahead log into the database unless a reader is in the way; then the next idle moment will do.
    /// True if nobody was in the way.
    pub(super) async fn empty_wal(&mut self) -> bool {
        let emptied = async {
            self.execute("PRAGMA busy_timeout = 0").await?;
            let busy = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await;
            self.execute("PRAGMA busy_timeout = 5000").await?;
            busy
        };
        let emptied = emptied.await;
        let done = matches!(emptied, Ok(0));
        if let Err(cause) = emptied {
            let error = Error::sqlite("cannot empty the write-ahead log", cause);
            if error.wants_restart() {
                self.health.lose(&self.file, &error);
            }
            tracing::debug!("{}", crate::chain::chain(&error));
        }
        done
    }

    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }
}

impl Log {
    /// Reads the head of the log and compares it with the frontier beside it.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, Error> {
        let reading = |source| Error::sqlite("cannot read the head of the audit log", source);
        let (size, hashes): (i64, Vec<u8>) = sqlx::query_as("SELECT size, hashes FROM audit_frontier WHERE id = 0")
            .fetch_one(&mut *connection)
            .await
            .map_err(reading)?;
        let last: Option<(i64, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT seq, leaf, hash FROM audit_log ORDER BY seq DESC LIMIT 1")
                .fetch_optional(connection)
                .await
                .map_err(reading)?;
        let size = u64::try_from(size).unwrap_or(0);
        let frontier = Frontier::from_parts(size, &hashes).map_err(|cause| Error::Damaged(cause.to_string()))?;
        let Some((seq, bytes, stored)) = last else {
            return if size == 0 {
                Ok(Self::default())
            } else {
                Err(Error::Damaged(format!("the log is empty, its frontier counts {size} rows")))
            };
        };
        let rows = u64::try_from(seq).unwrap_or(0).saturating_add(1);
        let hash = leaf::hash(&bytes);
        if rows != size {
            return Err(Error::Damaged(format!("the log ends at {rows} rows, its frontier counts {size}")));
        }
        if stored != hash {
            return Err(Error::Damaged(format!("row {seq} of the log does not give its stored hash")));
        }
        Ok(Self { frontier, last: hash, grown: false })
    }
}
