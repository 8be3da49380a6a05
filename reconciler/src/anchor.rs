//! Anchors: places that keep signed checkpoints where the owner of the database cannot quietly change them.
//!
//! A chain of hashes alone does not show that its end was cut off, that an older copy was put back, or that all of it was written
//! anew. Who kept a note from before does. An anchor takes notes and gives the newest one of an origin back; what it gives is
//! believed only if one of the keys that this log is known by has signed it.

pub mod file;
pub mod git;
pub mod syslog;

use std::fmt;

use jiff::Timestamp;
use policy::snapshot::CommitId;

use crate::audit::{Note, VerifierKey};

/// What an anchor said when it took a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(pub String);

/// Why an anchor could not take or give a note: one line, without secrets. Always worth another try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorError(pub String);

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AnchorError {}

/// A note that an anchor has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The note.
    pub note: Note,
    /// When it was put there, if that is known.
    pub at: Option<Timestamp>,
}

/// Whose notes are meant: an anchor may have those of others, too.
#[derive(Debug, Clone, Default)]
pub struct Ours {
    /// Keys by which this log is known. A note by one of them is ours whatever origin it names: which origin is the log's own, the
    /// database that is compared cannot be asked.
    pub keys: Vec<VerifierKey>,
    /// The key that signs now, from its file and not from the database.
    pub own: Option<VerifierKey>,
    /// The name of the installation, as the rows of the log have it.
    pub install: Option<String>,
    /// Origins that a fork left behind.
    pub given_up: Vec<GivenUp>,
}

/// An origin that a fork left behind, which a signed note of the log that went on vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The origin.
    pub origin: String,
    /// Whether the key of now signed that note. A note by an older key gives nothing up that the key of now has signed.
    pub by_own: bool,
}

impl Ours {
    /// Whether a note counts: one of our keys has signed it, and no fork left its origin behind.
    #[must_use]
    pub fn signed(&self, note: &Note) -> bool {
        self.signed_by_own(note).is_some_and(|own| !self.left_behind(note, own))
    }

    /// Whether a note is of an origin that a fork left behind.
    #[must_use]
    pub fn gave_up(&self, note: &Note) -> bool {
        self.signed_by_own(note).is_some_and(|own| self.left_behind(note, own))
    }

    /// Whether a note names this installation, and none of our keys has signed it.
    #[must_use]
    pub fn forged(&self, note: &Note) -> bool {
        let install = note.checkpoint.origin.rsplit('/').next();
        self.install.is_some() && install == self.install.as_deref() && self.signed_by_own(note).is_none()
    }

    /// Whether the key of now has signed it; nothing where no key of ours has.
    fn signed_by_own(&self, note: &Note) -> Option<bool> {
        let signed = |key: &VerifierKey| key.under(&note.checkpoint.origin).verify(note).is_ok();
        if self.own.as_ref().is_some_and(signed) {
            return Some(true);
        }
        self.keys.iter().any(signed).then_some(false)
    }

    fn left_behind(&self, note: &Note, own: bool) -> bool {
        self.given_up.iter().any(|gone| gone.origin == note.checkpoint.origin && (gone.by_own || !own))
    }
}

/// What goes to an anchor.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The checkpoint.
    pub note: Note,
    /// The commit in force, on which a Git anchor files it.
    pub commit: Option<CommitId>,
    /// Audit rows up to the checkpoint, each as one line of JSON, for an anchor that takes them.
    pub rows: Vec<String>,
}

/// A place that keeps notes.
pub trait Anchor: Send + Sync {
    /// As people write it, for instance `file:/var/log/anchors`.
    fn name(&self) -> &str;
    /// Leaves a note there; when this answers, it is durable as far as the place can say.
    fn put(&self, parcel: &Parcel) -> impl Future<Output = Result<Receipt, AnchorError>> + Send;
    /// The newest note of ours there; nothing for none, and from places that give nothing back.
    fn latest(&self, ours: &Ours) -> impl Future<Output = Result<Option<Found>, AnchorError>> + Send;
    /// Whether it takes audit rows beside the note.
    fn takes_rows(&self) -> bool {
        false
    }
}

/// Any of the anchors there are.
pub enum AnyAnchor {
    /// A file.
    File(file::FileAnchor),
    /// A ref.
    Git(Box<git::GitAnchor>),
    /// A log server.
    Syslog(Box<syslog::SyslogAnchor>),
}

impl Anchor for AnyAnchor {
    fn name(&self) -> &str {
        match self {
            Self::File(anchor) => anchor.name(),
            Self::Git(anchor) => anchor.name(),
            Self::Syslog(anchor) => anchor.name(),
        }
    }

    async fn put(&self, parcel: &Parcel) -> Result<Receipt, AnchorError> {
        match self {
            Self::File(anchor) => anchor.put(parcel).await,
            Self::Git(anchor) => anchor.put(parcel).await,
            Self::Syslog(anchor) => anchor.put(parcel).await,
        }
    }

    async fn latest(&self, ours: &Ours) -> Result<Option<Found>, AnchorError> {
        match self {
            Self::File(anchor) => anchor.latest(ours).await,
            Self::Git(anchor) => anchor.latest(ours).await,
            Self::Syslog(anchor) => anchor.latest(ours).await,
        }
    }

    fn takes_rows(&self) -> bool {
        matches!(self, Self::Syslog(_))
    }
}

/// The largest of several notes.
fn newest(found: impl Iterator<Item = Found>) -> Option<Found> {
    found.max_by_key(|found| (found.note.checkpoint.size, found.at))
}
