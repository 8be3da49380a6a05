//! The shared secrets of one receiver.
//!
//! One to three of them, so that they can be changed without losing a delivery: add the new one, change the forge, wait, remove
//! the old one. They have no `Debug`, and their memory is wiped.

use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// The new one, the old one, and one to spare.
const SECRETS_MAX: usize = 3;

/// One to three secrets, newest first. Clones share them, so [`Secrets::replace`] reaches a running receiver.
#[derive(Clone)]
pub struct Secrets(Arc<RwLock<Arc<Lines>>>);

type Lines = Vec<Zeroizing<Vec<u8>>>;

/// Why a text does not hold usable secrets. Lines are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There is none.
    #[error("holds no secret; write one to three, one a line, newest first")]
    None,
    /// There are more than three.
    #[error("holds more than {SECRETS_MAX} secrets; remove the oldest")]
    TooMany,
    /// One can be guessed.
    #[error("line {line} is shorter than {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` makes a good one")]
    TooShort {
        /// Which.
        line: usize,
    },
}

impl Secrets {
    /// Takes the content of a secret file: one secret a line, newest first. Line ends are not part of a secret; empty lines at the
    /// end are skipped.
    ///
    /// # Errors
    /// None, more than three, or one shorter than 16 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(parse(text)?)))))
    }

    /// Takes a new content for this and all clones. On an error the old secrets stay.
    ///
    /// # Errors
    /// As [`Secrets::parse`].
    pub fn replace(&self, text: &str) -> Result<(), SecretsError> {
        let lines = Arc::new(parse(text)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = lines;
        Ok(())
    }

    /// The secrets of this moment.
    pub(crate) fn now(&self) -> Arc<Lines> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn parse(text: &str) -> Result<Lines, SecretsError> {
    let lines: Lines =
        text.trim_end().lines().map(|line| Zeroizing::new(line.trim_end_matches('\r').as_bytes().to_vec())).collect();
    if lines.is_empty() {
        return Err(SecretsError::None);
    }
    if lines.len() > SECRETS_MAX {
        return Err(SecretsError::TooMany);
    }
    match lines.iter().position(|line| line.len() < SECRET_BYTES_MIN) {
        Some(short) => Err(SecretsError::TooShort { line: short + 1 }),
        None => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> SecretsError {
        Secrets::parse(text).err().unwrap()
    }

    #[test]
    fn w03_no_secret_and_short_secrets_are_refused_by_line() {
        assert_eq!(refusal(""), SecretsError::None);
        assert_eq!(refusal("\n"), SecretsError::None);
        assert_eq!(refusal("fifteen bytes 1"), SecretsError::TooShort { line: 1 });
        assert_eq!(refusal("sixteen bytes 12\n\nsixteen bytes 34"), SecretsError::TooShort { line: 2 });
        assert!(refusal("short").to_string().starts_with("line 1 is shorter than 16 bytes"));
    }

    #[test]
    fn one_to_three_secrets_are_taken() {
        let line = "0123456789abcdef\r\n";
        assert_eq!(Secrets::parse(line).ok().unwrap().now().len(), 1);
        assert_eq!(Secrets::parse(&line.repeat(3)).ok().unwrap().now().len(), 3);
        assert_eq!(refusal(&line.repeat(4)), SecretsError::TooMany);
        assert_eq!(Secrets::parse(line).ok().unwrap().now()[0].as_slice(), b"0123456789abcdef");
    }

    #[test]
    fn w17_a_bad_replacement_leaves_the_old_secrets() {
        let secrets = Secrets::parse("0123456789abcdef").ok().unwrap();
        let running = secrets.clone();
        assert!(secrets.replace("short").is_err());
        assert_eq!(running.now()[0].as_slice(), b"0123456789abcdef");
        secrets.replace("another secret of 27 bytes\n0123456789abcdef").unwrap();
        assert_eq!(running.now().len(), 2);
    }
}
