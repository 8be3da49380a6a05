//! Keeps the use of rules on record: once a minute, whenever other rules are in force, and at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::backend::View;
use crate::store::Store;
use crate::usage::{Ledger, Usage};

/// Sums are written this often, and only if any changed.
const WRITTEN: Duration = Duration::from_secs(60);

/// The sums of the rules in force, for whoever shows them; empty until they are known.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(Arc<Mutex<Option<Ledger>>>);

impl Sums {
    /// The rules in force, as they were counted last.
    pub(super) fn in_force(&self) -> Vec<Usage> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().flat_map(Ledger::in_force).cloned().collect()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Option<Ledger>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts until told to stop, and once more then.
pub(super) async fn keep(view: View, store: Store, sums: Sums, stop: CancellationToken) {
    let mut said = None;
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            () = view.numbers().changed() => false,
            () = tokio::time::sleep(WRITTEN) => false,
        };
        // Counters that cannot be read or written now are credited next time.
        let trouble = count(&view, &store, &sums).await.err().map(|error| format!("{error:#}"));
        if trouble != said
            && let Some(text) = &trouble
        {
            tracing::error!("the use of rules is not on record: {text}");
        }
        said = trouble;
        if ended {
            return;
        }
    }
}

/// Adds up what the kernel counted since the last time, and writes what changed.
pub(super) async fn count(view: &View, store: &Store, sums: &Sums) -> anyhow::Result<()> {
    // Nobody knows the names yet; the counters wait.
    let Some(numbers) = view.numbers().get() else { return Ok(()) };
    let reading = view.clone();
    let Some((world, raws)) = tokio::task::spawn_blocking(move || reading.rule_flows()).await?? else { return Ok(()) };
    let now = Timestamp::now();
    if sums.with(|ledger| ledger.is_none()) {
        let rows = store.rule_usage().await?.into_iter().filter(|row| row.target == view.target());
        let known = Ledger::new(rows.map(|row| (row.usage, row.world)).collect(), &world);
        sums.with(|ledger| *ledger = Some(known));
    }
    let rows = sums.with(|ledger| {
        let ledger = ledger.as_mut()?;
        ledger.note(&world, &numbers, &raws, now);
        Some(ledger.unwritten())
    });
    let rows = rows.filter(|rows| !rows.is_empty());
    let Some(rows) = rows else { return Ok(()) };
    store.note_rule_usage(view.target().to_owned(), world, rows, now).await.context("what was counted is kept in memory")?;
    sums.with(|ledger| ledger.iter_mut().for_each(Ledger::written));
    Ok(())
}
