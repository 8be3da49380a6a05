//! The controller: wires source, store, targets, forge and doors together, and follows the branch until it is told to stop.
//!
//! Stopping changes nothing in the kernel: enforcement goes on, and the next start finds it.

mod approvals;
mod beside;
mod boot;
mod cadence;
pub mod control;
mod disabled;
mod door;
mod events;
mod follow;
mod forge;
pub mod keeper;
mod patience;
mod probe;
mod reach;
pub mod reports;
mod requests;
mod rollback;
mod sealing;
mod sender;
mod storm;
mod upkeep;
mod usage;
mod vigil;
mod vital;
mod wiring;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::backend::View;
use crate::config::Config;
use crate::converge::{Memory, Outcome, Settings, Target, World};
use crate::metrics::{Calls, Tally};
use crate::source::git::GitSource;
use crate::store::{self, LAST_LOOK, Store};

pub use self::boot::{Booted, boot};
pub use self::disabled::DISABLED_MAX;
pub use self::door::receiver;
pub use self::events::Drops;
use self::patience::{Patient, Urgent};
use self::probe::Connections;
pub use self::reach::{Keeping, entries as failsafe_entries};
pub use self::vital::EndedEarly;
pub use self::wiring::{Purpose, git_config, identity, settings, targets, wanted};

/// Under which name the store keeps what it follows.
const SOURCE: &str = "source_url";

/// Under which name the store keeps which configuration was used last.
const CONFIG_KNOWN: &str = "config_sha256";

/// That the branch was looked at is put on record this often at most.
const LOOK_NOTED_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// Everything a running controller holds.
pub struct Controller {
    config: Config,
    source: Patient<GitSource>,
    store: Store,
    prober: Connections,
    /// Orders that do not wait for a remote.
    urgent: Urgent,
    targets: Vec<Box<dyn Target>>,
    settings: Settings,
    memory: Memory,
    /// Look now. Coalesces: ten calls while a trip runs make one more trip.
    wake: Arc<Notify>,
    /// The remote may have moved: resolve its name again.
    fetch_failed: Arc<Notify>,
    /// Orders to go back to an earlier commit.
    rollbacks: rollback::Rollbacks,
    /// The switch that turns enforcement off has changed.
    disabled: Arc<Notify>,
    /// What is told of refused packets.
    drops: Drops,
    /// Something in the kernel looks otherwise: compare everything now.
    drift_wake: Arc<Notify>,
    /// Who waits for a drift report.
    reports: reports::Reports,
    /// What is counted nowhere else.
    tally: Arc<Tally>,
    /// What became of calls to the forge.
    calls: Arc<Calls>,
    /// The firewall as others than the loop see it; empty where there is none.
    view: Arc<OnceLock<View>>,
    /// How often rules are used.
    sums: usage::Sums,
    /// When it was last put on record that the branch was looked at.
    look_noted: Option<std::time::Instant>,
    /// The way to whoever signs the log.
    desk: keeper::Desk,
    /// What is asked there, until somebody takes it up.
    orders: Option<keeper::Orders>,
    /// How often the clock of this host was set.
    jumps: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Controller {
    /// Opens everything a configuration names, or says what is missing. Nothing is enforced yet.
    ///
    /// # Errors
    /// A part cannot be opened; the text says what to do next.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let source = GitSource::new(git_config(&config)?)?;
        let settings = settings(&config);
        keeper::start_allowed(&config).await?;
        let store = Store::open(config.database.as_path(), &format!("host:{}", config.host_name()), Timestamp::now()).await?;
        let (stop, urgent) = (CancellationToken::new(), Urgent::default());
        let (desk, orders) = keeper::Desk::new();
        let controller = Self {
            targets: Vec::new(),
            prober: Connections::new(&config),
            source: Patient::new(source, stop.clone(), urgent.clone()),
            urgent,
            store,
            settings,
            memory: Memory::default(),
            wake: Arc::new(Notify::new()),
            fetch_failed: Arc::new(Notify::new()),
            rollbacks: rollback::Rollbacks::default(),
            disabled: Arc::new(Notify::new()),
            drops: Drops::default(),
            drift_wake: Arc::new(Notify::new()),
            reports: reports::Reports::default(),
            tally: Arc::new(Tally::default()),
            calls: Arc::new(wiring::calls(&config)),
            view: Arc::new(OnceLock::new()),
            sums: usage::Sums::default(),
            look_noted: None,
            desk,
            orders: Some(orders),
            jumps: Arc::default(),
            stop,
            config,
        };
        keeper::Identity::of(&controller.config, &controller.store).await?;
        controller.follows_the_same_source().await?;
        controller.booted().await?;
        Ok(controller)
    }

    /// One database follows one source: another one's history proves nothing here.
    async fn follows_the_same_source(&self) -> anyhow::Result<()> {
        let url = &self.config.source.url;
        match self.store.meta_get(SOURCE).await? {
            None => self.store.meta_set(SOURCE.to_owned(), url.clone(), Timestamp::now()).await?,
            Some(known) if known == *url => {}
            Some(known) => anyhow::bail!(
                "this database follows {known}, the configuration says {url}; name another database, or put source.url back"
            ),
        }
        Ok(())
    }

    /// What is on record before anything else happens: the start, and passes that a crash left open.
    async fn booted(&self) -> anyhow::Result<()> {
        // Before the first row of this start, which would be the newest.
        self.store.clock_at_start(Timestamp::now()).await?;
        let config = &self.config.sha256;
        let payload = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "program_sha256": program_sha256().await, "config_sha256": config,
            "sqlite": self.store.sqlite_version().await?, "boot_id": self.settings.boot_id, "pid": std::process::id(),
        });
        self.note(kind::BOOT, payload).await?;
        self.store.settle_incidents(Timestamp::now()).await?;
        if self.store.meta_get(CONFIG_KNOWN).await?.as_ref() != Some(config) {
            self.note(kind::CONFIG_LOADED, serde_json::json!({ "sha256": config })).await?;
            self.store.meta_set(CONFIG_KNOWN.to_owned(), config.clone(), Timestamp::now()).await?;
        }
        if let Some(why) = self.store.held() {
            tracing::error!("ALARM: changes are held: {why}; look at the disk, then: pci-segment resume --only hold --reason …");
        }
        let interrupted = self.store.close_interrupted_passes(Timestamp::now()).await?;
        if !interrupted.is_empty() {
            tracing::warn!(passes = interrupted.len(), "closed passes that were interrupted; everything is observed again");
        }
        self.store.save_room();
        Ok(())
    }

    async fn note(&self, kind: &str, payload: serde_json::Value) -> anyhow::Result<()> {
        let origin = format!("host:{}", self.config.host_name());
        let draft = Draft {
            kind,
            actor: "system",
            origin: &origin,
            object: "controller",
            outcome: Ended::Done,
            payload,
            ..Draft::at(Timestamp::now())
        };
        self.store.append(AuditEvent::new(draft)?).await?;
        Ok(())
    }

    /// Opens the targets; a host that cannot enforce does not start.
    async fn aim_at_targets(&mut self) -> anyhow::Result<()> {
        self.targets = targets(&self.config, Purpose::Enforce(&self.keeping())).await?;
        if let Some(target) = self.targets.first() {
            self.tally.enforced_by(target.backend());
        }
        Ok(())
    }

    fn world(&mut self) -> World<'_, Patient<GitSource>> {
        World {
            source: &self.source,
            store: &self.store,
            targets: &mut self.targets,
            settings: &self.settings,
            prober: &self.prober,
            clock: Timestamp::now,
            memory: &mut self.memory,
        }
    }

    /// One trip and one look for drift, then the end: for scripts and timers. Answers how many differences were found.
    ///
    /// # Errors
    /// The trip failed.
    pub async fn once(mut self) -> anyhow::Result<(Outcome, usize)> {
        let outcome = match self.aim_at_targets().await {
            Ok(()) => follow::trip(&mut self).await.context("the trip failed; what was enforced stays enforced"),
            Err(error) => Err(self.could_not_start(error).await),
        };
        if let Some(view) = self.view.get()
            && let Err(error) = usage::count(view, &self.store, &self.sums).await
        {
            tracing::error!("the use of rules is not on record: {error:#}");
        }
        let sent = sender::drain_once(&self.config, &self.store).await;
        self.note(kind::SHUTDOWN, serde_json::json!({ "reason": "once" })).await?;
        self.sign_the_end().await;
        self.store.close().await;
        sent?;
        outcome
    }

    /// Follows until a signal.
    ///
    /// # Errors
    /// A door cannot be opened, or the store is lost.
    pub async fn run(mut self) -> anyhow::Result<()> {
        if let Err(error) = self.aim_at_targets().await {
            let error = self.could_not_start(error).await;
            self.store.close().await;
            return Err(error);
        }
        let mut tasks = door::open(&self).await?;
        tasks.extend(self.talk_to_the_forge()?);
        let nightly = sealing::Nightly::new(&self.config, self.store.clone(), self.desk.clone(), Arc::clone(&self.tally))?;
        tasks.push(("the daily check of the audit log", tokio::spawn(nightly.keep(self.stop.clone()))));
        if !self.config.host.interfaces.is_empty() {
            tasks.push(("the reader of refused packets", self.reader().begin()));
        }
        tasks.extend(self.watch_the_kernel()?);
        tasks.extend(self.keep_the_log().await?);
        tasks.extend(self.look_after_the_store());
        let _measuring = self.measure_runs();
        let vital = vital::watch(self.stop.clone(), tasks);
        self.watch_signals()?;
        let followed = follow::follow(&mut self).await;
        self.stop.cancel();
        let vital = vital.await?;
        if let Some(loss) = self.store.loss() {
            return Err(loss.into());
        }
        let reason = vital.as_ref().map_or_else(ToString::to_string, |()| "signal".to_owned());
        self.note(kind::SHUTDOWN, serde_json::json!({ "reason": reason })).await?;
        self.sign_the_end().await;
        self.store.close().await;
        tracing::info!("stopped; what is enforced stays enforced");
        followed.and(vital.map_err(Into::into))
    }

    /// The start failed after the store was open: a row says so.
    async fn could_not_start(&self, error: anyhow::Error) -> anyhow::Error {
        let reason = crate::chain::chain(error.as_ref());
        let _ = self.note(kind::STORE_ERROR, serde_json::json!({ "reason": reason, "doing": "start" })).await;
        follow::record_failure(&self.store, &self.settings, None, &reason).await;
        error
    }

    /// A row every few minutes makes silence visible.
    async fn heartbeat(&self) -> anyhow::Result<()> {
        let summary = self.store.status_summary().await?;
        let in_force = self.store.last_in_force().await?.map(|last| last.commit.to_string());
        let payload =
            serde_json::json!({ "in_force": in_force, "open_drift": summary.open_drift, "outbox": summary.outbox.queued });
        self.store.forget_deliveries(Timestamp::now()).await?;
        self.note(kind::HEARTBEAT, payload).await
    }

    /// For `status`, which reads only what is on record; seldom, as each time is a write.
    async fn note_look(&mut self) -> Result<(), crate::store::Error> {
        if self.look_noted.is_some_and(|at| at.elapsed() < LOOK_NOTED_AGAIN) {
            return Ok(());
        }
        self.look_noted = Some(std::time::Instant::now());
        let now = Timestamp::now();
        self.store.meta_set(LAST_LOOK.to_owned(), now.to_string(), now).await
    }
}

/// The SHA-256 of this very program; empty where it cannot be read.
async fn program_sha256() -> String {
    let hash = tokio::task::spawn_blocking(|| store::sha256_of("/proc/self/exe".as_ref()));
    hash.await.ok().and_then(Result::ok).unwrap_or_default()
}
