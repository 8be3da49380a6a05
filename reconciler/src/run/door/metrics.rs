//! `GET /metrics`: one page at a time, and at most one a second, however many ask.
//!
//! The kernel is read on a thread that may block, with descriptors of its own, so that neither the loop nor another request waits for
//! it. What cannot be read is left out of the page and told by `pci_segment_scrape_errors`, because the rest is then wanted most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::backend::{Dropping, View, ebpf};
use crate::chain::chain;
use crate::metrics::kernel::{self, Reading};
use crate::metrics::{CONTENT_TYPE, Calls, Family, Hooks, Judging, Kind, Tally, nftables, records, render};
use crate::run::Drops;
use crate::run::usage::Sums;
use crate::store::Store;

/// A page is shown again for so long.
const FRESH: Duration = Duration::from_secs(1);

/// What takes long to count is counted again after this long.
const SIZES_FRESH: Duration = Duration::from_secs(15);

/// What was counted, and when.
pub(in crate::run) type Kept = Option<(Instant, Vec<Family>)>;

/// Where a page comes from.
#[derive(Clone)]
pub(in crate::run) struct Sources {
    pub(in crate::run) store: Store,
    pub(in crate::run) tally: Arc<Tally>,
    pub(in crate::run) hooks: Arc<Hooks>,
    pub(in crate::run) judging: Arc<Judging>,
    pub(in crate::run) calls: Arc<Calls>,
    pub(in crate::run) view: Arc<OnceLock<View>>,
    pub(in crate::run) sums: Sums,
    pub(in crate::run) drops: Drops,
    /// `host.mode: audit`: rules are lowered so that nothing is dropped.
    pub(in crate::run) audit: bool,
    /// How often the clock was set.
    pub(in crate::run) jumps: Arc<AtomicU64>,
    /// What takes long to count, as it was last.
    pub(in crate::run) sizes: Arc<Mutex<Kept>>,
}

/// The route.
pub(super) fn router(sources: Sources) -> Router {
    let scraper = Arc::new(Scraper { sources, last: Mutex::new(None) });
    Router::new().route("/metrics", get(page)).with_state(scraper)
}

struct Scraper {
    sources: Sources,
    /// Held while a page is made, so that those who ask meanwhile get the same one.
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

async fn page(State(scraper): State<Arc<Scraper>>) -> Response {
    match scraper.fresh().await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

impl Scraper {
    async fn fresh(&self) -> Result<Arc<str>, std::fmt::Error> {
        let mut last = self.last.lock().await;
        if let Some((_, page)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(Arc::clone(page));
        }
        let page: Arc<str> = render(self.sources.families().await)?.into();
        *last = Some((Instant::now(), Arc::clone(&page)));
        Ok(page)
    }
}

impl Sources {
    async fn families(&self) -> Vec<Family> {
        let mut all = self.tally.families();
        all.extend(self.hooks.families());
        all.extend(self.judging.families());
        all.extend(self.calls.families());
        all.extend(records::vitals(&self.store.vitals(), self.jumps.load(Ordering::Relaxed)));
        let mut failed = Vec::new();
        let summary = self.store.status_summary().await;
        match self.store.deliveries_depth().await {
            Ok(depth) => all.push(inbox(depth)),
            Err(error) => failed.push(("records", chain(&error))),
        }
        match (&summary, &self.store.measures().await) {
            (Ok(summary), Ok(measures)) => all.extend(records::families(summary, measures)),
            (Err(error), _) | (_, Err(error)) => failed.push(("records", chain(error))),
        }
        let now = Timestamp::now().as_duration().as_secs_f64();
        match self.view.get().cloned() {
            None => {}
            Some(View::Ebpf(view)) => match kernel(view.clone()).await {
                Ok(Some(reading)) => {
                    all.push(told(self.drops.records()));
                    let gaps = view.interfaces().iter().any(|name| is_up(name) && !view.detached(&reading.seen, name).is_empty());
                    let dropping = match reading.seen.epoch {
                        0 => Dropping::Nothing,
                        _ => Dropping::of(reading.seen.audit, reading.seen.disabled),
                    };
                    all.push(self.enforcement(view.target(), dropping, !gaps && !view.others_judge(&reading.seen)));
                    all.extend(kernel::families(&reading, view.interfaces(), &self.sums.in_force(), now));
                    if let (Ok(summary), true) = (&summary, reading.seen.epoch != 0) {
                        all.extend(records::generation(summary, view.target(), reading.seen.digest));
                    }
                }
                Ok(None) => all.push(self.enforcement(view.target(), Dropping::Nothing, true)),
                Err(error) => failed.push(("kernel", error)),
            },
            Some(View::Nftables(view)) => {
                let looking = view.clone();
                match tokio::task::spawn_blocking(move || looking.look()).await {
                    Ok(Ok(Some(reading))) => {
                        let dropping = Dropping::of(reading.audited, reading.off_left);
                        all.push(self.enforcement(view.target(), dropping, reading.unhooked.is_empty()));
                        all.extend(nftables::families(&reading, view.interfaces(), &self.sums.in_force(), now));
                    }
                    Ok(Ok(None)) => all.push(self.enforcement(view.target(), Dropping::Nothing, true)),
                    Ok(Err(error)) => failed.push(("kernel", chain(&error))),
                    Err(error) => failed.push(("kernel", error.to_string())),
                }
            }
        }
        match self.sizes().await {
            Ok(sizes) => all.extend(sizes),
            Err(error) => failed.push(("kernel", error)),
        }
        all.push(errors(&failed));
        all
    }

    /// What dropping comes to, as one word that is true.
    fn enforcement(&self, target: &str, dropping: Dropping, whole: bool) -> Family {
        let now = match dropping {
            Dropping::Nothing => "nothing",
            Dropping::Off(_) => "disabled",
            Dropping::Audited => "audit",
            Dropping::All if self.audit => "audit",
            Dropping::All if whole => "enforced",
            Dropping::All => "partly",
        };
        let mut family = Family::new(
            Kind::Gauge,
            "pci_segment_enforcement",
            "Whether packets that no rule allows are dropped now: enforced, partly (a hook is gone, or another program has its place), \
             audit (counted only), disabled (by pci-segment disable), or nothing (no rules are in place)",
        );
        for state in ["enforced", "partly", "audit", "disabled", "nothing"] {
            family.push(&[("target", target), ("state", state)], state == now);
        }
        family
    }

    async fn sizes(&self) -> Result<Vec<Family>, String> {
        let Some(View::Ebpf(view)) = self.view.get().cloned() else { return Ok(Vec::new()) };
        let mut last = self.sizes.lock().await;
        if let Some((_, sizes)) = last.as_ref().filter(|(at, _)| at.elapsed() < SIZES_FRESH) {
            return Ok(sizes.clone());
        }
        let counted = tokio::task::spawn_blocking(move || view.open()?.map_or(Ok(Vec::new()), |enforcer| kernel::sizes(&enforcer)));
        let sizes = counted.await.map_err(|error| error.to_string())?.map_err(|error| chain(&error))?;
        *last = Some((Instant::now(), sizes.clone()));
        Ok(sizes)
    }
}

/// An interface that does not exist lets nothing through either.
fn is_up(name: &str) -> bool {
    enforcer::Enforcer::interface(name).is_ok_and(|there| there.is_some())
}

async fn kernel(view: ebpf::View) -> Result<Option<Reading>, String> {
    let read = tokio::task::spawn_blocking(move || match view.open()? {
        Some(enforcer) => Reading::take(&enforcer, view.swap()).map(Some),
        None => Ok(None),
    });
    read.await.map_err(|error| error.to_string())?.map_err(|error| chain(&error))
}

fn inbox(depth: u64) -> Family {
    Family::new(Kind::Gauge, "pci_segment_inbox_depth", "Deliveries that wait to be looked at").with(&[], depth)
}

fn told(records: u64) -> Family {
    let name = "pci_segment_ebpf_events";
    Family::new(Kind::Counter, name, "Records of refused packets that were read since the controller started").with(&[], records)
}

fn errors(failed: &[(&'static str, String)]) -> Family {
    let mut family =
        Family::new(Kind::Gauge, "pci_segment_scrape_errors", "Whether a part of this page could not be read; the log says why");
    for part in ["kernel", "records"] {
        let error = failed.iter().find(|(name, _)| *name == part);
        if let Some((_, text)) = error {
            tracing::warn!(part, "metrics are incomplete: {text}");
        }
        family.push(&[("part", part)], error.is_some());
    }
    family
}
