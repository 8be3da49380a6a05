//! A full disk: nothing is written until there is room, but that it is full is on record first.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::failures::{self, DISK_SPACE};
use super::tx::Tx;
use super::{Error, incidents, reserve};
use crate::audit::{Draft, Ended, kind};
use crate::chain::chain;

/// The first write for which there was no room: what was kept back is given up, and that this happened is written with it.
pub(super) async fn gone(tx: &mut Tx) {
    tracing::error!(
        "ALARM: the disk of the database is full; nothing is changed until there is room, what is enforced stays enforced"
    );
    reserve::give_up(tx.file());
    if let Err(error) = told(tx, true).await {
        tracing::error!("that the disk is full is not on record yet: {}", chain(&error));
    }
}

/// Keeps room back again, and says so; with that the store works again.
pub(super) async fn try_again(tx: &mut Tx) {
    let file = tx.file().to_owned();
    if let Err(error) = reserve::keep(&file) {
        tracing::warn!("the disk of the database is still full: {error}");
        return;
    }
    match told(tx, false).await {
        Ok(()) => {
            tracing::info!("the disk of the database has room again; changes go on");
            tx.health.has_room();
        }
        Err(error) if error.wants_restart() => tx.health.lose(&file, &error),
        Err(error) => {
            tracing::warn!("the disk of the database still takes nothing: {}", chain(&error));
            reserve::give_up(&file);
        }
    }
}

/// Opens the database. Where that fails for want of room, what was kept back is given up and it is tried once more; true with what comes
/// of that.
pub(super) async fn with_reserve<T, F>(file: &Path, mut open: impl FnMut() -> F) -> (Result<T, Error>, bool)
where
    F: Future<Output = Result<T, Error>>,
{
    let first = match open().await {
        Err(error) if wants_room(&error, file) => error,
        other => return (other, false),
    };
    tracing::error!("ALARM: the disk of the database is full: {}", chain(&first));
    if !reserve::give_up(file) {
        return (Err(Error::Full), true);
    }
    (open().await.map_err(|error| if wants_room(&error, file) { Error::Full } else { error }), true)
}

/// SQLite calls it an error of the disk where there is no room for the index of its write-ahead log.
fn wants_room(error: &Error, file: &Path) -> bool {
    if let Error::NotWritable { source, .. } = error {
        return source.kind() == std::io::ErrorKind::StorageFull;
    }
    let failed = matches!(error, Error::Sqlite { .. } | Error::Unknown(_) | Error::Migrate(_));
    error.disk_full() || failed && !error.is_corrupt() && incidents::no_room(file)
}

/// The failure of the control, begun or ended, in a transaction of its own.
async fn told(tx: &mut Tx, full: bool) -> Result<(), Error> {
    let unknown = |error| Error::Unknown(std::sync::Arc::new(error));
    tx.mend().await.map_err(unknown)?;
    tx.begin().await.map_err(unknown)?;
    let written = rows(tx, full).await;
    let ended = match written {
        Ok(()) => tx.commit().await.map_err(unknown),
        Err(error) => {
            let _ = tx.execute("ROLLBACK").await;
            Err(error)
        }
    };
    tx.broken = ended.is_err();
    ended
}

async fn rows(tx: &mut Tx, full: bool) -> Result<(), Error> {
    let now = Timestamp::now();
    // Where even the reserve was not enough, the failure and its end are written together.
    if failures::open(tx, DISK_SPACE, "the disk of the database is full", now).await? {
        let origin = tx.origin();
        let payload = json!({ "reason": "disk full", "doing": "write" });
        let draft = Draft { kind: kind::STORE_ERROR, origin: &origin, object: "database", payload, ..Draft::at(now) };
        tx.log(Draft { outcome: Ended::Failed, ..draft }).await?;
    }
    if !full {
        failures::end(tx, DISK_SPACE, "there is room again", "system", now).await?;
    }
    Ok(())
}
