//! Who made a difference, where a cloud's own log names exactly one.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{DriftKind, Error, Store, to_ns};
use crate::audit::event::tidy;

impl Store {
    /// Who made an open difference, with the event that says so as evidence. Who is known already stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn name_drift_actor(
        &self,
        target: String,
        key: String,
        kind: DriftKind,
        (who, event): (String, String),
        now: Timestamp,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            Box::pin(async move {
                let naming = |e| Error::sqlite("cannot note who changed something", e);
                let hash = Sha256::digest(event.as_bytes()).to_vec();
                sqlx::query("INSERT INTO evidence (sha256, bytes, kept_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                    .bind(&hash)
                    .bind(event.as_bytes())
                    .bind(to_ns(now))
                    .execute(tx.connection())
                    .await
                    .map_err(naming)?;
                sqlx::query(
                    "UPDATE drift SET actor = ?, evidence = ? WHERE target = ? AND key = ? AND kind = ? AND resolved_at IS NULL AND actor IS NULL",
                )
                .bind(tidy(&who, 255))
                .bind(&hash)
                .bind(&target)
                .bind(&key)
                .bind(kind.word())
                .execute(tx.connection())
                .await
                .map(drop)
                .map_err(naming)
            })
        })
        .await
    }
}
