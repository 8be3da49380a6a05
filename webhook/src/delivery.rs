//! What is handed over, and to whom.

use std::future::Future;
use std::pin::Pin;

/// One authentic delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The forge whose receiver took it: `github`.
    pub forge: &'static str,
    /// The forge's id of the delivery, the same when it is sent again; a digest of event and body where it names none.
    pub id: String,
    /// The event, in the forge's word.
    pub event: String,
    /// What it means for us.
    pub meaning: Meaning,
    /// SHA-256 of the body, to tell a repetition from another body under the same id.
    pub body_digest: [u8; 32],
    /// Which line of the secret file matched, from 1.
    pub secret_line: usize,
}

/// What a delivery means for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Our branch was pushed to: look.
    Pushed {
        /// The commit the branch pointed at, if it is said and well-formed.
        before: Option<String>,
        /// The commit it points at now; only good for noticing that our mirror lags behind.
        after: Option<String>,
    },
    /// Our branch was deleted: look, and raise an alarm.
    Deleted,
    /// A test: the hook works.
    Ping,
    /// Nothing for us; kept with the reason.
    Ignored {
        /// Why, in words.
        reason: &'static str,
    },
}

/// What the inbox did with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is durable now.
    New,
    /// Its id was there already; nothing is started.
    Duplicate,
}

/// The inbox could not make the delivery durable. The sender is told to come again; the text goes to the log only.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the delivery: {0}")]
pub struct InboxError(pub String);

/// Why a request was turned away, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Wrong content type or an encoded body.
    Unsupported,
    /// The address sent too many bad signatures.
    Blocked,
    /// The body is over the limit.
    TooLarge,
    /// The body came too slowly or broke off.
    TooSlow,
    /// Too many bodies are in memory.
    Busy,
    /// The signature is missing, malformed or wrong.
    Unauthorised,
    /// The inbox failed.
    NotKept,
}

/// The future of [`Inbox::keep`].
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Result<Kept, InboxError>> + Send + 'a>>;

/// Where deliveries go.
pub trait Inbox: Send + Sync + 'static {
    /// Makes a delivery durable. It may be dropped half-way when the sender hangs up.
    fn keep(&self, delivery: Delivery) -> Keeping<'_>;

    /// Notes that a request was turned away. Must not block.
    fn refused(&self, why: Refusal) {
        let _ = why;
    }
}
