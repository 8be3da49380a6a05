//! `source:`, where policies come from, as people write it.

use std::path::PathBuf;

use serde::Deserialize;

use super::types::{BranchName, Interval, PolicyFolder};

/// `source:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// `https://`, `ssh://`, scp-like or `file://`; checked by the Git source.
    pub url: String,
    /// The branch whose head is enforced.
    #[serde(default)]
    pub branch: BranchName,
    /// The folder in the repository that holds the documents.
    #[serde(default)]
    pub path: PolicyFolder,
    /// How often to look without being told.
    #[serde(default = "default_poll_interval")]
    pub poll_interval: Interval,
    /// The whole of one fetch.
    #[serde(default = "default_timeout")]
    pub timeout: Interval,
    /// How to authenticate.
    pub credentials: Option<CredentialsConfig>,
    /// Certificates (PEM) of a private authority, trusted for this repository beside the system's.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port`, through which an https or http address is reached.
    pub proxy: Option<String>,
    /// Largest pack that is received.
    #[serde(default)]
    pub pack_mib: PackMib,
    /// Whose commits are taken.
    #[serde(default)]
    pub verify: VerifyConfig,
}

/// A size of 1 MiB to 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct PackMib(u64);

impl PackMib {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(1024 * 1024)
    }
}

impl Default for PackMib {
    fn default() -> Self {
        Self(128)
    }
}

impl TryFrom<u64> for PackMib {
    type Error = String;

    fn try_from(mib: u64) -> Result<Self, String> {
        let fits = (1..=4096).contains(&mib);
        if fits { Ok(Self(mib)) } else { Err(format!("source.pack_mib is {mib}; write 1 to 4096, in MiB")) }
    }
}

/// `source.verify:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// Which commits have to be signed.
    #[serde(default)]
    pub mode: VerifyModeName,
    /// A list of signers on this host.
    pub allowed_signers_file: Option<PathBuf>,
    /// A list of signers in the repository, from its top; read from the commit in force.
    pub allowed_signers_path: Option<String>,
}

/// Which commits have to be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyModeName {
    /// None.
    #[default]
    Off,
    /// What is to be enforced.
    Head,
    /// That, and all that led to it since the commit in force.
    Every,
}

fn default_poll_interval() -> Interval {
    Interval::from_secs(60)
}

fn default_timeout() -> Interval {
    Interval::from_secs(60)
}

impl VerifyConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.mode == VerifyModeName::Off {
            return Ok(());
        }
        match (&self.allowed_signers_file, &self.allowed_signers_path) {
            (None, None) => Err("source.verify.mode needs source.verify.allowed_signers_file, a list of who may sign".to_owned()),
            (None, Some(_)) => {
                Err("source.verify.allowed_signers_path needs source.verify.allowed_signers_file beside it: before \
                 anything is in force, nothing else says who may sign"
                    .to_owned())
            }
            (Some(file), _) if !file.is_absolute() => {
                Err(format!("source.verify.allowed_signers_file `{}` is not an absolute path", file.display()))
            }
            (_, Some(path)) if path.split('/').any(|part| matches!(part, "" | "." | "..")) => {
                Err(format!("source.verify.allowed_signers_path `{path}` is not a path from the top of the repository"))
            }
            (Some(_), _) => Ok(()),
        }
    }
}

/// `source.credentials:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsConfig {
    /// User name for HTTP.
    pub username: Option<String>,
    /// File that holds the password or token for HTTP.
    pub password_file: Option<PathBuf>,
    /// Private key for SSH.
    pub ssh_key_file: Option<PathBuf>,
    /// The only host keys that are accepted.
    pub known_hosts_file: Option<PathBuf>,
}
