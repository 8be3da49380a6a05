//! What runs beside the loop: watches over the kernel, the database and the log, those who talk to the forge, and signals.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::events::Reader;
use super::{Controller, Keeping, approvals, disabled, keeper, sender, upkeep, usage, vigil, wiring};
use crate::backend::View;

impl Controller {
    pub(super) fn keeping(&self) -> Keeping {
        let (failed, view) = (Arc::clone(&self.fetch_failed), Arc::clone(&self.view));
        Keeping { store: self.store.clone(), failed, view, stop: self.stop.clone() }
    }

    /// What runs beside the loop where this host's kernel enforces.
    pub(super) fn watch_the_kernel(&self) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
        let Some(view) = self.view.get().cloned() else { return Ok(Vec::new()) };
        let off = disabled::Watch {
            store: self.store.clone(),
            view: Arc::clone(&self.view),
            changed: Arc::clone(&self.disabled),
            drift: Arc::clone(&self.drift_wake),
            wake: Arc::clone(&self.wake),
            stop: self.stop.clone(),
        };
        let counting = usage::keep(view.clone(), self.store.clone(), self.sums.clone(), self.stop.clone());
        let mut tasks = vec![("the use of rules", tokio::spawn(counting)), ("the watch over switches", tokio::spawn(off.keep()))];
        // nftables knows interfaces by name and needs nobody to attach anything.
        if let View::Ebpf(view) = view {
            let (store, tally, drift) = (self.store.clone(), Arc::clone(&self.tally), Arc::clone(&self.drift_wake));
            let watch = vigil::Vigil { view, store, tally, drift, stop: self.stop.clone() };
            tasks.push(("the watch over the interfaces", watch.begin()?));
        }
        Ok(tasks)
    }

    /// Who signs the log, and who leaves what is signed at the anchors.
    pub(super) async fn keep_the_log(&mut self) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
        let Some(orders) = self.orders.take() else { return Ok(Vec::new()) };
        let signer = keeper::Identity::of(&self.config, &self.store).await?.signer;
        keeper::begin(&self.store, &self.config, signer, (orders, Arc::clone(&self.wake), self.stop.clone())).await
    }

    /// A checkpoint over the last row. Without one the next start signs for it.
    pub(super) async fn sign_the_end(&self) {
        let signed = async {
            let signer = keeper::Identity::of(&self.config, &self.store).await?.signer;
            keeper::finish(&self.store, &self.config, signer).await
        };
        if let Err(error) = signed.await {
            tracing::error!("the end of the audit log is not signed yet: {error:#}");
        }
    }

    /// What the database needs beside being written to, and its end where it can be relied on no more.
    pub(super) fn look_after_the_store(&self) -> [(&'static str, JoinHandle<()>); 2] {
        let (store, wake, stop) = (self.store.clone(), Arc::clone(&self.wake), self.stop.clone());
        let upkeep = upkeep::Upkeep { store, wake, jumps: Arc::clone(&self.jumps), stop };
        let (store, stop) = (self.store.clone(), self.stop.clone());
        let lost = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = store.lost() => {}
            }
        };
        [("the upkeep of the database", tokio::spawn(upkeep.keep())), ("the database", tokio::spawn(lost))]
    }

    /// Has the kernel measure programs while the answer lives, if that is configured.
    pub(super) fn measure_runs(&self) -> Option<std::os::fd::OwnedFd> {
        let measuring = self.config.metrics.program_runs.then(enforcer::measure_runs)?;
        measuring.inspect_err(|error| tracing::warn!("metrics.program_runs: {}", crate::chain::chain(error))).ok()
    }

    pub(super) fn reader(&self) -> Reader {
        Reader {
            pins: self.config.host.pin_dir.clone(),
            target: self.config.target(),
            store: self.store.clone(),
            drops: self.drops.clone(),
            stop: self.stop.clone(),
        }
    }

    /// Who says verdicts to the forge, and who asks it for approvals.
    pub(super) fn talk_to_the_forge(&self) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
        let forge = Arc::new(wiring::forge(&self.config, Arc::clone(&self.calls))?);
        let asking = approvals::ask(Arc::clone(&forge), self.store.clone(), self.stop.clone());
        let sending = sender::send(forge, self.store.clone(), Arc::clone(&self.calls), self.stop.clone());
        Ok(vec![("the sender of statuses", tokio::spawn(sending)), ("the question for approvals", tokio::spawn(asking))])
    }

    /// SIGTERM and SIGINT stop at the next step boundary; SIGHUP looks now.
    pub(super) fn watch_signals(&self) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int, mut hup) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        let (stop, wake) = (self.stop.clone(), self.wake.clone());
        // A pass looks at this between two calls.
        let (told, at_boundary) = (self.stop.clone(), Arc::clone(&self.memory.stop));
        tokio::spawn(async move {
            told.cancelled().await;
            at_boundary.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => stop.cancel(),
                    _ = int.recv() => stop.cancel(),
                    _ = hup.recv() => wake.notify_one(),
                }
            }
        });
        Ok(())
    }
}
