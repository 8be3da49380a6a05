//! The shared secrets of one receiver.
//!
//! One to three of them, so that they can be changed without losing a delivery: add the new one, change the forge, wait, remove
//! the old one. They have no `Debug`, and their memory is wiped.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Shorter ones can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// The new one, the old one, and one to spare.
const SECRETS_MAX: usize = 3;
/// What a signing token of GitLab holds.
const SIGNING_KEY_BYTES: usize = 32;

/// One to three secrets, newest first. Clones share them, so [`Secrets::replace`] reaches a running receiver.
#[derive(Clone)]
pub struct Secrets {
    lines: Arc<RwLock<Arc<Lines>>>,
    form: Form,
}

/// How a line becomes a key.
#[derive(Clone, Copy)]
enum Form {
    /// As it stands.
    Plain,
    /// `whsec_` and the base64 of 32 bytes: GitLab's signing tokens.
    Signing,
}

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
    /// One is not a signing token.
    #[error("line {line} is not a signing token; copy it from GitLab: it begins with whsec_")]
    NotASigningToken {
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
        Self::of(text, Form::Plain)
    }

    /// Takes the content of a file of GitLab's signing tokens: `whsec_` and the base64 of 32 bytes, one a line, newest first.
    ///
    /// # Errors
    /// None, more than three, or one that is not a signing token.
    pub fn parse_signing(text: &str) -> Result<Self, SecretsError> {
        Self::of(text, Form::Signing)
    }

    fn of(text: &str, form: Form) -> Result<Self, SecretsError> {
        Ok(Self { lines: Arc::new(RwLock::new(Arc::new(parse(text, form)?))), form })
    }

    /// Takes a new content for this and all clones. On an error the old secrets stay.
    ///
    /// # Errors
    /// As for the text they were made from.
    pub fn replace(&self, text: &str) -> Result<(), SecretsError> {
        let lines = Arc::new(parse(text, self.form)?);
        *self.lines.write().unwrap_or_else(PoisonError::into_inner) = lines;
        Ok(())
    }

    /// The secrets of this moment.
    pub(crate) fn now(&self) -> Arc<Lines> {
        Arc::clone(&self.lines.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn parse(text: &str, form: Form) -> Result<Lines, SecretsError> {
    let lines: Vec<&str> = text.trim_end().lines().map(|line| line.trim_end_matches('\r')).collect();
    if lines.is_empty() {
        return Err(SecretsError::None);
    }
    if lines.len() > SECRETS_MAX {
        return Err(SecretsError::TooMany);
    }
    (1..).zip(lines).map(|(line, text)| key(text, line, form)).collect()
}

fn key(text: &str, line: usize, form: Form) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    if text.len() < SECRET_BYTES_MIN {
        return Err(SecretsError::TooShort { line });
    }
    match form {
        Form::Plain => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        Form::Signing => {
            let encoded = text.strip_prefix("whsec_").ok_or(SecretsError::NotASigningToken { line })?;
            let key = STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| SecretsError::NotASigningToken { line })?;
            if key.len() == SIGNING_KEY_BYTES { Ok(key) } else { Err(SecretsError::NotASigningToken { line }) }
        }
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

    #[test]
    fn a_signing_token_is_32_bytes_in_base64_after_its_prefix() {
        let token = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let secrets = Secrets::parse_signing(&format!("{token}\n")).ok().unwrap();
        assert_eq!(secrets.now()[0].as_slice(), (0..32).collect::<Vec<u8>>());
        let refused = |text: &str| Secrets::parse_signing(text).err().unwrap();
        for wrong in
            ["an old token of 24 bytes", &token[6..], &token[..40], &token.replace('=', ""), "whsec_AAECAwQFBgcICQoLDA0ODw=="]
        {
            assert_eq!(refused(&format!("{token}\n{wrong}")), SecretsError::NotASigningToken { line: 2 }, "{wrong}");
        }
        assert!(secrets.replace("not a signing token").is_err());
    }
}
