//! What is handed over, and to whom.

use std::future::Future;
use std::pin::Pin;

/// One authentic delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The forge whose receiver took it: `github`, `gitlab` or `gitea`.
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
    /// A request for our branch is new, open again, or has other commits or another base: judge its head.
    Request {
        /// Its number.
        number: u64,
        /// Its head, if it is said and well-formed.
        head: Option<String>,
        /// Short name of the branch it is meant for: ours.
        base: Option<String>,
    },
    /// A request for our branch was closed or merged, or is meant for another branch now.
    RequestClosed {
        /// Its number.
        number: u64,
    },
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
    /// The signature or token is missing or wrong.
    Unauthorised,
    /// The signature holds, but for another time.
    Stale,
    /// What is signed together with the body is missing or cannot be read.
    Malformed,
    /// The inbox failed.
    NotKept,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unsupported,
        Self::Blocked,
        Self::TooLarge,
        Self::TooSlow,
        Self::Busy,
        Self::Unauthorised,
        Self::Stale,
        Self::Malformed,
        Self::NotKept,
    ];

    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Blocked => "blocked",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::Unauthorised => "unauthorised",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::NotKept => "not_kept",
        }
    }
}

/// The future of [`Inbox::keep`].
pub type Keeping<'a> = Pin<Box<dyn Future<Output = Result<Kept, InboxError>> + Send + 'a>>;

/// Where deliveries go.
pub trait Inbox: Send + Sync + 'static {
    /// Makes a delivery durable. It may be dropped half-way when the sender hangs up.
    fn keep(&self, delivery: Delivery) -> Keeping<'_>;

    /// Notes that a request was turned away. Must not block.
    fn refused(&self, forge: &'static str, why: Refusal) {
        let _ = (forge, why);
    }
}
