//! The audit log: how a row becomes bytes, how rows are chained, and how anyone can check them.
//!
//! A row is stored as the bytes that were hashed and is never serialised again to be checked. Its hash is the leaf hash of
//! RFC 6962 §2.1 and the link of the chain at once, because the previous hash lies inside the leaf; so rows can be hashed in
//! parallel and the chain is a comparison of neighbours. The encoding in [`leaf`] is frozen: logs written by any release verify
//! with any later one.
//!
//! This module owns encoding, tree and verification. Writing rows belongs to the store, which adds them in the transaction of the
//! change they describe. A chain alone does not show a tail that was cut, nor a whole log that was rewritten: that takes a copy of
//! size and root kept where the owner of the database cannot change it.

pub mod event;
pub mod export;
pub mod grow;
pub mod kind;
pub mod leaf;
pub mod note;
pub mod proof;
pub mod tree;
pub mod verify;

pub use event::{AuditEvent, Draft, Refused};
pub use grow::Trunk;
pub use leaf::{Ended, Leaf};
pub use note::{Checkpoint, Note, NoteSigner, VerifierKey};
pub use tree::Frontier;

use std::fmt::Write as _;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
