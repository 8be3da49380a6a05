//! What a clock that was set does to times on record: they tell when something was, and are left alone; times that say when something
//! is next tried are moved along, so that a pause is as long as it was meant to be and nothing is too old to be said before its time.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Error, Store, from_ns, to_ns};
use crate::audit::{Draft, Ended, kind};

/// A clock that is behind the newest row by more was set.
const BEHIND: SignedDuration = SignedDuration::from_secs(2);

impl Store {
    /// Puts on record that the clock was set back while no controller ran. One that was set forward looks like one that was off. For a
    /// start, before its first row.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn clock_at_start(&self, now: Timestamp) -> Result<(), Error> {
        let last = sqlx::query_scalar("SELECT ts FROM audit_log ORDER BY seq DESC LIMIT 1").fetch_optional(&self.readers);
        let last: Option<i64> = self.read("cannot read when the newest row was written", last).await?;
        let by = last.map_or(SignedDuration::ZERO, |last| now.duration_since(from_ns(last)));
        if by >= -BEHIND {
            return Ok(());
        }
        tracing::warn!(
            seconds = by.as_secs(),
            "the clock of this host was set back while no controller ran; rows keep their order"
        );
        self.clock_jumped(by, now).await
    }

    /// Puts on record that the clock was set by so much, and moves what waits in the outbox and the ends of acceptances along.
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
                // An acceptance ends when as much time has passed as was meant; one that was over before the clock was set stays over.
                let accepted = "UPDATE drift_decisions SET until = until + ?1 WHERE decision = 'accepted' AND until > ?2 - ?1";
                sqlx::query(accepted)
                    .bind(ns)
                    .bind(to_ns(now))
                    .execute(tx.connection())
                    .await
                    .map_err(|e| Error::sqlite("cannot move the end of what was accepted along with the clock", e))?;
                let origin = tx.origin();
                let payload = json!({ "by_ms": i64::try_from(by.as_millis()).unwrap_or(0) });
                let draft = Draft { kind: kind::CLOCK_JUMPED, origin: &origin, object: "clock", payload, ..Draft::at(now) };
                tx.log(Draft { outcome: Ended::Done, ..draft }).await.map(drop)
            })
        })
        .await
    }
}
