//! What went wrong while reading, by what happens next, and how a cause is told to people.

use std::error::Error;

use crate::converge::SourceError;
use crate::source::failed;

/// How reading ended without an answer.
pub(crate) enum Fault {
    /// Worth another try later.
    Failed(SourceError),
    /// Our mirror cannot be read: clone again.
    Damaged(SourceError),
    /// The repository names its objects by another hash than our mirror: make another mirror.
    OtherFormat(gix::hash::Kind),
}

impl Fault {
    /// The mirror could not be read.
    pub(crate) fn damaged(doing: impl Into<String>, cause: &gix::Error) -> Self {
        Self::Damaged(failed(doing, text_of(cause)))
    }

    /// The error to hand out when nothing more can be done about it now.
    pub(crate) fn into_error(self) -> SourceError {
        match self {
            Self::Failed(error) | Self::Damaged(error) => error,
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
    const TABLE: [(&[&str], &str); 12] = [
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
        (&["alloc", "memory"], "an object is larger than 32 MiB; take it out of the repository"),
        (&["Didn't find 'application/x-git-upload-pack"], "the address answers, but not as a Git repository; check source.url"),
    ];
    let found = TABLE.iter().find(|(signs, _)| signs.iter().any(|sign| causes.contains(sign)));
    found.map_or("we try again; the cause follows", |(_, advice)| advice)
}
