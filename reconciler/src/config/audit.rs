//! `audit:`, how the log is signed and where its checkpoints are left, as people write it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Config;
use crate::audit::note::is_name;

/// PCI DSS v4.0.1 10.5.1 asks for twelve months.
const RETENTION_DAYS_MIN: u32 = 366;
const RETENTION_DAYS: u32 = 400;
/// What stands between the domain and the name of the installation in an origin.
const PRODUCT: &str = "pci-segment";

/// `audit:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// PKCS#8 PEM with an Ed25519 key, mode 0600, or a credential of systemd. Default: `audit.key` beside the database, made by the
    /// first start.
    pub signing_key_file: Option<PathBuf>,
    /// Begins the origin of checkpoints. Default: the host of `public_url`, else the host's name. Used once: a log keeps its origin.
    pub domain: Option<String>,
    /// Where signed checkpoints are left.
    pub anchors: Vec<AnchorConfig>,
    /// Certificates (PEM) that servers of `syslog: tls://…` are known by; needed with them.
    pub syslog_ca_file: Option<PathBuf>,
    /// Whether changes wait while every anchor is behind.
    pub require_anchor: bool,
    /// Where sealed segments are written; `segments` beside the database without it.
    pub segments_dir: Option<PathBuf>,
    /// How long segments are promised to be kept. This program deletes none of them, however old.
    pub retention_days: RetentionDays,
    /// Whether rows older than 100 days stay in the database although a sealed segment has them.
    pub keep_bodies: bool,
}

/// At least 366.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct RetentionDays(u32);

impl RetentionDays {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self(RETENTION_DAYS)
    }
}

impl TryFrom<u32> for RetentionDays {
    type Error = String;

    fn try_from(days: u32) -> Result<Self, String> {
        if days < RETENTION_DAYS_MIN {
            return Err(format!("audit.retention_days is {days}; PCI DSS v4.0.1 10.5.1 asks for 12 months: write 366 or more"));
        }
        Ok(Self(days))
    }
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnchorConfig {
    /// A file that only grows, best on another mount.
    File(PathBuf),
    /// A ref of the policy repository, in the form of `git notes`.
    Git(String),
    /// `tcp://host:port` or `tls://host:port`.
    Syslog(String),
}

impl AnchorConfig {
    /// As people see it everywhere: `file:/path`, `git:refs/notes/pci-segment`, `syslog:tls://host:port`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Git(reference) => format!("git:{reference}"),
            Self::Syslog(address) => format!("syslog:{address}"),
        }
    }

    /// Whether it can be meant.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::File(path) if path.is_absolute() => Ok(()),
            Self::File(path) => Err(format!("audit.anchors: file `{}` is not an absolute path", path.display())),
            Self::Git(reference) if is_ref(reference) => Ok(()),
            Self::Git(reference) => Err(format!(
                "audit.anchors: git `{reference}` is not the full name of a ref; write for example refs/notes/pci-segment"
            )),
            Self::Syslog(address) => syslog_address(address).map(drop).ok_or_else(|| {
                format!("audit.anchors: syslog `{address}` is no address; write tls://HOST:6514, or tcp://HOST:514")
            }),
        }
    }
}

/// Whether to encrypt, the host, the port.
#[must_use]
pub fn syslog_address(text: &str) -> Option<(bool, &str, u16)> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b));
    let port = port.parse().ok().filter(|port| plain && *port != 0)?;
    match scheme {
        "tls" => Some((true, host, port)),
        "tcp" => Some((false, host, port)),
        _ => None,
    }
}

fn is_ref(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let parts = |name: &str| name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"));
    // A branch that is followed for policies must not get notes; tags must not move.
    let place = name.starts_with("refs/") && !name.starts_with("refs/tags/");
    place
        && name.len() <= 255
        && !name.contains(odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && parts(name)
}

impl AuditConfig {
    pub(super) fn check(&self, branch: &str) -> Result<(), String> {
        if let Some(domain) = self.domain.as_ref().filter(|domain| !is_domain(domain)) {
            return Err(format!("audit.domain `{domain}` is no domain; write for example example.com"));
        }
        for (n, anchor) in self.anchors.iter().enumerate() {
            anchor.check()?;
            if self.anchors.iter().take(n).any(|earlier| earlier == anchor) {
                return Err(format!("audit.anchors names {} twice", anchor.name()));
            }
            if *anchor == AnchorConfig::Git(format!("refs/heads/{branch}")) {
                return Err(format!("audit.anchors: refs/heads/{branch} is followed for policies; name another ref"));
            }
        }
        let encrypted = |anchor: &AnchorConfig| matches!(anchor, AnchorConfig::Syslog(address) if address.starts_with("tls://"));
        if self.syslog_ca_file.is_none() && self.anchors.iter().any(encrypted) {
            return Err(
                "audit.syslog_ca_file is needed with syslog: tls://…; it holds the certificates the server is known by".to_owned()
            );
        }
        if self.require_anchor && self.anchors.is_empty() {
            return Err("audit.require_anchor needs an entry in audit.anchors, or nothing would ever change".to_owned());
        }
        Ok(())
    }
}

fn is_domain(text: &str) -> bool {
    is_name(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) && text.len() <= 180
}

impl Config {
    /// Where the key is that signs checkpoints.
    #[must_use]
    pub fn signing_key_file(&self) -> PathBuf {
        self.audit.signing_key_file.clone().unwrap_or_else(|| self.database.folder().join("audit.key"))
    }

    /// The origin of an installation's log.
    #[must_use]
    pub fn audit_origin(&self, install_id: &str) -> String {
        let of_url = || self.public_url.as_deref().and_then(host_of).map(ToOwned::to_owned);
        let domain = self.audit.domain.clone().or_else(of_url).unwrap_or_else(|| self.host_name());
        let domain = if is_domain(&domain) { domain } else { "localhost".to_owned() };
        format!("{domain}/{PRODUCT}/{install_id}")
    }
}

fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host.split(':').next()?,
    };
    Some(host).filter(|host| is_domain(host))
}

/// The newest note, beside the database.
#[must_use]
pub fn head_file(folder: &Path) -> PathBuf {
    folder.join("audit.head")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(audit: &str) -> Result<Config, String> {
        Config::parse(&format!("source: {{url: file:///p}}\naudit: {{{audit}}}\n"), Path::new("c.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_has_to_be_said_of_the_log() {
        let config = parse("").unwrap();
        assert!(config.signing_key_file().ends_with("audit.key"));
        assert_eq!((config.audit.retention_days.get(), config.audit.anchors.len()), (400, 0));
    }

    #[test]
    fn anchors_are_named_as_they_are_written() {
        let config = parse(
            "anchors: [{file: /var/log/a}, {git: refs/notes/pci-segment}, {syslog: \"tls://[::1]:6514\"}], syslog_ca_file: /ca",
        )
        .unwrap();
        let names: Vec<_> = config.audit.anchors.iter().map(AnchorConfig::name).collect();
        assert_eq!(names, ["file:/var/log/a", "git:refs/notes/pci-segment", "syslog:tls://[::1]:6514"]);
        assert_eq!(syslog_address("tls://[::1]:6514"), Some((true, "::1", 6514)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (audit, said) in [
            ("retention_days: 365", "366 or more"),
            ("anchors: [{file: a}]", "absolute path"),
            ("anchors: [{git: notes}]", "refs/notes/pci-segment"),
            ("anchors: [{git: refs/heads/main}]", "followed for policies"),
            ("anchors: [{git: refs/tags/x}]", "refs/notes/pci-segment"),
            ("anchors: [{syslog: host}]", "tls://HOST:6514"),
            ("anchors: [{file: /a}, {file: /a}]", "twice"),
            ("anchors: [{syslog: \"tls://host:1\"}]", "audit.syslog_ca_file is needed"),
            ("require_anchor: true", "audit.anchors"),
            ("domain: \"a b\"", "audit.domain"),
        ] {
            let error = parse(audit).unwrap_err();
            assert!(error.contains(said), "{audit}: {error}");
        }
    }

    #[test]
    fn the_origin_begins_with_the_domain_the_host_of_the_url_or_the_hosts_name() {
        let with = |text: &str| {
            let text = format!("source: {{url: file:///p}}\nhost: {{name: db-01}}\n{text}");
            Config::parse(&text, Path::new("c.yaml")).unwrap().audit_origin("1")
        };
        assert_eq!(with("public_url: https://seg.example:8443/x\naudit: {domain: example.com}"), "example.com/pci-segment/1");
        assert_eq!(with("public_url: https://seg.example:8443/x"), "seg.example/pci-segment/1");
        assert_eq!(with(""), "db-01/pci-segment/1");
    }

    #[test]
    fn less_than_a_year_is_refused_with_the_number_to_write() {
        assert_eq!(RetentionDays::default().get(), 400);
        assert!(RetentionDays::try_from(366).is_ok());
        let refused = RetentionDays::try_from(365).unwrap_err();
        assert!(refused.contains("10.5.1") && refused.contains("write 366 or more"), "{refused}");
    }
}
