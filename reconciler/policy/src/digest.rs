//! Stable hashes of tables: SHA-256 over a canonical form.
//!
//! The canonical form of a value ends where it must, whatever follows, so that two different tables never share one: numbers have a
//! fixed width, texts and lists their length in front.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A SHA-256 sum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Something with a canonical form in bytes.
pub trait Canonical {
    /// Appends the canonical form.
    fn canonical(&self, out: &mut Vec<u8>);
}

impl Digest {
    /// Of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of a whole table.
    #[must_use]
    pub fn of_table<K: Canonical, R: Canonical>(table: &BTreeMap<K, R>) -> Self {
        let mut hasher = Sha256::new();
        let mut buffer = Vec::with_capacity(256);
        for (key, rule) in table {
            buffer.clear();
            key.canonical(&mut buffer);
            rule.canonical(&mut buffer);
            hasher.update(&buffer);
        }
        Self(hasher.finalize().into())
    }

    /// Reads `sha256:` and 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").filter(|d| d.len() == 64)?;
        let mut sum = [0; 32];
        for (byte, pair) in sum.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase()).and_then(|d| u8::try_from(d).ok());
            let &[high, low] = pair else { return None };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(sum))
    }

    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        alloc::format!("{self:.12}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(64);
        self.0.iter().take(digits.div_ceil(2)).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{self}"))
    }
}

/// Appends a text with its length in front.
pub fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a count, eight bytes.
pub fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"rule");
        assert_eq!(Digest::parse(&alloc::format!("sha256:{digest}")), Some(digest));
        for text in ["", "sha256:", "sha256:00", &alloc::format!("SHA256:{digest}"), &alloc::format!("sha256:{digest}0")] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
