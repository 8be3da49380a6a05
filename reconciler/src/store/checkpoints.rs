//! Signed checkpoints: what is read back before one is signed, and where it is kept.
//!
//! Rows are read through a connection of their own, so that what is signed for is what the file has and not what is remembered of it.
//! Of one origin there is never a smaller checkpoint after a larger one, nor another root for the same size. Keeping a checkpoint
//! writes no audit row: it would ask for the next checkpoint.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::failures::AUDIT_LOG;
use super::switches::write_notes;
use super::tx::Tx;
use super::{AUDIT_KEYS, AUDIT_ORIGIN, Error, Note as Fact, Store, from_ns, open, to_ns};
use crate::audit::event::tidy;
use crate::audit::grow::{PACKED_ROW, Unsound};
use crate::audit::{Draft, Ended, Frontier, Hash, Leaf, Note, Trunk, kind};

/// The name of the installation; a fork gives it another.
pub const INSTALL_ID: &str = "install_id";

/// Rows in one read.
const ROWS_AT_ONCE: u64 = 2_000;
/// Hashes in one read.
const HASHES_AT_ONCE: u64 = 50_000;

/// A checkpoint on record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeptNote {
    /// Which log.
    pub origin: String,
    /// How many rows.
    pub size: u64,
    /// As it was signed.
    pub note: String,
    /// When.
    pub cut_at: Timestamp,
}

/// A key that signs from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The origin it signs as.
    pub origin: String,
    /// All verifier keys of this log, this one last.
    pub keys: Vec<String>,
    /// The verifier key before it, where this is another key for the same origin.
    pub instead_of: Option<String>,
}

/// What a fork puts on record.
#[derive(Debug, Clone, PartialEq)]
pub struct Forked {
    /// The new name of the installation.
    pub install_id: String,
    /// The new origin and its keys.
    pub key: NewKey,
    /// Who did it.
    pub actor: String,
    /// Everything else.
    pub payload: serde_json::Value,
}

/// How a log calls itself in its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogNames {
    /// The name of the installation now.
    pub install: Option<String>,
    /// Its forks, oldest first.
    pub forks: Vec<ForkRow>,
}

/// Where a log went on under another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkRow {
    /// The row that says so.
    pub seq: u64,
    /// The origin before.
    pub old: String,
    /// The origin from there on.
    pub new: String,
}

/// Size, root, tree, and the hash of the last row.
type TreeRow = (i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>);

impl Store {
    /// The newest checkpoint of an origin.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn newest_checkpoint(&self, origin: &str) -> Result<Option<KeptNote>, Error> {
        let query =
            sqlx::query_as("SELECT origin, size, note, cut_at FROM audit_checkpoint WHERE origin = ? ORDER BY size DESC LIMIT 1")
                .bind(origin);
        let row: Option<(String, i64, String, i64)> =
            self.read("cannot read a checkpoint", query.fetch_optional(&self.readers)).await?;
        Ok(row.map(|(origin, size, note, cut_at)| KeptNote { origin, size: number(size), note, cut_at: from_ns(cut_at) }))
    }

    /// The log as it was when its newest checkpoint of this origin was signed; empty where there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn trunk(&self, origin: &str) -> Result<Trunk, Error> {
        let query = sqlx::query_as(
            "SELECT c.size, c.root, c.subtrees, l.hash FROM audit_checkpoint c JOIN audit_log l ON l.seq = c.size - 1 \
             WHERE c.origin = ? ORDER BY c.size DESC LIMIT 1",
        )
        .bind(origin);
        let row: Option<TreeRow> = self.read("cannot read a checkpoint", query.fetch_optional(&self.readers)).await?;
        let known = row.and_then(|(size, root, subtrees, last)| {
            let frontier = Frontier::from_parts(number(size), &subtrees?).ok()?;
            (frontier.root().as_slice() == root).then_some(Trunk::new(frontier, Hash::try_from(last).ok()?))
        });
        Ok(known.unwrap_or_default())
    }

    /// The log as it was at its newest checkpoint, whatever the origin.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_tree(&self) -> Result<Trunk, Error> {
        let query = sqlx::query_scalar("SELECT origin FROM audit_checkpoint ORDER BY size DESC LIMIT 1");
        let origin: Option<String> = self.read("cannot read a checkpoint", query.fetch_optional(&self.readers)).await?;
        self.trunk(origin.as_deref().unwrap_or_default()).await
    }

    /// Reads every row after `trunk` back from the file, hashes it again, and compares the tree with the one beside the rows.
    ///
    /// # Errors
    /// The database cannot be read. What is wrong with the log is in the value.
    pub async fn grow(&self, trunk: Trunk) -> Result<Result<Trunk, Unsound>, Error> {
        let reading = |source| Error::sqlite("cannot read the log back", source);
        let mut fresh = open::read_options(&self.file).connect().await.map_err(reading)?;
        let grown = grow(&mut fresh, trunk).await.map_err(reading);
        let _ = fresh.close().await;
        grown
    }

    /// Keeps a checkpoint, and queues it for each sink in place of older ones. False where it is on record already.
    ///
    /// # Errors
    /// It is smaller than the last one, or has another root; the database cannot be written.
    pub async fn keep_checkpoint(&self, note: &Note, tree: &Frontier, sinks: Vec<String>, now: Timestamp) -> Result<bool, Error> {
        let (checkpoint, text, subtrees) = (note.checkpoint.clone(), note.to_string(), tree.to_bytes());
        self.write(move |tx| {
            Box::pin(async move {
                let newest: Option<(i64, Vec<u8>)> =
                    sqlx::query_as("SELECT size, root FROM audit_checkpoint WHERE origin = ? ORDER BY size DESC LIMIT 1")
                        .bind(&checkpoint.origin)
                        .fetch_optional(tx.connection())
                        .await
                        .map_err(|e| Error::sqlite("cannot read a checkpoint", e))?;
                let size = i64::try_from(checkpoint.size).unwrap_or(i64::MAX);
                match newest {
                    Some((known, root)) if known == size && root == checkpoint.root => return Ok(false),
                    Some((known, _)) if known >= size => {
                        return Err(Error::Damaged(format!(
                            "a checkpoint of {known} rows is signed, and {size} rows give another root"
                        )));
                    }
                    Some(_) | None => {}
                }
                let query = "INSERT INTO audit_checkpoint (origin, size, root, note, cut_at, subtrees) VALUES (?, ?, ?, ?, ?, ?)";
                sqlx::query(query)
                    .bind(&checkpoint.origin)
                    .bind(size)
                    .bind(checkpoint.root.as_slice())
                    .bind(&text)
                    .bind(to_ns(now))
                    .bind(&subtrees)
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot keep a checkpoint", e))?;
                for sink in &sinks {
                    super::anchors::queue(tx, sink, &checkpoint.origin, size).await?;
                }
                Ok(true)
            })
        })
        .await
    }

    /// The root over the first `size` rows; nothing where one of them is not there. From the first row on where that is asked for,
    /// else from a tree that was signed before, which shows nothing of the rows below it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn root_at(&self, size: u64, from_the_first: bool) -> Result<Option<Hash>, Error> {
        const DOING: &str = "cannot sum up the log";
        if self.audit_head().await?.size < size {
            return Ok(None);
        }
        let mut tree = if from_the_first { Frontier::default() } else { self.signed_tree(size).await? };
        while tree.size() < size {
            let (from, to) = (tree.size(), size.min(tree.size().saturating_add(HASHES_AT_ONCE)));
            let query = sqlx::query_scalar(
                "SELECT CAST(coalesce(group_concat(hash, ''), '') AS BLOB) FROM \
                 (SELECT hash FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq)",
            )
            .bind(bound(from))
            .bind(bound(to));
            let hashes: Vec<u8> = self.read(DOING, query.fetch_one(&self.readers)).await?;
            let (hashes, rest) = hashes.as_chunks::<32>();
            if !rest.is_empty() || u64::try_from(hashes.len()).ok() != Some(to - from) {
                return Ok(None);
            }
            hashes.iter().for_each(|hash| tree.push(*hash));
        }
        Ok(Some(tree.root()))
    }

    /// The first row below `size` that is not there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn first_gap(&self, size: u64) -> Result<u64, Error> {
        let query = sqlx::query_scalar(
            "SELECT min(gap) FROM (SELECT 0 AS gap WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE seq = 0) UNION ALL \
             SELECT * FROM (SELECT a.seq + 1 FROM audit_log a WHERE a.seq + 1 < ? \
             AND NOT EXISTS (SELECT 1 FROM audit_log b WHERE b.seq = a.seq + 1) ORDER BY a.seq LIMIT 1))",
        )
        .bind(bound(size));
        let gap: Option<i64> = self.read("cannot look for missing rows", query.fetch_one(&self.readers)).await?;
        Ok(gap.map_or(size, number))
    }

    /// How many rows of an origin a sink has taken a note over.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn anchored(&self, sink: &str, origin: &str) -> Result<u64, Error> {
        let query =
            sqlx::query_scalar("SELECT coalesce(max(size), 0) FROM audit_anchor WHERE sink = ? AND origin = ? AND state = 'put'")
                .bind(sink)
                .bind(origin);
        let size: i64 = self.read("cannot read how an anchor stands", query.fetch_one(&self.readers)).await?;
        Ok(number(size))
    }

    /// Facts whose names begin so: the rest of the name, and the value.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn facts_named(&self, prefix: &str) -> Result<Vec<(String, String)>, Error> {
        let query = sqlx::query_as(
            "SELECT substr(name, length(?1) + 1), value FROM meta WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
        )
        .bind(prefix);
        self.read("cannot read facts of the installation", query.fetch_all(&self.readers)).await
    }

    /// How the log calls itself in its own rows. They are searched for forks only where the origin on record is not that of the
    /// first row: a log that says it was never forked has given nothing up.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn log_names(&self) -> Result<LogNames, Error> {
        let first = self.log_page(0, 0).await?.into_iter().next();
        let install = first.as_ref().and_then(|row| Leaf::decode(&row.leaf).ok()).filter(|leaf| leaf.kind == kind::LOG_OPENED);
        let install = install.and_then(|leaf| text_in(leaf.payload, "install_id"));
        let origin = self.meta_get(AUDIT_ORIGIN).await?;
        if origin.as_deref().is_none_or(|origin| origin.rsplit('/').next() == install.as_deref()) {
            return Ok(LogNames { install, forks: Vec::new() });
        }
        let query = sqlx::query_scalar("SELECT leaf FROM audit_log WHERE kind = ? ORDER BY seq").bind(kind::LOG_FORKED);
        let rows: Vec<Vec<u8>> = self.read("cannot look for forks of the log", query.fetch_all(&self.readers)).await?;
        let leaves = rows.iter().filter_map(|row| Leaf::decode(row).ok()).filter(|leaf| leaf.kind == kind::LOG_FORKED);
        let fork = |leaf: Leaf<'_>| {
            Some(ForkRow { seq: leaf.seq, old: text_in(leaf.payload, "old_origin")?, new: leaf.object.to_owned() })
        };
        let forks: Vec<ForkRow> = leaves.filter_map(fork).collect();
        let install = forks.last().and_then(|fork| fork.new.rsplit('/').next().map(ToOwned::to_owned)).or(install);
        Ok(LogNames { install, forks })
    }

    async fn signed_tree(&self, size: u64) -> Result<Frontier, Error> {
        let query = sqlx::query_as(
            "SELECT size, subtrees FROM audit_checkpoint WHERE size <= ? AND subtrees IS NOT NULL ORDER BY size DESC LIMIT 1",
        )
        .bind(bound(size));
        let row: Option<(i64, Vec<u8>)> = self.read("cannot read a checkpoint", query.fetch_optional(&self.readers)).await?;
        Ok(row.and_then(|(size, subtrees)| Frontier::from_parts(number(size), &subtrees).ok()).unwrap_or_default())
    }

    /// Whether the database is of a release that signs checkpoints.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn keeps_checkpoints(&self) -> Result<bool, Error> {
        let query = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'audit_checkpoint'");
        let tables: i64 = self.read("cannot read the schema", query.fetch_one(&self.readers)).await?;
        Ok(tables > 0)
    }

    /// From here on this key signs. Another key for the same origin is a row of the log.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn use_key(&self, key: NewKey, now: Timestamp) -> Result<(), Error> {
        self.write(move |tx| Box::pin(async move { use_key(tx, &key, now).await })).await
    }

    /// The log goes on under another origin, and its next row says why.
    ///
    /// # Errors
    /// Nobody named; the database cannot be written.
    pub async fn fork(&self, forked: Forked, hold: &'static str, now: Timestamp) -> Result<u64, Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let name = Fact { name: INSTALL_ID.to_owned(), value: Some(forked.install_id) };
                write_notes(tx, &[name], now).await?;
                use_key(tx, &forked.key, now).await?;
                sqlx::query("DELETE FROM switches WHERE name = ?")
                    .bind(hold)
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot clear a switch", e))?;
                sqlx::query("DELETE FROM audit_anchor WHERE state = 'queued'")
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot empty the queue of anchors", e))?;
                super::failures::end(tx, AUDIT_LOG, "the log goes on under another origin", &forked.actor, now).await?;
                // What was held against the old origin is said in the row below.
                sqlx::query("DELETE FROM meta WHERE name LIKE ? || ' %' OR name LIKE 'anchor\\_disagrees %' ESCAPE '\\'")
                    .bind(hold)
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot clear what held changes", e))?;
                let (origin, actor) = (tx.origin(), tidy(&forked.actor, 255));
                let draft = Draft { kind: kind::LOG_FORKED, actor: &actor, origin: &origin, ..Draft::at(now) };
                tx.log(Draft { object: &forked.key.origin, outcome: Ended::Done, payload: forked.payload, ..draft }).await
            })
        })
        .await
    }
}

async fn use_key(tx: &mut Tx, key: &NewKey, now: Timestamp) -> Result<(), Error> {
    let fact = |name: &str, value: &str| Fact { name: name.to_owned(), value: Some(value.to_owned()) };
    write_notes(tx, &[fact(AUDIT_ORIGIN, &key.origin), fact(AUDIT_KEYS, &json!(key.keys).to_string())], now).await?;
    let (Some(old), Some(new)) = (&key.instead_of, key.keys.last()) else { return Ok(()) };
    let last: Option<i64> = sqlx::query_scalar("SELECT max(size) FROM audit_checkpoint WHERE origin = ?")
        .bind(&key.origin)
        .fetch_one(tx.connection())
        .await
        .map_err(|e| Error::sqlite("cannot read a checkpoint", e))?;
    // The old key is gone, so that its last checkpoint cannot cover this row; how far it reaches is said instead.
    let payload = json!({ "old": old, "new": new, "old_signed_rows": last.unwrap_or(0), "covered_by_old": false });
    let origin = tx.origin();
    let draft = Draft { kind: kind::KEY_ROTATED, origin: &origin, object: &key.origin, ..Draft::at(now) };
    tx.log(Draft { outcome: Ended::Done, payload, ..draft }).await.map(drop)
}

async fn grow(fresh: &mut SqliteConnection, mut trunk: Trunk) -> Result<Result<Trunk, Unsound>, sqlx::Error> {
    let (size, hashes): (i64, Vec<u8>) =
        sqlx::query_as("SELECT size, hashes FROM audit_frontier WHERE id = 0").fetch_one(&mut *fresh).await?;
    let size = number(size);
    let Ok(stored) = Frontier::from_parts(size, &hashes) else { return Ok(Err(Unsound::Tree(size))) };
    while trunk.frontier().size() < size {
        let (from, to) = (trunk.frontier().size(), size.min(trunk.frontier().size().saturating_add(ROWS_AT_ONCE)));
        let sql = format!(
            "SELECT CAST(coalesce(group_concat(row, ''), '') AS BLOB) FROM \
             (SELECT {PACKED_ROW} AS row FROM audit_log WHERE seq >= ? AND seq < ? ORDER BY seq)"
        );
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(bound(from)).bind(bound(to));
        let packed: Vec<u8> = query.fetch_one(&mut *fresh).await?;
        if let Err(unsound) = trunk.add(&packed) {
            return Ok(Err(unsound));
        }
        if trunk.frontier().size() < to {
            return Ok(Err(Unsound::Missing(trunk.frontier().size())));
        }
    }
    Ok(trunk.compare(&stored).map(|()| trunk))
}

fn text_in(payload: &str, name: &str) -> Option<String> {
    let payload: serde_json::Value = serde_json::from_str(payload).ok()?;
    payload.get(name)?.as_str().map(ToOwned::to_owned)
}

fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

fn bound(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
