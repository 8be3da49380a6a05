//! The loop: wake, trip, wait. One trip at a time, in one task; drift is looked for between trips, by the same task.

use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt as _;

use super::Controller;
use super::cadence::Cadence;
use crate::chain::chain;
use crate::converge::{Outcome, Settings, Trouble, check_drift, converge};
use crate::store::{self, Came, EndedPass, Outcome as Recorded, PassEnd, Store};

/// First wait after a failed trip; doubles.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failed trip.
const BACK_OFF_MAX: Duration = Duration::from_secs(900);
/// The controller says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// Never, for a schedule that has no next time.
const NEVER: Duration = Duration::from_secs(86_400);

enum Woken {
    Stop,
    Look(Came),
    Drift,
    Heartbeat,
}

/// Follows until told to stop.
pub(super) async fn follow(controller: &mut Controller) -> anyhow::Result<()> {
    let mut failures = 0;
    let mut last_outcome = None;
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut next = Woken::Look(Came::Poll);
    let mut look_at = tokio::time::Instant::now();
    let mut drift_at = controller.config.drift.schedule.next_after(Timestamp::now());
    let mut cadence = Cadence::default();
    let mut compare_at = tokio::time::Instant::now() + cadence.after(Duration::ZERO, true);
    loop {
        match next {
            Woken::Stop => return Ok(()),
            Woken::Look(came) => {
                failures = match look(controller, came).await {
                    Ok(outcome) => {
                        announce(&mut last_outcome, outcome);
                        0
                    }
                    Err(Trouble::Source(_)) if controller.stop.is_cancelled() => return Ok(()),
                    Err(error) if fatal(&error) => return Err(error.into()),
                    Err(_) => failures + 1,
                };
                look_at = tokio::time::Instant::now() + pause(controller, failures).min(controller.memory.look_in.unwrap_or(NEVER));
            }
            Woken::Drift => {
                let began = tokio::time::Instant::now();
                let well = drift(controller).await;
                compare_at = tokio::time::Instant::now() + cadence.after(began.elapsed(), well);
                drift_at = controller.config.drift.schedule.next_after(Timestamp::now());
            }
            Woken::Heartbeat => {
                if let Err(error) = controller.heartbeat().await {
                    tracing::error!("no heartbeat: {}", chain(error.as_ref()));
                }
            }
        }
        next = tokio::select! {
            biased;
            () = controller.stop.cancelled() => Woken::Stop,
            // Before the wake, so that a stream of pushes does not keep drift from being seen.
            () = tokio::time::sleep(until(drift_at)) => Woken::Drift,
            () = controller.drift_wake.notified() => Woken::Drift,
            () = tokio::time::sleep_until(compare_at) => Woken::Drift,
            () = controller.wake.notified() => Woken::Look(Came::Push),
            () = tokio::time::sleep_until(look_at) => Woken::Look(Came::Poll),
            _ = heartbeat.tick() => Woken::Heartbeat,
        };
    }
}

/// One trip and one look for drift; a failure is on record before this returns.
///
/// The time of learning belongs to the trip: nobody is there to look again.
pub(super) async fn trip(controller: &mut Controller) -> Result<(Outcome, usize), Trouble> {
    let mut outcome = look(controller, Came::Poll).await?;
    while let Some(learning) = controller.memory.learning {
        tracing::info!(seconds = learning.as_secs_f32(), "learning open connections before the first enforcement");
        tokio::time::sleep(learning).await;
        outcome = look(controller, Came::Poll).await?;
    }
    let drift = check_drift(&mut controller.world()).await?;
    Ok((outcome, drift))
}

async fn look(controller: &mut Controller, came: Came) -> Result<Outcome, Trouble> {
    let waiting = controller.store.deliveries_waiting().await?;
    let came = if waiting.is_empty() { came } else { Came::Push };
    let mut looked = converge(&mut controller.world(), came).await;
    if matches!(looked, Err(Trouble::Source(_))) && controller.urgent.take() {
        looked = converge(&mut controller.world(), came).await;
    }
    controller.tally.looked(looked.is_ok(), Timestamp::now());
    controller.tally.rolled_back(&controller.memory.rollbacks);
    match &looked {
        Ok(_) if waiting.is_empty() => {}
        Ok(_) => controller.store.close_deliveries(waiting.iter().map(|one| one.id).collect(), None).await?,
        // Told to stop while the remote was silent: that is no failure.
        Err(Trouble::Source(_)) if controller.stop.is_cancelled() => {}
        Err(trouble) => {
            let reason = chain(trouble);
            controller.memory.settled = None;
            if matches!(trouble, Trouble::Source(_)) {
                controller.fetch_failed.notify_one();
            }
            tracing::error!("{reason}; what is enforced stays enforced");
            if !fatal(trouble) && matches!(trouble, Trouble::Source(_)) {
                record_failure(&controller.store, &controller.settings, None, &reason).await;
            }
        }
    }
    looked
}

/// Nothing may go on that cannot be recorded; the service manager starts us again, and the start looks at everything.
fn fatal(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Store(error) if error.wants_restart() || matches!(error, store::Error::Closed))
}

/// A row for a trip that found no head.
pub(super) async fn record_failure(store: &Store, settings: &Settings, head: Option<policy::snapshot::CommitId>, reason: &str) {
    let now = Timestamp::now();
    let enforced_before = store.last_in_force().await.ok().flatten().map(|last| last.commit);
    let end = PassEnd::of(Recorded::Failed, reason, now);
    let pass = EndedPass { head, git_ref: settings.git_ref.clone(), enforced_before, plan: None, started: now, end };
    if let Err(error) = store.record_pass(pass).await {
        tracing::error!("cannot record a failure: {}", chain(&error));
    }
}

/// Says what became of the head, once for each news.
fn announce(last: &mut Option<Outcome>, outcome: Outcome) {
    if last.as_ref() == Some(&outcome) {
        return;
    }
    match &outcome {
        Outcome::InForce { commit, changes } => tracing::info!(%commit, changes, "in force"),
        Outcome::Rejected { commit, reason } => tracing::warn!(%commit, "rejected, the last good commit stays enforced: {reason}"),
        Outcome::Inexpressible { commit, reason } => {
            tracing::warn!(%commit, "cannot be enforced exactly, the last good commit stays enforced: {reason}");
        }
        Outcome::Held { reason } => tracing::warn!("held, the last good commit stays enforced: {reason}"),
    }
    *last = Some(outcome);
}

/// Whether it went well: nothing is left that healing was tried on in vain.
async fn drift(controller: &mut Controller) -> bool {
    match check_drift(&mut controller.world()).await {
        Ok(left) => left == 0 || !controller.settings.heal,
        Err(trouble) => {
            tracing::error!("cannot look for drift: {}", chain(&trouble));
            false
        }
    }
}

/// Until the next look: the poll interval with a tenth of jitter, or the back-off with full jitter.
fn pause(controller: &Controller, failures: u32) -> Duration {
    let interval = controller.config.source.poll_interval.get();
    if failures == 0 {
        return interval.mul_f64(rand::rng().random_range(0.9..=1.1));
    }
    let longest = BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(BACK_OFF_MAX);
    rand::rng().random_range(BACK_OFF_MIN..=longest.max(BACK_OFF_MIN))
}

/// A time that passed while a trip ran is now, not lost.
fn until(due: Option<Timestamp>) -> Duration {
    due.map_or(NEVER, |due| Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
}
