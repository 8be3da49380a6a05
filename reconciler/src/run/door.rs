//! The doors: HTTP for forges and probes, and a socket beside the database for operators on this host.

mod metrics;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use webhook::{Delivery, Inbox, InboxError, Keeping, Kept, Meaning, Secrets};

use self::metrics::Sources;
use self::serve::{Bounds, serve};
use super::Controller;
use super::control::{self, Orders};
use crate::store::{self, Store};

/// Opens every door; the tasks, each with its name, end when the controller stops and not before.
pub(super) async fn open(controller: &Controller) -> anyhow::Result<Vec<(&'static str, JoinHandle<()>)>> {
    let listen = controller.config.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; another program may have it: change `listen`"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let sources = Sources {
        store: controller.store.clone(),
        tally: Arc::clone(&controller.tally),
        view: Arc::clone(&controller.view),
        sums: controller.sums.clone(),
        drops: controller.drops.clone(),
        sizes: Arc::default(),
    };
    let (mut main, mut tasks) = (router(controller)?, Vec::new());
    match controller.config.metrics.listen {
        None => main = main.merge(metrics::router(sources)),
        Some(address) => tasks.push(("the metrics door", measured(address, sources, controller.stop.clone()).await?)),
    }
    let http = tokio::spawn(serve(listener, main, Bounds::default(), controller.stop.clone()));
    let operators = control::serve(
        controller.config.database.folder(),
        Orders {
            store: controller.store.clone(),
            wake: controller.wake.clone(),
            urgent: controller.urgent.clone(),
            drops: controller.drops.clone(),
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
    Ok(tokio::spawn(serve(listener, metrics::router(sources), Bounds::default(), stop)))
}

fn router(controller: &Controller) -> anyhow::Result<Router> {
    let probes = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(controller.store.clone());
    let Some(github) = &controller.config.webhooks.github else { return Ok(probes) };
    let file = &github.secret_file;
    let text =
        std::fs::read_to_string(file).with_context(|| format!("webhooks.github.secret_file: cannot read {}", file.display()))?;
    let secrets = Secrets::parse(&text).with_context(|| format!("webhooks.github.secret_file: {}", file.display()))?;
    let settings = webhook::Settings { secrets, reference: controller.settings.git_ref.clone() };
    let inbox = Arc::new(StoreInbox {
        store: controller.store.clone(),
        wake: controller.wake.clone(),
        git_ref: controller.settings.git_ref.clone(),
    });
    Ok(probes.merge(webhook::router(settings, inbox)))
}

/// Ready: the database answers, the last trip did not fail, and every hook is in place.
async fn ready(State(store): State<Store>) -> (StatusCode, String) {
    match not_ready(&store).await {
        Ok(None) => (StatusCode::OK, "ready\n".to_owned()),
        Ok(Some(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("database: {error}\n")),
    }
}

async fn not_ready(store: &Store) -> Result<Option<String>, store::Error> {
    let detached = store.drift(true).await?.into_iter().find(|drift| drift.kind == store::DriftKind::Detached);
    if let Some(drift) = detached {
        return Ok(Some(format!("not enforced: {} on {}", drift.key, drift.target)));
    }
    Ok(match store.status_summary().await?.last_pass {
        None => Some("the first trip has not ended".to_owned()),
        Some(pass) if pass.outcome == Some(store::Outcome::Failed) => Some(pass.reason),
        Some(_) => None,
    })
}

/// Deliveries become rows; a push to our branch wakes the loop after its row is durable.
struct StoreInbox {
    store: Store,
    wake: Arc<Notify>,
    git_ref: String,
}

impl Inbox for StoreInbox {
    fn keep(&self, delivery: Delivery) -> Keeping<'_> {
        Box::pin(async move {
            let (before, after, ignored) = match delivery.meaning {
                Meaning::Pushed { before, after } => (before, after, None),
                Meaning::Deleted => (None, None, None),
                Meaning::Ping => (None, None, Some("ping".to_owned())),
                Meaning::Ignored { reason } => (None, None, Some(reason.to_owned())),
            };
            let matters = ignored.is_none();
            let row = store::Delivery {
                forge: delivery.forge.to_owned(),
                delivery_id: delivery.id,
                event: delivery.event,
                git_ref: self.git_ref.clone(),
                before,
                after,
                request: None,
                body_sha256: delivery.body_digest,
                secret_line: u8::try_from(delivery.secret_line).unwrap_or(u8::MAX),
                received: jiff::Timestamp::now(),
                ignored,
            };
            let kept = self.store.keep_delivery(row).await.map_err(|error| InboxError(crate::chain::chain(&error)))?;
            if matters && kept == store::Kept::New {
                self.wake.notify_one();
            }
            Ok(if kept == store::Kept::New { Kept::New } else { Kept::Duplicate })
        })
    }
}
