//! The files of one commit, in memory, and the commit's name. There is never a work tree.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// A Git object id: SHA-1 (20 bytes) or SHA-256 (32 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId {
    bytes: [u8; 32],
    sha256: bool,
}

/// Text that is not 40 or 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotACommitId;

impl CommitId {
    /// From raw bytes, 20 or 32 of them.
    ///
    /// # Errors
    /// Any other length.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, NotACommitId> {
        let mut bytes = [0; 32];
        bytes.get_mut(..raw.len()).ok_or(NotACommitId)?.copy_from_slice(raw);
        match raw.len() {
            20 => Ok(Self { bytes, sha256: false }),
            32 => Ok(Self { bytes, sha256: true }),
            _ => Err(NotACommitId),
        }
    }

    /// The raw bytes, 20 or 32 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let length = if self.sha256 { 32 } else { 20 };
        self.bytes.get(..length).unwrap_or(&[])
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        alloc::format!("{self:.12}")
    }
}

impl FromStr for CommitId {
    type Err = NotACommitId;

    fn from_str(text: &str) -> Result<Self, NotACommitId> {
        let digits = text.as_bytes();
        let mut raw = Vec::with_capacity(32);
        for pair in digits.chunks(2) {
            let &[high, low] = pair else { return Err(NotACommitId) };
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(NotACommitId);
            raw.push(digit(high)? << 4 | digit(low)?);
            if raw.len() > 32 {
                return Err(NotACommitId);
            }
        }
        Self::from_bytes(&raw)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(64);
        for (i, byte) in self.as_bytes().iter().enumerate() {
            if i * 2 + 1 < digits {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands at one path of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file and its bytes.
    File(Vec<u8>),
    /// A symbolic link.
    Symlink,
    /// A submodule.
    Submodule,
    /// A regular file marked executable, where none is expected.
    Executable,
    /// A file over the size limit; its bytes were never read.
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Something that must not stand in a policy repository: a name that cannot be shown or stored safely, an odd mode, or
    /// a tree over its limits. The path it is filed under is escaped.
    Refused {
        /// What is wrong with it, for people.
        reason: String,
    },
}

/// The files of one commit below the policy root, by path relative to that root, `/` between folders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Paths and what stands there. Paths are UTF-8; sources refuse others.
    pub entries: BTreeMap<String, Entry>,
}
