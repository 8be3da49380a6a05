//! The sections of a configuration file, as people write them.

use std::path::PathBuf;

use serde::Deserialize;

use super::types::{BranchName, CronSchedule, FailsafePeer, Interval, PolicyFolder, RepositorySlug};

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
}

fn default_poll_interval() -> Interval {
    Interval::from_secs(60)
}

fn default_timeout() -> Interval {
    Interval::from_secs(60)
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

/// `policy:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// A commit whose own profile is weaker is rejected.
    pub profile: Option<ProfileName>,
}

/// A rule profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProfileName {
    /// What always runs.
    #[serde(rename = "baseline")]
    Baseline,
    /// Everything.
    #[serde(rename = "pci-dss-4.0.1")]
    PciDss401,
}

/// Which forge gets commit statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeName {
    /// Nobody is told.
    #[default]
    None,
    /// GitHub or GitHub Enterprise.
    Github,
    /// GitLab, theirs or one's own.
    Gitlab,
    /// Gitea or Forgejo.
    Gitea,
}

/// `status:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusConfig {
    /// Which forge.
    #[serde(default)]
    pub forge: ForgeName,
    /// Root of its API; see [`StatusConfig::api_url`].
    pub api_url: Option<String>,
    /// `owner/name`; on GitLab groups may be nested.
    pub repository: Option<RepositorySlug>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// The name under which the verdict is filed.
    #[serde(default = "default_context")]
    pub context: String,
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self { forge: ForgeName::None, api_url: None, repository: None, token_file: None, context: default_context() }
    }
}

impl StatusConfig {
    /// The root of the forge's API: configured, else that of its maker's service. Gitea has none: whose address was meant is not
    /// guessed, since it gets the token.
    #[must_use]
    pub fn api_url(&self) -> Option<&str> {
        let theirs = match self.forge {
            ForgeName::Github => Some("https://api.github.com"),
            ForgeName::Gitlab => Some("https://gitlab.com/api/v4"),
            ForgeName::Gitea | ForgeName::None => None,
        };
        self.api_url.as_deref().or(theirs)
    }

    /// Whether a forge is named together with all it needs.
    pub(super) fn check(&self) -> Result<(), String> {
        let nested = self.forge == ForgeName::Gitlab;
        if self.forge == ForgeName::None {
            return Ok(());
        }
        match &self.repository {
            None => return Err("status.repository is needed with a forge: write owner/name".to_owned()),
            Some(repository) if !nested && repository.as_str().matches('/').count() != 1 => {
                return Err(format!("status.repository is `{}`; write owner/name", repository.as_str()));
            }
            Some(_) => {}
        }
        if self.token_file.is_none() {
            return Err("status.token_file is needed with a forge".to_owned());
        }
        if self.api_url().is_none() {
            return Err("status.api_url is needed with gitea: write https://HOST/api/v1".to_owned());
        }
        Ok(())
    }
}

fn default_context() -> String {
    "pci-segment/policy".to_owned()
}

/// What enforces on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HostBackend {
    /// The best that works here.
    #[default]
    Auto,
    /// eBPF or nothing.
    Ebpf,
    /// nftables, whatever else would work.
    Nftables,
}

/// Whether what should be dropped is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostMode {
    /// Dropped.
    #[default]
    Enforce,
    /// Counted only.
    Audit,
}

/// `host.first_enforcement:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstEnforcement {
    /// A person decides.
    #[default]
    Hold,
    /// They are cut.
    Cut,
}

/// Whether packets are dropped early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostXdp {
    /// Where they are judged.
    #[default]
    Off,
    /// What would be dropped anyway, also by XDP in the driver.
    Native,
}

/// `host:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Default: the kernel's host name.
    pub name: Option<String>,
    /// What policies select, where the repository has no Inventory.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Where packets are judged. Empty: this instance enforces nothing on the host.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// What enforces.
    #[serde(default)]
    pub backend: HostBackend,
    /// Whether it drops.
    #[serde(default)]
    pub mode: HostMode,
    /// Until when a person has to confirm what was put in force; at zero the controller vouches by itself.
    #[serde(default = "no_time")]
    pub confirm_within: Interval,
    /// How long open connections are learnt before the first enforcement; at zero not at all.
    #[serde(default = "default_learning")]
    pub learning: Interval,
    /// What happens to open connections that the first enforcement would cut.
    #[serde(default)]
    pub first_enforcement: FirstEnforcement,
    /// Whether it drops early.
    #[serde(default)]
    pub xdp: HostXdp,
    /// What stays reachable whatever a commit says.
    #[serde(default)]
    pub failsafe: FailsafeConfig,
    /// Whether this host's own DHCP requests, and what answers them, pass whatever the policies say. Without, they need rules,
    /// and a lease that is not renewed takes the host off the network.
    #[serde(default = "default_dhcp")]
    pub dhcp: bool,
    /// Where programs and maps are pinned, on a bpf file system.
    #[serde(default = "default_pin_dir")]
    pub pin_dir: PathBuf,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            name: None,
            labels: std::collections::BTreeMap::new(),
            interfaces: Vec::new(),
            backend: HostBackend::Auto,
            mode: HostMode::Enforce,
            confirm_within: no_time(),
            learning: default_learning(),
            first_enforcement: FirstEnforcement::Hold,
            xdp: HostXdp::Off,
            failsafe: FailsafeConfig::default(),
            dhcp: default_dhcp(),
            pin_dir: default_pin_dir(),
        }
    }
}

fn default_dhcp() -> bool {
    true
}

fn no_time() -> Interval {
    Interval::from_secs(0)
}

fn default_learning() -> Interval {
    Interval::from_secs(30)
}

fn default_pin_dir() -> PathBuf {
    PathBuf::from("/sys/fs/bpf/pci-segment")
}

/// `host.failsafe:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailsafeConfig {
    /// Who may always reach this host.
    #[serde(default)]
    pub inbound: Vec<FailsafePeer>,
    /// Whom this host may always reach.
    #[serde(default)]
    pub outbound: Vec<FailsafePeer>,
}

/// A cloud entry: its provider decides whether this binary knows it.
#[derive(Debug, Deserialize)]
pub struct CloudConfig {
    /// `aws` or `azure`.
    pub provider: String,
}

/// `limits:`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest share of a target's rules that one pass may remove or change.
    #[serde(default = "default_change_percent")]
    pub change_percent: u8,
    /// What happens when nothing would be left.
    #[serde(default)]
    pub empty_state: EmptyState,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { change_percent: default_change_percent(), empty_state: EmptyState::Hold }
    }
}

fn default_change_percent() -> u8 {
    30
}

/// `limits.empty_state:`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyState {
    /// A person decides.
    #[default]
    Hold,
    /// Taken at its word.
    Allow,
}

/// Whether drift is only reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftMode {
    /// Rows and metrics; the target is left alone.
    #[default]
    Report,
    /// Put back.
    Heal,
}

/// `metrics:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where `GET /metrics` is served; absent: on the HTTP door beside everything else.
    #[serde(default, deserialize_with = "super::types::some_listen_address")]
    pub listen: Option<std::net::SocketAddr>,
    /// Has the kernel measure how long BPF programs run while the controller runs: all programs of this machine, some 20 ns each.
    #[serde(default)]
    pub program_runs: bool,
}

/// `drift:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftConfig {
    /// When to look: cron with seconds first, in UTC.
    #[serde(default)]
    pub schedule: CronSchedule,
    /// What to do about it.
    #[serde(default)]
    pub mode: DriftMode,
}
