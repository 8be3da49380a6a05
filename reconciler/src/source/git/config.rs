//! The settings of a Git source, checked before anything is opened or started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;

/// Largest pack that is received unless the configuration says otherwise.
pub const PACK_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Most objects of a pack: each costs memory while it is received.
pub const PACK_OBJECTS_MAX: u64 = 1_000_000;

/// How to follow a repository.
#[derive(Debug, Clone)]
pub struct GitConfig {
    /// `https://…`, `ssh://…`, `user@host:path`, `file:///…`, or `http://…` without credentials.
    pub url: String,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The folder in the repository that holds the documents; `.` for all of it.
    pub path: String,
    /// The longest one look or fetch may take.
    pub timeout: Duration,
    /// How we prove who we are.
    pub credentials: Credentials,
    /// Certificates (PEM) trusted for this repository beside the system's, for a private authority.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port`: an https or http address is reached through it. The environment names no proxy to us.
    pub proxy: Option<String>,
    /// The folder of the bare mirror. It is made when missing, inside a folder that exists.
    pub mirror: PathBuf,
    /// Largest pack, and largest amount copied from a local repository.
    pub pack_bytes_max: u64,
    /// Most objects of a pack.
    pub pack_objects_max: u64,
    /// Under which names the server has the heads of requests.
    pub requests: RequestRefs,
}

/// How a forge names the heads of its requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequestRefs {
    /// `refs/pull/N/head`: GitHub, Gitea, Forgejo.
    #[default]
    Pull,
    /// `refs/merge-requests/N/head`: GitLab.
    MergeRequests,
}

/// How we prove who we are to the server. Files are read at each connection, so that a rotated secret is used at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// HTTP Basic, over TLS only.
    Password {
        /// The user; forges ignore it for tokens.
        username: String,
        /// The file that holds the password or token.
        password_file: PathBuf,
    },
    /// A key for the system's SSH client.
    SshKey {
        /// The private key, without a passphrase.
        ssh_key_file: PathBuf,
        /// The server keys we trust.
        known_hosts_file: PathBuf,
    },
}

/// A setting that cannot be used. The start is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The setting, as written in the configuration file.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl ConfigError {
    fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

/// Settings that passed.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) address: Address,
    /// `refs/heads/…`
    pub(crate) reference: String,
    /// The parts of the path; empty for the whole repository.
    pub(crate) root: Vec<String>,
    pub(crate) config: GitConfig,
}

impl Checked {
    /// Checks all settings without touching the disk or the network.
    pub(crate) fn new(config: GitConfig) -> Result<Self, ConfigError> {
        let address = Address::parse(&config.url).map_err(|problem| ConfigError::new("source.url", problem))?;
        credentials_fit(&address, &config.credentials)?;
        proxy_fits(&address, config.proxy.as_deref())?;
        let reference = reference(&config.branch)?;
        let root = root(&config.path)?;
        Ok(Self { address, reference, root, config })
    }
}

fn proxy_fits(address: &Address, proxy: Option<&str>) -> Result<(), ConfigError> {
    let Some(proxy) = proxy else { return Ok(()) };
    let wrong = |problem: &str| Err(ConfigError::new("source.proxy", problem));
    if !matches!(address, Address::Http { .. }) {
        return wrong("only https and http addresses go through a proxy");
    }
    let Ok(url) = reqwest::Url::parse(proxy) else { return wrong("not an address; write http://host:port") };
    if url.scheme() != "http" || url.host().is_none() || !matches!(url.path(), "" | "/") || url.query().is_some() {
        return wrong("must be http://host:port; what goes to an https address is encrypted all the way");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("user-info (`user:password@`) is not allowed in the address");
    }
    Ok(())
}

fn credentials_fit(address: &Address, credentials: &Credentials) -> Result<(), ConfigError> {
    let wrong = |problem: &str| Err(ConfigError::new("source.credentials", problem));
    match (address, credentials) {
        (Address::Http { clear: true, .. }, Credentials::Password { .. }) => {
            wrong("a password would cross the network in the clear over http; use an https address")
        }
        (Address::Http { clear: false, .. }, Credentials::Password { username, .. }) => {
            if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
                return wrong("username is empty or holds `:` or control characters");
            }
            Ok(())
        }
        (Address::Ssh(_), Credentials::SshKey { ssh_key_file, known_hosts_file }) => {
            for file in [ssh_key_file, known_hosts_file] {
                plain_path(file).map_err(|problem| ConfigError::new("source.credentials", problem))?;
            }
            Ok(())
        }
        (Address::Ssh(_), _) => wrong("an ssh address needs ssh_key_file and known_hosts_file"),
        (Address::Http { .. }, Credentials::SshKey { .. }) => {
            wrong("an https address needs username and password_file, not an SSH key")
        }
        (Address::File(_), Credentials::Password { .. } | Credentials::SshKey { .. }) => {
            wrong("a file address takes no credentials")
        }
        (Address::File(_) | Address::Http { .. }, Credentials::None) => Ok(()),
    }
}

/// SSH reads quotes and `%` inside its options, so such paths are refused rather than escaped.
fn plain_path(path: &Path) -> Result<(), String> {
    let text = path.to_str().ok_or("a file name is not UTF-8")?;
    let odd = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\' | '%' | '$' | '~');
    if !text.starts_with('/') || text.contains(odd) {
        return Err(format!("{} must be an absolute path without quotes, `\\`, `%`, `$` and `~`", path.display()));
    }
    Ok(())
}

fn reference(branch: &str) -> Result<String, ConfigError> {
    let full = format!("refs/heads/{branch}");
    let valid = gix::validate::reference::name(full.as_str().into()).is_ok();
    if branch.starts_with("refs/") || branch.starts_with('-') || branch.contains('*') || !valid {
        return Err(ConfigError::new("source.branch", "not a branch name; write it without `refs/heads/`, like `main`"));
    }
    Ok(full)
}

fn root(path: &str) -> Result<Vec<String>, ConfigError> {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<String> = parts.map(str::to_owned).collect();
    if path.starts_with('/') || parts.iter().any(|part| part == ".." || part.chars().any(char::is_control)) {
        return Err(ConfigError::new("source.path", "must be a folder inside the repository, like `policies` or `.`"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, credentials: Credentials) -> GitConfig {
        GitConfig {
            url: url.into(),
            branch: "main".into(),
            path: ".".into(),
            timeout: Duration::from_secs(60),
            credentials,
            ca_file: None,
            proxy: None,
            mirror: "/nonexistent/mirror.git".into(),
            pack_bytes_max: PACK_BYTES_MAX,
            pack_objects_max: PACK_OBJECTS_MAX,
            requests: RequestRefs::default(),
        }
    }

    fn password() -> Credentials {
        Credentials::Password { username: "git".into(), password_file: "/run/token".into() }
    }

    fn key(known_hosts: &str) -> Credentials {
        Credentials::SshKey { ssh_key_file: "/run/key".into(), known_hosts_file: known_hosts.into() }
    }

    fn refusal(config: GitConfig) -> String {
        Checked::new(config).unwrap_err().to_string()
    }

    #[test]
    fn g10_a_password_over_clear_http_is_refused_before_any_connection() {
        let text = refusal(config("http://host/p", password()));
        assert!(text.starts_with("source.credentials: ") && text.contains("https"), "{text}");
        assert!(Checked::new(config("https://host/p", password())).is_ok());
    }

    #[test]
    fn ssh_needs_a_key_and_the_keys_of_the_server() {
        assert!(refusal(config("git@host:p", Credentials::None)).contains("known_hosts_file"));
        assert!(refusal(config("git@host:p", key("/run/%d/hosts"))).contains("absolute path"));
        assert!(Checked::new(config("git@host:p", key("/run/known hosts"))).is_ok());
    }

    #[test]
    fn g10_a_proxy_is_an_address_without_secrets_and_only_for_http() {
        let with = |url: &str, proxy: &str| Checked::new(GitConfig { proxy: Some(proxy.into()), ..config(url, Credentials::None) });
        assert!(with("https://host/p", "http://proxy.example:3128").is_ok());
        for (url, proxy) in [
            ("https://host/p", "http://user:canary@proxy:3128"),
            ("https://host/p", "socks5://proxy:1080"),
            ("https://host/p", "http://proxy/path"),
            ("https://host/p", "proxy:3128"),
            ("file:///p", "http://proxy:3128"),
        ] {
            let text = with(url, proxy).unwrap_err().to_string();
            assert!(text.starts_with("source.proxy: ") && !text.contains("canary"), "{proxy}: {text}");
        }
    }

    #[test]
    fn branches_and_paths_are_checked() {
        for branch in ["refs/heads/main", "-x", "a..b", "", "a b", "*"] {
            let config = GitConfig { branch: branch.into(), ..config("file:///p", Credentials::None) };
            assert!(refusal(config).starts_with("source.branch"), "{branch}");
        }
        for path in ["/etc", "a/../../b", "a\nb"] {
            let config = GitConfig { path: path.into(), ..config("file:///p", Credentials::None) };
            assert!(refusal(config).starts_with("source.path"), "{path}");
        }
        let config = GitConfig { path: "./a//b/".into(), ..config("file:///p", Credentials::None) };
        assert_eq!(Checked::new(config).unwrap().root, ["a", "b"]);
    }
}
