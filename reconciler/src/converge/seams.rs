//! The seams the loop needs from the world.
//!
//! Each trait has at least two real implementations. Time is an argument, never a trait. An `Err` always means "try again later";
//! what happens next otherwise is in the value.

use std::future::Future;
use std::time::Duration;

use policy::snapshot::{CommitId, Snapshot};

/// Where a followed branch points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// The branch exists and points at this commit.
    At(CommitId),
    /// The repository has no commit at all.
    EmptyRepository,
    /// The repository has commits, but not this branch (it never existed, or it was deleted).
    BranchMissing,
}

/// What a commit says of itself. Every text is as written by people: escape it wherever it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit's object id.
    pub id: CommitId,
    /// Its parents, in order.
    pub parents: Vec<CommitId>,
    /// `Name <address>` of the author.
    pub author: String,
    /// `Name <address>` of the committer.
    pub committer: String,
    /// First line of the message.
    pub subject: String,
    /// The committer's claimed time, in seconds since 1970 UTC.
    pub committed_at: i64,
}

/// How a new head relates to the commit in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ancestry {
    /// The head descends from (or is) the commit asked about; all commits in between, oldest first, the head last. Empty if equal.
    /// At most `COMMITS_JUDGED_MAX` newest ones.
    Descends(Vec<CommitInfo>),
    /// It does not: history was rewritten.
    Rewritten,
    /// More commits lie between than are ever walked.
    TooFar {
        /// How many were walked before giving up.
        walked: usize,
    },
}

/// Why the source could not answer. Always worth another try; the text says what a person could do.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct SourceError {
    /// What was being done, and what to do about it.
    pub doing: String,
    /// The cause.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Where policies come from: a Git repository, or a directory for tests and one-off runs.
pub trait Source: Send + Sync {
    /// Looks at where the branch points now.
    fn head(&self) -> impl Future<Output = Result<Head, SourceError>> + Send;
    /// The files of one commit that `head` has returned.
    fn snapshot(&self, commit: &CommitId) -> impl Future<Output = Result<Snapshot, SourceError>> + Send;
    /// What a commit says of itself.
    fn describe(&self, commit: &CommitId) -> impl Future<Output = Result<CommitInfo, SourceError>> + Send;
    /// The commits after `base` up to `head`.
    fn between(&self, base: &CommitId, head: &CommitId) -> impl Future<Output = Result<Ancestry, SourceError>> + Send;
}

/// What a forge shows beside a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusState {
    /// Queued, or waiting for a person.
    Pending,
    /// Compliant.
    Success,
    /// Rejected.
    Failure,
    /// Our fault, or the world's.
    Error,
}

/// One commit status to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// The commit it is about.
    pub commit: CommitId,
    /// The verdict.
    pub state: StatusState,
    /// One line; each forge cuts it to its own limit.
    pub description: String,
    /// Where a person can read more.
    pub link: Option<String>,
    /// The name under which the forge files it.
    pub context: String,
}

/// Why a status could not be delivered, by what happens next.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Try this one again, not before the given time has passed if the forge named one.
    #[error("the forge asked to try again: {reason}")]
    Again {
        /// The cause in words, without secrets.
        reason: String,
        /// How long the forge asked us to wait.
        after: Option<Duration>,
    },
    /// The forge takes nothing from us for a while: leave all of it alone.
    #[error("the forge limits us: {reason}")]
    Limited {
        /// The cause in words, without secrets.
        reason: String,
        /// How long, if the forge says it.
        after: Option<Duration>,
    },
    /// Nothing will go through until a person acts (credentials, repository moved): pause the whole forge.
    #[error("the forge refuses us: {reason}")]
    Paused {
        /// The cause in words, without secrets.
        reason: String,
    },
    /// This one status will never be accepted.
    #[error("the forge will never take this status: {reason}")]
    Never {
        /// The cause in words, without secrets.
        reason: String,
    },
}

/// Where statuses go.
pub trait Forge: Send + Sync {
    /// Delivers one status. Delivering the same one twice is harmless. Returns the forge's id of it, if it gives one.
    fn report(&self, status: &CommitStatus) -> impl Future<Output = Result<Option<String>, ReportError>> + Send;
}
