//! The controller's configuration file: read once, every value parsed at the edge, every error with its line.
//!
//! Unknown fields are refused, because a misspelt `failsafe` that is silently ignored locks somebody out. Secrets never stand in
//! the file: a `*_file` key says where they are. All but `source.url` has a default.

mod audit;
mod clouds;
mod hooks;
mod sections;
mod source;
mod status;
mod types;
mod zone;

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use self::audit::{AnchorConfig, AuditConfig, RetentionDays, head_file, syslog_address};
pub use self::clouds::{AwsConfig, AzureConfig, AzureTargetMode, CloudConfig, CloudProvider};
pub use self::hooks::{BodyMib, GitlabHookConfig, TlsConfig, TrustedProxies, WebhookSecretConfig, WebhooksConfig};
pub use self::sections::{
    DriftConfig, DriftMode, EmptyState, FailsafeConfig, FirstEnforcement, HostBackend, HostConfig, HostMode, HostXdp, LimitsConfig,
    MetricsConfig, PolicyConfig, ProfileName,
};
pub use self::source::{CredentialsConfig, SourceConfig, VerifyConfig, VerifyModeName};
pub use self::status::{ForgeName, GithubAppConfig, StatusConfig};
pub use self::types::{BranchName, CronSchedule, DatabasePath, FailsafePeer, Interval, PolicyFolder, RepositorySlug};
pub use self::zone::TimeZone;

/// A larger file is a mistake, not a configuration.
const CONFIG_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Asking a forge more often than this is abuse; a webhook is what makes a push arrive at once.
const POLL_INTERVAL_SECS_MIN: u64 = 10;

/// Everything `pci-segment run -c FILE` needs to know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The repository to follow.
    pub source: SourceConfig,
    /// What commits are held against.
    #[serde(default)]
    pub policy: PolicyConfig,
    /// The SQLite database.
    #[serde(default)]
    pub database: DatabasePath,
    /// Where the HTTP door listens.
    #[serde(default = "default_listen", deserialize_with = "types::listen_address")]
    pub listen: std::net::SocketAddr,
    /// TLS for that door; plain HTTP without.
    pub tls: Option<TlsConfig>,
    /// How people reach this controller, for links in commit statuses.
    pub public_url: Option<String>,
    /// Webhook receivers.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
    /// Where verdicts are reported.
    #[serde(default)]
    pub status: StatusConfig,
    /// This host.
    #[serde(default)]
    pub host: HostConfig,
    /// Cloud targets.
    #[serde(default)]
    pub clouds: Vec<CloudConfig>,
    /// How much one pass may change.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// When and how drift is looked for.
    #[serde(default)]
    pub drift: DriftConfig,
    /// SHA-256 of the file's text, in hexadecimal.
    #[serde(skip)]
    pub sha256: String,
    /// Where and what is measured.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// How the audit log is signed and kept, and where its checkpoints are left.
    #[serde(default)]
    pub audit: AuditConfig,
}

fn default_listen() -> std::net::SocketAddr {
    std::net::SocketAddr::from(([127, 0, 0, 1], 8080))
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: write one with `pci-segment init`, or name it with -c")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("{path} has {bytes} bytes; a configuration has at most {CONFIG_FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A pipe, a device or a folder.
    #[error("{path} is not a regular file; name the configuration file itself with -c")]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Not YAML, or not ours.
    #[error("{path}:{line}:{column}: {reason}")]
    Text {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: u64,
        /// 1-based.
        column: u64,
        /// What is wrong and what to write.
        reason: String,
    },
    /// Two values do not go together.
    #[error("{path}: {reason}")]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to write.
        reason: String,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// The file is unreadable, is not a configuration, or contradicts itself; each error names the place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_text(path)?, path)
    }

    /// Parses a configuration; `path` is for error texts.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = parse_text(text, path)?;
        config.sha256 = crate::audit::hex(&Sha256::digest(text.as_bytes()));
        config.check().map_err(|reason| ConfigError::Meaning { path: path.to_owned(), reason })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        self.check_clouds()?;
        if !(1..=100).contains(&self.limits.change_percent) {
            return Err(format!("limits.change_percent is {}; write 1 to 100", self.limits.change_percent));
        }
        if self.source.poll_interval < Interval::from_secs(POLL_INTERVAL_SECS_MIN) {
            return Err(format!(
                "source.poll_interval is shorter than {POLL_INTERVAL_SECS_MIN}s; write {POLL_INTERVAL_SECS_MIN}s or more, and \
                 set up webhooks to see a push at once"
            ));
        }
        self.source.verify.check()?;
        self.status.check()?;
        self.audit.check(self.source.branch.as_str())?;
        if !self.host.interfaces.is_empty() && self.host.labels.is_empty() {
            return Err(
                "host.labels is empty: no policy could select this host; write for example `labels: { pci-env: cde }`".to_owned()
            );
        }
        Ok(())
    }

    fn check_clouds(&self) -> Result<(), String> {
        let mut labels = std::collections::BTreeSet::new();
        for cloud in &self.clouds {
            cloud.check()?;
            if !labels.insert(cloud.label()) {
                return Err(format!("clouds: two entries are called {}; give each a name", cloud.label()));
            }
        }
        match &self.limits.first_wave {
            Some(first) if !labels.contains(first) => {
                Err(format!("limits.first_wave is {first}; write the name of an entry of clouds"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Under which name records tell of what is enforced on this host.
    #[must_use]
    pub fn target(&self) -> String {
        format!("host/{}", self.host.interfaces.join(","))
    }

    /// The host's name: configured, or the kernel's.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.host.name.clone().unwrap_or_else(kernel_host_name)
    }
}

/// A configuration's text, if it is a file of a size that one has.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = |cause| ConfigError::Read { path: path.to_owned(), cause };
    // Opening a pipe without a writer would wait for one.
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::File::options().read(true).custom_flags(no_wait).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(ConfigError::NotAFile { path: path.to_owned() });
    }
    if metadata.len() > CONFIG_FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    let mut text = String::new();
    file.take(CONFIG_FILE_BYTES_MAX).read_to_string(&mut text).map_err(read)?;
    Ok(text)
}

/// YAML of ours; `path` is for error texts.
fn parse_text<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location();
        let reason = types::plain_reason(&error);
        ConfigError::Text {
            path: path.to_owned(),
            line: at.map_or(1, |l| l.line().max(1)),
            column: at.map_or(1, |l| l.column().max(1)),
            reason: clouds::instead_of(&reason).unwrap_or(reason),
        }
    })
}

/// What the kernel calls this host.
#[must_use]
pub fn kernel_host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_url_is_enough() {
        let config = parse("source: { url: https://git.example/policies.git }").unwrap();
        assert_eq!(config.source.branch.as_str(), "main");
        assert_eq!(config.drift.mode, DriftMode::Report);
        assert_eq!(config.listen.port(), 8080);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = parse("source:\n  url: file:///p\nhosts:\n  name: a\n").unwrap_err();
        assert!(error.starts_with("c.yaml:3:1: unknown field `hosts`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line() {
        let error = parse("source:\n  url: file:///p\n  poll_interval: soon\n").unwrap_err();
        assert!(error.starts_with("c.yaml:3:"), "{error}");
        assert!(error.contains("60s"), "{error}");
    }

    #[test]
    fn polling_too_often_is_refused() {
        let with = |interval: &str| parse(&format!("source: {{url: file:///p, poll_interval: {interval}}}"));
        assert!(with("9s").unwrap_err().contains("10s or more"));
        assert!(with("10s").is_ok());
    }

    #[test]
    fn reports_more_often_than_hourly_are_refused_with_what_to_write() {
        let with = |when: &str| parse(&format!("source: {{url: file:///p}}\ndrift: {{report_schedule: \"{when}\"}}\n"));
        for often in ["* * * * * *", "0 * * * * *", "0 0,30 3 1 1 *", "*/30 0 * * * *"] {
            let error = with(often).unwrap_err();
            assert!(error.starts_with("c.yaml:2:") && error.contains("at most once an hour"), "{error}");
        }
        for seldom in ["0 0 * * * *", "0 0 6 * * Mon", "30 15 3 29 2 *"] {
            assert!(with(seldom).is_ok(), "{seldom}");
        }
    }

    #[test]
    fn verifying_needs_a_list_of_signers_that_can_be_found() {
        let with = |verify: &str| parse(&format!("source: {{url: file:///p, verify: {{{verify}}}}}")).map(|c| c.source.verify.mode);
        assert_eq!(with(""), Ok(VerifyModeName::Off));
        assert_eq!(with("mode: head, allowed_signers_file: /etc/signers"), Ok(VerifyModeName::Head));
        for (verify, said) in [
            ("mode: head", "source.verify.mode needs source.verify.allowed_signers_file"),
            ("mode: every, allowed_signers_path: a/b", "source.verify.allowed_signers_path needs"),
            ("mode: every, allowed_signers_file: signers", "source.verify.allowed_signers_file `signers` is not an absolute path"),
            ("mode: every, allowed_signers_file: /s, allowed_signers_path: ../s", "source.verify.allowed_signers_path `../s`"),
            ("mode: all", "c.yaml:1:"),
        ] {
            let error = with(verify).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_bad_listen_address_is_refused_with_what_to_write() {
        let error = parse("source: {url: file:///p}\nlisten: x\n").unwrap_err();
        assert!(error.starts_with("c.yaml:2:"), "{error}");
        assert!(error.contains("`x`") && error.contains("127.0.0.1:8080"), "{error}");
    }

    #[test]
    fn early_drop_is_off_unless_it_is_asked_for() {
        let with = |host: &str| parse(&format!("source: {{url: file:///p}}\nhost: {{{host}}}")).map(|config| config.host.xdp);
        assert_eq!((with(""), with("xdp: off"), with("xdp: native")), (Ok(HostXdp::Off), Ok(HostXdp::Off), Ok(HostXdp::Native)));
        assert!(with("xdp: generic").is_err());
    }

    #[test]
    fn metrics_have_an_address_of_their_own_if_one_is_given() {
        let config = parse("source: {url: file:///p}\nmetrics: {listen: \"127.0.0.1:9102\"}\n").unwrap();
        assert_eq!(config.metrics.listen.map(|address| address.port()), Some(9102));
        assert!(!config.metrics.program_runs);
        assert_eq!(parse("source: {url: file:///p}").unwrap().metrics.listen, None);
        assert!(parse("source: {url: file:///p}\nmetrics: {listen: 9102}\n").unwrap_err().contains("127.0.0.1:8080"));
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(Config::load(&pipe), Err(ConfigError::NotAFile { .. })));
        assert!(matches!(Config::load(folder.path()), Err(ConfigError::NotAFile { .. })));
    }

    #[test]
    fn a_failsafe_for_everybody_is_refused() {
        let error = parse("source: {url: file:///p}\nhost: {failsafe: {inbound: [{protocol: TCP, port: 22, from: [0.0.0.0/0]}]}}")
            .unwrap_err();
        assert!(error.contains("everybody"), "{error}");
    }

    #[test]
    fn dhcp_passes_unless_it_is_said_not_to() {
        assert!(parse("source: {url: file:///p}").unwrap().host.dhcp);
        assert!(parse("source: {url: file:///p}\nhost: {name: a}").unwrap().host.dhcp);
        assert!(!parse("source: {url: file:///p}\nhost: {dhcp: false}").unwrap().host.dhcp);
    }

    #[test]
    fn a_cloud_that_is_unknown_incomplete_or_not_built_is_refused_with_what_to_do() {
        let with = |cloud: &str| parse(&format!("source: {{url: file:///p}}\nclouds: [{cloud}]")).map(drop);
        for (cloud, built, said) in [
            ("{provider: gcp, region: x}", true, "gcp"),
            ("{provider: aws, region: us-east-1}", cfg!(feature = "aws"), "vpc_ids"),
            ("{provider: aws, region: us-east-1, azure: {subscription_id: s}}", cfg!(feature = "aws"), "no azure section"),
            ("{provider: aws, region: us-east-1, aws: {vpc_ids: [vpc-1, vpc-1]}}", cfg!(feature = "aws"), "vpc-1 twice"),
            ("{provider: azure, region: eastus}", cfg!(feature = "azure"), "resource_groups"),
        ] {
            let error = with(cloud).unwrap_err();
            assert!(error.contains(if built { said } else { "--features" }), "{error}");
        }
        let good = with("{provider: aws, region: us-east-1, aws: {vpc_ids: [vpc-1]}}");
        assert_eq!(good.is_ok(), cfg!(feature = "aws"), "{good:?}");
    }

    #[test]
    fn a_forge_needs_a_repository_a_token_and_an_address() {
        let with = |status: &str| parse(&format!("source: {{url: file:///p}}\nstatus: {{{status}}}")).map(|config| config.status);
        let url = |status: &str| with(status).unwrap().api_url().map(str::to_owned);
        assert!(with("forge: github").unwrap_err().contains("status.repository"));
        assert!(with("forge: github, repository: a/b").unwrap_err().contains("status.token_file"));
        assert!(with("forge: github, repository: a/b/c, token_file: t").unwrap_err().contains("a/b/c"));
        assert!(with("forge: gitea, repository: a/b, token_file: t").unwrap_err().contains("https://HOST/api/v1"));
        let app = "github_app: { app_id: 1, installation_id: 2, private_key_file: k }";
        assert_eq!(url(&format!("forge: github, repository: a/b, {app}")).as_deref(), Some("https://api.github.com"));
        assert!(with(&format!("forge: github, repository: a/b, token_file: t, {app}")).unwrap_err().contains("keep one"));
        assert!(with(&format!("forge: gitlab, repository: a/b, {app}")).unwrap_err().contains("forge: github"));
        assert_eq!(url("forge: github, repository: a/b, token_file: t").as_deref(), Some("https://api.github.com"));
        assert_eq!(url("forge: gitlab, repository: a/b/c, token_file: t").as_deref(), Some("https://gitlab.com/api/v4"));
        let own = "https://git.example/api/v1";
        assert_eq!(url(&format!("forge: gitea, repository: a/b, token_file: t, api_url: \"{own}\"")).as_deref(), Some(own));
        for repository in ["a", "a//b", "a/../b", "a/b?c"] {
            assert!(with(&format!("forge: gitlab, repository: \"{repository}\", token_file: t")).is_err(), "{repository}");
        }
    }

    #[test]
    fn a_cron_of_five_fields_is_refused() {
        let error = parse("source: {url: file:///p}\ndrift: {schedule: \"*/5 * * * *\"}").unwrap_err();
        assert!(error.contains("seconds first"), "{error}");
    }
}
