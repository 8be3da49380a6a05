//! The other sections of a configuration file, as people write them.

use std::path::PathBuf;

use serde::Deserialize;

use super::types::{CronSchedule, FailsafePeer, Interval};
use super::zone::TimeZone;

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
    /// The entry of `clouds` that is changed first; the others follow when all of it is in force.
    pub first_wave: Option<String>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { change_percent: default_change_percent(), empty_state: EmptyState::Hold, first_wave: None }
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
    /// When to write a report: cron with seconds first, in `timezone`, at most once an hour. Absent: only when somebody asks.
    #[serde(default, deserialize_with = "super::types::seldom_schedule")]
    pub report_schedule: Option<CronSchedule>,
    /// By whose clocks `report_schedule` goes; absent: UTC.
    #[serde(default)]
    pub timezone: TimeZone,
}

impl DriftConfig {
    /// The next time for a report after `now`, if reports are scheduled.
    #[must_use]
    pub fn next_report(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.report_schedule.as_ref()?.next_in(now, &self.timezone)
    }
}
