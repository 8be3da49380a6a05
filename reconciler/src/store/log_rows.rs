//! Rows of the log as bytes, for exports, segments and proofs; read page by page, so that no reader holds back the write-ahead log.

use super::{Error, INSTALL_ID, Store};
use crate::audit::{Frontier, Hash};

/// The key of `meta` under which the verifier keys are kept, as a JSON list.
pub const AUDIT_KEYS: &str = "audit_keys";
/// The key of `meta` under which the origin of the log is kept.
pub const AUDIT_ORIGIN: &str = "audit_origin";
/// Of the largest rows these are 16 MiB.
const PAGE_ROWS: i64 = 256;
const PAGE_HASHES: i64 = 10_000;

/// A row by its bytes; none where they are in a segment only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// Its place.
    pub seq: u64,
    /// Its bytes.
    pub leaf: Vec<u8>,
    /// Its stored hash.
    pub hash: Hash,
}

/// The newest checkpoint that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Over how many rows.
    pub size: u64,
    /// The note's text.
    pub note: String,
}

impl Store {
    /// By which origin the log goes now: the one it signs by, or the installation's id where it was never signed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_origin(&self) -> Result<String, Error> {
        match self.meta_get(AUDIT_ORIGIN).await? {
            Some(origin) => Ok(origin),
            None => Ok(self.meta_get(INSTALL_ID).await?.unwrap_or_default()),
        }
    }

    /// How many rows the log has, by its frontier.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_tree(&self) -> Result<Frontier, Error> {
        let query = sqlx::query_as("SELECT size, hashes FROM audit_frontier WHERE id = 0").fetch_one(&self.readers);
        let (size, hashes): (i64, Vec<u8>) = self.read("cannot read the head of the audit log", query).await?;
        Frontier::from_parts(u64::try_from(size).unwrap_or(0), &hashes).map_err(|cause| Error::Damaged(cause.to_string()))
    }

    /// The hash of the row before this one; zero bytes before row 0.
    ///
    /// # Errors
    /// There is none, or the database cannot be read.
    pub async fn log_hash_before(&self, seq: u64) -> Result<Hash, Error> {
        let Some(before) = seq.checked_sub(1) else { return Ok([0; 32]) };
        let query = sqlx::query_scalar("SELECT hash FROM audit_log WHERE seq = ?").bind(number(before));
        let hash: Option<Vec<u8>> = self.read("cannot read the audit log", query.fetch_optional(&self.readers)).await?;
        hash.and_then(|hash| hash.try_into().ok()).ok_or_else(|| Error::NoSuch(format!("row {before} in the audit log")))
    }

    /// The next rows from `first` on, up to `last`; none at the end.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_page(&self, first: u64, last: u64) -> Result<Vec<RawRow>, Error> {
        let query = sqlx::query_as("SELECT seq, leaf, hash FROM audit_log WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?")
            .bind(number(first))
            .bind(number(last))
            .bind(PAGE_ROWS);
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = self.read("cannot read the audit log", query.fetch_all(&self.readers)).await?;
        rows.into_iter().map(raw).collect()
    }

    /// Hands over the hashes of the first rows, in order.
    ///
    /// # Errors
    /// A row is missing, or the database cannot be read.
    pub async fn log_hashes(&self, rows: u64, mut each: impl FnMut(Hash) + Send) -> Result<(), Error> {
        let mut next = 0;
        while next < rows {
            let query = sqlx::query_as("SELECT seq, hash FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?")
                .bind(number(next))
                .bind(number(rows))
                .bind(PAGE_HASHES);
            let page: Vec<(i64, Vec<u8>)> = self.read("cannot read the audit log", query.fetch_all(&self.readers)).await?;
            if page.is_empty() {
                return Err(Error::NoSuch(format!("row {next} in the audit log")));
            }
            for (seq, bytes) in page {
                if number(next) != seq {
                    return Err(Error::NoSuch(format!("row {next} in the audit log")));
                }
                each(hash(bytes)?);
                next += 1;
            }
        }
        Ok(())
    }

    /// The newest checkpoint over at most so many rows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn checkpoint_within(&self, rows: u64) -> Result<Option<StoredCheckpoint>, Error> {
        if self.schema().await? < super::RECORDS_SCHEMA {
            return Ok(None);
        }
        let query =
            sqlx::query_as("SELECT size, note FROM audit_checkpoint WHERE size <= ? ORDER BY size DESC, cut_at DESC LIMIT 1");
        let found: Option<(i64, String)> =
            self.read("cannot read the checkpoints", query.bind(number(rows)).fetch_optional(&self.readers)).await?;
        Ok(found.map(|(size, note)| StoredCheckpoint { size: u64::try_from(size).unwrap_or(0), note }))
    }

    /// The version of the schema; a database opened for reading only may be of an older release.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn schema(&self) -> Result<i64, Error> {
        self.read("cannot read the database", sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.readers)).await
    }
}

fn raw((seq, leaf, stored): (i64, Vec<u8>, Vec<u8>)) -> Result<RawRow, Error> {
    Ok(RawRow { seq: u64::try_from(seq).unwrap_or(0), leaf, hash: hash(stored)? })
}

fn hash(bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| Error::Damaged("an audit row whose hash is not 32 bytes".to_owned()))
}

fn number(row: u64) -> i64 {
    i64::try_from(row).unwrap_or(i64::MAX)
}
