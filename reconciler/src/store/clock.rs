//! What a clock that was set does to times on record: they tell when something was, and are left alone; times that say when something
//! is next tried are moved along, so that a pause is as long as it was meant to be and nothing is too old to be said before its time.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Error, Store};
use crate::audit::{Draft, Ended, kind};

impl Store {
    /// Puts on record that the clock was set by so much, and moves what waits in the outbox along.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn clock_jumped(&self, by: SignedDuration, now: Timestamp) -> Result<(), Error> {
        let ns = i64::try_from(by.as_nanos()).unwrap_or(0);
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE outbox SET next_try = next_try + ?1, queued_at = queued_at + max(?1, 0) WHERE state = 'queued'",
                )
                .bind(ns)
                .execute(tx.connection())
                .await
                .map_err(|e| Error::sqlite("cannot move what waits along with the clock", e))?;
                let origin = tx.origin();
                let payload = json!({ "by_ms": i64::try_from(by.as_millis()).unwrap_or(0) });
                let draft = Draft { kind: kind::CLOCK_JUMPED, origin: &origin, object: "clock", payload, ..Draft::at(now) };
                tx.log(Draft { outcome: Ended::Done, ..draft }).await.map(drop)
            })
        })
        .await
    }
}
