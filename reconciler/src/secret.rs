//! Secrets: read from files, kept in memory that is wiped, and never printed.
//!
//! A [`Secret`] has neither `Debug` nor `Display`, so a struct that holds one cannot be logged by accident.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// More than any token or key we are given; a file above this is not a secret.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A password or token. Its memory is wiped when it is dropped.
pub struct Secret(Zeroizing<String>);

/// Why a secret file could not be used. The text never holds any of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read the secret file {path}; check that it exists and that this user may read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The file does not hold text as it should.
    #[error("the secret file {path} {problem}; it must hold one line of text, or a key in PEM form where one is asked for")]
    NotOneLine {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        problem: &'static str,
    },
}

impl Secret {
    /// Takes over a text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads a file that holds one secret; white space around it is not part of it.
    ///
    /// # Errors
    /// The file cannot be read, is empty, is over 64 KiB, or holds more than one line.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let bytes = read_bounded(path).map_err(|cause| SecretError::Unreadable { path: path.into(), cause })?;
        parse(&bytes).map_err(|problem| SecretError::NotOneLine { path: path.into(), problem })
    }

    /// Reads a file that holds a secret of several lines, as a private key in PEM form is.
    ///
    /// # Errors
    /// The file cannot be read, is empty, is over 64 KiB, or is not text.
    pub fn read_text(path: &Path) -> Result<Self, SecretError> {
        let bytes = read_bounded(path).map_err(|cause| SecretError::Unreadable { path: path.into(), cause })?;
        let unusable = |problem| SecretError::NotOneLine { path: path.into(), problem };
        match std::str::from_utf8(&bytes).map(str::trim) {
            _ if bytes.len() > SECRET_BYTES_MAX => Err(unusable("is over 64 KiB")),
            Err(_) => Err(unusable("is not UTF-8 text")),
            Ok("") => Err(unusable("is empty")),
            Ok(text) => Ok(Self::new(text.to_owned())),
        }
    }

    /// The secret itself, for the one place that must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Reads at most one byte past the limit, into memory of a fixed size so that no copy is left behind by growing.
fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let limit = u64::try_from(SECRET_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Secret, &'static str> {
    if bytes.len() > SECRET_BYTES_MAX {
        return Err("is over 64 KiB");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text")?.trim();
    match text {
        "" => Err("is empty"),
        _ if text.chars().any(char::is_control) => Err("holds more than one line or control characters"),
        _ => Ok(Secret::new(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<Secret, SecretError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        Secret::read(&path)
    }

    fn refusal(content: &[u8]) -> String {
        read(content).err().unwrap().to_string()
    }

    #[test]
    fn the_line_end_is_not_part_of_the_secret() {
        assert_eq!(read(b"hunter2\r\n").ok().unwrap().expose(), "hunter2");
    }

    #[test]
    fn an_unusable_file_is_refused_without_showing_its_content() {
        assert!(refusal(b"\n").contains("is empty"));
        assert!(refusal(b"\xff\xfe").contains("not UTF-8"));
        let two_lines = refusal(b"canary\nsecond");
        assert!(two_lines.contains("more than one line") && !two_lines.contains("canary"));
        assert!(refusal(&vec![b'a'; SECRET_BYTES_MAX + 1]).contains("over 64 KiB"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Secret::read(Path::new("/nonexistent/token")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/token"));
    }
}
