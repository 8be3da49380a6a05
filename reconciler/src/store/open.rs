//! Connections: what is asked of SQLite, and whether it agreed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::error::BoxDynError;
use sqlx::migrate::{Migration, MigrationSource, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr, SqliteConnection, SqlitePool};

use super::files::{self, Lock};
use super::tx::{Log, Tx};
use super::{Error, to_ns};
use crate::audit::{Draft, Ended, event::fresh_id, kind};

/// `PCIS`; also in `migrations/`.
const APPLICATION_ID: i64 = 0x5043_4953;
/// The newest file in `migrations/`.
const SCHEMA_VERSION: i64 = 4;
/// 3.7.0 to 3.51.2 can damage a database when a reset of the write-ahead log meets a commit.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];
const READERS_MAX: u32 = 4;

/// The schema's history, oldest first. Embedded by hand: sqlx's macro would build SQLite a second time for the build itself.
pub(super) const MIGRATIONS: &[Script] = &[
    (1, "store", include_str!("../../../migrations/0001_store.sql")),
    (2, "rule usage", include_str!("../../../migrations/0002_rule_usage.sql")),
    (3, "forges", include_str!("../../../migrations/0003_forges.sql")),
    (4, "records", include_str!("../../../migrations/0004_records.sql")),
];

/// Number, name and text of a migration.
pub(super) type Script = (i64, &'static str, &'static str);

#[derive(Debug)]
struct Embedded(&'static [Script]);

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send>> {
        let migration = |(version, name, sql): &Script| {
            Migration::new(*version, (*name).into(), MigrationType::Simple, (*sql).into_sql_str(), false)
        };
        Box::pin(async move { Ok(self.0.iter().map(migration).collect()) })
    }
}

/// What the writing connection must answer. Asked for when it is opened, read back here.
const SETTINGS: [(&str, &str, &str); 9] = [
    ("journal_mode", "PRAGMA journal_mode", "wal"),
    ("synchronous", "PRAGMA synchronous", "2"),
    ("foreign_keys", "PRAGMA foreign_keys", "1"),
    ("trusted_schema", "PRAGMA trusted_schema", "0"),
    ("cell_size_check", "PRAGMA cell_size_check", "1"),
    ("mmap_size", "PRAGMA mmap_size", "0"),
    ("temp_store", "PRAGMA temp_store", "2"),
    ("busy_timeout", "PRAGMA busy_timeout", "5000"),
    ("wal_autocheckpoint", "PRAGMA wal_autocheckpoint", "1000"),
];

fn base(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(5))
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("mmap_size", "0")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

pub(super) fn read_options(file: &Path) -> SqliteConnectOptions {
    base(file).read_only(true).pragma("query_only", "ON")
}

/// For `VACUUM INTO`, which writes nowhere but into its copy.
pub(super) fn copy_options(file: &Path) -> SqliteConnectOptions {
    base(file).read_only(true)
}

pub(super) fn write_options(file: &Path) -> SqliteConnectOptions {
    base(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", "1000")
        .pragma("journal_size_limit", "67108864")
}

/// Looks whose file it is before anything in it is changed, even its journal mode.
pub(super) async fn check_identity(file: &Path) -> Result<(), Error> {
    // Reading only: a connection that could write would empty a write-ahead log into the file when it is closed.
    let mut look = base(file).read_only(true).connect().await.map_err(|source| foreign(file, source))?;
    let known = identify(&mut look, file).await;
    let _ = look.close().await;
    known
}

/// As [`check_identity`], through a pool that cannot write; an empty file has nothing to read.
pub(super) async fn check_readable(readers: &SqlitePool, file: &Path) -> Result<(), Error> {
    let mut look = readers.acquire().await.map_err(|source| foreign(file, source))?;
    identify(&mut look, file).await?;
    let version: i64 = ask(&mut look, "PRAGMA user_version").await.map_err(|source| foreign(file, source))?;
    if version == 0 { Err(Error::NoDatabase(file.to_owned())) } else { Ok(()) }
}

async fn identify(look: &mut SqliteConnection, file: &Path) -> Result<(), Error> {
    let read = async {
        let id: i64 = ask(look, "PRAGMA application_id").await?;
        let version: i64 = ask(look, "PRAGMA user_version").await?;
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let tables: i64 = ask(look, tables).await?;
        Ok((id, version, tables))
    };
    match read.await.map_err(|source| foreign(file, source))? {
        (APPLICATION_ID, version, _) if version > SCHEMA_VERSION => {
            Err(Error::Newer { file: file.to_owned(), found: version, known: SCHEMA_VERSION })
        }
        (APPLICATION_ID, ..) | (0, 0, 0) => Ok(()),
        (id, version, tables) => {
            let what = format!("application_id {id}, user_version {version}, {tables} tables and indexes");
            Err(Error::Foreign { file: file.to_owned(), what })
        }
    }
}

async fn ask<T>(connection: &mut SqliteConnection, question: &'static str) -> Result<T, sqlx::Error>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query_scalar(question).fetch_one(connection).await
}

/// "Not a database" is somebody else's file; everything else is a failure to read.
fn foreign(file: &Path, source: sqlx::Error) -> Error {
    let not_a_database = source.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "26");
    if not_a_database {
        return Error::Foreign { file: file.to_owned(), what: "not an SQLite file".to_owned() };
    }
    Error::sqlite("cannot read the database", source)
}

/// Takes the database for this process, and opens it for writing.
pub(super) async fn take(file: &Path, origin: &str, now: Timestamp) -> Result<(Lock, Arc<Path>, Tx), Error> {
    let (lock, file) = files::take(file)?;
    check_identity(&file).await?;
    let tx = connect_writer(&file, origin, now).await?;
    Ok((lock, file, tx))
}

/// The connection of the writer: settings asserted, schema up to date, file sound, log at its head.
pub(super) async fn connect_writer(file: &Arc<Path>, origin: &str, now: Timestamp) -> Result<Tx, Error> {
    let opening = |source| Error::sqlite("cannot open the database for writing", source);
    let mut connection = write_options(file).connect().await.map_err(opening)?;
    check_library(&mut connection).await?;
    check_settings(&mut connection).await?;
    migrate(&mut connection, MIGRATIONS).await?;
    let sound: String = ask(&mut connection, "PRAGMA quick_check(1)").await.map_err(opening)?;
    if sound != "ok" {
        return Err(Error::Damaged(sound));
    }
    let log = Log::load(&mut connection).await?;
    let mut tx = Tx::new(connection, log, file, origin);
    if tx.log_size() == 0 {
        first_row(&mut tx, now).await?;
    }
    Ok(tx)
}

/// Brings a database up to the last of `scripts`, each in a transaction of its own.
pub(super) async fn migrate(connection: &mut SqliteConnection, scripts: &'static [Script]) -> Result<(), Error> {
    let migrator = Migrator::new(Embedded(scripts)).await.map_err(Error::Migrate)?;
    migrator.run_direct(None, connection, false).await.map_err(Error::Migrate)
}

async fn check_library(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: String =
        ask(connection, "SELECT sqlite_version()").await.map_err(|e| Error::sqlite("cannot ask SQLite for its version", e))?;
    check_version(found)
}

pub(super) fn check_version(found: String) -> Result<(), Error> {
    let numbers: Vec<u32> = found.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < SQLITE_MIN.as_slice() { Err(Error::OldSqlite { found }) } else { Ok(()) }
}

pub(super) async fn check_settings(connection: &mut SqliteConnection) -> Result<(), Error> {
    for (name, question, wanted) in SETTINGS {
        let row = sqlx::query(question)
            .fetch_one(&mut *connection)
            .await
            .map_err(|e| Error::sqlite("cannot read a setting of SQLite back", e))?;
        let got = text_or_number(&row);
        if got != wanted {
            return Err(Error::Setting { name, wanted, got });
        }
    }
    Ok(())
}

fn text_or_number(row: &sqlx::sqlite::SqliteRow) -> String {
    use sqlx::Row as _;
    row.try_get::<i64, _>(0).map(|n| n.to_string()).or_else(|_| row.try_get(0)).unwrap_or_default()
}

/// A log begins by saying so, and the installation gets its name in the same transaction.
async fn first_row(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    let install = uuid::Uuid::from_bytes(fresh_id(now)).to_string();
    tx.begin().await.map_err(|e| Error::sqlite("cannot begin the log", e))?;
    sqlx::query("INSERT INTO meta (name, value, set_at) VALUES ('install_id', ?, ?)")
        .bind(&install)
        .bind(to_ns(now))
        .execute(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot name the installation", e))?;
    let origin = tx.origin();
    let payload = serde_json::json!({ "v": 1, "install_id": install });
    tx.log(Draft { kind: kind::LOG_OPENED, origin: &origin, outcome: Ended::Done, payload, ..Draft::at(now) }).await?;
    tx.commit().await.map_err(|e| Error::Unknown(Arc::new(e)))
}

pub(super) fn connect_readers(file: &Path) -> SqlitePool {
    // A connection to a file does not go stale; to ask each time would cost as much as a small read.
    SqlitePoolOptions::new().max_connections(READERS_MAX).test_before_acquire(false).connect_lazy_with(read_options(file))
}
