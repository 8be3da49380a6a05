//! Who may sign: a file in the form of OpenSSH's `allowed_signers`, and armored OpenPGP keys beside it.
//!
//! What cannot be honoured is refused rather than skipped: a line that says less than its writer thought is worse than no list.

use jiff::Timestamp;
use jiff::civil::DateTime;
use pgp::composed::{Deserializable as _, SignedPublicKey};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// Keys in one list; far more than sign in one repository.
const SIGNERS_MAX: usize = 10_000;

/// The allowed signers.
#[derive(Debug, Default)]
pub struct Signers {
    pub(super) ssh: Vec<SshSigner>,
    pub(super) openpgp: Vec<SignedPublicKey>,
}

/// One line of the list.
#[derive(Debug)]
pub(super) struct SshSigner {
    pub(super) principals: String,
    pub(super) key: KeyData,
    /// All, if none are named.
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) after: Option<Timestamp>,
    pub(super) before: Option<Timestamp>,
}

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadList {
    place: String,
    problem: String,
}

impl BadList {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

impl Signers {
    /// Reads the list and the armored keys beside it, each with its file name.
    ///
    /// # Errors
    /// A line or key that cannot be honoured, or nobody at all.
    pub fn parse(list: &[u8], armored: &[(String, Vec<u8>)]) -> Result<Self, BadList> {
        let text = std::str::from_utf8(list).map_err(|_| BadList::new("the list", "is not UTF-8"))?;
        let mut signers = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let bad = |problem: String| BadList::new(format!("line {}", number.saturating_add(1)), problem);
                signers.ssh.push(ssh_signer(line).map_err(bad)?);
            }
        }
        for (name, bytes) in armored {
            let bad = |error: pgp::errors::Error| BadList::new(name, format!("is not an armored OpenPGP key: {error}"));
            let (keys, _) = SignedPublicKey::from_armor_many(bytes.as_slice()).map_err(bad)?;
            for key in keys {
                signers.openpgp.push(key.map_err(bad)?);
            }
        }
        match signers.len() {
            0 => Err(BadList::new("the list", "names nobody: no commit could ever be accepted")),
            1..=SIGNERS_MAX => Ok(signers),
            more => Err(BadList::new("the list", format!("has {more} keys; the limit is {SIGNERS_MAX}"))),
        }
    }

    /// How many keys may sign.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ssh.len().saturating_add(self.openpgp.len())
    }

    /// Whether nobody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `principals [options] type base64 [comment]`
fn ssh_signer(line: &str) -> Result<SshSigner, String> {
    let (principals, rest) = word(line)?;
    let (second, after) = word(rest)?;
    let is_type = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| second.starts_with(start));
    let (options, key) = if is_type { ("", rest) } else { (second, after) };
    let key = PublicKey::from_openssh(key.trim()).map_err(|error| format!("the key cannot be read: {error}"))?;
    let key = key.key_data().clone();
    let principals = principals.replace('"', "");
    let mut signer = SshSigner { principals, key, namespaces: None, after: None, before: None };
    for option in parts(options) {
        signer.take_option(option)?;
    }
    Ok(signer)
}

impl SshSigner {
    fn take_option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => {
                let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                if names.iter().any(|name| name.is_empty() || name.contains(['*', '?', '!'])) {
                    return Err("namespaces takes names without patterns, for example namespaces=\"git\"".to_owned());
                }
                self.namespaces = Some(names);
            }
            "valid-after" => self.after = Some(time(value)?),
            "valid-before" => self.before = Some(time(value)?),
            "cert-authority" => return Err("cert-authority is not supported; list the keys themselves".to_owned()),
            _ => return Err(format!("option `{name}` is not known; known are namespaces, valid-after and valid-before")),
        }
        Ok(())
    }
}

/// `YYYYMMDD[HHMM[SS]][Z]`, always in UTC.
fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is not a time; write for example 20260131 or 202601312359Z, which is in UTC");
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let full = match (digits.bytes().all(|byte| byte.is_ascii_digit()), digits.len()) {
        (true, 8) => format!("{digits}000000"),
        (true, 12) => format!("{digits}00"),
        (true, 14) => digits.to_owned(),
        _ => return Err(wrong()),
    };
    let parsed = DateTime::strptime("%Y%m%d%H%M%S", full).map_err(|_| wrong())?;
    Ok(parsed.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?.timestamp())
}

/// The first word, in which quotes may hold blanks, and what follows it.
fn word(line: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        quoted ^= c == '"';
        if c.is_ascii_whitespace() && !quoted {
            let (first, rest) = line.split_at(at);
            return Ok((first, rest.trim_start()));
        }
    }
    Err("is not `principals [options] key`".to_owned())
}

/// What commas outside of quotes separate.
fn parts(options: &str) -> Vec<&str> {
    let mut quoted = false;
    let split = options.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    split.filter(|part| !part.is_empty()).collect()
}
