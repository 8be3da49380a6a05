//! The doors: HTTP for forges and probes, and a socket beside the database for operators on this host.

mod heard;
mod hooks;
mod inbox;
mod metrics;
mod places;
mod serve;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::hooks::receiver;
use self::hooks::{Watch, receivers};
use self::metrics::Sources;
use self::serve::{Bounds, Entry, serve};
use self::tls::Tls;
use super::Controller;
use super::control::{self, Orders};
use crate::config::HostMode;
use crate::converge::{AUDIT_HOLD, DISABLED, until};
use crate::metrics::{Calls, Hooks};
use crate::store::{self, Store};

/// Opens every door; the tasks, each with its name, end when the controller stops and not before.
pub(super) async fn open(controller: &Controller) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
    let listen = controller.config.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; another program may have it: change `listen`"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let hooks = Arc::new(Hooks::default());
    let sources = Sources {
        hooks: Arc::clone(&hooks),
        calls: Arc::clone(&controller.calls),
        store: controller.store.clone(),
        tally: Arc::clone(&controller.tally),
        judging: Arc::clone(&controller.memory.judging),
        view: Arc::clone(&controller.view),
        sums: controller.sums.clone(),
        drops: controller.drops.clone(),
        audit: controller.config.host.mode == HostMode::Audit,
        sizes: Arc::default(),
        jumps: Arc::clone(&controller.jumps),
    };
    let (mut main, mut tasks) = (probes(controller), Vec::new());
    if let Some((routes, watch)) = webhooks(controller, hooks)? {
        main = main.merge(routes);
        tasks.push(("the watch over webhook secrets", tokio::spawn(watch.keep(controller.stop.clone()))));
    }
    match controller.config.metrics.listen {
        None => main = main.merge(metrics::router(sources)),
        Some(address) => tasks.push(("the metrics door", measured(address, sources, controller.stop.clone()).await?)),
    }
    let tls = controller.config.tls.as_ref().map(Tls::open).transpose()?;
    if let Some(tls) = tls.clone() {
        tasks.push(("the watch over the certificate", tokio::spawn(tls.keep(controller.stop.clone()))));
    }
    let entry = Entry { tls, proxies: controller.config.webhooks.trusted_proxies.get().clone() };
    let http = tokio::spawn(serve(listener, main, entry, Bounds::default(), controller.stop.clone()));
    let operators = control::serve(
        controller.config.database.folder(),
        Orders {
            store: controller.store.clone(),
            wake: controller.wake.clone(),
            urgent: controller.urgent.clone(),
            drops: controller.drops.clone(),
            rollbacks: controller.rollbacks.clone(),
            view: Arc::clone(&controller.view),
            disabled: Arc::clone(&controller.disabled),
            drift: Arc::clone(&controller.drift_wake),
            desk: controller.desk.clone(),
            reports: controller.reports.clone(),
        },
        controller.stop.clone(),
    )?;
    tasks.extend([("the HTTP door", http), ("the operators' door", operators)]);
    Ok(tasks)
}

/// A door for metrics alone.
async fn measured(address: SocketAddr, sources: Sources, stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; another program may have it: change `metrics.listen`"))?;
    tracing::info!(address = %listener.local_addr()?, "metrics");
    Ok(tokio::spawn(serve(listener, metrics::router(sources), Entry::default(), Bounds::default(), stop)))
}

fn probes(controller: &Controller) -> Router {
    let state = (controller.store.clone(), Arc::clone(&controller.calls));
    Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready)).with_state(state)
}

/// The receivers that are configured, and who keeps their secrets fresh.
fn webhooks(controller: &Controller, hooks: Arc<Hooks>) -> anyhow::Result<Option<(Router, Watch)>> {
    let config = &controller.config.webhooks;
    let receivers = receivers(config)?;
    if receivers.is_empty() {
        return Ok(None);
    }
    for (receiver, _) in &receivers {
        hooks.expect(receiver.forge());
    }
    let settings = webhook::Settings {
        receivers: receivers.iter().map(|(receiver, _)| receiver.clone()).collect(),
        reference: controller.settings.git_ref.clone(),
        body_bytes_max: config.body_mib.bytes(),
        proxies: config.trusted_proxies.get().clone(),
    };
    let inbox = Arc::new(inbox::StoreInbox {
        store: controller.store.clone(),
        wake: Arc::clone(&controller.wake),
        git_ref: controller.settings.git_ref.clone(),
        hooks: Arc::clone(&hooks),
    });
    let origin = format!("host:{}", controller.config.host_name());
    let routes = webhook::router(settings, inbox).route_layer(from_fn_with_state(Arc::clone(&hooks), heard::timed));
    let watch = Watch { receivers, hooks, store: controller.store.clone(), origin };
    Ok(Some((routes, watch)))
}

/// Ready: the database answers, the audit log is what was signed, the last trip did not fail, every hook is in place, what no rule allows is dropped, and the forge takes
/// what we say.
async fn ready(State((store, calls)): State<(Store, Arc<Calls>)>) -> (StatusCode, String) {
    match not_ready(&store, &calls).await {
        Ok(None) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Some(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("database: {error}\n")),
    }
}

async fn not_ready(store: &Store, calls: &Calls) -> Result<Option<String>, store::Error> {
    if let Some(trouble) = store.trouble() {
        return Ok(Some(format!("database: {trouble}")));
    }
    if let Some(off) = store.switch_get(DISABLED, jiff::Timestamp::now()).await? {
        return Ok(Some(format!("not enforced: switched off {} by {}: {}", until(&off), off.who, off.why)));
    }
    if let Some(held) = store.switch_get(AUDIT_HOLD, jiff::Timestamp::now()).await? {
        return Ok(Some(format!("changes are held, the audit log cannot vouch for them: {}", held.why)));
    }
    if let Some(drift) = store.drift(true).await?.into_iter().find(store::DriftEntry::opens_the_host) {
        return Ok(Some(format!("not enforced: {} on {}", drift.key, drift.target)));
    }
    Ok(match store.status_summary().await?.last_pass {
        None => Some("the first trip has not ended".to_owned()),
        Some(pass) if pass.outcome == Some(store::Outcome::Failed) => Some(pass.reason),
        Some(_) => calls.why_not().map(|reason| format!("forge: {reason}")),
    })
}
