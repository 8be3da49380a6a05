//! Who signed a commit, decided from its bytes, a list of signers and a time; nothing is read (but for the list itself, by
//! [`on_host`]) and no program is started.
//!
//! The bytes that are verified are the bytes that are parsed: a commit with two trees, authors, committers or signatures would mean
//! one thing to the verifier and another to the reader, so it is malformed whatever its signature says. The date inside a commit is
//! its author's claim; what counts is when we first saw it. Deliberately absent: certificates, a web of trust, revocation lists and
//! the forge's own mark "verified".

mod commit;
pub mod on_host;
mod openpgp;
mod signers;
mod ssh;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

use self::commit::Parsed;
pub use self::signers::{BadList, Signers};

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// `ssh` or `openpgp`.
    pub kind: &'static str,
    /// As the list of signers names them.
    pub principal: String,
    /// Fingerprint of the key.
    pub key: String,
}

/// Why a commit is not taken as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one tree, one author, one committer and at most one signature.
    #[error("malformed commit: {0}")]
    Malformed(String),
    /// It has no signature.
    #[error("unsigned")]
    Unsigned,
    /// The key is on no list.
    #[error("unknown key {key}")]
    UnknownKey {
        /// Its fingerprint or id.
        key: String,
    },
    /// The key is on the list, for another time.
    #[error("key expired or not yet valid when the commit was first seen: {key}")]
    Expired {
        /// Its fingerprint.
        key: String,
    },
    /// It was signed for another purpose.
    #[error("wrong namespace: signed for `{namespace}`, not for `git`, by {key}")]
    WrongNamespace {
        /// What it was signed for.
        namespace: String,
        /// The key's fingerprint.
        key: String,
    },
    /// It is no signature of this commit.
    #[error("signature does not match{}{key}: {detail}", if key.is_empty() { "" } else { ", key " })]
    Mismatch {
        /// The key's fingerprint, where it is known.
        key: String,
        /// What is wrong.
        detail: &'static str,
    },
    /// The key is on the list and may not sign commits.
    #[error("signer not allowed: {key} {detail}")]
    NotAllowed {
        /// The key's fingerprint.
        key: String,
        /// Why not.
        detail: &'static str,
    },
}

impl Refusal {
    /// The key it is about, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Malformed(_) | Self::Unsigned => None,
            Self::UnknownKey { key }
            | Self::Expired { key }
            | Self::WrongNamespace { key, .. }
            | Self::Mismatch { key, .. }
            | Self::NotAllowed { key, .. } => Some(key.as_str()).filter(|key| !key.is_empty()),
        }
    }
}

/// Whether a commit has the one form that every reader reads alike.
///
/// # Errors
/// It has not.
pub fn well_formed(commit: &[u8]) -> Result<(), Refusal> {
    Parsed::from_bytes(commit).map(drop)
}

/// Who signed a commit that was first seen at a time.
///
/// # Errors
/// Why nobody on the list did.
pub fn verify(commit: &[u8], signers: &Signers, first_seen: Timestamp) -> Result<Signer, Refusal> {
    let parsed = Parsed::from_bytes(commit)?;
    let signature = parsed.signature.as_deref().ok_or(Refusal::Unsigned)?;
    if signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return ssh::verify(signature, &parsed.payload, signers, first_seen);
    }
    if signature.starts_with(b"-----BEGIN PGP SIGNATURE-----") {
        return openpgp::verify(signature, &parsed.payload, signers, first_seen);
    }
    Err(Refusal::Mismatch { key: String::new(), detail: "it is neither an SSH nor an OpenPGP signature" })
}
