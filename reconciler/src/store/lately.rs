//! What happened last at the doors, and what waits there: for `status`.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Store, from_ns};
use crate::audit::hex;

/// Under which name the store keeps when the branch was last looked at without a failure.
pub const LAST_LOOK: &str = "last_look";
/// Under which name the sender keeps for how long the forge is left alone.
const FORGE_RESTS_UNTIL: &str = "forge_rests_until";
/// Longest time for which a forge is left alone; what is longer comes from a clock that was put back.
pub const FORGE_RESTS_MAX: SignedDuration = SignedDuration::from_hours(2);

/// The newest delivery.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LastDelivery {
    /// `github`, `gitlab` or `gitea`.
    pub forge: String,
    /// The event, as the forge names it.
    pub event: String,
    /// When it arrived.
    pub at: Timestamp,
    /// `waiting`, `done` or `ignored`.
    pub result: &'static str,
    /// Why it was ignored.
    pub reason: Option<String>,
}

/// The status that a forge took last.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LastStatus {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// `pending`, `success`, `failure` or `error`.
    pub state: String,
    /// When the forge took it.
    pub at: Timestamp,
}

/// What happened last, and what waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Lately {
    /// The newest delivery; null before the first.
    pub delivery: Option<LastDelivery>,
    /// When the branch was last looked at without a failure.
    pub last_look: Option<Timestamp>,
    /// What the forge was told last; null before the first.
    pub last_status: Option<LastStatus>,
    /// Deliveries that the loop has not worked on yet.
    pub inbox_waiting: u64,
    /// Until when the forge is left alone because it limits us; null where it does not.
    pub forge_rests_until: Option<Timestamp>,
    /// Why something that waits for the forge was not taken, when it was tried last; null where nothing was refused.
    pub forge_refused: Option<String>,
}

type DeliveryRow = (String, String, i64, String, Option<String>);

impl Store {
    /// Until when the forge is left alone because it limits us; nothing where it does not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn forge_rests(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let told = self.meta_get(FORGE_RESTS_UNTIL).await?.and_then(|text| text.parse::<Timestamp>().ok());
        Ok(told.filter(|until| now < *until && until.duration_since(now) <= FORGE_RESTS_MAX))
    }

    /// Leaves the forge alone until then, or longer where it asked for more before. Returns until when.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn rest_forge(&self, until: Timestamp, now: Timestamp) -> Result<Timestamp, Error> {
        let until = self.forge_rests(now).await?.map_or(until, |earlier| earlier.max(until));
        self.meta_set(FORGE_RESTS_UNTIL.to_owned(), until.to_string(), now).await?;
        Ok(until)
    }

    /// What happened last at the doors, and what waits there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn lately(&self, now: Timestamp) -> Result<Lately, Error> {
        const DOING: &str = "cannot read what happened last";
        let query =
            sqlx::query_as("SELECT forge, event, received, state, reason FROM inbox ORDER BY received DESC, rowid DESC LIMIT 1");
        let delivery: Option<DeliveryRow> = self.read(DOING, query.fetch_optional(&self.readers)).await?;
        let query = sqlx::query_as(
            "SELECT oid, status, ended_at FROM outbox WHERE state = 'sent' AND kind = 'status' ORDER BY ended_at DESC, rowid DESC LIMIT 1",
        );
        let status: Option<(Vec<u8>, String, i64)> = self.read(DOING, query.fetch_optional(&self.readers)).await?;
        let query = sqlx::query_scalar("SELECT count(*) FROM inbox WHERE state = 'new'");
        let waiting: i64 = self.read(DOING, query.fetch_one(&self.readers)).await?;
        let query = sqlx::query_scalar(
            "SELECT last_error FROM outbox WHERE state = 'queued' AND last_error IS NOT NULL ORDER BY next_try DESC LIMIT 1",
        );
        let refused: Option<String> = self.read(DOING, query.fetch_optional(&self.readers)).await?;
        Ok(Lately {
            delivery: delivery.map(|(forge, event, received, state, reason)| LastDelivery {
                forge,
                event,
                at: from_ns(received),
                result: match state.as_str() {
                    "new" => "waiting",
                    "done" => "done",
                    _ => "ignored",
                },
                reason,
            }),
            last_look: self.meta_get(LAST_LOOK).await?.and_then(|text| text.parse().ok()),
            last_status: status.map(|(oid, state, at)| LastStatus { commit: hex(&oid), state, at: from_ns(at) }),
            inbox_waiting: u64::try_from(waiting).unwrap_or(0),
            forge_rests_until: self.forge_rests(now).await?,
            forge_refused: refused,
        })
    }
}
