//! Whether the whole file is sound: SQLite's `integrity_check`, on a connection of its own, as it may take long.

use jiff::Timestamp;
use sqlx::{ConnectOptions, Connection};

use super::failures::{INTEGRITY, end, open};
use super::open::read_options;
use super::{Error, Store};
use crate::chain::chain;

/// When the file was last found sound, for the next start.
const SOUND_AT: &str = "integrity_checked_at";

impl Store {
    /// When the whole file was last found sound.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn found_sound(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.meta_get(SOUND_AT).await?.and_then(|text| text.parse().ok()))
    }

    /// Looks through the whole file. A row is written only where it is not sound, or is again; answers what is wrong.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn check_integrity(&self, now: Timestamp) -> Result<Option<String>, Error> {
        let wrong = integrity(&self.file).await?;
        let found = wrong.clone();
        self.write(move |tx| {
            Box::pin(async move {
                match &found {
                    Some(what) => open(tx, INTEGRITY, what, now).await.map(drop),
                    None => end(tx, INTEGRITY, "integrity_check says ok", "system", now).await.map(drop),
                }
            })
        })
        .await?;
        if wrong.is_none() {
            self.meta_set(SOUND_AT.to_owned(), now.to_string(), now).await?;
            self.health.sound_at(now);
        }
        Ok(wrong)
    }
}

/// What `integrity_check` says of a file; nothing if it is sound.
pub(super) async fn integrity(file: &std::path::Path) -> Result<Option<String>, Error> {
    let reading = |source| Error::sqlite("cannot check the database", source);
    let mut connection = read_options(file).connect().await.map_err(reading)?;
    let said: Result<Vec<String>, sqlx::Error> = sqlx::query_scalar("PRAGMA integrity_check(10)").fetch_all(&mut connection).await;
    let _ = connection.close().await;
    match said {
        Ok(lines) if lines == ["ok"] => Ok(None),
        Ok(lines) => Ok(Some(lines.join("; "))),
        // A page that cannot be made sense of is what was looked for, not a failure to look.
        Err(source) => {
            let error = Error::sqlite("the database is damaged", source);
            if error.is_corrupt() { Ok(Some(chain(&error))) } else { Err(error) }
        }
    }
}
