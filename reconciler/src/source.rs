//! Where policies come from: a Git repository that is followed, or a folder for one-off use.
//!
//! A source hands out commit ids and the files of a commit as bytes in memory. It judges nothing: whatever a commit holds that
//! does not belong there (a symbolic link, a submodule, a name that cannot be shown) is an entry of the snapshot, because it is
//! a property of the commit and waits for a new one. Only what is worth another try is an error.

pub mod directory;
pub mod git;
mod limits;
mod names;

use crate::converge::SourceError;

/// An error with its cause.
pub(crate) fn failed(doing: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
    SourceError { doing: doing.into(), cause: Some(cause.into()) }
}

/// An error that says everything itself.
pub(crate) fn refused(doing: impl Into<String>) -> SourceError {
    SourceError { doing: doing.into(), cause: None }
}
