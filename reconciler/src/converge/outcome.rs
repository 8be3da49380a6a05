//! What one trip came to.

use policy::snapshot::CommitId;

use super::{BackendError, SourceError};
use crate::store;

/// How a trip ended without failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The head is what is enforced.
    InForce {
        /// The head.
        commit: CommitId,
        /// How many changes this trip made.
        changes: usize,
    },
    /// The head breaks rules; the last good commit stays enforced.
    Rejected {
        /// The head.
        commit: CommitId,
        /// The first finding and how many more.
        reason: String,
    },
    /// A backend cannot say the head exactly; the last good commit stays enforced.
    Inexpressible {
        /// The head.
        commit: CommitId,
        /// What cannot be said.
        reason: String,
    },
    /// A person has to decide.
    Held {
        /// What about, and how.
        reason: String,
    },
}

/// Why a trip has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The source did not answer.
    #[error("cannot follow the policy repository")]
    Source(#[from] SourceError),
    /// A target did not answer or refused.
    #[error("cannot enforce on {target}")]
    Backend {
        /// Which.
        target: String,
        /// Why.
        #[source]
        cause: BackendError,
    },
    /// Some targets are in force, others are not.
    #[error("{in_force} of {of} targets in force; {target}: {why}")]
    Partly {
        /// How many are.
        in_force: usize,
        /// Of how many.
        of: usize,
        /// The first that is not.
        target: String,
        /// Why.
        why: String,
    },
    /// Something else comes first.
    #[error("{why}")]
    Superseded {
        /// What.
        why: &'static str,
    },
    /// A target does not show what was applied.
    #[error("{target} does not show what was applied to it: {detail}")]
    NotVerified {
        /// Which.
        target: String,
        /// What differs.
        detail: String,
    },
    /// The clock is outside of what a date can hold.
    #[error("the clock says {says}, which is not a date for policies")]
    Clock {
        /// What it says.
        says: String,
    },
    /// Nothing may change that cannot be recorded.
    #[error("cannot record; nothing is changed")]
    Store(#[from] store::Error),
}
