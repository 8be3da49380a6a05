//! From the configuration to the parts it names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use enforcer::FailsafeEntry;
use policy::host::HostIdentity;
use policy::lower::bpf::Table;
use policy::lower::cloud::Needed;
use policy::model::inventory::Enforcer;
use policy::plan::{EmptyState, Limits};

use super::forge::AnyForge;
use super::reach::{self, Keeping, Reach};
use crate::backend::choice::{self, Firewall, Wanted};
use crate::backend::cloud::{self, Opening};
use crate::backend::ebpf::{Ebpf, Setup};
use crate::config::{
    self, CloudProvider, Config, CredentialsConfig, DriftMode, ForgeName, HostBackend, HostMode, HostXdp, ProfileName,
    VerifyModeName,
};
use crate::converge::{Backend, FirstEnforcement, Managed, Posture, Settings, Target, Verify, VerifyMode};
use crate::forge::ForgeConfig;
use crate::forge::gitea::Gitea;
use crate::forge::github::{GitHub, Identity};
use crate::forge::gitlab::GitLab;
use crate::forge::silent::Silent;
use crate::metrics::Calls;
use crate::source::git::{Credentials, GitConfig, PACK_OBJECTS_MAX, RequestRefs};
use crate::store::{INSTALL_ID, Store};

/// Under which name the store keeps what marks things in clouds as ours.
const CLOUD_MARK: &str = "cloud_mark";

/// Version of the program and of its rule catalogue: a verdict of another one is given again.
fn judged_by(config: &Config) -> String {
    let pinned = config.policy.profile.map_or_else(String::new, |profile| format!(" pinned {profile:?}"));
    let verified = match config.source.verify.mode {
        VerifyModeName::Off => "",
        VerifyModeName::Head => " head signed",
        VerifyModeName::Every => " every commit signed",
    };
    format!("pci-segment {} catalogue {}{pinned}{verified}", env!("CARGO_PKG_VERSION"), policy::admit::CATALOGUE)
}

/// What does not change from trip to trip.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    Settings {
        git_ref: format!("refs/heads/{}", config.source.branch.as_str()),
        context: config.status.context.clone(),
        public_url: config.public_url.clone(),
        pinned_profile: config.policy.profile.map(|profile| match profile {
            ProfileName::Baseline => policy::model::Profile::Baseline,
            ProfileName::PciDss401 => policy::model::Profile::PciDss401,
        }),
        limits: Limits {
            change_percent: u32::from(config.limits.change_percent),
            empty_state: match config.limits.empty_state {
                config::EmptyState::Hold => EmptyState::Hold,
                config::EmptyState::Allow => EmptyState::Allow,
            },
            ..Limits::default()
        },
        first_wave: config.limits.first_wave.clone(),
        heal: config.drift.mode == DriftMode::Heal,
        judged_by: judged_by(config),
        verify: Verify {
            mode: match config.source.verify.mode {
                VerifyModeName::Off => VerifyMode::Off,
                VerifyModeName::Head => VerifyMode::Head,
                VerifyModeName::Every => VerifyMode::Every,
            },
            file: config.source.verify.allowed_signers_file.clone(),
            path: config.source.verify.allowed_signers_path.clone(),
        },
        backends: backends(config),
        posture: posture(config),
        confirm_within: Some(config.host.confirm_within.get()).filter(|time| !time.is_zero()),
        first: FirstEnforcement {
            learning: config.host.learning.get(),
            cut: config.host.first_enforcement == config::FirstEnforcement::Cut,
        },
        boot_id: boot_id(),
        comment: config.status.comment && config.status.forge != ForgeName::None,
        identity: (!config.host.interfaces.is_empty()).then(|| identity(config.host_name(), config.host.labels.clone())),
    }
}

/// What enforces here, each once.
fn backends(config: &Config) -> Vec<Enforcer> {
    let host = match (config.host.interfaces.is_empty(), config.host.backend) {
        (true, _) => None,
        (false, HostBackend::Auto | HostBackend::Ebpf) => Some(Enforcer::Ebpf),
        (false, HostBackend::Nftables) => Some(Enforcer::Nftables),
    };
    let clouds = config.clouds.iter().map(|cloud| match cloud.provider {
        CloudProvider::Aws => Enforcer::Aws,
        CloudProvider::Azure => Enforcer::Azure,
    });
    host.into_iter().chain(clouds).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Which start of the host this is.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn posture(config: &Config) -> Posture {
    match (config.host.interfaces.is_empty(), config.host.mode) {
        (true, _) if config.clouds.iter().any(|cloud| !cloud.dry_run) => Posture::Enforced,
        (true, _) => Posture::JudgedOnly,
        (false, HostMode::Audit) => Posture::Audited,
        (false, HostMode::Enforce) => Posture::Enforced,
    }
}

/// How the repository is followed.
///
/// # Errors
/// Credentials that contradict each other.
pub fn git_config(config: &Config) -> anyhow::Result<GitConfig> {
    Ok(GitConfig {
        url: config.source.url.clone(),
        branch: config.source.branch.as_str().to_owned(),
        path: config.source.path.as_str().to_owned(),
        timeout: config.source.timeout.get(),
        credentials: credentials(config.source.credentials.as_ref())?,
        ca_file: config.source.ca_file.clone(),
        proxy: config.source.proxy.clone(),
        mirror: config.database.folder().join("mirror.git"),
        pack_bytes_max: config.source.pack_mib.bytes(),
        pack_objects_max: PACK_OBJECTS_MAX,
        requests: request_refs(config),
    })
}

/// As the forge that is told of verdicts names them, or else the one whose deliveries are taken.
fn request_refs(config: &Config) -> RequestRefs {
    let hooks = &config.webhooks;
    match config.status.forge {
        ForgeName::Gitlab => RequestRefs::MergeRequests,
        ForgeName::None if hooks.gitlab.is_some() && hooks.github.is_none() && hooks.gitea.is_none() => RequestRefs::MergeRequests,
        ForgeName::None | ForgeName::Github | ForgeName::Gitea => RequestRefs::Pull,
    }
}

fn credentials(given: Option<&CredentialsConfig>) -> anyhow::Result<Credentials> {
    let Some(given) = given else { return Ok(Credentials::None) };
    match (&given.password_file, &given.ssh_key_file) {
        (Some(_), Some(_)) => bail!("source.credentials has a password_file and an ssh_key_file; keep one"),
        (Some(file), None) => Ok(Credentials::Password {
            username: given.username.clone().unwrap_or_else(|| "git".to_owned()),
            password_file: file.clone(),
        }),
        (None, Some(key)) => {
            let known =
                given.known_hosts_file.clone().context("source.credentials.known_hosts_file is needed with ssh_key_file")?;
            Ok(Credentials::SshKey { ssh_key_file: key.clone(), known_hosts_file: known })
        }
        (None, None) => bail!("source.credentials names neither password_file nor ssh_key_file"),
    }
}

/// What targets are opened for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// Only to look.
    Plan,
    /// To enforce: the failsafe list is put in place at once, and kept current.
    Enforce(&'a Keeping),
}

/// Who this host is, for an Inventory and for sets without one.
#[must_use]
pub fn identity(hostname: String, labels: policy::model::Labels) -> HostIdentity {
    let machine_id = std::fs::read_to_string("/etc/machine-id").ok();
    let machine_id = machine_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let machine_id_sha256 = machine_id.map(|id| policy::digest::Digest::of(id.as_bytes()).to_string());
    HostIdentity { hostname, machine_id_sha256, labels }
}

/// What a configuration or a command asks for.
#[must_use]
pub fn wanted(backend: HostBackend) -> Wanted {
    match backend {
        HostBackend::Auto => Wanted::Auto,
        HostBackend::Ebpf => Wanted::Ebpf,
        HostBackend::Nftables => Wanted::Nftables,
    }
}

/// Everything that is enforced on: this host, then clouds as they are configured.
///
/// # Errors
/// The kernel or the process's rights do not allow it; a cloud cannot be used as it is configured.
pub async fn targets(config: &Config, purpose: Purpose<'_>) -> anyhow::Result<Vec<Box<dyn Target>>> {
    let mut targets = Vec::new();
    if config.host.interfaces.is_empty() {
        let elsewhere = if config.clouds.is_empty() { "commits are judged, " } else { "" };
        tracing::warn!("host.interfaces is empty: {elsewhere}nothing is enforced on this host");
    } else {
        targets.push(host(config, purpose).await?);
    }
    if !config.clouds.is_empty() {
        let opening = Opening { installation: installation(config, purpose).await?, needed: needed(config, purpose).await? };
        for cloud in &config.clouds {
            targets.extend(cloud::open(cloud, &opening).await.with_context(|| format!("clouds: {}", cloud.label()))?);
        }
    }
    Ok(targets)
}

/// What marks things in clouds as ours: the installation's first id, which stays when the log is forked. Where no controller has run
/// yet, nothing is ours.
async fn installation(config: &Config, purpose: Purpose<'_>) -> anyhow::Result<String> {
    let known = match purpose {
        Purpose::Enforce(keeping) => Some(mark(&keeping.store).await?),
        Purpose::Plan => match Store::open_read_only(config.database.as_path()).await {
            Ok(store) => store.meta_get(CLOUD_MARK).await?,
            Err(_) => None,
        },
    };
    Ok(known.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()))
}

async fn needed(config: &Config, purpose: Purpose<'_>) -> anyhow::Result<Vec<Needed>> {
    let store = match purpose {
        Purpose::Plan => None,
        Purpose::Enforce(keeping) => Some(&keeping.store),
    };
    reach::needed(config, store, jiff::Timestamp::now()).await
}

async fn mark(store: &Store) -> anyhow::Result<String> {
    if let Some(mark) = store.meta_get(CLOUD_MARK).await? {
        return Ok(mark);
    }
    let mark = store.meta_get(INSTALL_ID).await?.context("the database has no installation id; restore a backup")?;
    store.meta_set(CLOUD_MARK.to_owned(), mark.clone(), jiff::Timestamp::now()).await?;
    Ok(mark)
}

/// What this host enforces with.
async fn host(config: &Config, purpose: Purpose<'_>) -> anyhow::Result<Box<dyn Target>> {
    let store = match purpose {
        Purpose::Plan => None,
        Purpose::Enforce(keeping) => Some(&keeping.store),
    };
    let failsafe = reach::failsafe(config, store, jiff::Timestamp::now()).await?;
    if config.host.failsafe.inbound.is_empty() {
        tracing::warn!("host.failsafe.inbound is empty: a policy can lock everybody out of this host");
    }
    let setup = Setup {
        pins: &config.host.pin_dir,
        identity: identity(config.host_name(), config.host.labels.clone()),
        interfaces: config.host.interfaces.clone(),
        failsafe,
        audit: config.host.mode == HostMode::Audit,
        dhcp: config.host.dhcp,
        xdp: config.host.xdp == HostXdp::Native,
    };
    let wanted = wanted(config.host.backend);
    let firewall = match purpose {
        Purpose::Plan => choice::open_to_look(wanted, setup)?,
        Purpose::Enforce(_) => choice::open(wanted, setup)?,
    };
    if let Purpose::Enforce(keeping) = purpose {
        firewall.prepare().await?;
        let _ = keeping.view.set(firewall.view());
        tokio::spawn(reach::keep(Reach::new(config)?, keeping.clone(), firewall.failsafe_list()));
    }
    Ok(match firewall {
        Firewall::Ebpf(firewall) => Box::new(Managed::new(*firewall)),
        Firewall::Nftables(firewall) => Box::new(Managed::new(*firewall)),
    })
}

/// The firewall that is configured, with some interfaces and a list of what always passes.
///
/// # Errors
/// The kernel or the process's rights do not allow it.
pub(super) fn firewall(
    config: &Config,
    wanted: Wanted,
    interfaces: Vec<String>,
    failsafe: Vec<FailsafeEntry>,
) -> anyhow::Result<Firewall> {
    let identity = identity(config.host_name(), config.host.labels.clone());
    let (audit, xdp) = (config.host.mode == HostMode::Audit, config.host.xdp == HostXdp::Native);
    let pins = &config.host.pin_dir;
    Ok(choice::open(wanted, Setup { pins, identity, interfaces, failsafe, audit, dhcp: config.host.dhcp, xdp })?)
}

/// Under which name records of this host are kept.
pub(super) fn target_name(config: &Config) -> String {
    format!("host/{}", config.host.interfaces.join(","))
}

/// Rules that were kept as text.
pub(super) fn recall(text: &str) -> Option<Table> {
    <Ebpf as Backend>::recall(text)
}

/// Counters of the calls to the configured forge.
pub(super) fn calls(config: &Config) -> Calls {
    Calls::to(match config.status.forge {
        ForgeName::None => "none",
        ForgeName::Github => "github",
        ForgeName::Gitlab => "gitlab",
        ForgeName::Gitea => "gitea",
    })
}

/// Where verdicts are reported.
///
/// # Errors
/// A setting that cannot be used.
pub(super) fn forge(config: &Config, calls: Arc<Calls>) -> anyhow::Result<AnyForge> {
    if config.status.forge == ForgeName::None {
        return Ok(AnyForge::Silent(Silent));
    }
    let app = config.status.github_app.as_ref();
    let secret = app.map(|app| &app.private_key_file).or(config.status.token_file.as_ref());
    let token_file: PathBuf = secret.cloned().context("status.token_file is needed")?;
    let settings = ForgeConfig {
        api_url: config.status.api_url().context("status.api_url is needed")?.to_owned(),
        repository: config.status.repository.as_ref().context("status.repository is needed")?.as_str().to_owned(),
        token_file,
        branch: Some(config.source.branch.as_str().to_owned()),
        calls,
    };
    Ok(match config.status.forge {
        ForgeName::None => AnyForge::Silent(Silent),
        ForgeName::Github => AnyForge::GitHub(Box::new(match app {
            None => GitHub::new(settings)?,
            Some(app) => {
                let identity = Identity { app_id: app.app_id, installation_id: app.installation_id };
                GitHub::as_app(settings, identity, config.source.path.as_str())?
            }
        })),
        ForgeName::Gitlab => AnyForge::GitLab(Box::new(GitLab::new(settings)?)),
        ForgeName::Gitea => AnyForge::Gitea(Box::new(Gitea::new(settings)?)),
    })
}
