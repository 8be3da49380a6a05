//! Gives one anchor the newest checkpoint, as long as it takes. What waits stands in the database, so a restart forgets nothing; an
//! anchor that was away is compared with the log before it is given anything.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::compare::{Difference, difference, gives_back, vanished};
use super::{BEHIND, DISAGREES, hold, release};
use crate::anchor::{Anchor, AnchorError, AnyAnchor, Ours, Parcel};
use crate::audit::Note;
use crate::chain::chain;
use crate::store::{self, AnchorState, Queued, Store};

/// An anchor that takes nothing for so long is behind.
pub(super) const BEHIND_SECONDS: u64 = 15 * 60;
/// First wait after a failure; doubles.
const WAIT_MIN: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether the anchor is behind.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);
/// One delivery.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(120);
/// The last one of a run.
const LAST_TIME_MAX: Duration = Duration::from_secs(5);
/// Audit rows in one delivery.
const ROWS_MAX: u64 = 2_000;

/// Serves one anchor.
pub(super) struct Deliverer<A = AnyAnchor> {
    pub(super) store: Store,
    pub(super) anchor: A,
    pub(super) ours: Ours,
    /// Names of all anchors, where changes wait while every one is behind.
    pub(super) required: Option<Arc<[String]>>,
    pub(super) wake: Arc<Notify>,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// It has the newest.
    Settled,
    /// It was given something, and there may be more.
    Given,
    /// It took nothing.
    Failed(u32),
    /// It has another log: nothing is given to it.
    Disagrees,
}

impl<A: Anchor> Deliverer<A> {
    /// Delivers until told to stop.
    pub(super) async fn deliver(self, mut cut: watch::Receiver<u64>, stop: CancellationToken) {
        let mut compared = false;
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = self.round(Timestamp::now(), &mut compared) => round,
            };
            let settled = matches!(round, Ok(Round::Settled));
            let wait = match round {
                Ok(Round::Given) => Duration::ZERO,
                Ok(Round::Settled | Round::Disagrees) => LOOK_INTERVAL,
                Ok(Round::Failed(attempts)) => pause(attempts),
                Err(error) => {
                    tracing::error!("cannot work on what waits for {}: {}", self.anchor.name(), chain(&error));
                    LOOK_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                changed = cut.changed(), if settled => if changed.is_err() { return },
            }
        }
    }

    /// One try, and not a long one: the next start goes on with what is left.
    pub(super) async fn last(&self) {
        let mut compared = true;
        let tried = tokio::time::timeout(LAST_TIME_MAX, async {
            while self.round(Timestamp::now(), &mut compared).await == Ok(Round::Given) {}
        });
        let _ = tried.await;
    }

    /// Compares, gives, and says how the anchor stands.
    pub(super) async fn round(&self, now: Timestamp, compared: &mut bool) -> Result<Round, Unrecorded> {
        let name = self.anchor.name().to_owned();
        let queued = self.store.anchor_queued(&name).await?;
        if queued.is_none() && *compared {
            self.stand(now).await?;
            return Ok(Round::Settled);
        }
        let ended = match tokio::time::timeout(DELIVERY_TIME_MAX, self.try_once(queued.as_ref(), !*compared, now)).await {
            Ok(ended) => ended?,
            Err(_) => Err(AnchorError(format!("not within {} s", DELIVERY_TIME_MAX.as_secs()))),
        };
        let round = match ended {
            Ok(round) => {
                *compared = true;
                round
            }
            Err(error) => {
                *compared = false;
                let attempts = queued.map_or(0, |queued| queued.attempts);
                tracing::warn!("{name} did not take a checkpoint, it is tried again: {error}");
                self.store.anchor_failed(name, error.to_string()).await?;
                Round::Failed(attempts)
            }
        };
        self.stand(now).await?;
        Ok(round)
    }

    async fn try_once(
        &self,
        queued: Option<&Queued>,
        from_the_first: bool,
        now: Timestamp,
    ) -> Result<Result<Round, AnchorError>, Unrecorded> {
        let name = self.anchor.name().to_owned();
        let found = match self.anchor.latest(&self.ours).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(found) = &found
            && let Some(why) = difference(&self.store, &self.ours, found, from_the_first).await?
        {
            // How large a note of somebody else is, says nothing of ours.
            let size = if matches!(why, Difference::Foreign) { 0 } else { found.note.checkpoint.size };
            self.disagrees(name.clone(), why.told(&name, found), size, now).await?;
            return Ok(Ok(Round::Disagrees));
        }
        let has = found.map(|found| found.note.checkpoint.size);
        let had = self.store.anchored(&name, &self.store.log_origin().await?).await?;
        if gives_back(&name) && has.unwrap_or(0) < had {
            self.disagrees(name.clone(), vanished(&name, had, has), had, now).await?;
            return Ok(Ok(Round::Disagrees));
        }
        // What is gone is no agreement: a note of at least the size that was contested is.
        if self.store.anchor_contested(&name).await?.is_some_and(|contested| has.unwrap_or(0) < contested) {
            return Ok(Ok(Round::Disagrees));
        }
        self.agrees(&name, now).await?;
        let Some(queued) = queued else { return Ok(Ok(Round::Settled)) };
        let Ok(note) = Note::parse(&queued.note) else {
            return Ok(Err(AnchorError("a checkpoint on record is no note".to_owned())));
        };
        self.give(queued.clone(), note, now).await
    }

    async fn give(&self, queued: Queued, note: Note, now: Timestamp) -> Result<Result<Round, AnchorError>, Unrecorded> {
        let name = self.anchor.name().to_owned();
        let commit = self.store.last_in_force().await?.map(|last| last.commit);
        let mut from = if self.anchor.takes_rows() { self.store.anchor_size(&name).await? } else { queued.size };
        loop {
            let to = queued.size.min(from.saturating_add(ROWS_MAX));
            let rows = self.store.rows_as_json(from, to).await?;
            match self.anchor.put(&Parcel { note: note.clone(), commit, rows }).await {
                Err(error) => return Ok(Err(error)),
                Ok(receipt) if to >= queued.size => {
                    self.store.anchor_put(name, queued, receipt.0, now).await?;
                    return Ok(Ok(Round::Given));
                }
                Ok(_) => from = to,
            }
        }
    }

    async fn disagrees(&self, name: String, said: String, size: u64, now: Timestamp) -> Result<(), Unrecorded> {
        hold(&self.store, DISAGREES, &name, &said, now).await?;
        if self.store.anchor_disagrees(name, said.clone(), size, now).await? {
            tracing::error!("{said}; changes stop: compare with pci-segment audit verify, then restore, or pci-segment audit fork");
        }
        Ok(())
    }

    /// Changes go on if this anchor was what stopped them; another one that disagrees still does.
    async fn agrees(&self, name: &str, now: Timestamp) -> Result<(), Unrecorded> {
        self.store.anchor_agrees(name, now).await?;
        if release(&self.store, DISAGREES, name, &format!("{name} has this log again"), now).await? {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Whether this anchor is behind, and with it all of them.
    async fn stand(&self, now: Timestamp) -> Result<(), Unrecorded> {
        let states = self.store.anchor_states().await?;
        let is_behind = |state: &AnchorState| state.lag_seconds(now) >= BEHIND_SECONDS;
        let name = self.anchor.name();
        if let Some(own) = states.iter().find(|state| state.sink == name && is_behind(state))
            && self.store.anchor_behind(own.clone(), now).await?
        {
            tracing::error!("{name} has taken no checkpoint for {} s", own.lag_seconds(now));
        }
        let Some(all) = &self.required else { return Ok(()) };
        let of_all = || states.iter().filter(|state| all.contains(&state.sink));
        if of_all().count() == all.len() && of_all().all(is_behind) {
            hold(&self.store, BEHIND, "", "no anchor has taken a checkpoint for 15 minutes, and audit.require_anchor is set", now)
                .await?;
        } else if release(&self.store, BEHIND, "", "an anchor takes checkpoints again", now).await? {
            self.wake.notify_one();
        }
        Ok(())
    }
}

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Unrecorded(#[from] store::Error);

impl PartialEq for Unrecorded {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// Full jitter.
fn pause(attempts: u32) -> Duration {
    let longest = WAIT_MIN.saturating_mul(2_u32.saturating_pow(attempts.min(10))).min(WAIT_MAX);
    rand::rng().random_range(WAIT_MIN..=longest.max(WAIT_MIN))
}
