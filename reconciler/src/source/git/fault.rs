//! What went wrong while reading, by what happens next, and how a cause is told to people.

use std::error::Error;

use crate::converge::SourceError;
use crate::source::failed;

/// What the library says whenever a pack was received and could not be taken.
const PACK_NOT_WRITTEN: &str = "Failed to write the received pack";
/// The advice for a pack that is cut short, has a wrong checksum, or refers to objects that are nowhere.
pub(crate) const BROKEN_PACK: &str =
    "the server sends a pack that is not whole; run `git fsck` there, and check the disk of this host";

/// How reading ended without an answer.
pub(crate) enum Fault {
    /// Worth another try later.
    Failed(SourceError),
    /// Our mirror cannot be read: clone again.
    Damaged(SourceError),
    /// The repository names its objects by another hash than our mirror: make another mirror.
    OtherFormat(gix::hash::Kind),
    /// What was to be fetched passes one of our limits.
    TooLarge(SourceError),
    /// What we have holds a malformed commit, and the server could not be told of it.
    OddHistory(SourceError),
    /// The pack that was sent is not whole: worth another try at once.
    BrokenPack(SourceError),
}

/// The advice for an object that may not be inflated.
pub(crate) const OBJECT_TOO_LARGE: &str = "an object is larger than 32 MiB; take it out of the repository";

impl Fault {
    /// The mirror could not be read.
    pub(crate) fn damaged(doing: impl Into<String>, cause: &gix::Error) -> Self {
        Self::Damaged(failed(doing, text_of(cause)))
    }

    /// The error to hand out when nothing more can be done about it now.
    pub(crate) fn into_error(self) -> SourceError {
        match self {
            Self::Failed(error)
            | Self::Damaged(error)
            | Self::TooLarge(error)
            | Self::OddHistory(error)
            | Self::BrokenPack(error) => error,
            Self::OtherFormat(kind) => {
                crate::source::refused(format!("the repository changed its object format to {kind} while we looked; we look again"))
            }
        }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// The whole chain of causes on one bounded line without control characters.
pub(crate) fn text_of(error: &(dyn Error + 'static)) -> String {
    const CAUSE_BYTES_MAX: usize = 2048;
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next.filter(|_| text.len() < CAUSE_BYTES_MAX) {
        let part = one_line(&error.to_string());
        if !part.is_empty() && !text.contains(&part) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&part);
        }
        next = error.source();
    }
    text.chars().take(CAUSE_BYTES_MAX).collect()
}

/// White space and control characters become single blanks.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What a person could do about a failed connection, from the text of its causes.
pub(crate) fn advice(causes: &str) -> &'static str {
    const TABLE: [(&[&str], &str); 13] = [
        (
            &["refusing to follow redirect"],
            "the server redirects to another address; write that address in source.url, with `.git` at its end if it has it",
        ),
        (&["HTTP status 401", "redentials provided for"], "the server refuses our credentials (401); check source.credentials"),
        (&["HTTP status 403"], "the server forbids reading (403); give this account read access to the repository"),
        (
            &["HTTP status 404"],
            "the server does not know this repository (404); check source.url, and source.credentials if it is private",
        ),
        (&["HTTP status 429"], "the server asks us to slow down (429); a longer source.poll_interval helps"),
        (&["HTTP status 5"], "the server has trouble of its own; we try again"),
        (
            &["dns error", "failed to lookup address"],
            "the host name does not resolve; check source.url and the name service of this host",
        ),
        (
            &["certificate", "UnknownIssuer"],
            "the certificate of the server is not trusted; a private authority goes into source.ca_file",
        ),
        (&["onnection refused"], "nothing listens at that address; check source.url and the firewall"),
        (&["timed out", "Interrupted", "interrupted"], "the server stopped answering; check the network path to it"),
        (&["alloc", "memory"], OBJECT_TOO_LARGE),
        (&[PACK_NOT_WRITTEN], BROKEN_PACK),
        (&["Didn't find 'application/x-git-upload-pack"], "the address answers, but not as a Git repository; check source.url"),
    ];
    let found = TABLE.iter().find(|(signs, _)| signs.iter().any(|sign| causes.contains(sign)));
    found.map_or("we try again; the cause follows", |(_, advice)| advice)
}
