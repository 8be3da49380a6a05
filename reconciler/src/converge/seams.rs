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

/// Why the source could not answer. Worth another try, but for what is [`Gone`]; the text says what a person could do.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct SourceError {
    /// What was being done, and what to do about it.
    pub doing: String,
    /// The cause.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The cause of a [`SourceError`] that no other try mends: what was asked for is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing keeps it")]
pub struct Gone;

impl SourceError {
    /// Whether another try is in vain.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.is::<Gone>())
    }
}

/// Where policies come from: a Git repository, or a directory for tests and one-off runs.
pub trait Source: Send + Sync {
    /// Looks at where the branch points now.
    fn head(&self) -> impl Future<Output = Result<Head, SourceError>> + Send;
    /// Names the commit in force: it stays at hand, wherever the branch goes.
    fn keep(&self, commit: &CommitId);
    /// The files of one commit that `head` has returned.
    fn snapshot(&self, commit: &CommitId) -> impl Future<Output = Result<Snapshot, SourceError>> + Send;
    /// What a commit says of itself.
    fn describe(&self, commit: &CommitId) -> impl Future<Output = Result<CommitInfo, SourceError>> + Send;
    /// The commits after `base` up to `head`.
    fn between(&self, base: &CommitId, head: &CommitId) -> impl Future<Output = Result<Ancestry, SourceError>> + Send;
    /// A commit as it is stored, without Git's own length and kind; nothing where there are no commits.
    fn commit_bytes(&self, commit: &CommitId) -> impl Future<Output = Result<Option<Vec<u8>>, SourceError>> + Send;
    /// Every commit that `head` reaches and `base` does not, `head` included, as it is stored; nothing if there are too many.
    fn since(&self, base: &CommitId, head: &CommitId) -> impl Future<Output = Result<Option<StoredCommits>, SourceError>> + Send;
    /// A list of signers in a commit, by its path from the top of the repository; nothing if there is no such file.
    fn signer_list(&self, commit: &CommitId, path: &str) -> impl Future<Output = Result<Option<SignerList>, SourceError>> + Send;
    /// Where open requests point, with their commits at hand; nothing where a request has no head. A request that is not asked for is
    /// let go.
    fn request_heads(&self, numbers: &[u64]) -> impl Future<Output = Result<RequestHeads, SourceError>> + Send;
}

/// Requests by number. One that is in neither list could not be fetched this time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHeads {
    /// Each with where it points.
    pub heads: Vec<(u64, Option<CommitId>)>,
    /// What passes a limit of ours: it cannot be judged until its head moves, or a while has passed.
    pub over_limit: Vec<u64>,
}

/// Commits as they are stored, each with its id.
pub type StoredCommits = Vec<(CommitId, Vec<u8>)>;

/// A list of signers, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerList {
    /// In the form of OpenSSH's `allowed_signers`.
    pub list: Vec<u8>,
    /// The files beside it that end in `.asc`, by name.
    pub armored: Vec<(String, Vec<u8>)>,
    /// What kept some of it from being read, which is a property of the commit.
    pub problem: Option<String>,
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
    /// Full name of the ref it is for, which GitLab asks about; nothing for the head of a request.
    pub git_ref: Option<String>,
}

/// A finding as a forge shows it beside a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// From the folder of policies.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// How bad it is.
    pub level: Level,
    /// The rule.
    pub title: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It rejects the commit.
    Failure,
    /// It ought to be looked at.
    Warning,
    /// It is good to know.
    Notice,
}

/// The one comment of a pull or merge request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Number of the request.
    pub request: u64,
    /// Markdown; each forge cuts it to its own limit.
    pub body: String,
    /// The forge's id of the comment that is to say this from now on, if we know of one.
    pub known_id: Option<String>,
}

/// The request a commit came by, and who approved it: evidence for PCI DSS v4.0.1 6.5.1. Every text is as the forge has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reviewed {
    /// Number of the pull or merge request.
    pub request: u64,
    /// Where people see it.
    pub url: Option<String>,
    /// Account of who opened it.
    pub author: String,
    /// The last head it had, in hexadecimal.
    pub head: Option<String>,
    /// One for each person, in the forge's order.
    pub approvals: Vec<Approval>,
}

/// One person's approval of a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Approval {
    /// Account of who gave it.
    pub who: String,
    /// When, if the forge says it.
    pub at: Option<jiff::Timestamp>,
    /// What it is worth.
    pub standing: Standing,
    /// The head it was given for, in hexadecimal, if the forge says it.
    pub head: Option<String>,
}

/// What an approval is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Of somebody else, for what was merged.
    Given,
    /// Of somebody else; the forge does not tell for which head.
    HeadNotKnown,
    /// Given before more commits came.
    EarlierHead,
    /// Of the author.
    Own,
    /// Taken back, by its giver or by others.
    Dismissed,
}

/// Why something could not be delivered or asked, by what happens next.
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
    /// This one will never be accepted.
    #[error("the forge will never take this: {reason}")]
    Never {
        /// The cause in words, without secrets.
        reason: String,
    },
}

/// Where statuses and comments go, and where it is known who approved what.
pub trait Forge: Send + Sync {
    /// Delivers one status. Delivering the same one twice is harmless. Returns the forge's id of it, if it gives one.
    fn report(&self, status: &CommitStatus) -> impl Future<Output = Result<Option<String>, ReportError>> + Send;
    /// As [`Forge::report`], with the findings behind the verdict, for a forge that shows them beside their lines.
    fn report_findings(
        &self,
        status: &CommitStatus,
        _findings: &[Annotation],
    ) -> impl Future<Output = Result<Option<String>, ReportError>> + Send {
        self.report(status)
    }
    /// How many writes a status with these findings takes.
    fn writes(&self, _findings: &[Annotation]) -> usize {
        1
    }
    /// Makes the request's comment say this: the known one, else one that is found to be ours, else a new one. Returns its id.
    fn comment(&self, comment: &Comment) -> impl Future<Output = Result<Option<String>, ReportError>> + Send;
    /// The requests a commit came by and who approved each; nothing where the forge does not offer that.
    fn approvals(&self, commit: &CommitId) -> impl Future<Output = Result<Option<Vec<Reviewed>>, ReportError>> + Send;
}
